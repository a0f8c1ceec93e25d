"""How long the store keeps what: rows are deleted by age, except those that are current.

Never pruned: open alerts, open intents and the newest delivery of each record, loads, requests for approval that are open or may still
be used, keys of operations that are sent once, the newest passed trial, the last syncs that `status` shows, open events, and the hashes of forgotten ids. The rows
to delete are looked up without a lock and deleted in short transactions; a night deletes at most ``A_NIGHT`` of each kind, and
what is left, or was interrupted, is for the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Select, Table, and_, delete, func, or_, select, tuple_

from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.engine import Store
from sync_pipeline.store.operation_runs import prune_keys
from sync_pipeline.store.records import TOMBSTONE
from sync_pipeline.store.schema import (
    COPY,
    alert_notices,
    alerts,
    approval_lines,
    approvals,
    audit,
    deliveries,
    events,
    records,
    requests,
    setup_versions,
    syncs,
    trials,
)
from sync_pipeline.store.totals import delete_deliveries

A_NIGHT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How long each kind of row is kept."""

    deliveries: timedelta
    syncs: timedelta
    audit: timedelta
    trials: timedelta
    approvals: timedelta
    events: timedelta
    alerts: timedelta
    tombstones: timedelta


PAST_VERSIONS = 20
"""Versions of the set-up that are kept whatever their age."""


def prune(store: Store, ages: Ages, now: datetime) -> dict[str, int]:
    """Delete what is older than its age; returns how many rows of each table."""
    return {
        "deliveries": _prune_deliveries(store, now - ages.deliveries),
        "syncs": _prune(store, syncs, _old_syncs(now - ages.syncs)),
        "audit": _prune(store, audit, select(audit.c.id).where(audit.c.at < now - ages.audit)),
        "setup_versions": _prune(store, setup_versions, _old_versions(now - ages.audit)),
        "trials": _prune(store, trials, _old_trials(now - ages.trials)),
        "approvals": _prune_approvals(store, now - ages.approvals, now),
        "events": prune_events(store, now - ages.events),
        "alerts": _prune_alerts(store, now - ages.alerts),
        "requests": _prune(store, requests, select(requests.c.id).where(requests.c.finished_at < now - ages.syncs)),
        "operation_runs": prune_keys(store, now - ages.audit),
        "tombstones": _prune_tombstones(store, now - ages.tombstones),
    }


def prune_events(store: Store, before: datetime) -> int:
    """Delete the events closed before then: bodies hold names and e-mail addresses.

    The newest row stays: SQLite gives the highest id out again, and an id must never mean two events.
    """
    newest = select(func.max(events.c.id)).scalar_subquery()
    return _prune(store, events, select(events.c.id).where(events.c.closed_at < before, events.c.id < newest))


def copies(database: Path) -> list[Path]:
    """The copies that upgrades have kept beside an SQLite database."""
    return sorted(database.parent.glob(f"{database.name}{COPY}*"))


def discard_copies(database: Path, before: datetime) -> int:
    """Delete the copies made before then; returns how many."""
    old = [copy for copy in copies(database) if datetime.fromtimestamp(copy.stat().st_mtime, UTC) < before]
    for copy in old:
        copy.unlink()
    return len(old)


def _prune_deliveries(store: Store, before: datetime) -> int:
    """Outcomes with their intents, but not the newest outcome of each record."""
    is_outcome = deliveries.c.phase == "outcome"
    record = (deliveries.c.connection, deliveries.c.entity, deliveries.c.source_id)
    newest = select(func.max(deliveries.c.id)).where(is_outcome).group_by(*record)
    old = select(deliveries.c.id, deliveries.c.intent_id).where(
        is_outcome, deliveries.c.at < before, deliveries.c.id.not_in(newest)
    )
    with store.reading() as tx:
        rows = tx.execute(old.order_by(deliveries.c.id).limit(A_NIGHT)).all()
    count = 0
    for some in chunks([each for row in rows for each in (row.id, row.intent_id) if each is not None]):
        with store.writing() as tx:
            count += delete_deliveries(store, tx, deliveries.c.id.in_(some))
    return count


