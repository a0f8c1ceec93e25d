"""Reading what came back: status, kind of body, vendor code and message, or the kind of failure."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson

from sync_pipeline.connectors.policy import Body, Failure, Seen

EXCERPT = 200
LONGEST_WAIT = 366 * 86_400.0
"""A Retry-After further ahead than that is taken for this: no clock and no column has to hold more."""
UNSAID = {Body.JSON: "no reason given", Body.EMPTY: "no reason given"}
FAILURE_OF: tuple[tuple[tuple[type[Exception], ...], Failure], ...] = (
    ((httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError), Failure.BAD_URL),
    ((httpx.ConnectTimeout, httpx.PoolTimeout), Failure.CONNECT_TIMEOUT),
    ((httpx.TimeoutException,), Failure.READ_TIMEOUT),
    ((httpx.ConnectError, httpx.ProxyError), Failure.REFUSED),
)


@dataclass(frozen=True, slots=True)
class ErrorFormat:
    """Where a system puts what it has to say about an error."""

    code: str = "code"
    message: str = "message"
    scope: str = "required_scope"
    request_id: str = "x-request-id"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that can be used; ``gone`` when the record asked for does not exist."""

    status: int
    headers: Mapping[str, str]
    data: Any = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer, read but not judged."""

    seen: Seen
    data: Any
    detail: str = ""
    scope: str = ""
    request_id: str | None = None


def read_answer(response: httpx.Response, method: str, form: ErrorFormat, hide: Callable[[str], str] = str) -> Reading:
    """Take the body apart without trusting any of it; ``hide`` takes out what an answer may repeat of our secrets."""
    body, data = _body(response)
    about = data if isinstance(data, dict) and response.status_code >= 300 else {}
    code, request_id = about.get(form.code), response.headers.get(form.request_id)

    def said(name: str) -> str:
        # Hidden first: of a secret that is cut in two nobody would recognise the half that is left.
        return _short(hide(str(about[name]))) if about.get(name) else ""

    return Reading(
        seen=Seen(method, response.status_code, None if code is None else str(code), body),
        data=data,
        detail=said(form.message) or said("detail") or UNSAID.get(body, body.value),
        scope=said(form.scope),
        request_id=None if request_id is None else hide(request_id),
    )


def is_usable(seen: Seen) -> bool:
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
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def failure_of(error: httpx.HTTPError | httpx.InvalidURL) -> Failure:
    """Sort the library's exceptions by what the user can do about them."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return Failure.TLS
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Failure.UNKNOWN_HOST
    return next((failure for kinds, failure in FAILURE_OF if isinstance(error, kinds)), Failure.CUT)


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _body(response: httpx.Response) -> tuple[Body, Any]:
    content = response.content
    if not content.strip():
        return Body.EMPTY, None
    try:
        return Body.JSON, orjson.loads(content)
    except orjson.JSONDecodeError:
        start = content.lstrip()[:200].lower()
        is_html = "html" in response.headers.get("content-type", "") or start.startswith((b"<!doctype", b"<html"))
        return (Body.HTML if is_html else Body.BROKEN), None


def _short(value: str) -> str:
    text = " ".join(value.split())
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
