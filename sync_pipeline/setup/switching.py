"""Going live: allowed once every check and the trial have passed for this exact configuration; off again at any time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sync_pipeline.errors import NotAllowed, SyncError
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.session.health import nothing_syncs
from sync_pipeline.session.mode import Mode
from sync_pipeline.session.session import Session
from sync_pipeline.session.systems import pairs_of_others
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.trial import held_by, kind_for
from sync_pipeline.store.approvals import approval_of
from sync_pipeline.store.audit import first_change
from sync_pipeline.store.scope import accounts_of
from sync_pipeline.store.switches import Switch, any_on, newest_switch, read_switch, turn, turn_all_off
from sync_pipeline.store.syncs import WRITTEN
from sync_pipeline.store.trials import Trial, last_trial


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """How far a set-up is on its way to live."""

    mode: Mode | None
    """None while the set-up is not finished."""
    trial: Trial | None
    """The newest trial of just this configuration, of the kind that lets it go live if there was one."""
    switch: Switch | None
    obstacle: str
    """What is in the way of going live; "" when nothing is."""
    problem: str = ""
    """Why nothing is syncing although live syncing is on; "" when it is off, or something does."""
    has_passed: bool = False
    """Whether that trial passed, with what was approved of what it held."""
    needs_preview: bool = False
    """Whether a preview of this configuration is all that is missing."""

    @property
    def is_live(self) -> bool:
        """Whether changes travel by themselves now."""
        return self.mode is not None and self.mode.automatic


def read_live_status(setup: SetupService) -> LiveStatus:
    """How far the set-up is now."""
    try:
        with setup.reading() as session:
            return _live_status(session)
    except SyncError as error:
        return LiveStatus(None, None, None, str(error))


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when live syncing does nothing although it was turned on once, and who paused it."""

    at: datetime
    by: str
    what: str
    """The change of the set-up that paused it; "" when it was turned off, or when the change is not noted."""
    is_off: bool = True
    """Whether the switch is off; otherwise it is on for another configuration."""


def pause_of(setup: SetupService) -> Pause | None:
    """The pause that lasts now; None when live syncing was never turned on, or the environment decides about it."""
    settings = setup.settings()
    if settings.mode or not settings.stored:
        return None
    with setup.store() as store:
        switch = newest_switch(store, besides=pairs_of_others(store, settings))
        if switch is None:
            return None
        change = first_change(store, switch.at, besides=NOT_OF_THE_SETUP) if switch.is_on else None
    if change is None:
        return Pause(switch.at, switch.by, "", is_off=not switch.is_on)
    return Pause(change.at, change.by, change.what, is_off=False)


NOT_OF_THE_SETUP = (
    "alert",
    "cancel",
    "live",
    "preview",
    "refused",
    "request",
    "sandbox lab",
    "start date",
    "approval",
    "retry",
    "secret",
    "webhook",
    "reject",
    "draft",
    "mapping published",
)
"""How entries of the audit begin that change nothing of what live syncing was turned on for."""


def is_paused(setup: SetupService) -> bool:
    """Whether live syncing was turned on and does nothing: the set-up is another one than it was turned on for."""
    return _is_on(setup) and not read_live_status(setup).is_live


def would_pause(setup: SetupService, entity: str = "") -> bool:
    """Whether a change of the set-up - of this entity's mapping - pauses live syncing until it has been tried."""
    settings = setup.settings()
    if entity and entity not in switched_on(specs_of(settings), settings.entities):
        return False
    return _is_on(setup) and read_live_status(setup).is_live


def _is_on(setup: SetupService) -> bool:
    """Whether the switch decides - not the environment - and is on, for whatever configuration."""
    settings = setup.settings()
    if settings.mode or not settings.stored:
        return False
    with setup.store() as store:
        return any_on(store, besides=pairs_of_others(store, settings))


class Effect(NamedTuple):
    """What the first sync writes of an entity, by the preview."""

    entity: str
    target: str
    writes: int
    is_dated: bool
    """Whether the preview looked at some of its days only."""


def effects(setup: SetupService, now: LiveStatus) -> list[Effect]:
    """What going live writes; empty once it is live, and without a preview that passed."""
    if now.is_live or not now.has_passed or now.trial is None:
        return []
    specs = specs_of(setup.settings())
    return [
        Effect(name, specs[name].target.system, sum(found["counts"][kind] for kind in WRITTEN), specs[name].partitioned)
        for name, found in now.trial.report.get("entities", {}).items()
        if name in specs
    ]


