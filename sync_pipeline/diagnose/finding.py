"""What a probe found, and running probes in order: those that depend on a failed one are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sync_pipeline.connectors.error_category import ErrorCategory, categorize, meaning
from sync_pipeline.errors import SyncError


class Status(StrEnum):
    """How a probe ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, or may work; a person should know."""
    FAILED = "failed"
    """A sync cannot do its work like this."""
    SKIPPED = "skipped"
    """Skipped: it depends on something that failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check: how it ended, what was found, what that means and what to do."""

    verdict: Status
    detail: str
    means: str = ""
    fix: str = ""
    exit_code: int = 0
    """How a command ends that found this."""
    busy: bool = False
    """It could not be looked at, because the request budget is used up."""
    what: str = ""
    """What was looked at; ``run`` sets it to the probe's name."""

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

    def stored(self) -> dict[str, Any]:
        """The finding in the form stored until the next test."""
        return {**self.as_json(), "exit_code": self.exit_code}


def stored_finding(found: Mapping[str, Any]) -> Finding:
    """A stored finding."""
    detail, means, fix, what = (str(found.get(name, "")) for name in ("detail", "means", "fix", "what"))
    return Finding(Status(found["verdict"]), detail, means, fix, int(found.get("exit_code", 0)), what=what)


def fine(detail: str, means: str = "") -> Finding:
    """All is well."""
    return Finding(Status.OK, detail, means)


def warn(detail: str, means: str = "", fix: str = "") -> Finding:
    """It works, or may work; a person should know."""
    return Finding(Status.WARNING, detail, means, fix)


def fail(detail: str, means: str = "", fix: str = "", *, exit_code: int = 0, busy: bool = False) -> Finding:
    """A sync cannot do its work like this."""
    return Finding(Status.FAILED, detail, means, fix, exit_code, busy)


def skip(why: str) -> Finding:
    """Not looked at."""
    return Finding(Status.SKIPPED, why)


def refused(error: SyncError, means: str = "", *, hint: str = "") -> Finding:
    """A failure as an error describes it; ``hint`` is added to its fix."""
    return fail(
        error.message,
        means or meaning(error),
        f"{error.fix} {hint}".strip(),
        exit_code=error.exit_code,
        busy=categorize(error) is ErrorCategory.BUSY,
    )


@dataclass(frozen=True, slots=True)
class Probe:
    """One check, and the probes that it depends on."""

    what: str
    look: Callable[[], Finding]
    needs: tuple[str, ...] = ()


def run(probes: Sequence[Probe]) -> Iterator[Finding]:
    """Take the probes in order. After "too many requests" nothing more is asked: the next request would wait for hours."""
    causes: dict[str, str] = {}
    busy = ""
    for probe in probes:
        cause = busy or next((causes[name] for name in probe.needs if name in causes), "")
        try:
            found = skip(f"skipped, because of: {cause}") if cause else probe.look()
        except SyncError as error:
            found = refused(error)
            busy = probe.what if categorize(error) is ErrorCategory.BUSY else ""
        if found.verdict in (Status.FAILED, Status.SKIPPED):
            causes[probe.what] = cause or probe.what
        yield replace(found, what=probe.what, exit_code=found.exit_code or (0 if found.ok else SyncError.exit_code))


WARN_SECONDS, FAIL_SECONDS = 30.0, 300.0
FIX_CLOCK = "Set the clock of this machine (`timedatectl set-ntp true`); if it is right, tell the API's operator."


def look_at_clock(offset: float | None, breaks: str) -> Finding:
    """How far an API's clock is from ours, by the Date of its answers; ``breaks`` is what a wrong clock does."""
    if offset is None:
        return skip("its answers have no Date header")
    apart = abs(offset)
    if apart < WARN_SECONDS:
        return fine(f"less than {WARN_SECONDS:.0f} s apart from ours")
    side = "behind" if offset > 0 else "ahead of"
    verdict = Status.WARNING if apart < FAIL_SECONDS else Status.FAILED
    return Finding(verdict, f"our clock is {span(apart)} {side} it", breaks, FIX_CLOCK)


def span(seconds: float) -> str:
    """A span of time in the largest unit that describes it well."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}s"
    return f"{seconds:.0f} seconds"
