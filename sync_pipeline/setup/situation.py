"""Where an installation is, in one sentence with the one action that helps most: a closed list of states, decided from facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sync_pipeline.setup.switching import Pause

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
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
    """Records that are not yet at the target as they are wanted."""
    records: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """The state, its sentence, and its action: what the button says and where it leads."""

    state: State
    sentence: str
    action: str
    path: str


def situation_of(facts: Facts) -> Situation:  # noqa: PLR0911 - one line a state
    """The first state, worst first, whose facts are there."""
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


def _live(facts: Facts) -> Situation:
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
