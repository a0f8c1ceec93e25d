"""Ways to authenticate: an API key, an OAuth 2.0 client of our own, or a person's consent kept in a vault."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import tenacity
from anyio import CancelScope

from sync_pipeline.connectors.token_endpoint import CutOff, TokenEndpoint, TokenLost
from sync_pipeline.connectors.transport import HttpAuth, HttpRequest, HttpResponse, OnRequest, header_value, unseen
from sync_pipeline.errors import Request, StoreError
from sync_pipeline.store.tokens import Lost, Tokens

T = TypeVar("T")
RENEW_BEFORE_SECONDS = 30.0
SAVE_PAUSE, SAVE_SECONDS = 1.0, 120.0
"""How often, and for how long, storing a new pair is repeated."""
SECRETS_KEPT = 16
SCHEME = "Bearer "


class TokenVault(Protocol):
    """Where the pair of a consent is kept, for all processes: read by all, replaced by one at a time."""

    async def load(self) -> Tokens | Lost | None:
        """The pair, or why there is none any more; None when there never was one."""

    async def save(self, tokens: Tokens) -> None:
        """Replace both tokens; committed when this returns."""

    async def lose(self, reason: str) -> None:
        """Forget the pair and keep the reason for all processes."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Be the only one who replaces the pair; it is freed when its process dies."""


class Credential(HttpAuth):
    """What signs requests, and knows what must not appear anywhere because of it."""

    def secrets(self) -> tuple[str, ...]:
        """Everything that an answer, a log line or an error may not repeat."""
        raise NotImplementedError


class HeaderKey(Credential):
    """A key in a header of its own, or behind a word such as ``Bearer``.

    While a key is being replaced, ``fallback`` is the former one: it takes over permanently if the new one is
    rejected and the old one is not; ``on_fallback`` is then called once. A fallback that is rejected as well is sent no
    more; ``on_rejected`` is called once.
    """

    def __init__(
        self,
        key: str,
        *,
        header: str,
        setting: str,
        prefix: str = "",
        fallback: str = "",
        on_fallback: Callable[[], None] | None = None,
        on_rejected: Callable[[], None] | None = None,
    ) -> None:
        self._header = header
        value = header_value(key, setting)
        spare = header_value(fallback, f"The fallback of {setting}") if fallback else ""
        self._secrets = tuple(filter(None, (value, spare)))
        self._value = prefix + value
        self._spare = prefix + spare if spare not in ("", value) else ""
        self._on_fallback = on_fallback
        self._on_rejected = on_rejected

    def secrets(self) -> tuple[str, ...]:
        """Both keys, also when one of them is in use no more."""
        return self._secrets

    async def async_auth_flow(self, request: HttpRequest) -> AsyncGenerator[HttpRequest, HttpResponse]:
        """Add the header; after a 401 once more with the other key."""
        sent = request.headers[self._header] = self._value
        response = yield request
        other = self._spare if sent == self._value else self._value  # meanwhile another request may have changed over
        if response.status_code != 401 or not other:
            return
        request.headers[self._header] = other
        response = yield request
        if other != self._spare:
            return
        if response.status_code == 401:
            self._give_up()
        elif response.status_code < 500 and response.status_code != 429:  # "busy" and "broken" say nothing about a key
            self._change_over()

    def _change_over(self) -> None:
        self._value, self._spare = self._spare, ""
        if self._on_fallback:
            self._on_fallback()

    def _give_up(self) -> None:
        self._spare = ""
        if self._on_rejected:
            self._on_rejected()


class Renewable(Credential):
    """Credentials that can be renewed."""

    on_request: OnRequest
    """Sees the requests for tokens; the client that uses these credentials sets it."""

    def forget(self, rejected: HttpRequest) -> None:
        """Drop the token this request was sent with: the next request gets a new one."""
        raise NotImplementedError

    @property
    def granted(self) -> frozenset[str] | None:
        """The scopes of the token in use; None before there is one, or when the server did not say."""
        raise NotImplementedError


