"""How pages show moments: in the zone and form that were chosen, or in UTC, which scripts then replace by the browser's zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from sync_pipeline.clock import utc_now
from sync_pipeline.console.frame import ago

FORMS = {"iso": "%Y-%m-%d", "eu": "%d.%m.%Y", "us": "%m/%d/%Y"}
LOCALES = {"iso": "sv-SE", "eu": "de-DE", "us": "en-US"}
"""Where people write days so: what a browser's script calls these forms."""
IN_SENTENCE = re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d UTC\b")
LONG = timedelta(days=32)
"""What is longer ago has its day only."""
TIME = Markup('<time datetime="{}" title="{}">{}{}</time>')


class TimePreferences(NamedTuple):
    """How the reader wants moments."""

    zone: str = ""
    """An IANA name; "" is the browser's, and UTC without a script."""
    form: str = "iso"

    @property
    def locale(self) -> str:
        """For scripts."""
        return LOCALES[self.form]

    def clock(self, at: datetime, now: datetime | None = None) -> str:
        """Day and time of day; of the day that it is ``now`` the time only."""
        here = ZoneInfo(self.zone) if self.zone else UTC
        local = at.astimezone(here)
        name = "" if now is not None and self.zone else f" {local:%Z}"
        is_today = now is not None and local.date() == now.astimezone(here).date()
        return f"{'' if is_today else f'{local:{FORMS[self.form]}} '}{local:%H:%M}{name}"


@pass_context
def instant(context: Context, at: datetime | None) -> str | Markup:
    """A moment with its day and zone, the exact time in UTC beside it."""
    return "-" if at is None else _time(at, "", _reader(context).clock(at))


@pass_context
def when(context: Context, at: datetime | None) -> str | Markup:
    """How long ago it was and at what time, the exact time in UTC beside it; the script writes the browser's zone."""
    if at is None:
        return "-"
    now = context.get("now") or utc_now()
    relative = "" if abs(now - at) > LONG else f"{ago(at, now)}, "
    return _time(at, relative, Markup("<span>{}</span>").format(_reader(context).clock(at, now)))


@pass_context
def moment(context: Context, iso: str) -> str | Markup:
    """A moment that is stored as text."""
    at = datetime.fromisoformat(iso)
    return "-" if at is None else _time(at, "", _reader(context).clock(at))


@pass_context
def marked(context: Context, text: str) -> Markup:
    """A sentence with what is between backticks as code, and its moments in the reader's zone."""
    reader = _reader(context)
    parts = [
        Markup("<code>{}</code>").format(part) if number % 2 else _with_moments(part, reader)
        for number, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def _with_moments(text: str, reader: TimePreferences) -> Markup:
    if reader == TimePreferences():
        return escape(text)
    found, end = Markup(""), 0
    for match in IN_SENTENCE.finditer(text):
        at = datetime.strptime(match[0], "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
        found += escape(text[end : match.start()]) + _time(at, "", reader.clock(at))
        end = match.end()
    return found + escape(text[end:])


def _time(at: datetime, before: str, clock: str) -> Markup:
    at = at.astimezone(UTC)
    return TIME.format(f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M:%S} UTC", before, clock)


def _reader(context: Context) -> TimePreferences:
    found = context.get("reader")
    return found if isinstance(found, TimePreferences) else TimePreferences()
