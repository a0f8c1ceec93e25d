"""One HTTP client for both systems: our turn, the request, the retry table, and errors that say what to fix."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

import orjson
import tenacity

from sync_pipeline.clock import unix_time
from sync_pipeline.connectors.answers import (
    Answer,
    ErrorFormat,
    Reading,
    excerpt,
    http_date,
    is_usable,
    read_answer,
    retry_after,
)
from sync_pipeline.connectors.guard import ANYTHING, READING, RequestGuard
from sync_pipeline.connectors.limiter import (
    WORTH_SAYING_SECONDS,
    Announce,
    Clock,
    Limiter,
    OnTurn,
    Sleep,
    clock_time,
    silent,
)
from sync_pipeline.connectors.oauth import Credential, Renewable
from sync_pipeline.connectors.policy import (
    Action,
    AttemptResult,
    Body,
    Origin,
    PolicyRule,
    RetryTable,
    SecretPlace,
    decide,
)
from sync_pipeline.connectors.transport import HttpClient, HttpRequest, HttpResponse, NoAnswer, redact
from sync_pipeline.errors import (
    AmbiguousWrite,
    ApiError,
    ConfigError,
    FatalApiError,
    NotAuthorized,
    RejectedRecord,
    Request,
    RetryableApiError,
)

NAMED_SEGMENT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long one request is tried: attempts, waits between them, and the longest Retry-After that is obeyed."""

    attempts: int = 6
    first_wait: float = 0.5
    first_wait_after_429: float = 0.5
    longest_wait: float = 30.0
    longest_retry_after: float = 300.0
    total_wait: float = 600.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A system as its user knows it: name, address, and the settings that hold address, key and account."""

    system: str
    base_url: str
    base_setting: str
    key_setting: str
    workspace_setting: str = ""
    key_origin: Origin = Origin.ENVIRONMENT
    key_name: str = ""
    """What `credentials rotate` calls the key."""
    scopes_at: str = ""
    """Where a person ticks the scopes of the key; "" where that is the same place as the key's."""


OnResult = Callable[[ApiError | None], None]
"""Called at the end of each request: with None for an answer, or with the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How the clients of one account work: their rate limit, what may leave, how they wait and what they report."""

    limiter: Limiter
    guard: RequestGuard = ANYTHING
    retry_policy: RetryPolicy | None = None
    on_wait: Announce = silent
    on_fallback: Callable[[], None] | None = None
    """Called when the key before the current one had to be used."""
    on_rejected: Callable[[], None] | None = None
    """Called when the current key was not accepted."""
    on_result: OnResult | None = None
    sleep: Sleep = asyncio.sleep
    now: Clock = unix_time
    jitter: Callable[[], float] = random.random


_E = TypeVar("_E", bound=ApiError)


class _Again(Exception):
    """Another attempt may succeed; ``error`` is raised when the retry policy allows no more."""

    def __init__(self, error: ApiError, *, first_wait: float, not_before: float = 0.0) -> None:
        super().__init__()
        self.error = error
        self.first_wait = first_wait
        self.not_before = not_before


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """What is special about a request."""

    idempotent: bool | None = None
    """Sending it twice does no harm (None: all but POST and PATCH)."""
    writes: bool | None = None
    """It changes something, so a dry run does not send it (None: all but GET and HEAD)."""
    may_be_missing: bool = False
    """A missing record is an Answer, not an error."""
    scope: str = ""
    """Named in the error when it is missing."""
    on_turn: OnTurn | None = None
    """Awaited before each attempt, after the rate limiter has let it pass."""
    headers: Mapping[str, str] | None = None
    """Sent beside those of every request."""
    form: Mapping[str, str] | None = None
    """Sent as a form, in place of JSON."""


ORDINARY = RequestOptions()
ONLY_READS = RequestOptions(idempotent=True, writes=False)
"""For a POST that changes nothing."""
MAY_BE_MISSING = RequestOptions(may_be_missing=True)


