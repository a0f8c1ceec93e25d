"""The wall clock; no other module reads it, and tests set it here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(slots=True)
class _Clock:
    ahead: timedelta = timedelta()
    """How far it is set ahead of the system's clock."""


_clock = _Clock()


def utc_now() -> datetime:
    """The current instant, aware and in UTC."""
    return datetime.now(UTC) + _clock.ahead


def unix_time() -> float:
    """The current instant in seconds since 1970."""
    return utc_now().timestamp()


def has_passed(since: datetime | None, wait: timedelta, now: datetime) -> bool:
    """Whether it is so long ago. True for an instant in the future as well: a clock noted it that has been set back since.

    Nothing waits for such an instant: whatever was noted there is done again instead.
    """
    return since is None or not since <= now < since + wait


def ahead() -> timedelta:
    """How far the clock of this process is set ahead of the system's."""
    return _clock.ahead


@contextmanager
def clock_from(instant: datetime | None) -> Iterator[None]:
    """For tests: the clock of this process starts at ``instant``; with None it is the system's, as in child processes."""
    before = _clock.ahead
    _clock.ahead = timedelta() if instant is None else instant - datetime.now(UTC)
    try:
        yield
    finally:
        _clock.ahead = before
