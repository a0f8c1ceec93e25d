"""Where an installation is, in one sentence with one action; the state of every entity at a glance; and when each is read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Literal

from sync_pipeline.connectors.registry import pace_of
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.health import UNCOMPARED, VERIFY
from sync_pipeline.session.session import Session
from sync_pipeline.settings import Settings
from sync_pipeline.setup.switching import Pause
from sync_pipeline.stages.guards import as_decided, to_delete
from sync_pipeline.store.claims import held_records
from sync_pipeline.store.health import read_health
from sync_pipeline.store.liveness import is_locked
from sync_pipeline.store.records import RecordCounts, counts
from sync_pipeline.store.references import WAITS
from sync_pipeline.store.rejects import count_rejects
from sync_pipeline.store.syncs import status, written_since

NOTHING = RecordCounts(0, 0, 0, 0, 0, 0, 0, 0)
FIRST_NIGHTLY, APART = 2 * 60 + 2, 10
"""Minutes after midnight of the first entity that is read nightly, and between two of them."""
State = Literal[
    "not connected",
    "sandbox",
    "stopped",
    "paused",
    "off",
    "ready to preview",
    "ready to go live",
    "by hand",
    "not running",
    "needs you",
    "catching up",
    "live",
]


@dataclass(frozen=True, slots=True)
class EntityRow:
    """One entity."""

    entity: str
    source: str
    target: str
    last_success: datetime | None
    last_outcome: str
    reason: str
    """Why the last sync failed, was held or is incomplete, and what was decided since; "" when it did not."""
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
class EntityCard:
    """One entity as the overview shows it."""

    row: EntityRow
    changed_today: int
    """Records that were created, adopted, updated or deleted since midnight, UTC."""
    proven_at: datetime | None
    """When both sides were last read in full and held the same."""
    next_turn: datetime | None
    """When it is read again in any case; None while nothing happens automatically."""
    unknown: str = ""
    """Why it is not known what is at the target, in place of the figures; "" where it is."""


def entity_cards(session: Session) -> list[EntityCard]:
    """The state of every entity, with what happened today and what comes next."""
    now = session.now()
    changed = written_since(session.store, session.pair, now.replace(hour=0, minute=0, second=0, microsecond=0))
    health, crons = read_health(session.store, session.pair), turns(session.specs.values(), session.settings)
    cards = []
    for row in entity_rows(session):
        proof = health.get(f"{VERIFY}{row.entity}")
        turn = next_turn(crons[row.entity], now) if session.mode.automatic else None
        unknown = (proof.reason or "") if proof and proof.failed_at and proof.code == UNCOMPARED else ""
        cards.append(EntityCard(row, changed.get(row.entity, 0), proof.ok_at if proof else None, turn, unknown))
    return cards


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
                reason=as_decided(session, last.last.reason or "") if last else "",
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


def turns(specs: Iterable[EntitySpec], settings: Settings) -> dict[str, str]:
    """Each entity's cron expression: recent days often, whole lists nightly, no two at the same time."""
    found: dict[str, str] = {}
    minutes = count(FIRST_NIGHTLY, APART)
    for spec in specs:
        if spec.partitioned:
            hours = pace_of(spec.source.system, settings).rescan_hours
            found[spec.entity] = "17 * * * *" if hours == 1 else f"17 */{hours} * * *"
        else:
            minute = next(minutes)
            found[spec.entity] = f"{minute % 60} {minute // 60} * * *"
    return found


def next_turn(cron: str, now: datetime) -> datetime:
    """The first minute after now at which minute and hour are those of an expression of ours."""
    minutes, hours = cron.split()[:2]
    at = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while not (_fits(minutes, at.minute) and _fits(hours, at.hour)):
        at += timedelta(minutes=1)
    return at


def _fits(field: str, value: int) -> bool:
    if field.startswith("*/"):
        return value % int(field[2:]) == 0
    return field in ("*", str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupFacts:
    """What the state is decided from."""

    is_connected: bool
    is_sample: bool = False
    """Nothing is set up: sample data is synced on this machine."""
    why: str = ""
    """Why the environment decides that nothing happens automatically; "" when it does not."""
    refused: str = ""
    """The system that refuses its key."""
    refused_name: str = ""
    """Its name at the beginning of a sentence."""
    pause: Pause | None = None
    has_passed: bool = False
    """Whether this configuration has passed its preview."""
    is_live: bool = False
    silent: str = ""
    """Why nothing is syncing although it is live."""
    problems: int = 0
    left: int = 0
    """Records that are not yet in the desired state at the target."""
    records: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """The state, its sentence, and its action: what the button says and where it leads."""

    state: State
    sentence: str
    action: str
    path: str


def situation_of(facts: SetupFacts) -> Situation:  # noqa: PLR0911 - one line a state
    """The first state, worst first, that the facts fit."""
    if facts.is_sample and not facts.refused:
        return Situation(
            "sandbox", "The sandbox syncs sample data on this machine.", "Connect accounts", "/setup/clockify"
        )
    if facts.refused:
        name = facts.refused_name or facts.refused
        return Situation("stopped", f"Stopped: {name} refuses its key.", "Replace key", f"/connections/{facts.refused}")
    if not facts.is_connected:
        return Situation("not connected", "Not connected yet.", "Connect accounts", "/setup/clockify")
    if facts.is_live:
        return _live(facts)
    if facts.why:
        return Situation("by hand", facts.why, "See what ran", "/activity")
    if facts.pause is not None and not facts.pause.is_off:
        action = ("Go live", "/setup/live") if facts.has_passed else ("Preview the change", "/setup/preview")
        return Situation("paused", "Live syncing is paused: the set-up was changed.", *action)
    if facts.pause is not None:
        return Situation("off", "Live syncing is off.", "Go live", "/setup/live")
    if facts.has_passed:
        return Situation("ready to go live", "Ready to go live: the preview has passed.", "Go live", "/setup/live")
    return Situation("ready to preview", "Ready to preview: nothing has been written yet.", "Preview", "/setup/preview")


def _live(facts: SetupFacts) -> Situation:
    if facts.silent:
        return Situation("not running", "Live, but nothing is running.", "How to start", "/help")
    if facts.problems:
        some = "one problem needs" if facts.problems == 1 else f"{facts.problems} problems need"
        return Situation("needs you", f"Live, but {some} attention.", "See problems", "#attention")
    if facts.left:
        done = f"{facts.records - facts.left:,} of {facts.records:,}"
        return Situation(
            "catching up", f"Live, catching up: {done} are at the target.", "See what is left", "/records?state=pending"
        )
    return Situation("live", "Live. Everything is up to date.", "See what changed", "/activity?changes=1")
