"""A span of time that is read: half-open, in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta


@dataclass(frozen=True, slots=True)
class Window:
    """All instants from ``start`` up to, not including, ``end``; both are aware and in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for instant in (self.start, self.end):
            if instant.utcoffset() is None:
                raise ValueError(f"A window needs instants with a time zone, not {instant!r}")
        if self.end <= self.start:
            raise ValueError(f"A window must end after it starts: {self.start} .. {self.end}")
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))

    @classmethod
    def of_days(cls, first: date, last: date) -> Window:
        """The UTC days from ``first`` to ``last``, both included."""
        return cls(datetime.combine(first, time(), UTC), datetime.combine(last + timedelta(days=1), time(), UTC))

    def slices(self, days: int = 31) -> Iterator[Window]:
        """The window cut into pieces of at most ``days`` days, in order and without gap or overlap."""
        start, step = self.start, timedelta(days=days)
        while start < self.end:
            end = min(start + step, self.end)
            yield Window(start, end)
            start = end

    def padded(self, by: timedelta) -> Window:
        """The window widened on both sides."""
        return Window(self.start - by, self.end + by)

    def __contains__(self, instant: datetime) -> bool:
        """Whether the instant lies in the window."""
        return self.start <= instant < self.end

    def __str__(self) -> str:
        return f"{instant_text(self.start)}..{instant_text(self.end)}"


def instant_text(instant: datetime) -> str:
    """The instant as both APIs write it: UTC, whole seconds, ``Z``."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