def _old_syncs(before: datetime) -> Select[int]:
    """Those that no delivery names, except the last of each outcome."""
    last = select(func.max(syncs.c.id)).group_by(syncs.c.connection, syncs.c.entity, syncs.c.outcome)
    named = select(deliveries.c.id).where(deliveries.c.sync_id == syncs.c.id).exists()
    return select(syncs.c.id).where(syncs.c.begun_at < before, syncs.c.id.not_in(last), ~named)


def _old_versions(before: datetime) -> Select[int]:
    """Past ones, except the newest, those from a file, and the one that a draft is based on."""
    past = setup_versions.c.state == "past", setup_versions.c.file_hash.is_(None)
    newest = select(setup_versions.c.id).where(*past).order_by(setup_versions.c.id.desc()).limit(PAST_VERSIONS)
    bases = select(setup_versions.c.base_id).where(setup_versions.c.base_id.is_not(None))
    kept = setup_versions.c.id.not_in(newest), setup_versions.c.id.not_in(bases)
    return select(setup_versions.c.id).where(*past, *kept, setup_versions.c.at < before)


def _old_trials(before: datetime) -> Select[int]:
    """All but the newest of each outcome: turning live syncing on requires one that passed."""
    newest = select(func.max(trials.c.id)).group_by(trials.c.connection, trials.c.kind, trials.c.outcome)
    return select(trials.c.id).where(trials.c.begun_at < before, trials.c.id.not_in(newest))


def _prune_approvals(store: Store, before: datetime, now: datetime) -> int:
    """Those that were decided, with their lines; one that was allowed may be used until it expires."""
    ended = or_(approvals.c.expires_at.is_(None), approvals.c.expires_at < now)
    old = select(approvals.c.id).where(and_(approvals.c.decided_at < before, ended))
    with store.reading() as tx:
        ids = list(tx.scalars(old.order_by(approvals.c.id).limit(A_NIGHT)))
    for some in chunks(ids):
        with store.writing() as tx:
            tx.execute(delete(approval_lines).where(approval_lines.c.approval_id.in_(some)))
            tx.execute(delete(approvals).where(approvals.c.id.in_(some)))
    return len(ids)


def _prune_alerts(store: Store, before: datetime) -> int:
    """Those that were resolved, with their notices; not while a message is still to be sent."""
    waiting = select(alert_notices.c.id).where(
        alert_notices.c.alert_id == alerts.c.id, alert_notices.c.sent_at.is_(None)
    )
    with store.reading() as tx:
        ids = list(
            tx.scalars(select(alerts.c.id).where(alerts.c.resolved_at < before, ~waiting.exists()).limit(A_NIGHT))
        )
    for some in chunks(ids):
        with store.writing() as tx:
            tx.execute(delete(alert_notices).where(alert_notices.c.alert_id.in_(some)))
            tx.execute(delete(alerts).where(alerts.c.id.in_(some)))
    return len(ids)


def _prune_tombstones(store: Store, before: datetime) -> int:
    """Marks of records that a read by id did not find and that were never known otherwise.

    Those that an automation leaves alone stay: they may come back, and nothing is made of them then either.
    """
    key = (records.c.connection, records.c.entity, records.c.source_id)
    old = and_(records.c.fields_hash == TOMBSTONE, records.c.deleted_at < before, records.c.excluded_rule.is_(None))
    with store.reading() as tx:
        keys = [tuple(row) for row in tx.execute(select(*key).where(old).limit(A_NIGHT))]
    for some in chunks(keys):
        with store.writing() as tx:  # one that was found again meanwhile has its fields
            tx.execute(delete(records).where(old, tuple_(*key).in_(some)))
    return len(keys)


def _prune(store: Store, table: Table, old: Select[int]) -> int:
    with store.reading() as tx:
        ids: list[int] = list(tx.scalars(old.order_by(table.c.id).limit(A_NIGHT)))
    return _delete(store, table, ids)


def _delete(store: Store, table: Table, ids: Iterable[int]) -> int:
    count = 0
    for some in chunks(ids):
        with store.writing() as tx:
            count += tx.execute(delete(table).where(table.c.id.in_(some))).rowcount
    return count
