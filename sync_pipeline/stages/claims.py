"""Writing records that other runs write, too: what another run holds is looked at again later, and each write and answer is noted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Counts
from sync_pipeline.store.claims import Sending, taken_over
from sync_pipeline.store.deliveries import Delivered, Refused
from sync_pipeline.store.liveness import has_ended
from sync_pipeline.store.planned import Pending
from sync_pipeline.store.records import Known
from sync_pipeline.store.scope import Scope

LOOK_SECONDS = 0.5
LOOKS = 120
"""How often what other runs hold is looked at again: for a minute."""
NAMED = 5


@contextmanager
def writing_alone(session: Session, spec: EntitySpec) -> Iterator[None]:
    """Be the only run that writes to a target which assigns the ids; for others claims are enough."""
    if not session.target(spec).assigns_ids:
        yield
        return
    with session.ledger(spec).delivery_lock(lambda note: session.report(Progress(spec.entity, "wait", note=note))):
        yield


def take_turns(session: Session, spec: EntitySpec, deliver: Callable[[], None], is_left: Callable[[], bool]) -> None:
    """Deliver, and again while something is left that other runs hold, for a minute at most.

    An error ends the claims of this run, an interrupt does not: a request that has failed gets no answer any more.
    """
    session.come_alive()
    try:
        deliver()
        waits = waiting(session, spec)
        while is_left() and next(waits, False):
            deliver()
    except Exception:
        with suppress(SyncError):  # the first error counts
            session.ledger(spec).claims.give_back()
        raise


def waiting(session: Session, spec: EntitySpec) -> Iterator[bool]:
    """Each step gives other runs the time to end their claims, and ends those of runs that have ended; a minute in all."""
    is_said = False
    for number in range(LOOKS):
        holders = session.ledger(spec).claims.free_ended()
        if holders and not is_said:
            is_said = True
            session.report(Progress(spec.entity, "wait", note=_words(spec, holders)))
        if holders or number:
            session.pause(LOOK_SECONDS)
        yield True


def await_others(
    session: Session, spec: EntitySpec, scope: Scope, late: Callable[[], dict[str, str]]
) -> dict[str, str]:
    """Those of ``late`` that are left when the runs that are to deliver them have ended, or after a minute."""
    found, waits = late(), waiting(session, spec)
    while found:
        # Asked before what is late: between the two questions a run may deliver that, and end.
        is_loading = _is_loading(session, spec, scope)
        found = late()
        if not is_loading or not next(waits, False):
            break
    return found


def _is_loading(session: Session, spec: EntitySpec, scope: Scope) -> bool:
    """Whether another run that is alive writes records of the entity, or has loaded days of the scope and not done them."""
    ledger = session.ledger(spec)
    if ledger.claims.free_ended():
        return True
    others = ledger.loads.loading_runs(scope) - {session.store.run_id}
    return any(not has_ended(session.store, run_id) for run_id in others)


def still_held(source_ids: Collection[str]) -> str:
    """Why a day is not done: another run did not finish writing these records."""
    names = ", ".join(sorted(source_ids)[:NAMED]) + (", ..." if len(source_ids) > NAMED else "")
    return f"another run has not finished writing records of it ({names})"


def _words(spec: EntitySpec, holders: Sequence[str]) -> str:
    return f"Another process is writing records of {spec.entity} (run {holders[0]}): waiting for it to finish."


def note_sending(
    session: Session, spec: EntitySpec, rows: Sequence[Pending | Known], places: Sequence[str | None]
) -> None:
    """Before a write: if its answer never arrives, the stored state of the target must not count any more.

    Raises LockLost when another run has taken over one of these records.
    """
    sending = [Sending(row.source_id, place, row.delivered_hash) for row, place in zip(rows, places, strict=True)]
    if lost := {row.source_id for row in rows} - session.ledger(spec).mark_sending(sending):
        raise taken_over(spec.entity, min(lost))


def remember(
    session: Session,
    spec: EntitySpec,
    done: Sequence[Delivered],
    refused: Sequence[Refused],
    counts: Counts,
    sync_id: int | None,
) -> set[str]:
    """Write down what the target acknowledged and refused, in one go, and count it.

    Returns the records for which it was not noted: another run has claimed them since, and writes them itself.
    """
    ledger, asked = session.ledger(spec), {row.source_id for row in done} | {row.source_id for row in refused}
    noted = ledger.mark_delivered(done, sync_id, session.now()) | ledger.mark_refused(refused, sync_id, session.now())
    done = [row for row in done if row.source_id in noted]
    refused = [row for row in refused if row.source_id in noted]
    counts.created += sum(row.kind == "create" for row in done)
    counts.adopted += sum(row.kind == "adopt" for row in done)
    counts.updated += sum(row.kind in {"update", "restore"} for row in done)
    counts.rejected += len(refused)
    session.report(Progress(spec.entity, "load", counts.created + counts.adopted + counts.updated))
    return asked - noted
