"""Going live: allowed once every check and the trial have passed for this exact configuration; off again at any time."""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipeline.errors import NotAllowed, SyncError
from sync_pipeline.setup.desk import Desk
from sync_pipeline.setup.trial import kind_for
from sync_pipeline.stages.mode import Mode
from sync_pipeline.stages.session import Session
from sync_pipeline.store.switches import Switch, read_switch, turn, turn_all_off
from sync_pipeline.store.trials import Trial, last_trial


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a set-up stands on its way to live."""

    mode: Mode | None
    """None while the set-up is not finished."""
    trial: Trial | None
    """The newest trial of just this configuration, of the kind that lets it go live if there was one."""
    switch: Switch | None
    obstacle: str
    """What is in the way of going live; "" when nothing is."""

    @property
    def is_live(self) -> bool:
        """Whether changes travel by themselves now."""
        return self.mode is not None and self.mode.automatic


def standing(desk: Desk) -> Standing:
    """Where the set-up stands now."""
    try:
        with desk.session() as session:
            return _standing(session)
    except SyncError as error:
        return Standing(None, None, None, str(error))


def turn_on(desk: Desk) -> Standing:
    """Turn live syncing on; NotAllowed says what is in the way."""
    with desk.session() as session:
        found = _standing(session)
        if found.obstacle:
            raise NotAllowed(f"Live syncing cannot be turned on: {found.obstacle}")
        turn(session.store, session.connection, session.fingerprint, on=True, by=desk.by, at=desk.now())
    desk.note("live on", f"sensors and schedules act on {session.connection}")
    return standing(desk)


def turn_off(desk: Desk) -> Standing:
    """Turn live syncing off, whatever state the set-up is in; NotAllowed when the environment keeps it on."""
    with desk.store() as store:
        turn_all_off(store, by=desk.by, at=desk.now())
    desk.note("live off", "sensors and schedules do nothing")
    found = standing(desk)
    if found.is_live and found.mode is not None:
        raise NotAllowed(f"Live syncing stays on: {found.mode.why}.", fix=_what_keeps_it_on(desk))
    return found


def _what_keeps_it_on(desk: Desk) -> str:
    if desk.settings().mode:
        return "Unset SYNC_MODE, then turn it off."
    return "Nothing is set up yet, so only made-up data is synced; SYNC_MODE=dry_run stops that, too."


def _standing(session: Session) -> Standing:
    kept = session.store, session.connection, session.fingerprint
    trial = last_trial(*kept, kind_for(session.settings)) or last_trial(*kept)  # one in the sandbox takes nothing back
    switch = read_switch(session.store, session.connection)
    return Standing(session.mode, trial, switch, _obstacle(session, trial))


def _obstacle(session: Session, trial: Trial | None) -> str:
    settings = session.settings
    if not settings.stored:
        return (
            "the accounts come from the environment alone, so SYNC_MODE decides. Set SYNC_MODE=live."
            if not settings.sandbox
            else "nothing is set up yet. Connect Clockify and the Snapshots API first, on the sandbox or for real."
        )
    if settings.mode:
        return f"SYNC_MODE={settings.mode} is set in the environment and decides. Unset it."
    if trial is None:
        return "this configuration has not been tried yet. Try it first."
    if trial.kind != kind_for(settings):
        return "it was only tried in the sandbox. Try it as a dry run on the real accounts, too."
    if trial.outcome is None:
        return "its trial has not ended yet."
    return "" if trial.outcome == "passed" else "its trial did not pass. Mend what it found and try again."
