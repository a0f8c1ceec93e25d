"""Real records of an entity to look at, for as few requests as can be, and the fields they have; shipped samples where there are none.

They are kept in memory for some minutes, so that working on a mapping does not use up the hour's budget. They are never
written anywhere.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from itertools import islice
from threading import Lock
from typing import Any

from sync_pipeline.connectors.registry import name_of
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.spec import EntitySpec, Field
from sync_pipeline.mapping.text import path_text
from sync_pipeline.session.session import Session
from sync_pipeline.settings import Settings
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.polling import has_room

LIMIT = 50
REQUESTS = 2
WAIT_SECONDS = 15.0
"""Seconds a page waits before it is shown with samples."""
KEPT = timedelta(minutes=10)
MOST_KEPT = 32
LONGEST_EXAMPLE = 80
MOST_FIELDS = 500
DEEPEST = 8
Path = tuple[str, ...]
_SHAPES = (
    ("instant", re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)")),
    ("date", re.compile(r"\d{4}-\d\d-\d\d")),
    ("email", re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")),
    ("id", re.compile(r"[0-9a-f]{24}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")),
)


@dataclass(frozen=True, slots=True)
class Examples:
    """Records of one entity. ``why`` says why they are samples; "" when they are real."""

    records: tuple[dict[str, Any], ...]
    why: str = ""

    @property
    def are_real(self) -> bool:
        """Whether the records were read from the source."""
        return not self.why


class _Kept:
    """What was read lately, by where it was read; the oldest leaves first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: dict[Hashable, tuple[datetime, Examples]] = {}

    def get(self, key: Hashable, now: datetime) -> Examples | None:
        with self._lock:
            at, found = self._found.get(key, (now - KEPT, None))
            return found if abs(now - at) < KEPT else None

    def put(self, key: Hashable, now: datetime, found: Examples) -> None:
        with self._lock:
            self._found.pop(key, None)
            self._found[key] = (now, found)
            while len(self._found) > MOST_KEPT:
                del self._found[next(iter(self._found))]


_kept = _Kept()  # for as long as the console runs: each request has a SetupService of its own


def examples(setup: SetupService, spec: EntitySpec, *, fresh: bool = False) -> Examples:
    """Some records of the entity; ``fresh`` ones are read again."""
    settings = setup.settings()
    key = _place(settings, spec)
    found = None if fresh else _kept.get(key, setup.now())
    if found is None:
        found = _read(setup, settings, spec)
        if found.are_real:
            _kept.put(key, setup.now(), found)
    return found


def _place(settings: Settings, spec: EntitySpec) -> Hashable:
    source = (spec.source.system, spec.source.reader, spec.source.list, tuple(sorted(spec.source.params.items())))
    clockify = (settings.clockify_base_url, settings.clockify_reports_url, settings.clockify_workspace_id)
    return (
        *(settings.home, settings.mode, settings.sandbox, settings.snapshots_profile),
        *(clockify, settings.snapshots_base_url, settings.snapshots_account, spec.entity, source),
    )


def _read(setup: SetupService, settings: Settings, spec: EntitySpec) -> Examples:
    try:
        with setup.session(replace(settings, max_attempts=1)) as session:
            found = _sampled(session, spec)
    except SyncError as error:
        return _samples(settings, spec, str(error))
    except TimeoutError:
        return _samples(settings, spec, f"No answer came within {WAIT_SECONDS:.0f} seconds.")
    return found if found.records else _samples(settings, spec, found.why or "There are no records at the source yet.")


def _sampled(session: Session, spec: EntitySpec) -> Examples:
    if not has_room(session, spec.source.system, REQUESTS):
        name = name_of(spec.source.system, session.settings)
        return Examples((), f"The hour's request budget of {name} is nearly used up.")
    return Examples(tuple(session.sample(spec, LIMIT, within=WAIT_SECONDS)))


def _samples(settings: Settings, spec: EntitySpec, why: str) -> Examples:
    return Examples(sample_records(spec.entity, settings.mappings_dir), f"{why} These are samples.")


