"""The exit codes of commands, and which of several is the worst."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """The codes, the worst first."""

    INTERRUPTED = 130
    USAGE = 2
    NOT_AUTHORIZED = 4
    FAILED = 1
    UNKNOWN_OUTCOME = 6
    HELD = 3
    DRIFT = 5
    DONE = 0

    @property
    def meaning(self) -> str:
        """The meaning, for the help and the docs."""
        return MEANINGS[self]


MEANINGS = {
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.USAGE: "wrong usage or configuration",
    ExitCode.NOT_AUTHORIZED: "not authorized: a key, a scope or a consent is missing or was refused",
    ExitCode.FAILED: "failed, or not everything was loaded",
    ExitCode.UNKNOWN_OUTCOME: "the outcome of a write is unknown",
    ExitCode.HELD: "held until a person approves; a `sync` that only previewed ends like this, too",
    ExitCode.DRIFT: "drift: `verify`, `setup diff` or `migrate --check` found a difference",
    ExitCode.DONE: "done; records rejected, excluded or waiting are printed",
}


def worst(codes: Iterable[int]) -> ExitCode:
    """The worst of the codes; DONE when there are none."""
    found = set(codes)
    return next((code for code in ExitCode if code in found), ExitCode.DONE)
