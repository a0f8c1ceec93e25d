"""Reading what came back: status, kind of body, vendor code and message, or the kind of failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from sync_pipeline.connectors.policy import AttemptResult, Body
from sync_pipeline.connectors.transport import HttpResponse
from sync_pipeline.errors import FatalApiError, Request
from sync_pipeline.printable import printable

EXCERPT = 200
MOST_MONEY = Decimal(10) ** 15
CODE = 80
"""How much is kept of a code or a request id."""
MESSAGES = 20
"""How many messages of one answer are read."""
LONGEST_WAIT = 86_400.0
"""A Retry-After further ahead than a day is taken for this: no vendor's budget is counted over more."""
UNSAID = {Body.JSON: "no reason given", Body.EMPTY: "no reason given"}


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """The headers in which a system says how far its limits are used up; "" where it has none."""

    interval_ms: str = ""
    """How long the window is that a 429 is about."""
    day_limit: str = ""
    day_left: str = ""
    keep_for_others: float = 0.0
    """The share of the day's requests that is kept free for other clients."""

    def is_day_used_up(self, headers: Mapping[str, str]) -> bool:
        """Whether no more requests may be sent today."""
        left, limit = _number(headers.get(self.day_left)), _number(headers.get(self.day_limit))
        return left is not None and left <= (limit or 0.0) * self.keep_for_others

    def interval(self, headers: Mapping[str, str]) -> float | None:
        """How many seconds a 429 asks to wait."""
        said = _number(headers.get(self.interval_ms))
        return None if said is None else min(said / 1000, LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class ErrorFormat:
    """Where a system puts what it has to say about an error, and about its limits."""

    code: str = "code"
    message: str = "message"
    scope: str = "required_scope"
    request_id: str = "x-request-id"
    says: tuple[tuple[str, str], ...] = ()
    """Parts of messages, and the code to use for each where a system sends none; the first match wins."""
    rate: RateHeaders = RateHeaders()

    def code_of(self, about: Mapping[str, Any], hide: Callable[[str], str]) -> str | None:
        """The code of an error: the one listed for its message, or its own; ``hide`` as for :func:`read_answer`."""
        message = said_in(about.get(self.message)).lower()
        known = next((code for text, code in self.says if text.lower() in message), None)
        code = about.get(self.code)
        return known or (None if code is None or isinstance(code, dict) else excerpt(hide(as_text(code)), CODE))


@dataclass(frozen=True, slots=True)
class Answer:
    """A usable answer; ``missing`` when the requested record does not exist."""

    status: int
    headers: Mapping[str, str]
    data: Any = None
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer as read, before any decision about it."""

    seen: AttemptResult
    data: Any
    detail: str = ""
    scope: str = ""
    request_id: str | None = None


def read_answer(response: HttpResponse, method: str, form: ErrorFormat, hide: Callable[[str], str] = str) -> Reading:
    """Take the body apart without trusting any of it; ``hide`` takes out what an answer may repeat of our secrets."""
    body, data = _body(response)
    about = data if isinstance(data, dict) and response.status_code >= 300 else {}
    request_id = response.headers.get(form.request_id)

    def said(name: str) -> str:
        # Hidden first: of a secret that is cut in two the half that is left would not be recognised.
        return excerpt(hide(said_in(about[name]))) if about.get(name) else ""

    return Reading(
        seen=AttemptResult(method, response.status_code, form.code_of(about, hide), body),
        data=data,
        detail=said(form.message) or said("detail") or UNSAID.get(body, body.value),
        scope=said(form.scope),
        request_id=None if request_id is None else excerpt(hide(request_id), CODE),
    )


def record_of(answer: Answer, request: Request, fix: str) -> dict[str, Any]:
    """The one record of an answer; FatalApiError when it holds none."""
    if isinstance(answer.data, dict):
        return answer.data
    raise FatalApiError("the answer is not a record.", request, fix=fix)


def is_usable(seen: AttemptResult) -> bool:
    """Whether the answer is what was asked for: a success with JSON, or with nothing where nothing is due."""
    if seen.status is None or not 200 <= seen.status < 300:
        return False
    return seen.body is Body.JSON or (seen.body is Body.EMPTY and (seen.status == 204 or seen.method != "GET"))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The epoch second named by Retry-After (seconds or an HTTP date), if it can be understood."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return now + min(float(text), LONGEST_WAIT)
    named = http_date(text)
    return None if named is None else min(named, now + LONGEST_WAIT)


def http_date(text: str) -> float | None:
    """The epoch second of an HTTP date, if it can be understood."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _body(response: HttpResponse) -> tuple[Body, Any]:
    content = response.content
    if not content.strip():
        return Body.EMPTY, None
    try:
        return Body.JSON, orjson.loads(content)
    except orjson.JSONDecodeError:
        start = content.lstrip()[:200].lower()
        is_html = "html" in response.headers.get("content-type", "") or start.startswith((b"<!doctype", b"<html"))
        return (Body.HTML if is_html else Body.BROKEN), None


def as_text(value: object) -> str:
    """The value as text; empty for one that is nested deeper than can be written out."""
    try:
        return str(value)
    except RecursionError:
        return ""


def said_in(message: object) -> str:
    """A message as text; one that is a list of texts as one."""
    return "; ".join(map(as_text, message[:MESSAGES])) if isinstance(message, list) else as_text(message)


def _number(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() else None


def excerpt(said: str, longest: int = EXCERPT) -> str:
    """An API's text as one line of a message: printable, and of limited length."""
    text = printable(" ".join(said[: 4 * longest].split()))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def hundredths(value: Any) -> int | None:
    """Money in hundredths; None for what is no number, or none that can be."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return int((number * 100).to_integral_value()) if number.is_finite() and abs(number) < MOST_MONEY else None
