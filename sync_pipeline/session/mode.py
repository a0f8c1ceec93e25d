"""Sandbox, dry run or live: decided here, from SYNC_MODE and the switch that people turn, and nowhere else.

| SYNC_MODE | accounts | switch | mode | sensors and schedules |
| --- | --- | --- | --- | --- |
| `sandbox` | any | any | sandbox | act |
| - | none | - | sandbox | act |
| - | set up on the sandbox | on / off | sandbox | act / do nothing |
| - | set up | on | live | act |
| - | set up | off | dry run | do nothing |
| - | of the environment | - | live, by hand | do nothing |
| `dry_run` | any | any | dry run | do nothing |
| `live` | any | any | live | act |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sync_pipeline.connectors.guard import RequestGuard
from sync_pipeline.settings import Settings

ModeName = Literal["sandbox", "dry_run", "live"]
TURN_ON = "Turn it on in the console, or with `sync-pipeline live on`"
PAUSED = (
    "live syncing is paused: the set-up was changed since it was turned on. Preview the change in the console (step 4), or with "
    "`sync-pipeline preview`; then turn it on again"
)


@dataclass(frozen=True, slots=True)
class Mode:
    """Where requests may go, whether they may write, and whether anything happens by itself."""

    name: ModeName
    automatic: bool
    why: str
    """Why nothing happens by itself, or why it does; a sentence for people."""
    stays_here: bool = False
    """No request may leave this machine."""

    @property
    def title(self) -> str:
        """The name for people, as in the table above."""
        return "live, by hand" if self.name == "live" and not self.automatic else self.name.replace("_", " ")

    @property
    def writes(self) -> bool:
        """Whether anything may be written to the accounts."""
        return self.name != "dry_run"

    @property
    def guard(self) -> RequestGuard:
        """What the HTTP layer lets through."""
        return RequestGuard(only_loopback=self.stays_here, writes=self.writes, why=self.why)


def decide(settings: Settings, *, switched_on: bool, is_paused: bool = False) -> Mode:
    """The mode of these settings; ``switched_on`` is the stored switch, turned on for just this configuration.

    ``is_paused``: it was turned on, but for another one.
    """
    here = settings.sandbox
    if settings.mode == "dry_run":
        return Mode("dry_run", False, "SYNC_MODE is dry_run: nothing is written", here)
    if settings.sandbox and not settings.stored:
        return Mode(
            "sandbox", True, "on the sandbox changes are synced automatically while `sync-pipeline dev` runs", here
        )
    writing: ModeName = "sandbox" if settings.sandbox else "live"
    if settings.mode == "live":
        return Mode(writing, True, "SYNC_MODE is live", here)
    if not settings.stored:
        return Mode(
            writing, False, "live syncing is off: the accounts come from the environment. Set SYNC_MODE=live", here
        )
    if switched_on:
        return Mode(writing, True, "live syncing is turned on", here)
    off = PAUSED if is_paused else f"live syncing is off for this configuration. {TURN_ON}"
    return Mode("sandbox" if settings.sandbox else "dry_run", False, off, here)
