"""Clock skew: the Date header of the other side against the clock of this machine."""

from __future__ import annotations

from sync_pipeline.diagnose.finding import Status, Told, fine, skip

WARN_SECONDS, FAIL_SECONDS = 30.0, 300.0
FIX = "Set the clock of this machine (`timedatectl set-ntp true`); if it is right, tell the other side."


def look_at_clock(offset: float | None, breaks: str) -> Told:
    """Judge by how much the other side's clock is ahead of ours; ``breaks`` is what a wrong clock does."""
    if offset is None:
        return skip("its answers carry no Date")
    apart = abs(offset)
    if apart < WARN_SECONDS:
        return fine(f"less than {WARN_SECONDS:.0f} s apart from ours")
    side = "behind" if offset > 0 else "ahead of"
    verdict = Status.WARNING if apart < FAIL_SECONDS else Status.FAILED
    return Told(verdict, f"our clock is {span(apart)} {side} it", breaks, FIX)


def span(seconds: float) -> str:
    """A span of time in the largest unit that tells it well."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}s"
    return f"{seconds:.0f} seconds"
