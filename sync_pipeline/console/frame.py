"""The frame of each page: what the header counts, the set-up steps until live syncing is first turned on, and a band with the mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from sync_pipeline.alerts.current import open_alerts
from sync_pipeline.clock import has_passed
from sync_pipeline.connectors.registry import connected_systems
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.connections import WELL, connections
from sync_pipeline.setup.drafts import Draft, read_draft
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import LiveStatus, Pause, pause_of, read_live_status
from sync_pipeline.store.references import WAITS
from sync_pipeline.store.rejects import rejected_records
from sync_pipeline.store.trials import last_trial

StepState = Literal["done", "current", "later"]
BandKind = Literal["sandbox", "preview", "paused", ""]
STEPS = {"clockify": "Clockify", "snapshots": "Snapshots", "mapping": "Mapping", "try": "Preview", "live": "Go live"}
"""The set-up steps in their order."""
PATHS = {"mapping": "/mapping", "try": "/setup/preview"}
"""Where steps are that are not at ``/setup/`` and their name."""
_DAY = 86_400
_UNITS = ((_DAY, "d"), (3_600, "h"), (60, "min"), (1, "s"))
BADGES_KEPT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One step of the set-up."""

    name: str
    label: str
    state: StepState

    @property
    def path(self) -> str:
        """The address of its page."""
        return PATHS.get(self.name, f"/setup/{self.name}")


@dataclass(frozen=True, slots=True)
class Frame:
    """What is around a page."""

    steps: tuple[SetupStep, ...] = ()
    """Empty once live syncing was turned on, and where the environment decides about it."""
    following: SetupStep | None = None
    """Where *Continue* leads from this page; None when this page is that step."""
    band: BandKind = ""
    pause: Pause | None = None
    draft: Draft | None = None
    """Changes that wait to be published."""
    draft_revision: str = ""
    is_sandbox: bool = False
    """Whether both systems are the embedded sandbox's."""


def frame_of(setup: SetupService, page: str) -> Frame:
    """The frame of a page, which may be that of a step; an empty one while the database cannot be read."""
    try:
        settings, live = setup.settings(), read_live_status(setup)
        pause = None if live.is_live else pause_of(setup)
        band = _band(live, pause, is_sandbox=settings.sandbox)
        has_started = pause is not None or live.switch is not None or not (settings.stored or settings.sandbox)
        draft = read_draft(setup)
        revision = setup.on_draft().revision() if draft is not None else ""
        labels = STEPS | {name: one.short_title for name, one in connected_systems(settings).items()}
        steps = () if has_started or settings.mode else steps_of(_done(setup, live), labels)
    except SyncError:
        return Frame()
    return Frame(steps, following(steps, page), band, pause, draft, revision, settings.sandbox)


def steps_of(done: Mapping[str, bool], labels: Mapping[str, str] = STEPS) -> tuple[SetupStep, ...]:
    """Each step with its state: the first that is not done is the current one."""
    current = next((name for name in STEPS if not done[name]), "")
    states: dict[str, StepState] = {
        name: "done" if done[name] else "current" if name == current else "later" for name in STEPS
    }
    return tuple(SetupStep(name, labels[name], states[name]) for name in STEPS)


def following(steps: tuple[SetupStep, ...], page: str) -> SetupStep | None:
    """The step after this page: the current one, or the next if this page only shows something."""
    current = next((step for step in steps if step.state == "current"), None)
    if current is not None and page == current.name == "mapping":
        return next(step for step in steps if step.name == "try")
    return None if current is None or current.name == page else current


def _done(setup: SetupService, live: LiveStatus) -> dict[str, bool]:
    clockify, snapshots = (side.state in WELL for side in connections(setup))
    is_connected = clockify and snapshots
    return {
        "clockify": clockify,
        "snapshots": snapshots,
        "mapping": is_connected and (live.has_passed or _was_tried(setup, live)),
        "try": is_connected and live.has_passed,
        "live": False,
    }


def _was_tried(setup: SetupService, live: LiveStatus) -> bool:
    """Whether the fields were good enough to be tried, with whatever result."""
    if live.mode is None:
        return False
    with setup.reading() as session:
        return last_trial(session.store, session.pair, throttled=True) is not None


def _band(live: LiveStatus, pause: Pause | None, *, is_sandbox: bool) -> BandKind:
    if pause is not None:
        return "paused"
    if is_sandbox:
        return "sandbox"
    return "preview" if live.mode is not None and not live.mode.writes else ""


def ago(at: datetime, now: datetime) -> str:
    """How long ago it was, in the largest unit that fits; the day where it is longer than a month, or to come."""
    seconds = int((now - at).total_seconds())
    if -5 <= seconds < 10:
        return "just now"
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(seconds) >= size), (1, "s"))
    count = abs(seconds) // size
    if size == _DAY and count > 31:
        return f"{at:%Y-%m-%d}"
    return f"{count} {unit} ago" if seconds > 0 else f"in {count} {unit}"


class Badge(NamedTuple):
    """A number beside a place of the header."""

    number: int
    what: str


@dataclass(slots=True)
class Badges:
    """The numbers that all pages of a console show."""

    counted: dict[str, Badge] | None = None
    at: datetime | None = None

    def forget(self) -> None:
        """Count again for the next page."""
        self.counted = None

    def read(self, setup: SetupService) -> dict[str, Badge]:
        """The numbers by the address of their place; of what is not known none."""
        now = setup.now()
        if self.counted is None or has_passed(self.at, BADGES_KEPT, now):
            try:
                self.counted, self.at = _count_badges(setup), now
            except SyncError:  # the set-up is not finished, or the database failed: the page itself reports it
                self.counted, self.at = {}, now
        return self.counted


def _count_badges(setup: SetupService) -> dict[str, Badge]:
    with setup.reading() as session:
        alerts = [alert for alert in open_alerts(session) if alert.acknowledged_at is None and alert.severity != "info"]
        found = rejected_records(session.store, session.pair, without=WAITS)
        rejected = sum(each.count for entity, each in found.items() if entity in session.specs)
    problems = Badge(len(alerts), "open problem" if len(alerts) == 1 else "open problems")
    return {"/": problems, "/records": Badge(rejected, "rejected record" if rejected == 1 else "rejected records")}
