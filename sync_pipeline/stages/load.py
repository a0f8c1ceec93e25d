"""Load: make the target what the checked batch says it should be.

Under the entity's lock: refuse a batch older than what has been loaded, remember the desired state, confirm what
vanished, then deliver what is pending. A crash at any point leaves pending rows, and pending rows are what the next
load delivers: there is nothing to replay.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import asdict

import orjson
import pandas as pd

from sync_pipeline.errors import StaleBatch, SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.absence import settle_absent
from sync_pipeline.stages.batch import Batch, Counts, Days
from sync_pipeline.stages.check import Options
from sync_pipeline.stages.deliver import PAGE, deliver_deletes, deliver_pending, pages
from sync_pipeline.stages.guards import guard_first_contact
from sync_pipeline.stages.inbox import close_covered, leave_open
from sync_pipeline.stages.journal import begin_sync, note_sync
from sync_pipeline.stages.judge import judge
from sync_pipeline.stages.seal import staged_rows
from sync_pipeline.stages.session import Progress, Session
from sync_pipeline.store.locks import loader_lock
from sync_pipeline.store.staging import Staging, stage
from sync_pipeline.store.syncs import SyncOutcome, finish, mark_loaded, newest_observed


def load(
    session: Session, spec: EntitySpec, batch: Batch, days: Days | None, options: Options, *, run_id: str
) -> Counts:
    """Deliver a sealed batch and say what became of its records.

    Raises CheckFailed at the first contact with real accounts, when nobody said that it may begin; StaleBatch when newer records of the same scope have been loaded since the batch was read; ApiError when a
    system fails (what was delivered until then is remembered); StoreError.
    """
    before = session.requests
    if not options.first_contact:
        guard_first_contact(session, spec)
    with loader_lock(
        session.store, session.connection, spec.entity, on_wait=lambda note: _announce(session, spec, note)
    ):
        _refuse_stale(session, spec, batch, days, run_id)
        counts = Counts()
        sync_id = begin_sync(session, spec, batch, days, run_id=run_id)
        outcome: SyncOutcome = "failed"
        try:
            with stage(session.store, session.connection, spec.entity, days.keys if days else None) as staging:
                _apply(session, spec, batch, options, staging, counts, sync_id, run_id)
            outcome = "success"
        except SyncError as error:
            leave_open(session, batch, str(error))
            raise
        finally:
            counts.requests = batch.notes.get("requests", 0) + session.requests - before
            finish(session.store, sync_id, outcome, asdict(counts), counts.requests, at=session.now())
    close_covered(session, spec, days, batch, run_id)
    return counts


def _apply(
    session: Session,
    spec: EntitySpec,
    batch: Batch,
    options: Options,
    staging: Staging,
    counts: Counts,
    sync_id: int,
    run_id: str,
) -> None:
    delivered_references = deliver_references(session, batch)
    statuses: Counter[str] = Counter()
    for frame in batch.parts:
        rows = staged_rows(frame, delivered_references)
        statuses.update(row[4] for row in rows)
        statuses["rejected"] += len(frame) - len(rows)  # without an id
        staging.add(rows)
    absence = settle_absent(session, spec, staging, batch.observed_at, options, counts)
    if absence.moved:
        sealed = judge(session, spec, absence.moved.values(), list(absence.moved), run_id=run_id)
        statuses.update(sealed["status"])
        staging.add(staged_rows(sealed))
    staging.merge(batch.observed_at)
    mark_loaded(session.store, sync_id, session.now())
    counts.extracted = statuses.total()
    counts.rejected, counts.excluded, counts.waiting = (statuses[s] for s in ("rejected", "excluded", "waiting"))
    refused_before = staging.refused()
    counts.rejected += refused_before
    try:
        deliver_pending(session, spec, staging, counts, sync_id)
        deliver_deletes(session, spec, absence.gone, counts, sync_id)
    except BaseException:  # Ctrl-C, too
        with suppress(SyncError):  # a broken store cannot count: what broke it is what matters
            counts.waiting += sum(map(len, pages(staging, PAGE)))  # not sent: pending, not unchanged
        raise
    finally:
        known = counts.created + counts.adopted + counts.updated + counts.rejected + counts.excluded + counts.waiting
        counts.unchanged = counts.extracted - known


def _refuse_stale(session: Session, spec: EntitySpec, batch: Batch, days: Days | None, run_id: str) -> None:
    newest = newest_observed(session.store, session.connection, spec.entity, days.keys if days else None)
    if newest is None or batch.observed_at >= newest:
        return
    note_sync(session, spec, batch, days, "stale", {}, batch.notes.get("requests", 0), run_id=run_id)
    raise StaleBatch(
        f"This batch of {spec.entity} was read at {batch.observed_at:%Y-%m-%d %H:%M:%S} UTC; newer ones, read at "
        f"{newest:%Y-%m-%d %H:%M:%S} UTC, have been loaded since, so it is left alone.",
        fix="Nothing is lost. Run the sync again if you want to be sure.",
    )


def deliver_references(session: Session, batch: Batch) -> frozenset[tuple[str, str]]:
    """Deliver the records this batch waits for; returns the ``(entity, id)`` pairs that are at the target now."""
    from sync_pipeline.stages.targeted import sync_by_id

    if not batch.notes.get("waiting"):
        return frozenset()  # the checks saw none: spares walking the batch once more
    wanted: dict[str, set[str]] = {}
    for frame in batch.parts:
        for waiting_for in _waiting(frame):
            for entity, source_id in orjson.loads(waiting_for):
                wanted.setdefault(entity, set()).add(source_id)
    delivered: set[tuple[str, str]] = set()
    for entity, ids in wanted.items():
        session.report(Progress(entity, "load", len(ids), "delivering what others refer to"))
        delivered |= {(entity, source_id) for source_id in sync_by_id(session, session.specs[entity], sorted(ids))}
    return frozenset(delivered)


def _waiting(frame: pd.DataFrame) -> list[str]:
    return [value for value in frame.loc[frame["status"] == "waiting", "waiting_for"] if isinstance(value, str)]


def _announce(session: Session, spec: EntitySpec, note: str) -> None:
    session.report(Progress(spec.entity, "wait", note=note))