@dataclass(slots=True)
class _Call:
    """One request; the answer of each attempt is compared with it."""

    method: str
    route: str
    path: str
    options: RequestOptions
    refreshed: bool = False
    answers: list[Answer] = field(default_factory=list)

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice does no harm."""
        said = self.options.idempotent
        return self.method not in ("POST", "PATCH") if said is None else said

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        said = self.options.writes
        return self.method not in READING if said is None else said


class ApiClient:
    """Requests to one base URL. Use as ``async with``; the connection pool is made inside the running loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        auth: Credential | None,
        retry: RetryTable,
        options: ClientOptions,
        *,
        errors: ErrorFormat | None = None,
        headers: Mapping[str, str] | None = None,
        requests: Counter[str] | None = None,
    ) -> None:
        _refuse_unusable(endpoint)
        self.endpoint = endpoint
        self.requests: Counter[str] = Counter() if requests is None else requests
        self._auth = auth
        if isinstance(auth, Renewable):
            auth.on_request = self._let_out  # what sees our requests sees those for tokens too
        self._limiter = options.limiter
        self._guard = options.guard
        self._retry = retry
        self._errors = errors or ErrorFormat()
        self._headers = {"Accept": "application/json", "User-Agent": "sync_pipeline", **(headers or {})}
        self._retry_policy = options.retry_policy or RetryPolicy()
        self._on_wait = options.on_wait
        self._on_result = options.on_result or (lambda _: None)
        self._sleep = options.sleep
        self._now = options.now
        self._jitter = options.jitter
        self._dated = ("", 0.0)
        self._day_is_used_up: bool | None = None
        """None until an answer, to this process or another one, shows whether it is."""
        self._client: HttpClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @property
    def clock_offset(self) -> float | None:
        """By how many seconds the API's clock was ahead of ours at its last answer; None if it has no date."""
        text, at = self._dated
        said = http_date(text)
        return None if said is None else said - at

    async def request(
        self,
        method: str,
        path: str,
        *,
        ids: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        options: RequestOptions = ORDINARY,
    ) -> Answer:
        """Send a request until it is answered or the retry policy allows no more.

        ``path`` is a template such as ``/users/{id}``, filled from ``ids``: requests are counted by template.
        Raises ConfigError when the guard does not let it out.
        """
        call = _Call(method, path, self._fill(method, path, ids or {}), options)
        content = None if json is None else orjson.dumps(json)
        if options.form is not None:
            content = urlencode(options.form).encode()
        retrying = tenacity.AsyncRetrying(
            sleep=self._sleep,
            retry=tenacity.retry_if_exception_type(_Again),
            stop=self._has_waited_enough,
            wait=self._next_wait,
            before_sleep=self._announce,
            reraise=True,
        )
        try:
            await retrying(self._attempt, call, params, content)
        except _Again as again:
            self._on_result(again.error)
            raise again.error from None
        except ApiError as error:
            self._on_result(error)
            raise
        self._on_result(None)
        # Not the attempt's result: the retrying object and its state hold each other, and with them what it returned.
        return call.answers.pop()

    async def _attempt(self, call: _Call, params: Mapping[str, Any] | None, content: bytes | None) -> None:
        if self._day_is_used_up is None:
            self._day_is_used_up = bool(self._errors.rate.day_left) and await self._limiter.is_day_over()
        self._refuse_when_day_is_used_up(call)
        await self._limiter.acquire()
        if call.options.on_turn is not None:
            await call.options.on_turn()
        kind = "application/json" if call.options.form is None else "application/x-www-form-urlencoded"
        headers = {"Content-Type": kind} if content is not None else {}
        try:
            response = await self._open().exchange(
                call.method,
                self.endpoint.base_url.rstrip("/") + call.path,
                writes=call.writes,
                route=call.route,
                params=params,
                content=content,
                headers={**headers, **(call.options.headers or {})},
            )
        except NoAnswer as error:
            self._act_on_failure(call, error)
        except RetryableApiError as error:  # no token could be had: nothing was sent
            raise _Again(error, first_wait=self._retry_policy.first_wait) from None
        call.answers.append(await self._act_on(call, response))

    def _act_on_failure(self, call: _Call, error: NoAnswer) -> NoReturn:
        seen = AttemptResult(call.method, failure=error.failure)
        reading = Reading(seen, None, detail=excerpt(redact(error.detail, self._secrets())))
        rule = decide(self._retry, seen)
        ambiguous = not call.idempotent and not error.failure.before_sending
        if rule.action is Action.FATAL and not ambiguous:
            raise self._error(FatalApiError, rule, call, reading) from None
        self._again(rule, call, reading, ambiguous=ambiguous)

    async def _act_on(self, call: _Call, response: HttpResponse) -> Answer:
        reading = read_answer(response, call.method, self._errors, self.redacted)
        if is_usable(reading.seen):
            return Answer(response.status_code, response.headers, reading.data)
        rule = decide(self._retry, reading.seen)
        match rule.action:
            case Action.MISSING if call.options.may_be_missing:
                return Answer(response.status_code, response.headers, missing=True)
            case Action.REJECT:
                raise self._error(RejectedRecord, rule, call, reading)
            case Action.WAIT:
                await self._hold_back(rule, call, reading, response)
            case Action.REFRESH if isinstance(self._auth, Renewable) and not call.refreshed:
                call.refreshed = True
                self._auth.forget(response.request)
                raise _Again(self._error(_refusal(reading), rule, call, reading), first_wait=0.0)
            case Action.RETRY:
                self._again(rule, call, reading, ambiguous=not call.idempotent)
        raise self._error(_refusal(reading), rule, call, reading, location=response.headers.get("location", ""))

    async def _hold_back(self, rule: PolicyRule, call: _Call, reading: Reading, response: HttpResponse) -> NoReturn:
        """A 429 was not carried out: no doubt about it, whatever the verb."""
        self._refuse_when_day_is_used_up(call)
        not_before = retry_after(response.headers, self._now())
        if not_before is None and (interval := self._errors.rate.interval(response.headers)) is not None:
            not_before = self._now() + interval
        error = self._error(RetryableApiError, rule, call, reading)
        if not_before is None:
            raise _Again(error, first_wait=self._retry_policy.first_wait_after_429)
        if not_before - self._now() > self._retry_policy.longest_retry_after:
            await self._limiter.penalise(not_before)
            at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(not_before))
            raise RetryableApiError(
                f"too many requests: asked to wait until {at}.", error.request, fix="Run it again then."
            )
        await self._limiter.penalise(not_before)
        raise _Again(error, first_wait=self._retry_policy.first_wait, not_before=not_before)

    def _refuse_when_day_is_used_up(self, call: _Call) -> None:
        """Raise before a request is sent, or after one that was not carried out."""
        if self._day_is_used_up:
            raise RetryableApiError(
                "the requests of this day are used up, but for those that are left to others.",
                Request(self.endpoint.system, call.method, call.path),
                fix="Nothing is lost: it continues by itself when the day is over.",
            )

    def _again(self, rule: PolicyRule, call: _Call, reading: Reading, *, ambiguous: bool) -> NoReturn:
        if ambiguous:
            raise self._error(AmbiguousWrite, rule, call, reading) from None
        raise _Again(
            self._error(RetryableApiError, rule, call, reading), first_wait=self._retry_policy.first_wait
        ) from None

    def _next_wait(self, state: tenacity.RetryCallState) -> float:
        """Twice as long each time, less by chance so that clients do not all return together; not before the moment named."""
        again = _reason(state)
        backoff = min(again.first_wait * 2.0 ** (state.attempt_number - 1), self._retry_policy.longest_wait)
        return max(again.not_before - self._now(), 0.0) + backoff * (0.5 + self._jitter() / 2)

    def _announce(self, state: tenacity.RetryCallState) -> None:
        if state.upcoming_sleep >= WORTH_SAYING_SECONDS:
            again = _reason(state)
            self._on_wait(f"{again.error.message} Next try at {clock_time(self._now() + state.upcoming_sleep)}.")

    def _has_waited_enough(self, state: tenacity.RetryCallState) -> bool:
        limit = self._retry_policy
        return state.attempt_number >= limit.attempts or state.idle_for + state.upcoming_sleep > limit.total_wait

    def _error(self, kind: type[_E], rule: PolicyRule, call: _Call, reading: Reading, *, location: str = "") -> _E:
        secrets = self._secrets()
        words = {
            "base": self.endpoint.base_url,
            "base_setting": self.endpoint.base_setting,
            **SecretPlace(self.endpoint.key_setting, self.endpoint.key_origin, self.endpoint.key_name).words,
            "workspace_setting": self.endpoint.workspace_setting,
            "scopes_at": self.endpoint.scopes_at or self.endpoint.key_setting,
            "detail": reading.detail,
            "scope": reading.scope or call.options.scope,
            "location": excerpt(redact(location.split("?", maxsplit=1)[0], secrets)),
        }
        request = Request(
            system=self.endpoint.system,
            method=call.method,
            path=redact(call.path, secrets),
            status=reading.seen.status,
            code=reading.seen.code,
            request_id=reading.request_id,
            excerpt=reading.detail,
            cause=str(reading.seen.failure or reading.seen.body or ""),
        )
        message = redact(rule.message.format_map(words), secrets)
        fix = redact(rule.fix.format_map(words), secrets)
        return kind(message + ".", request, fix=fix[:1].upper() + fix[1:])

    def redacted(self, text: str) -> str:
        """The text of an answer without the secrets of this client, so that it can be stored and shown."""
        return redact(text, self._secrets())

    def _secrets(self) -> tuple[str, ...]:
        return self._auth.secrets() if self._auth else ()

    def _fill(self, method: str, template: str, ids: Mapping[str, str]) -> str:
        def segment(match: re.Match[str]) -> str:
            value = ids[match[1]]
            if value in ("", ".", ".."):  # would be another address: the whole list, or its parent
                request = Request(self.endpoint.system, method, template)
                raise RejectedRecord(f"{value!r} cannot be an id.", request)
            return quote(value, safe="")

        return NAMED_SEGMENT.sub(segment, template)

    def _open(self) -> HttpClient:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:  # connections belong to the loop that made them
            self._loop = loop
            self._client = HttpClient(
                self.endpoint.base_url,
                self.endpoint.base_setting,
                self._guard.limits,
                auth=self._auth,
                headers=self._headers,
                on_request=self._let_out,
                on_response=self._note_date,
            )
        return self._client

    async def _let_out(self, request: HttpRequest) -> None:
        """Called for every request that is about to leave, retries and token requests included."""
        self._guard.check(request)
        await self._guard.keep_locked(request)
        route = request.extensions.get("route") or request.url.path
        self.requests[f"{request.method} {route}"] += 1

    async def _note_date(self, response: HttpResponse) -> None:
        """Called for every answer, refusals included."""
        self._dated = (response.headers.get("date", ""), self._now())
        before, self._day_is_used_up = self._day_is_used_up, self._errors.rate.is_day_used_up(response.headers)
        if self._day_is_used_up and not before:
            await self._limiter.end_day()


def _refusal(reading: Reading) -> type[FatalApiError]:
    """The error for a refusal; a web page that refuses is not about our credentials."""
    is_about_us = reading.seen.status in (401, 403) and reading.seen.body is not Body.HTML
    return NotAuthorized if is_about_us else FatalApiError


def _refuse_unusable(endpoint: Endpoint) -> None:
    """Raise ConfigError for a base URL to which no request can be sent."""
    try:
        parts = urlsplit(endpoint.base_url)
    except ValueError:
        parts = urlsplit("")
    if "@" in parts.netloc:  # not shown: before it may be a password
        raise ConfigError(
            f"{endpoint.base_setting} holds a user name.", fix=f"Take it out; use {endpoint.key_setting}."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{endpoint.base_setting} is not an address: {endpoint.base_url!r}.",
            fix="It starts with https:// and a host name.",
        )


def _reason(state: tenacity.RetryCallState) -> _Again:
    return cast("_Again", state.outcome.exception() if state.outcome else None)  # the only thing that is retried
