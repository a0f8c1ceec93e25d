"""Instants and durations as Clockify writes and reads them: UTC, whole seconds, ISO 8601."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from sync_pipeline.errors import ConfigError

_DURATION = re.compile(r"^PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?$")


def utc_text(epoch: float) -> str:
    """``2026-08-08T07:30:00Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def duration_text(seconds: int) -> str:
    """``PT1H30M``; hours are never folded into days."""
    hours, rest = divmod(max(0, seconds), 3600)
    minutes, secs = divmod(rest, 60)
    text = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + (f"{secs}S" if secs else "")
    return f"PT{text or '0S'}"


def duration_seconds(text: str) -> int | None:
    """Seconds of ``PT1H30M``; None for anything that is not a duration of hours, minutes, seconds."""
    found = _DURATION.match(text)
    if found is None or text == "PT":
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_instant(text: object) -> datetime | None:
    """An instant with an offset, as Clockify's core accepts it; None when it is not one."""
    moment = _parse(text)
    # The first and last day ever have no room for an offset.
    if moment is None or moment.tzinfo is None or not 1 < moment.year < 9999:
        return None
    return moment.astimezone(UTC)


def wall_clock(text: object, zone: tzinfo) -> datetime | None:
    """The date and time as written, offset ignored, taken as a wall clock in ``zone``: Clockify's known quirk."""
    moment = _parse(text)
    return None if moment is None else moment.replace(tzinfo=zone)


def _parse(text: object) -> datetime | None:
    if not isinstance(text, str) or len(text) < 10:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


@lru_cache(maxsize=700)
def zone(name: str) -> tzinfo:
    """The zone of that IANA name; raises ValueError for a name that does not exist."""
    if name in ("UTC", "Z", "Etc/UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        if not available_timezones():
            raise ConfigError("This machine has no time zone data.", fix="Install it: `pip install tzdata`.") from error
        raise ValueError(f"unknown time zone {name!r}") from error


def zoned_text(epoch: int, in_zone: tzinfo) -> str:
    """``2026-08-08T09:30:00+02:00``, with ``Z`` for UTC."""
    if in_zone is UTC:
        return utc_text(epoch)
    return datetime.fromtimestamp(epoch, in_zone).isoformat(timespec="seconds")
