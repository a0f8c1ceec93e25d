"""What a probe found, and running probes in order: what makes no sense after a failure is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sync_pipeline.connectors.error_category import ErrorCategory, categorize, meaning
from sync_pipeline.errors import SyncError


class Status(StrEnum):
    """How a probe ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, or may work; somebody should know."""
    FAILED = "failed"
    """A sync cannot do its work like this."""
    SKIPPED = "skipped"
    """Not looked at: it makes no sense yet."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check: what was looked at, how it ended, what was found, what that means and what to do."""

    what: str
    verdict: Status
    detail: str
    means: str = ""
    fix: str = ""
    exit_code: int = 0
    """How a command ends that found this."""
    busy: bool = False
    """It could not be looked at, because the request budget is used up."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, as far as it was looked at."""
        return self.verdict is not Status.FAILED

    @property
    def text(self) -> str:
        """What was found, what it means and what to do, as sentences."""
        parts = [part for part in (self.detail, self.means, self.fix) if part]
        ended = [part if part[-1] in ".!?" else f"{part}." for part in parts[:-1]]
        return " ".join([*ended, *parts[-1:]])

    def as_json(self) -> dict[str, Any]:
        """The finding as a document."""
        return {
            "what": self.what,
            "verdict": str(self.verdict),
            "ok": self.ok,
            "detail": self.detail,
            "means": self.means,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True)
class Told:
    """What a look says; the probe knows what it looked at."""

    verdict: Status
    detail: str
    means: str = ""
    fix: str = ""
    exit_code: int = 0
    busy: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, as far as it was looked at."""
        return self.verdict is not Status.FAILED


def fine(detail: str, means: str = "") -> Told:
    """All is well."""
    return Told(Status.OK, detail, means)


def warn(detail: str, means: str = "", fix: str = "") -> Told:
    """It works, or may work, but."""
    return Told(Status.WARNING, detail, means, fix)


def fail(detail: str, means: str = "", fix: str = "", *, exit_code: int = 0, busy: bool = False) -> Told:
    """A sync cannot do its work like this."""
    return Told(Status.FAILED, detail, means, fix, exit_code, busy)


def skip(why: str) -> Told:
    """Not looked at."""
    return Told(Status.SKIPPED, why)


def refused(error: SyncError, means: str = "", *, hint: str = "") -> Told:
    """A failure as an error tells it; ``hint`` is added to its fix."""
    return fail(
        error.message,
        means or meaning(error),
        f"{error.fix} {hint}".strip(),
        exit_code=error.exit_code,
        busy=categorize(error) is ErrorCategory.BUSY,
    )


@dataclass(frozen=True, slots=True)
class Probe:
    """One look, and the probes without which it makes no sense."""

    what: str
    look: Callable[[], Told]
    needs: tuple[str, ...] = ()


def run(probes: Sequence[Probe]) -> Iterator[Finding]:
    """Take the probes in order. After "too many requests" nothing more is asked: the next request would wait for hours."""
    causes: dict[str, str] = {}
    busy = ""
    for probe in probes:
        cause = busy or next((causes[name] for name in probe.needs if name in causes), "")
        try:
            told = skip(f"not looked at, because of: {cause}") if cause else probe.look()
        except SyncError as error:
            told = refused(error)
            busy = probe.what if categorize(error) is ErrorCategory.BUSY else ""
        if told.verdict in (Status.FAILED, Status.SKIPPED):
            causes[probe.what] = cause or probe.what
        code = told.exit_code or (0 if told.ok else SyncError.exit_code)
        yield Finding(probe.what, told.verdict, told.detail, told.means, told.fix, code, told.busy)