def sample_records(entity: str, directory: pathlib.Path | None) -> tuple[dict[str, Any], ...]:
    """The source records of an entity's samples, except those that are to be rejected."""
    from sync_pipeline.mapping.samples import load_samples

    return tuple(sample.source for sample in load_samples(entity, directory) if not sample.rejected)


@dataclass(frozen=True, slots=True)
class SourceField:
    """One path of the source's records. ``type`` is a guess; "objects" is a list of objects, "object" holds others."""

    path: str
    example: str
    type: str
    mapped_to: tuple[str, ...]


def source_fields(records: Iterable[Mapping[str, Any]], fields: Sequence[Field]) -> tuple[SourceField, ...]:
    """All paths that occur, in order, with the target fields that are made of each."""
    values: dict[Path, list[Any]] = {}
    for record in records:
        for path, value in _walk(record, ()):
            values.setdefault(path, []).append(value)
    return tuple(_described(path, values[path], fields) for path in islice(sorted(values), MOST_FIELDS))


def unknown_source(setup: SetupService, spec: EntitySpec, field: Field, samples: pathlib.Path | None = None) -> str:
    """A warning where no record that can be looked at has the source of a field, with the nearest one; "" where one has.

    A field may be missing in the samples (those in ``samples``, by default of SYNC_MAPPINGS_DIR): only then records are read.
    """
    if not field.source:
        return ""
    known: dict[str, SourceField] = {}
    for records in _records(setup, spec, samples):
        known |= {one.path: one for one in source_fields(records, ())}
        if _may_exist(field.source, known):
            return ""
    if not known:
        return ""
    near = get_close_matches(path_text(field.source), known, n=1)
    more = (
        f"Did you mean {near[0]!r}?" if near else f"`sync-pipeline mapping fields {spec.entity}` shows what there is."
    )
    return (
        f"{spec.entity}.{field.name}: no record that was looked at has the source {path_text(field.source)!r}. {more}"
    )


def _records(
    setup: SetupService, spec: EntitySpec, samples: pathlib.Path | None
) -> Iterator[tuple[dict[str, Any], ...]]:
    """The samples, and then some records of the source, where there are accounts to read from."""
    yield sample_records(spec.entity, samples or setup.settings().mappings_dir)
    with suppress(SyncError):
        yield examples(setup, spec).records


def _may_exist(path: Sequence[str], known: Mapping[str, SourceField]) -> bool:
    """Whether it is a known path, or below one whose content is not described."""
    for length in range(len(path), 0, -1):
        if found := known.get(path_text(path[:length])):
            return length == len(path) or length >= DEEPEST or found.type in ("", "list", "objects")
    return len(known) >= MOST_FIELDS


def _walk(value: Mapping[str, Any], above: Path) -> Iterator[tuple[Path, Any]]:
    for key, item in value.items():
        path = (*above, key)
        yield path, item
        if isinstance(item, Mapping) and len(path) < DEEPEST:
            yield from _walk(item, path)


def _described(path: Path, values: list[Any], fields: Sequence[Field]) -> SourceField:
    there = [value for value in values if value not in (None, "", [], {})]
    example = there[0] if there else next((value for value in values if value is not None), None)
    mapped = tuple(field.name for field in fields if field.source == path)
    return SourceField(path_text(path), _shown(example), _type(there or values), mapped)


def _type(values: list[Any]) -> str:
    found = {_type_of(value) for value in values if value is not None}
    if len(found) == 1:
        return found.pop()
    if found == {"int", "number"}:
        return "number"
    return "text" if found else ""


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "int" if isinstance(value, int) else "number"
    if isinstance(value, list):
        return "objects" if any(isinstance(item, dict) for item in value) else "list"
    if isinstance(value, dict):
        return "object"
    text = str(value)[:300]  # as long as an address or an instant may be
    return next((name for name, shape in _SHAPES if shape.fullmatch(text)), "text")


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        text = f"{len(value)} with {', '.join(map(str, value[0]))}"
    elif isinstance(value, dict):
        text = f"with {', '.join(map(str, value))}"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(sign if sign.isprintable() else " " for sign in text[: 2 * LONGEST_EXAMPLE])
    return text if len(text) <= LONGEST_EXAMPLE else text[: LONGEST_EXAMPLE - 1] + "…"