def turn_on(setup: SetupService) -> LiveStatus:
    """Turn live syncing on; NotAllowed says what is in the way."""
    with setup.reading() as session:
        found = _live_status(session)
        if found.obstacle:
            raise NotAllowed(f"Live syncing cannot be turned on: {found.obstacle}")
        turn(session.store, session.pair, session.fingerprint, on=True, by=setup.by, at=setup.now())
    setup.note("live on", f"sensors and schedules act on {accounts_of(session.store, session.pair)}")
    return read_live_status(setup)


def turn_off(setup: SetupService) -> LiveStatus:
    """Turn live syncing off, whatever state the set-up is in; NotAllowed when the environment keeps it on."""
    with setup.store() as store:
        others = pairs_of_others(store, setup.settings())
        was_on = turn_all_off(store, besides=others, by=setup.by, at=setup.now())
    found = read_live_status(setup)
    if found.is_live and found.mode is not None:
        setup.note("live off refused", f"it stays on: {found.mode.why}")
        raise NotAllowed(f"Live syncing stays on: {found.mode.why}.", fix=_what_keeps_it_on(setup))
    if was_on:
        setup.note("live off", "sensors and schedules do nothing")
    return found


def _what_keeps_it_on(setup: SetupService) -> str:
    if setup.settings().mode:
        return "Unset SYNC_MODE, then turn it off."
    return "Nothing is set up yet, so only sample data is synced; SYNC_MODE=dry_run stops that, too."


def _live_status(session: Session) -> LiveStatus:
    kept = session.store, session.pair, session.fingerprint
    trial = last_trial(*kept, kind_for(session.settings)) or last_trial(*kept)  # one in the sandbox takes nothing back
    switch = read_switch(session.store, session.pair)
    passed, problem = _has_passed(session, trial), nothing_syncs(session)
    is_ready = session.settings.stored and not session.settings.mode
    lacks = is_ready and (trial is None or trial.kind != kind_for(session.settings) or trial.outcome in LEADS_NOWHERE)
    return LiveStatus(session.mode, trial, switch, _obstacle(session, trial), problem, passed, lacks)


LEADS_NOWHERE = ("failed", "throttled")
"""Outcomes after which only another preview lets a configuration go live."""


def _has_passed(session: Session, trial: Trial | None) -> bool:
    """Passed, or everything it held was decided: allowed, or for deletes also declined."""
    if trial is None or trial.outcome != "held":
        return trial is not None and trial.outcome == "passed"
    held = held_by(trial.report)
    return bool(held) and all(_is_decided(session, one["approval"]) for one in held)


def undecided(session: Session, trial: Trial) -> list[dict[str, Any]]:
    """What a trial holds that no one has decided about."""
    return [held for held in held_by(trial.report) if not _is_decided(session, held["approval"])]


def _is_decided(session: Session, approval_id: int) -> bool:
    approval = approval_of(session.store, session.pair, approval_id)
    state = approval.state(session.now()) if approval is not None else "expired"
    return state in ("allowed", "used") or (
        state == "declined" and approval is not None and approval.guard == "deletes"
    )


def _obstacle(session: Session, trial: Trial | None) -> str:
    settings = session.settings
    if not settings.stored:
        return (
            "the accounts come from the environment alone, so SYNC_MODE decides. Set SYNC_MODE=live."
            if not settings.sandbox
            else "nothing is set up yet. Connect Clockify and the Snapshots API first, on the sandbox or for real."
        )
    if settings.mode:
        return f"SYNC_MODE={settings.mode} is set in the environment and takes precedence. Unset it."
    return _obstacle_of_trial(session, trial)


def _obstacle_of_trial(session: Session, trial: Trial | None) -> str:
    if trial is None:
        return "this configuration has not been previewed yet. Preview it first: step 4 of the console, or `sync-pipeline preview`."
    if trial.kind != kind_for(session.settings):
        return "it was only previewed in the sandbox. Preview it on the real accounts, too: `sync-pipeline preview`."
    if trial.outcome is None:
        return "its preview has not ended yet."
    if _has_passed(session, trial):
        return ""
    if trial.outcome == "held":
        return "what its preview holds has to be approved: on the page of the preview, or with `sync-pipeline approvals list`."
    return "its preview did not pass. Fix what it found and preview it again: step 4 of the console, or `sync-pipeline preview`."
