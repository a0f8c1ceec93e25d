"""Whether the connected systems answer and accept our credentials, and whether anything is syncing while live is on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sync_pipeline.clock import has_passed
from sync_pipeline.connectors.error_category import ErrorCategory, categorize
from sync_pipeline.errors import ApiError, RejectedRecord
from sync_pipeline.store.engine import Store
from sync_pipeline.store.health import Health, note_failure, note_ok, read_health
from sync_pipeline.store.switches import read_switch
from sync_pipeline.store.syncs import started_since

if TYPE_CHECKING:
    from sync_pipeline.session.session import Session

DAEMON, EVALUATED = "daemon", "alerts evaluated"
BEAT = timedelta(seconds=30)
SILENT = timedelta(seconds=120)
"""A daemon that has not reported for so long, plus two intervals of its sensors, is not running."""
EVALUATED_EVERY = timedelta(minutes=10)
"""An evaluation of the alerts that is older, plus two intervals of the sensors, is old."""
SCRIPTED = timedelta(days=7)
"""Where within this time everything was synced ``OFTEN`` times and no daemon ran, a script does the syncing."""
OFTEN = 2
START_DAEMON = (
    "Start it with `sync-pipeline dev`, or on a server with `dagster-daemon run`. If `sync-pipeline console` is running, "
    "stop it first: `dev` includes it."
)
VERIFY, WEBHOOKS, FIGURE_RULES, SUBSCRIPTIONS = "verify:", "webhooks", "alert rules", "subscriptions"
"""What findings are about; the entity that was verified follows."""
UNCOMPARED = "not compared"
"""The code where what was delivered may be missing, and both sides have not been compared since."""

CODES = {
    ErrorCategory.NOT_ACCEPTED: "key refused",
    ErrorCategory.AWAY: "not reachable",
    ErrorCategory.OTHER_API: "wrong address",
}
"""The codes of a connection's failures. A missing permission, a refused record and a used-up budget are none: the
system answers and accepts the credentials."""
REFUSED = CODES[ErrorCategory.NOT_ACCEPTED]


@dataclass(slots=True)
class Answers:
    """How one system answered during a session; noted in the store when the session ends."""

    answered: bool = False
    failure: ApiError | None = None

    def __call__(self, error: ApiError | None) -> None:
        """Take one result: a good answer, or an error. Refused credentials stay refused for this session."""
        trouble = None if error is None or isinstance(error, RejectedRecord) else categorize(error)
        if self.failure is not None and categorize(self.failure) is ErrorCategory.NOT_ACCEPTED:
            return
        if trouble is None:
            self.answered, self.failure = True, None
        elif trouble in CODES:
            self.failure = error

    def note(self, store: Store, pair: str, system: str) -> None:
        """Store what changed."""
        if self.failure is not None:
            note_failure(store, pair, system, CODES[categorize(self.failure)], str(self.failure))
        elif self.answered:
            note_ok(store, pair, system)


def beat(session: Session) -> None:
    """Note that Dagster's daemon is running: its sensors call this at every tick."""
    note_ok(session.store, session.pair, DAEMON, every=BEAT)


def silence_of_daemon(session: Session) -> str:
    """Since when no Dagster daemon has reported, and how to start one; "" when one is running."""
    if not (since := _silent_since(session, DAEMON, SILENT)):
        return ""
    return (
        f"No Dagster daemon has reported {since}, so nothing that is asked for here starts before one does. "
        f"{START_DAEMON}"
    )


def note_evaluated(session: Session) -> None:
    """Note that the alerts were evaluated."""
    note_ok(session.store, session.pair, EVALUATED, every=BEAT)


def old_evaluation(session: Session) -> str:
    """Since when the alerts were not evaluated although live syncing is on; "" when it is off or they were."""
    if not _is_live(session) or not (since := _silent_since(session, EVALUATED, EVALUATED_EVERY)):
        return ""
    return f"Live syncing is on, but the alerts were not evaluated {since}. {START_DAEMON}"


def note_finding(session: Session, about: str, problem: str, *, keep_ok: bool = False) -> None:
    """Note what a comparison or a check found, "" for nothing: the finding stays until it finds nothing.

    That nothing was found is only noted after a finding, or with ``keep_ok`` each time.
    """
    if problem:
        note_failure(session.store, session.pair, about, problem, problem)  # another finding has its own beginning
    elif keep_ok or about in read_health(session.store, session.pair):
        note_ok(session.store, session.pair, about)


def note_uncompared(session: Session, entity: str, why: str) -> None:
    """Note that what was delivered of an entity may be missing; a comparison of everything ends it."""
    note_failure(session.store, session.pair, f"{VERIFY}{entity}", UNCOMPARED, why)


def nothing_syncs(session: Session) -> str:
    """Why nothing is syncing although live syncing is on, and how to start it; "" when it is off or something does."""
    settings = session.settings
    if not _is_live(session):
        return ""
    with session.store.reading() as tx:
        now = session.store.now(tx)
    daemon = read_health(session.store, session.pair).get(DAEMON)
    silence = SILENT + 2 * timedelta(seconds=settings.sensor_seconds)
    if _is_recent(daemon, now, silence) or (not _is_recent(daemon, now, SCRIPTED) and _is_scripted(session, now)):
        return ""
    return (
        f"Live syncing is on, but nothing is syncing: no Dagster daemon has reported {_since(daemon)}. {START_DAEMON}"
    )


def _silent_since(session: Session, system: str, silence: timedelta) -> str:
    """Since when nothing was heard of it, in words; "" while that is not long ago."""
    with session.store.reading() as tx:
        now = session.store.now(tx)
    last = read_health(session.store, session.pair).get(system)
    is_recent = _is_recent(last, now, silence + 2 * timedelta(seconds=session.settings.sensor_seconds))
    return "" if is_recent else _since(last)


def _since(last: Health | None) -> str:
    return f"since {last.ok_at:%Y-%m-%d %H:%M} UTC" if last is not None and last.ok_at else "yet"


def _is_live(session: Session) -> bool:
    return session.mode.automatic and (session.settings.stored or session.settings.mode == "live")


def _is_recent(daemon: Health | None, now: datetime, silence: timedelta) -> bool:
    # A beat may be noted by a clock that is a little ahead; further ahead, it is from before a clock was set back.
    return daemon is not None and daemon.ok_at is not None and not has_passed(daemon.ok_at, silence + BEAT, now + BEAT)


def _is_scripted(session: Session, now: datetime) -> bool:
    """Whether each entity was synced more than once since live syncing was turned on: a single sync may be manual."""
    switch = read_switch(session.store, session.pair)
    since = max(now - SCRIPTED, switch.at) if switch is not None and switch.is_on else now - SCRIPTED
    started = started_since(session.store, session.pair, since)
    return all(started.get(entity, 0) >= OFTEN for entity in session.specs)
