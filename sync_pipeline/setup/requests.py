"""Asking for work: sync now, verify, repair, retry, backfill. The daemon does it; here it is asked for, shown and cancelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date
from typing import Any

from sync_pipeline.errors import ConfigError, NotAllowed
from sync_pipeline.session.health import silence_of_daemon
from sync_pipeline.session.session import Session
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.batch import whole_range
from sync_pipeline.store.liveness import is_locked
from sync_pipeline.store.record_search import labels_of
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline.store.requests import (
    MOST_IDS,
    Kind,
    WorkRequest,
    WorkScope,
    ask,
    ask_cancel,
    open_requests,
    recent_requests,
    request_of,
    set_paused,
)

PAGE = 50
KINDS: Mapping[Kind, str] = {
    "sync": "Sync",
    "verify": "Verify",
    "repair": "Repair",
    "retry": "Retry the rejects of",
    "backfill": "Backfill",
    "sync_record": "Sync",
}
FOR_ONE = ("retry", "sync_record", "backfill")
"""Kinds that are about one entity."""


@dataclass(frozen=True, slots=True)
class ShownRequest:
    """A request as people see it."""

    request: WorkRequest
    state: str
    """waiting, running, cancelling or interrupted while it is open; then its outcome."""
    note: str = ""
    """Why nothing happens, and what to do; "" when something does, or it has ended."""
    labels: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Entity and id of the records that differ -> their label, if known."""

    @property
    def title(self) -> str:
        """What was asked for."""
        return title_of(self.request.kind, self.request.scope)

    @property
    def figures(self) -> dict[str, Counter[str]]:
        """What was done for each entity, over all runs."""
        found: dict[str, Counter[str]] = {}
        for each in self.request.result.values():
            numbers = {name: value for name, value in each.items() if isinstance(value, int)}
            found.setdefault(str(each.get("entity")), Counter()).update(numbers)
        return found

    @property
    def differences(self) -> list[tuple[str, dict[str, Any]]]:
        """The first differences that a comparison found, each with its entity."""
        each = self.request.result.values()
        return [(str(one.get("entity")), row) for one in each for row in one.get("differences", ())]


def title_of(kind: str, scope: WorkScope) -> str:
    """What is asked for, in words."""
    records = f"{len(scope.ids)} {scope.entity}" if len(scope.ids) > 1 else f"{scope.entity} {''.join(scope.ids)}"
    what = (records if scope.ids and kind == "sync_record" else scope.entity or "everything").replace("_", " ")
    days = f", {scope.first} to {scope.last}" if scope.first else ""
    return f"{KINDS.get(kind, kind)} {what}{days}"  # type: ignore[call-overload]  # another version's kind, too


def ask_for(setup: SetupService, kind: str, scope: WorkScope) -> tuple[WorkRequest, bool]:
    """Ask for work; returns the request, and whether it is new. Raises ConfigError or NotAllowed for what cannot be done."""
    named = next((each for each in KINDS if each == kind), None)
    if named is None:
        raise ConfigError("There is no work of this kind.")
    with setup.reading() as session:
        checked = _checked(session, kind, scope)
        if kind == "retry":
            checked = _rejected(session, checked)
        request, is_new = ask(session.store, session.pair, named, checked, setup.by)
    if is_new:
        setup.note("request", f"{title_of(kind, checked)} (number {request.id})")
    return request, is_new


def cancel(setup: SetupService, number: int) -> bool:
    """Ask for the end of a request; False when it has ended already. Where no daemon could end it, it ends here."""
    with setup.reading() as session:
        found = request_of(session.store, number, session.pair)
        if found is None:
            raise ConfigError(f"There is no request {number}.")
        is_left = found.kind != "backfill" and _is_left(session, found)
        is_asked = ask_cancel(session.store, session.pair, number, setup.by, finish_now=is_left)
    if is_asked:
        setup.note("cancel", f"{title_of(found.kind, found.scope)} (number {number})")
    return is_asked


def pause(setup: SetupService, number: int, *, is_on: bool) -> bool:
    """Pause a backfill, or with ``is_on`` false resume it; False when it has ended, or is so already."""
    with setup.reading() as session:
        found = request_of(session.store, number, session.pair)
        if found is None:
            raise ConfigError(f"There is no request {number}.")
        is_changed = set_paused(session.store, session.pair, number, setup.by if is_on else None)
    if is_changed:
        setup.note("pause" if is_on else "resume", f"{title_of(found.kind, found.scope)} (number {number})")
    return is_changed


