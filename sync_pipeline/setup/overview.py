"""How things stand, at a glance: each entity's last success and what is left to do, and what ran last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sync_pipeline.setup.desk import Desk
from sync_pipeline.stages.guards import deletes
from sync_pipeline.stages.session import Session
from sync_pipeline.store.records import RecordCounts, counts
from sync_pipeline.store.rejects import count_rejects
from sync_pipeline.store.syncs import Sync, recent, status

RUNS = 8
SYNCS = 60
NOTHING = RecordCounts(0, 0, 0, 0, 0, 0, 0, 0)
WORST = ("failed", "blocked", "stale", "running", "dry_run", "targeted", "success")
"""A run ended as the worst of its syncs did."""


@dataclass(frozen=True, slots=True)
class EntityRow:
    """One entity."""

    entity: str
    source: str
    target: str
    last_success: datetime | None
    last_outcome: str
    records: int
    delivered: int
    pending: int
    rejects: int
    excluded: int
    unconfirmed: int


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run: what it synced, and how that ended."""

    run_id: str
    begun_at: datetime
    entities: tuple[str, ...]
    outcome: str
    written: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Both of it."""

    entities: tuple[EntityRow, ...]
    runs: tuple[RunRow, ...]


def overview(desk: Desk) -> Overview:
    """How things stand now; SyncError while the set-up is not finished."""
    with desk.session() as session:
        return Overview(tuple(_entities(session)), tuple(_runs(session)))


def _entities(session: Session) -> list[EntityRow]:
    states = counts(session.store, session.connection)
    rejects, syncs = count_rejects(session.store, session.connection), status(session.store, session.connection)
    rows = []
    for name, spec in session.specs.items():
        state, last = states.get(name, NOTHING), syncs.get(name)
        success = last.last_success if last else None
        rows.append(
            EntityRow(
                entity=name,
                source=spec.source.system,
                target=spec.target.system,
                last_success=success.finished_at if success else None,
                last_outcome=(last.last.outcome or "running") if last else "never synced",
                records=state.records,
                delivered=state.delivered,
                pending=state.pending + (state.pending_deletes if deletes(spec) else 0),
                rejects=rejects.get(name, 0),
                excluded=state.excluded,
                unconfirmed=state.unconfirmed,
            )
        )
    return rows


def _runs(session: Session) -> list[RunRow]:
    named = [sync for sync in recent(session.store, session.connection, SYNCS) if sync.run_id]
    return [_run(str(run_id), list(of_run)) for run_id, of_run in groupby(named, lambda sync: sync.run_id)][:RUNS]


def _run(run_id: str, of_run: list[Sync]) -> RunRow:
    outcomes = {sync.outcome or "running" for sync in of_run}
    written = sum(
        int(sync.counts.get(kind, 0)) for sync in of_run for kind in ("created", "adopted", "updated", "deleted")
    )
    return RunRow(
        run_id,
        min(sync.begun_at for sync in of_run),
        tuple(dict.fromkeys(sync.entity for sync in reversed(of_run))),
        min(outcomes, key=lambda outcome: WORST.index(outcome) if outcome in WORST else 0),
        written,
    )
