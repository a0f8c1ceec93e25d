"""The file of a plan: a filter for `apply`, not data. It names records and what was to be done with each.

JSON lines: a header with accounts, days and mappings, then a line per record. Lines may be removed. Values of personal fields
are in it on request only; nothing in it is ever sent.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import IO, Any, get_args

import orjson

from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.private_files import naming
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.plan import PlanLine
from sync_pipeline.store.planned import Action

SCHEMA = 1
MAX_BYTES = 64 * 1024 * 1024
"""Some 150,000 records: a first load is for `sync`."""
HEADER = "sync_pipeline_plan"
AGAIN = "Make it again with `sync-pipeline preview --out FILE`."
REMOVE_OR_REMAKE = "Remove the line, or make the file again with `sync-pipeline preview --out FILE`."


@dataclass(frozen=True, slots=True)
class NamedLine:
    """One line of a file: the record, and what was to be done with it."""

    entity: str
    source_id: str
    action: str
    label: str | None
    hash_before: str | None
    hash_after: str | None
    source_hash: str | None
    is_held: bool = False
    """Whether a guard held it: what the target has of it was not looked up."""

    @property
    def writes(self) -> bool:
        """Whether there is anything to apply: what waits or was rejected is only shown."""
        return self.action not in ("wait", "reject")


@dataclass(frozen=True, slots=True)
class PlanFile:
    """The content of a plan file."""

    mappings: dict[str, str]
    """The fingerprint of each entity's mapping."""
    days: Days | None
    lines: dict[str, dict[str, NamedLine]] = field(default_factory=dict)
    """By entity and id."""


class PlanWriter:
    """Writes the lines of a plan as they are found."""

    def __init__(self, file: IO[bytes], path: Path, *, with_personal: bool) -> None:
        self._file, self._path, self._with_personal = file, path, with_personal
        self._left = MAX_BYTES

    def begin(self, session: Session, specs: list[EntitySpec], days: Days | None) -> None:
        """Write the header: the accounts, days and mappings of the plan."""
        self._write(
            {
                HEADER: SCHEMA,
                "pair": session.pair,
                "configuration": session.fingerprint,
                "made_at": session.now().isoformat(timespec="seconds"),
                "days": list(days.keys) if days is not None else None,
                "mappings": {spec.entity: spec.fingerprint for spec in specs},
            }
        )

    def line(self, spec: EntitySpec, line: PlanLine) -> None:
        """Add one record."""
        is_shown = self._with_personal or not (spec.label is not None and spec.label.personal)
        found: dict[str, Any] = {
            "entity": spec.entity,
            "id": line.source_id,
            "label": line.label if is_shown else None,
            "action": line.action,
            "reason": line.reason,
            "held": line.is_held,
            "fields": sorted(line.fields),
            "before": line.hash_before,
            "after": line.hash_after,
            "source": line.source_hash,
        }
        if values := self._values(spec, line):
            found["values"] = values
        self._write(found)

    def _values(self, spec: EntitySpec, line: PlanLine) -> dict[str, Any]:
        personal = {field.name for field in spec.fields if field.personal}
        shown = self._with_personal
        return {name: list(pair) for name, pair in line.fields.items() if shown or name not in personal}

    def _write(self, document: dict[str, Any]) -> None:
        text = orjson.dumps(document) + b"\n"
        self._left -= len(text)
        if self._left < 0:
            raise ConfigError(
                f"The plan has more than {MAX_BYTES // 2**20} MB, so {self._path} was not written.",
                fix="Preview fewer entities or days, or load it with `sync-pipeline sync`.",
            )
        self._file.write(text)


@contextmanager
def plan_writer(path: Path, *, with_personal: bool) -> Iterator[PlanWriter]:
    """Write a file that only this user can read; it appears complete, or after an error not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with naming(path):
        try:
            opened = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}.", fix="Name a file in a directory that you can write."
            ) from None
        try:
            with os.fdopen(opened, "wb") as file:
                yield PlanWriter(file, path, with_personal=with_personal)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def read_plan(path: Path, session: Session) -> PlanFile:
    """Read a plan file. Raises ConfigError when it is not one, is too large, or is of another version or other accounts."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", fix=AGAIN) from None
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{path} has more than {MAX_BYTES // 2**20} MB.", fix="Apply it in parts.")
    first, *rest = text.splitlines() or [b""]
    plan = _header(path, first, session)
    for number, line in enumerate(rest, 2):
        if line.strip():
            _add(path, number, line, plan, session)
    return plan


def _header(path: Path, line: bytes, session: Session) -> PlanFile:
    found = _object(line)
    if found is None or HEADER not in found:
        raise ConfigError(f"{path} is not a plan file: its first line is not the header of one.", fix=AGAIN)
    if found[HEADER] != SCHEMA:
        raise ConfigError(f"{path} was written by another version (schema {str(found[HEADER])[:20]}).", fix=AGAIN)
    if found.get("pair") != session.pair:
        raise ConfigError(f"{path} is a plan for other accounts than those that are set up now.", fix=AGAIN)
    mappings, days = found.get("mappings") or {}, found.get("days")
    try:
        span = Days(*map(date.fromisoformat, days)) if days is not None else None
        if span is not None:
            Window.of_days(span.first, span.last)  # it is read for these: in order, and not at the end of all time
        named = {str(entity): str(fingerprint) for entity, fingerprint in dict(mappings).items()}
    except (AttributeError, OverflowError, TypeError, ValueError):
        raise ConfigError(f"{path}:1: its days or mappings cannot be read.", fix=AGAIN) from None
    return PlanFile(named, span)


def _add(path: Path, number: int, text: bytes, plan: PlanFile, session: Session) -> None:
    found = _object(text)
    names = ("entity", "id", "action", "label", "before", "after", "source")
    values = [found.get(name) for name in names] if found is not None else []
    is_whole = bool(values) and all(isinstance(value, str) and value and "\0" not in value for value in values[:3])
    is_whole = is_whole and values[2] in get_args(Action)
    if not is_whole or not all(value is None or isinstance(value, str) for value in values[3:]):
        raise ConfigError(f"{path}:{number}: this is not a line of a plan.", fix=REMOVE_OR_REMAKE)
    line = NamedLine(*values)  # type: ignore[arg-type]  # checked above
    line = replace(line, is_held=found is not None and found.get("held") is True)
    if line.entity not in session.specs:
        raise ConfigError(
            f"{path}:{number}: the entity {line.entity!r} is not switched on.",
            fix="Remove the line, or add the entity to SYNC_ENTITIES.",
        )
    if session.specs[line.entity].partitioned and plan.days is None:
        raise ConfigError(f"{path}:1: it names no days, and {line.entity} are read by days.", fix=AGAIN)
    lines = plan.lines.setdefault(line.entity, {})
    if line.source_id in lines:
        raise ConfigError(
            f"{path}:{number}: {line.entity} {line.source_id} is named twice.", fix="Remove one of the lines."
        )
    lines[line.source_id] = line


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
