"""The history of one record: what was heard of it, written, rejected, held and decided, in one list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, literal, null, select

from sync_pipeline.store.records import Known
from sync_pipeline.store.schema import approval_lines, approvals, deliveries, events, records, rejects, syncs
from sync_pipeline.store.scope import EntityRows


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a record's history."""

    at: datetime
    kind: str
    """``delivery``, ``reject``, ``approval``, ``event`` or ``record``: the table that it comes from."""
    what: str
    outcome: str | None = None
    detail: str | None = None
    run_id: str | None = None
    by: str | None = None
    changes: str | None = None
    """Of a delivery: JSON of the changed fields, each with its values before and after, if these are not personal."""


@dataclass(frozen=True, slots=True)
class RecordHistory:
    """What is stored of a record now, if anything, and its history, oldest first."""

    record: Known | None
    happenings: list[Happening]
    is_cut: bool
    """Whether there was more than was asked for; the newest are kept."""


class Histories(EntityRows):
    """The histories of the records of one entity of a pair."""

    def of_record(self, record: Known | None, source_id: str, limit: int) -> RecordHistory:
        """The newest lines, at most ``limit`` of them. A read that changed nothing leaves none."""
        found = _of_now(record) if record is not None else []
        with self.store.reading() as tx:
            for statement in self._statements(source_id):
                newest = statement.order_by(statement.selected_columns[0].desc()).limit(limit + 1)
                found += [Happening(at, *rest) for at, *rest in tx.execute(newest) if at is not None]
        found.sort(key=lambda one: (one.at, one.kind))
        return RecordHistory(record, found[-limit:], len(found) > limit)

    def _statements(self, source_id: str) -> list[Select[Any]]:
        of_sync = deliveries.outerjoin(syncs, syncs.c.id == deliveries.c.sync_id)
        line = approval_lines.join(approvals)
        held = [*self.of(approvals), approval_lines.c.source_id == source_id]
        named = approvals.c.guard + ": " + approval_lines.c.action
        return [
            select(
                deliveries.c.at,
                literal("delivery"),
                deliveries.c.kind,
                func.coalesce(deliveries.c.outcome, deliveries.c.phase),
                deliveries.c.reason,
                syncs.c.run_id,
                null(),
                deliveries.c.changes,
            )
            .select_from(of_sync)
            .where(*self.of(deliveries), deliveries.c.source_id == source_id),
            select(
                rejects.c.at,
                literal("reject"),
                rejects.c.rule,
                rejects.c.origin,
                rejects.c.reason,
                rejects.c.run_id,
                null(),
            ).where(*self.of(rejects), rejects.c.source_id == source_id),
            select(approvals.c.requested_at, literal("approval"), named, literal("held"), null(), null(), null())
            .select_from(line)
            .where(*held),
            select(
                approvals.c.decided_at, literal("approval"), named, approvals.c.decision, null(), null(), approvals.c.by
            )
            .select_from(line)
            .where(*held, approvals.c.decided_at.isnot(None)),
            select(
                events.c.received_at,
                literal("event"),
                events.c.kind,
                literal("received"),
                null(),
                null(),
                events.c.system,
            ).where(*self._heard(source_id)),
            select(
                events.c.closed_at,
                literal("event"),
                events.c.kind,
                literal("answered"),
                events.c.reason,
                events.c.run_id,
                events.c.system,
            ).where(*self._heard(source_id), events.c.closed_at.isnot(None)),
        ]

    def _heard(self, source_id: str) -> list[Any]:
        return [*self.of(events), events.c.source_id == source_id]


def _of_now(record: Known) -> list[Happening]:
    """The instants that the record itself keeps."""
    kept = {
        "last change was read": record.observed_at if record.deleted_at is None else None,
        "proven deleted at the source": record.deleted_at,
        "missing at the source, not proven deleted": record.unconfirmed_at,
    }
    return [Happening(at, records.name.removesuffix("s"), what) for what, at in kept.items() if at is not None]
