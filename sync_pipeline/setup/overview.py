"""The state of everything, at a glance: each entity's last success and what is left to do, and what ran last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from sync_pipeline.session.session import Session
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.guards import to_delete
from sync_pipeline.store.claims import held_records
from sync_pipeline.store.liveness import is_locked
from sync_pipeline.store.records import RecordCounts, counts
from sync_pipeline.store.references import WAITS
from sync_pipeline.store.rejects import count_rejects
from sync_pipeline.store.syncs import Sync, recent, status

RUNS = 8
SYNCS = 60
NOTHING = RecordCounts(0, 0, 0, 0, 0, 0, 0, 0)
WORST = ("failed", "blocked", "incomplete", "stale", "running", "dry_run", "targeted", "success")
"""A run ended as the worst of its syncs did."""


@dataclass(frozen=True, slots=True)
class EntityRow:
    """One entity."""

    entity: str
    source: str
    target: str
    last_success: datetime | None
    last_outcome: str
    reason: str
    """Why the last sync failed, was held or is incomplete; "" when it did not."""
    records: int
    delivered: int
    pending: int
    rejects: int
    waiting: int
    """Records that wait for one they refer to."""
    kept: int
    """Deleted at the source and kept at the target: other records refer to them, or the policy says so."""
    excluded: int
    unconfirmed: int
    written_by: Mapping[str, int] = field(default_factory=dict)
    """The runs that are writing records of it now, with how many."""

    @property
    def claimed(self) -> int:
        """Records that a run is writing now."""
        return sum(self.written_by.values())

    @property
    def ended(self) -> str:
        """What the last sync did, in words: one that loaded everything may have held deletes."""
        return "held deletes" if self.last_outcome == "success" and self.reason else self.last_outcome


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run: what it synced, and how that ended."""

    run_id: str
    begun_at: datetime
    entities: tuple[str, ...]
    outcome: str
    written: int
    reasons: tuple[str, ...]
    """Why each of its syncs that did not succeed did not, with the fix."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Both of it."""

    entities: tuple[EntityRow, ...]
    runs: tuple[RunRow, ...]


def overview(setup: SetupService) -> Overview:
    """The state now; SyncError while the set-up is not finished."""
    with setup.reading() as session:
        return Overview(tuple(entity_rows(session)), tuple(_runs(session)))


def entity_rows(session: Session) -> list[EntityRow]:
    """The current state of every entity."""
    states = counts(session.store, session.pair)
    rejects, syncs = count_rejects(session.store, session.pair), status(session.store, session.pair)
    waiting = count_rejects(session.store, session.pair, WAITS)
    writing = _writing(session)
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
                reason=(last.last.reason or "") if last else "",
                records=state.records,
                delivered=state.delivered,
                pending=state.pending + to_delete(spec, state),
                rejects=rejects.get(name, 0),
                waiting=waiting.get(name, 0),
                kept=state.pending_deletes - to_delete(spec, state),
                excluded=state.excluded,
                unconfirmed=state.unconfirmed,
                written_by=writing.get(name, {}),
            )
        )
    return rows


def _writing(session: Session) -> dict[str, dict[str, int]]:
    """The runs that are alive and write records of each entity."""
    found = held_records(session.store, session.pair)
    ended = {run for runs in found.values() for run in runs if not is_locked(session.store, run)}
    return {entity: {run: runs[run] for run in runs if run not in ended} for entity, runs in found.items()}


def _runs(session: Session) -> list[RunRow]:
    named = [sync for sync in recent(session.store, session.pair, SYNCS) if sync.run_id]
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
        tuple(dict.fromkeys(f"{sync.entity}: {sync.reason}" for sync in reversed(of_run) if sync.reason)),
    )
