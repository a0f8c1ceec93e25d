"""`live`: whether changes travel by themselves, and the switch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import json_option
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.setup.switching import read_live_status, turn_off, turn_on


@click.group()
def live() -> None:
    """Turn live syncing on or off: whether sensors and schedules act by themselves."""


@live.command("on")
@json_option
def live_on(as_json: bool) -> None:
    """Turn it on; allowed once every check and the trial have passed for just this configuration."""
    _turned(turn_on, as_json)


@live.command("off")
@json_option
def live_off(as_json: bool) -> None:
    """Turn it off, whatever state the set-up is in."""
    _turned(turn_off, as_json)


@live.command("status")
@json_option
def live_status(as_json: bool) -> None:
    """Show whether it is on, why, and what is in the way of turning it on."""
    _turned(read_live_status, as_json)


def _turned(act: Callable[[Any], Any], as_json: bool) -> None:
    found = act(SetupService(actor("terminal")))
    mode = found.mode
    if as_json:
        terminal.as_json(_document(found))
        return
    terminal.say(f"Live syncing is {'ON' if found.is_live else 'off'}.")
    if mode is not None:
        terminal.say(f"Mode: {mode.title} - {mode.why}.")
    if found.problem:
        terminal.warning(found.problem)
    if found.obstacle and not found.is_live:
        terminal.say(f"In the way of turning it on: {found.obstacle}")


def _document(found: Any) -> dict[str, Any]:
    trial, switch, mode = found.trial, found.switch, found.mode
    return {
        "live": found.is_live,
        "mode": mode and mode.name,
        "why": mode.why if mode else found.obstacle,
        "obstacle": found.obstacle,
        "problem": found.problem,
        "trial": trial and {"id": trial.id, "kind": trial.kind, "outcome": trial.outcome, "by": trial.by},
        "switch": switch and {"on": switch.is_on, "by": switch.by, "at": switch.at.isoformat()},
    }