class Bearer(Renewable):
    """A token that is used until shortly before it expires. However many requests start together, one of them renews it."""

    renew_before = RENEW_BEFORE_SECONDS

    def __init__(self, endpoint: TokenEndpoint) -> None:
        self.on_request = unseen
        self.endpoint = endpoint
        self._tokens: Tokens | None = None
        self._rejected = ""
        self._seen: deque[str] = deque(maxlen=SECRETS_KEPT)
        self._turn = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def forget(self, rejected: HttpRequest) -> None:
        """Drop the token this request was sent with: the next request gets a new one."""
        # Of many requests that were rejected together only the first finds its token still in use.
        if self._tokens and rejected.headers.get("Authorization") == f"{SCHEME}{self._tokens.access_token}":
            self._rejected, self._tokens = self._tokens.access_token, None

    def secrets(self) -> tuple[str, ...]:
        """The client's secret, the tokens in use and those before them."""
        return (self.endpoint.client_secret, *self._seen)

    @property
    def granted(self) -> frozenset[str] | None:
        """The scopes of the token in use; None before there is one, or when the server did not say."""
        return frozenset(self._tokens.scope.split()) if self._tokens and self._tokens.scope else None

    async def async_auth_flow(self, request: HttpRequest) -> AsyncGenerator[HttpRequest, HttpResponse]:
        """Add the token, getting one first when there is none that lasts."""
        request.headers["Authorization"] = f"{SCHEME}{(await self.current()).access_token}"
        yield request

    async def current(self) -> Tokens:
        """The tokens in use, new ones where there are none that last."""
        if self._loop is not asyncio.get_running_loop():  # a lock belongs to the loop that waits for it
            self._loop, self._turn = asyncio.get_running_loop(), asyncio.Lock()
        async with self._turn:
            if self._tokens is None or not self._lasts(self._tokens):
                self._tokens = self._noted(await self._renew())
            return self._tokens

    def _lasts(self, tokens: Tokens) -> bool:
        ends = tokens.expires_at - self.renew_before
        return tokens.access_token != self._rejected and self.endpoint.now() < ends

    def _noted(self, tokens: Tokens) -> Tokens:
        """The same tokens, from now on kept out of everything that is shown."""
        self._seen.extend(secret for secret in tokens.secrets if secret not in self._seen)
        return tokens

    async def _renew(self) -> Tokens:
        raise NotImplementedError


class ClientCredentials(Bearer):
    """OAuth 2.0 client credentials: the token is fetched when needed and kept in memory."""

    def __init__(self, endpoint: TokenEndpoint, scopes: tuple[str, ...] = ()) -> None:
        super().__init__(endpoint)
        self._fields = {"scope": " ".join(scopes)} if scopes else {}

    async def _renew(self) -> Tokens:
        return await self.endpoint.ask("client_credentials", on_request=self.on_request, **self._fields)


class StoredTokens(Bearer):
    """A person's consent: the pair is in a vault, renewed by one process at a time and stored before it is used.

    Tokens that cannot be renewed are marked as lost in the vault: from then on nothing is sent with them.
    """

    def __init__(self, vault: TokenVault, endpoint: TokenEndpoint) -> None:
        super().__init__(endpoint)
        self._vault = vault

    async def _renew(self) -> Tokens:
        held = self._usable(await self._vault.load())
        if self._lasts(held):  # another process renewed it
            return held
        # Between the answer and the vault the only copy of a single-use token is here: no cancelling in between.
        return await _to_the_end(self._renew_alone())

    async def _renew_alone(self) -> Tokens:
        async with self._vault.lock():
            held = self._usable(await self._vault.load())
            if self._lasts(held):
                return held
            try:
                fresh = await self._refresh(held)
            except TokenLost as lost:
                now = await self._vault.load()
                # The lock may have been lost: then another process has renewed the pair.
                if isinstance(now, Tokens) and now != held:
                    return now
                await self._vault.lose(lost.reason)
                raise self._given_up(lost.reason) from None
            return await self._keep(fresh, held)

    async def _keep(self, fresh: Tokens, held: Tokens) -> Tokens:
        """Store the pair, and return what is stored. The vendor gives it only once: a database that restarts is waited for.

        A restart also releases the lock, so a pair that another process or a person has stored meanwhile is not replaced.
        """
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(StoreError),
            wait=tenacity.wait_fixed(SAVE_PAUSE),
            stop=tenacity.stop_after_delay(SAVE_SECONDS),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                now = held if attempt.retry_state.attempt_number == 1 else await self._vault.load()
                if now != held and not isinstance(now, Lost):
                    return self._usable(now)
                await self._vault.save(fresh)
        return fresh

    async def _refresh(self, held: Tokens) -> Tokens:
        if not held.refresh_token:
            raise self._given_up("the access token has ended, and nothing came with it that renews it.")
        try:
            fresh = await self._trade(held)
        except CutOff:  # it may not have arrived, and some servers give the same answer twice for that
            fresh = await self._trade(held)
        # Left out means: as before.
        return replace(fresh, scope=fresh.scope or held.scope, account=fresh.account or held.account)

    async def _trade(self, held: Tokens) -> Tokens:
        return await self.endpoint.ask(
            "refresh_token", on_request=self.on_request, hidden=held.secrets, refresh_token=held.refresh_token
        )

    def _usable(self, held: Tokens | Lost | None) -> Tokens:
        if isinstance(held, Tokens):
            return self._noted(held)
        raise self._given_up("consent has not been given yet." if held is None else held.reason)

    def _given_up(self, reason: str) -> TokenLost:
        """The one message that all callers get from then on; nothing is sent."""
        return TokenLost(reason, Request(self.endpoint.system, "POST", urlsplit(self.endpoint.url).path))


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """What the work gives. Cancelling the caller waits for the end of it."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as stop:
                cancelled = stop
    if cancelled is not None:
        raise cancelled
    return task.result()
