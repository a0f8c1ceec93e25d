"""Preview: exactly what a sync would create, adopt, update and delete - and nothing is sent or remembered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from sync_pipeline.mapping.canonical import differences
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch, Counts, Days
from sync_pipeline.stages.check import CheckResult
from sync_pipeline.stages.link import Clients
from sync_pipeline.stages.prepare import prepared
from sync_pipeline.stages.seal import staged_rows
from sync_pipeline.stages.session import Session
from sync_pipeline.store.records import lookup
from sync_pipeline.store.staging import StagedRow, stage

Action = Literal["create", "adopt", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    """One write a sync would send; ``fields`` maps each changed field to its (present, future) values."""

    action: Action
    record: str
    fields: dict[str, tuple[Any, Any]]


@dataclass(slots=True)
class Preview:
    """What a sync of one entity would do."""

    entity: str
    counts: Counts
    checks: list[CheckResult]
    changes: list[Change] = field(default_factory=list)

    @property
    def blocked(self) -> list[CheckResult]:
        """The checks that would block the load."""
        return [check for check in self.checks if check.blocks]


def preview(session: Session, spec: EntitySpec, days: Days | None) -> Preview:
    """Read, map and check one entity, and compare it with what was delivered."""
    before = session.requests
    with prepared(session, spec, days) as checking:
        counts = Counts(extracted=sum(checking.statuses.values()), rejected=checking.statuses["rejected"])
        # Who waits is not counted apart: a sync delivers the awaited first.
        counts.excluded = checking.statuses["excluded"]
        result = Preview(spec.entity, counts, checking.results)
        for change in _upserts(session, spec, checking.sealed, counts):
            result.changes.append(change)
        result.changes += _deletes(session, spec, checking.sealed, days)
    counts.deleted = sum(change.action == "delete" for change in result.changes)
    counts.requests = session.requests - before
    return result


def _upserts(session: Session, spec: EntitySpec, sealed: Batch, counts: Counts) -> Iterator[Change]:
    linked = spec.target.system == "clockify"
    clients: Clients | None = None
    for frame in sealed.parts:
        rows = [row for row in staged_rows(frame) if row[4] in {"accepted", "waiting"}]
        known = lookup(session.store, session.connection, spec.entity, [row[0] for row in rows])
        for row in rows:
            record = known.get(row[0])
            if record is not None and record.delivered_hash == row[3]:
                counts.unchanged += 1
                continue
            if record is not None and record.refused_hash == row[3]:
                counts.rejected += 1
                continue
            if record is not None and record.target_id is not None:
                action: Action = "update"
            elif linked:
                clients = clients or Clients(session, spec)
                action = "adopt" if clients.unlinked(str(orjson.loads(row[2])["name"])) else "create"
            else:
                action = "create"
            name = {"create": "created", "adopt": "adopted", "update": "updated"}[action]
            setattr(counts, name, getattr(counts, name) + 1)
            yield _change(spec, action, row, record.fields if record is not None and action == "update" else None)


def _change(spec: EntitySpec, action: Action, row: StagedRow, present: str | None) -> Change:
    future = orjson.loads(row[2])
    if present is None:
        return Change(action, row[0], {name: (None, value) for name, value in future.items() if value is not None})
    return Change(action, row[0], {name: (a, b) for name, b, a in differences(spec, future, orjson.loads(present))})


def _deletes(session: Session, spec: EntitySpec, sealed: Batch, days: Days | None) -> Iterator[Change]:
    """What vanished from the source - a sync confirms each by a second read first - and what is still to be deleted."""
    if spec.target.delete == "keep":
        return
    with stage(session.store, session.connection, spec.entity, days.keys if days else None) as staging:
        for frame in sealed.parts:
            staging.add(staged_rows(frame))
        absent = [known.source_id for known in staging.absent(again=True) if known.delivered_hash is not None]
    for source_id in absent:
        yield Change("delete", source_id, {})
