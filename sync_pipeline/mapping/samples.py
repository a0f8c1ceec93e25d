"""Samples beside each entity: a source record, and the fields the target gets for it or why it is rejected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.apply import map_frame, resolve_links
from sync_pipeline.mapping.canonical import canonical_rows
from sync_pipeline.mapping.checks import check_frame
from sync_pipeline.mapping.frames import EXCLUDED, raw_frame
from sync_pipeline.mapping.load import SHIPPED
from sync_pipeline.mapping.spec import EntitySpec

FORMAT = "is not a JSON list of objects with `source` and either `target` or `rejected`, a list of `field`, `rule` and `reason`"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a record is rejected; a sample without a reason leaves the wording open."""

    field: str
    rule: str
    reason: str = ""
    value: str | None = None

    def __str__(self) -> str:
        value = f" (found {self.value})" if self.value else ""
        return f"{self.field} {self.reason or self.rule}{value}"


@dataclass(frozen=True, slots=True)
class Sample:
    """A source record, and the fields the target gets for it; where it is rejected, none but the problems."""

    source: dict[str, Any]
    target: dict[str, Any] | None
    rejected: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleOutcome:
    """The outcome of one record: its fields at the target, what is wrong, and the rule that excludes it."""

    fields: dict[str, Any]
    problems: tuple[Rejection, ...]
    excluded: str


def outcomes(
    spec: EntitySpec, records: Sequence[dict[str, Any]], start_date: date | None = None
) -> list[SampleOutcome]:
    """The outcome of each record under a mapping, as far as one record shows it: without uniqueness, references and links.

    What is made once cannot be without what it is linked to, so there the id of that record stays.
    """
    if not records:
        return []
    mapped = resolve_links(
        spec,
        map_frame(spec, raw_frame(spec, records)),
        lambda _, ids: {each: each for each in ids} if spec.target.once else {},
    )
    frame = check_frame(spec, mapped, start_date=start_date)
    rows = zip(canonical_rows(spec, frame), frame["problems"], frame["status"], frame["rule"], strict=True)
    return [
        SampleOutcome(orjson.loads(text), tuple(_problems(problems)), str(rule) if status == EXCLUDED else "")
        for (text, _), problems, status, rule in rows
    ]


def _problems(text: Any) -> Iterator[Rejection]:
    for found in orjson.loads(text) if isinstance(text, str) else ():
        yield Rejection(found["field"], found["rule"], found["message"], found["value"])


def load_samples(entity: str, overrides: Path | None = None) -> list[Sample]:
    """The entity's samples, the user's own first; none when there is no file."""
    for directory in (overrides, SHIPPED):
        path = directory / "samples" / f"{entity}.json" if directory else None
        if path is not None and path.is_file():
            return _read(path)
    return []


def known_keys(entity: str, overrides: Path | None = None) -> frozenset[str]:
    """The top-level keys a source record is known to have, to notice drift; empty when unknown.

    What the shipped samples have is no news either: a user's own may be older than the reader that gives a key.
    """
    samples = [*load_samples(entity, overrides), *load_samples(entity)]
    return frozenset(key for sample in samples if not sample.rejected for key in sample.source)


def mismatches(spec: EntitySpec, samples: Sequence[Sample]) -> list[tuple[int, str]]:
    """The samples with another outcome than the expected one: the sample's number, from 1, and a sentence."""
    found = outcomes(spec, [sample.source for sample in samples])
    pairs = enumerate(zip(samples, found, strict=True), start=1)
    return [(number, difference) for number, (sample, one) in pairs for difference in _differences(sample, one)]


def _differences(sample: Sample, found: SampleOutcome) -> Iterator[str]:
    if found.excluded:
        yield f"is excluded by the rule {found.excluded}"
        return
    expected = list(sample.rejected)
    for problem in found.problems:
        named = next((one for one in expected if _is_meant(one, problem)), None)
        if named is None:
            yield f"is rejected: {problem}"
        else:
            expected.remove(named)
    yield from (f"is not rejected: {one.field} by {one.rule}" for one in expected)
    if not sample.rejected and not found.problems:
        yield from _other_fields(sample.target or {}, found.fields)


def _is_meant(expected: Rejection, found: Rejection) -> bool:
    same = (expected.field, expected.rule) == (found.field, found.rule)
    return same and expected.reason in ("", found.reason)


def _other_fields(expected: dict[str, Any], found: dict[str, Any]) -> Iterable[str]:
    for name in sorted({*expected, *found}):
        if name not in expected:
            yield f"has one more field: {name} = {found[name]!r}"
        elif name not in found:
            yield f"lacks the field {name}"
        elif expected[name] != found[name]:
            yield f"{name} is {found[name]!r} instead of {expected[name]!r}"


def _read(path: Path) -> list[Sample]:
    try:
        return [_sample(pair) for pair in orjson.loads(path.read_bytes())]
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError, ValueError):
        raise ConfigError(f"The sample file {path} {FORMAT}.", fix="Compare it with a shipped one.") from None


def _sample(pair: dict[str, Any]) -> Sample:
    if "rejected" not in pair:
        return Sample(dict(pair["source"]), dict(pair["target"]))
    if "target" in pair or not pair["rejected"]:
        raise ValueError
    return Sample(dict(pair["source"]), None, tuple(Rejection(**problem) for problem in pair["rejected"]))