def shown_request(setup: SetupService, number: int) -> ShownRequest | None:
    """One request."""
    with setup.reading() as session:
        found = request_of(session.store, number, session.pair)
        if found is None:
            return None
        shown = _shown(session, found, silence_of_daemon(session))
        keys = [(entity, str(row.get("record"))) for entity, row in shown.differences]
        return replace(shown, labels=labels_of(session.store, session.pair, keys))


def shown_requests(setup: SetupService, before: int | None = None) -> tuple[list[ShownRequest], bool]:
    """The newest requests - or those older than one -, and whether there are more."""
    with setup.reading() as session:
        found, silence = recent_requests(session.store, session.pair, PAGE + 1, before), silence_of_daemon(session)
        return [_shown(session, each, silence) for each in found[:PAGE]], len(found) > PAGE


@dataclass(frozen=True, slots=True)
class WorkPanel:
    """What buttons that ask for work are shown with."""

    open: Sequence[ShownRequest]
    silence: str
    """Why nothing that is asked for would start now; "" when it would."""
    dated: str
    """The entity with days; "" without one."""
    first: str
    last: str
    """The first and the last day that can be asked for."""


def open_work(session: Session) -> list[ShownRequest]:
    """What waits or is being worked on, the oldest first."""
    silence = silence_of_daemon(session)
    return [_shown(session, each, silence) for each in open_requests(session.store, session.pair)]


def work_panel(setup: SetupService) -> WorkPanel:
    """What is being worked on, and whether a daemon would take more."""
    with setup.reading() as session:
        silence, found = silence_of_daemon(session), open_work(session)
        dated = next((name for name, spec in session.specs.items() if spec.partitioned), "")
        days = whole_range(session.settings, session.now().astimezone(UTC).date())
        return WorkPanel(found, silence, dated, days.keys[0], days.keys[1])


def _shown(session: Session, request: WorkRequest, silence: str) -> ShownRequest:
    if not request.is_open:
        return ShownRequest(request, str(request.outcome))
    if request.paused_at is not None and request.cancel_asked_at is None:
        return ShownRequest(request, "paused")
    if request.taken_at is None:
        return ShownRequest(request, "waiting", silence)
    if silence and _is_left(session, request):
        return ShownRequest(request, "interrupted", silence)
    return ShownRequest(request, "running" if request.cancel_asked_at is None else "cancelling")


def _is_left(session: Session, request: WorkRequest) -> bool:
    """Whether neither a daemon nor a run is there that would end it."""
    return bool(silence_of_daemon(session)) and not any(is_locked(session.store, run) for run in request.runs)


def _checked(session: Session, kind: str, scope: WorkScope) -> WorkScope:
    """The scope, when it can be done."""
    if scope.entity or kind in FOR_ONE:
        spec = session.spec(scope.entity)
        if kind == "backfill" and not spec.partitioned:
            raise ConfigError(f"{scope.entity} has no days to backfill.", fix="Sync it.")
    if kind == "sync_record" and not scope.ids:
        raise ConfigError("No record is named.")
    if kind != "verify" and not session.mode.writes:
        raise NotAllowed(
            f"Nothing may be written now: {session.mode.why}.",
            fix="The preview (step 4) shows what a sync would write.",
        )
    if kind == "backfill" or scope.first or scope.last:
        _check_days(session, scope)
    return scope


def _check_days(session: Session, scope: WorkScope) -> None:
    whole = whole_range(session.settings, session.now().astimezone(UTC).date())
    try:
        first, last = date.fromisoformat(scope.first), date.fromisoformat(scope.last)
    except ValueError:
        raise ConfigError("Name the first and the last day, like 2026-01-31.") from None
    if first > last:
        raise ConfigError(f"The first day, {first}, is after the last, {last}.")
    if first < whole.first or last > whole.last:
        raise ConfigError(f"Days can be asked for from {whole.first} to {whole.last}.")


def _rejected(session: Session, scope: WorkScope) -> WorkScope:
    """The rejected records of the entity - or those named -, offered to the target again; too many are a sync of all."""
    found = list_rejects(session.store, session.pair, entity=scope.entity, limit=MOST_IDS * 2)
    ids = scope.ids or tuple(sorted({row.source_id for row in found if row.source_id}))
    if not found:
        raise NotAllowed(f"No record of {scope.entity} is rejected.")
    session.ledger(scope.entity).clear_refused(scope.ids or None)
    return WorkScope(scope.entity, ids=ids if len(ids) <= MOST_IDS and len(found) < MOST_IDS * 2 else ())
