"""The sandbox lab: what people can break on purpose in the embedded sandbox, and repair again, by its own controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.errors import ConfigError
from sync_pipeline.sandbox.embedded import control
from sync_pipeline.session.health import note_uncompared
from sync_pipeline.session.session import Session
from sync_pipeline.settings import SANDBOX_SNAPSHOTS_KEY, Settings
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.engine import existing_store
from sync_pipeline.store.records import counts

MINUTE, DAY = 60, 86_400
NO_KEY = {"message": "Api key does not exist", "code": 4003}
"""As Clockify refuses a key."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One button of the lab: the control it uses, and what to expect."""

    label: str
    help: str
    path: str
    sent: Mapping[str, Any]
    method: str = "POST"


EXPERIMENTS: Mapping[str, Experiment] = {
    "refuse_snapshots": Experiment(
        "Refuse the Snapshots key",
        "The Snapshots API answers that its key was revoked.",
        "snapshots",
        {"keys": {SANDBOX_SNAPSHOTS_KEY: "revoked"}},
    ),
    "refuse_clockify": Experiment(
        "Refuse the Clockify key",
        "Clockify answers that the key does not exist.",
        "faults",
        {"kind": "status", "route": "* /clockify/*", "status": 401, "body": NO_KEY},
    ),
    "outage": Experiment(
        "Outage for 1 minute",
        "Both systems answer 503 for a minute; then they work again.",
        "faults",
        {"kind": "status", "route": "*", "status": 503, "lasts": MINUTE},
    ),
    "slow": Experiment(
        "Slow for 1 minute",
        "Each answer takes two seconds longer, for a minute.",
        "faults",
        {"kind": "stall", "route": "*", "seconds": 2, "lasts": MINUTE},
    ),
    "reject": Experiment(
        "Make a record that is rejected",
        "The newest user gets an invalid e-mail address; the next sync rejects the record.",
        "users",
        {"id": "newest", "email": "not-an-address"},
    ),
    "correct": Experiment(
        "Correct that record",
        "The newest user gets a valid e-mail address; the next sync delivers the record.",
        "users",
        {"id": "newest", "email": "corrected@example.com"},
    ),
    "edit": Experiment(
        "Edit a time entry",
        "The newest time entry gets another description; the next sync delivers it.",
        "time_entries/edit",
        {"id": "newest", "description": "Edited in the sandbox lab, {now}"},
    ),
    "clock": Experiment(
        "Move the clock by a day",
        "For the sandbox it is a day later: tokens expire, and today is another day.",
        "clock",
        {"advance": DAY},
    ),
    "reset": Experiment(
        "Reset",
        "Fresh sample data, no faults, real time. Afterwards the target is empty; Repair everything on the overview "
        "delivers all records again.",
        "reset",
        {},
    ),
}
REPAIRS: tuple[tuple[str, Mapping[str, Any], str], ...] = (
    ("faults", {}, "DELETE"),
    ("snapshots", {"keys": {SANDBOX_SNAPSHOTS_KEY: "valid"}}, "POST"),
    ("clock", {}, "DELETE"),
)
"""The controls that end everything but what was written."""
REPAIR = "repair"
NOW = "{now}"
"""Where the time of day is put in what is sent, so that it is another text each time."""


def experiments(settings: Settings) -> dict[str, Experiment]:
    """The buttons: the shipped ones, and those of the profile in use, which may replace some."""
    facts = load_profile(settings.snapshots_profile).sandbox
    more = {} if facts is None else {name: Experiment(**one.model_dump()) for name, one in facts.lab.items()}
    reset = {"reset": EXPERIMENTS["reset"]}  # stays the last one
    return {name: one for name, one in EXPERIMENTS.items() if name not in reset} | more | reset


@dataclass(frozen=True, slots=True)
class Lab:
    """The state of the sandbox."""

    now: datetime
    """By its clock."""
    broken: tuple[str, ...]
    """What is broken on purpose, in words."""
    requests: int
    writes: int


def read_lab(settings: Settings) -> Lab:
    """The state of the running sandbox. Raises ConfigError unless both systems are the sandbox."""
    port, facts = _port(settings), load_profile(settings.snapshots_profile).sandbox
    stats, faults = control(port, "stats"), control(port, "faults")["faults"]
    keys = control(port, "snapshots")["keys"]
    broken = [f"{key} is {state}" for key, state in keys.items() if state != "valid"]
    broken += [_in_words(fault) for fault in faults]
    if facts is not None:
        switches = control(port, facts.path.strip("/"))
        broken += [facts.lab_states[name] for name, usual in facts.repair.items() if switches[name] != usual]
    now = datetime.fromisoformat(control(port, "clock")["now"])
    return Lab(now, tuple(broken), sum(stats["requests"].values()), sum(stats["writes"].values()))


def experiment(setup: SetupService, name: str) -> str:
    """Break something, or repair everything; returns what was done, in words."""
    settings = setup.settings()
    port, buttons = _port(settings), experiments(settings)
    if name == REPAIR:
        end_faults(settings)
        done = "Everything works again. What was written in the sandbox stays."
    elif name in buttons:
        chosen, now = buttons[name], f"{setup.now():%H:%M:%S}"
        sent = {key: one.replace(NOW, now) if isinstance(one, str) else one for key, one in chosen.sent.items()}
        control(port, chosen.path, sent, chosen.method)
        done = chosen.help
    else:
        raise ConfigError(f"The lab has no button {name[:40]!r}.")
    setup.note("sandbox lab", done)
    return done


def note_reset(session: Session) -> None:
    """Note that a reset has removed what was delivered: what is stored of it is no longer true."""
    for entity, state in counts(session.store, session.pair).items():
        if state.delivered:
            name = entity.replace("_", " ")
            note_uncompared(session, entity, f"The sandbox was reset since {name} were last compared.")


def note_reset_on(setup: SetupService, port: int) -> None:
    """Note the reset of the sandbox on this port, if it is the one that is synced here."""
    settings = setup.settings()
    if not settings.sandbox or settings.sandbox_port != port:
        return
    store = existing_store(settings.store_url, timeout=settings.lock_seconds)
    if store is not None:  # else nothing was ever delivered
        store.close()
        with setup.reading() as session:
            note_reset(session)


def end_faults(settings: Settings) -> None:
    """End everything but what was written."""
    port = _port(settings)
    for path, sent, method in REPAIRS:
        control(port, path, sent, method)
    if (facts := load_profile(settings.snapshots_profile).sandbox) is not None:
        control(port, facts.path.strip("/"), facts.repair)


def _port(settings: Settings) -> int:
    if not settings.sandbox:
        raise ConfigError("The sandbox lab works only while both systems are the sandbox.")
    return settings.sandbox_port


def _in_words(fault: Mapping[str, Any]) -> str:
    what = {"status": f"answers {fault['status']}", "stall": f"takes {fault['seconds']:g} s longer"}
    lasts = f", for {fault['lasts']:g} s" if fault.get("lasts") else ""
    route = "Every request" if fault["route"] == "*" else fault["route"]
    return f"{route} {what.get(fault['kind'], fault['kind'])}{lasts}"
