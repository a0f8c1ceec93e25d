"""The receiver: verify, store, answer. An ASGI app; nothing is worked on here.

The sender is verified before a byte of the body is read: who does not know path and token costs neither memory nor a
write. Every refusal has one reason, which is counted; 200 means that the event is committed, or was known.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from anyio.to_thread import run_sync
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sync_pipeline.connectors.clockify.webhooks import EVENT, SIGNATURE
from sync_pipeline.errors import SyncError
from sync_pipeline.serving import ServerLimits, is_local
from sync_pipeline.store import events
from sync_pipeline.store.audit import note
from sync_pipeline.store.credentials import SIGNED
from sync_pipeline.store.engine import Store
from sync_pipeline.store.events import Received, content_id
from sync_pipeline.store.forgotten import load_forgotten
from sync_pipeline.store.record_search import linked_to
from sync_pipeline.webhooks.events import EVENT_NAME
from sync_pipeline.webhooks.hooks import ADDON, Hook, HookStore, HooksUnreadable, KnownHooks
from sync_pipeline.webhooks.inbox import HOOK_BYTES, Busy, HookStorage, Inbox, InboxLimits
from sync_pipeline.webhooks.signed import PATH, AddonKey, Signed

log_ = logging.getLogger(__name__)

SYSTEM, SIGNED_SYSTEM = "clockify", "snapshots"
SIGNED_EVENT = re.compile(r"[A-Za-z]{1,64}")
MAX_BODY = 1024 * 1024
MAX_SECRET = 8192
"""Characters of a path secret or a token; an add-on's is about a thousand long."""
RETRY_AFTER_SECONDS = "15"
FOLLOW_SECONDS = 5.0
"""How often the set-up is read, in case it has changed."""
COUNTED_SECONDS = 1.0
"""For how long /healthz and /metrics, which are public, report the same count."""

REFUSALS = {
    "workspace": 404,
    "path": 404,
    "signature": 401,
    "unsigned": 401,
    "stale": 400,
    "event": 400,
    "content_type": 415,
    "too_large": 413,
    "incomplete": 400,
    "not_json": 400,
    "other_workspace": 403,
    "busy": 503,
}
"""Every reason for which a delivery changes nothing, and its status."""
SIGNED_BUSY = 429
"""Of a vendor that signs: some documents of HighLevel say that it sends again after this alone."""


class RefusedDelivery(Exception):
    """The delivery changes nothing; ``reason`` is one of REFUSALS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverOptions:
    """What a receiver is for, and its limits."""

    workspace: str
    addon_key: AddonKey | None = None
    signed: Signed | None = None
    """How deliveries of the other system are recognized; None where it sends none."""
    max_body: int = MAX_BODY
    limits: InboxLimits = field(default_factory=InboxLimits)
    hook_bytes: int = HOOK_BYTES
    """In the database, of each webhook."""
    server: ServerLimits = field(default_factory=lambda: ServerLimits(connections=512))


class Receiver:
    """Takes in the deliveries for one connection."""

    def __init__(
        self,
        hooks: HookStore,
        options: ReceiverOptions,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        metrics: ReceiverMetrics | None = None,
    ) -> None:
        self.metrics = metrics or ReceiverMetrics()
        self._hooks = hooks
        self.options = options
        self._now = now
        self._clock = clock
        self._known_hooks = KnownHooks(hooks, clock)
        self._storage = HookStorage(hooks.store, hooks.pair, clock, options.hook_bytes)
        self._inbox: Inbox | None = None
        self._reading = 0
        self._counts: dict[str, int] | None = None
        self._counted_until = float("-inf")
        self._counting = asyncio.Lock()

    def for_accounts(self, hooks: HookStore, options: ReceiverOptions) -> Receiver:
        """Another receiver, for another connection, with the same figures."""
        return Receiver(hooks, options, self._now, self._clock, self.metrics)

    @property
    def store(self) -> Store:
        """The database that it writes to."""
        return self._hooks.store

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run the inbox; what was taken in is written before this ends."""
        async with Inbox(self._write, self.options.limits) as self._inbox:
            yield

    def _write(self, batch: Sequence[Received]) -> list[bool | None]:
        """Store a batch, without people who were forgotten, also since this receiver started."""
        hooks = self._hooks
        forgotten = load_forgotten(hooks.store, hooks.pair, lambda: hooks.keyring)
        cleaned = [one._replace(payload=forgotten.cleaned(one.payload)) for one in batch]
        has_room = [self._storage.has_room(one) for one in cleaned]
        kept = [one for one, fits in zip(cleaned, has_room, strict=True) if fits]
        theirs = iter(self._write_signed([one for one in kept if one.hook == SIGNED]))
        news = iter(events.receive_many(hooks.store, hooks.pair, SYSTEM, [one for one in kept if one.hook != SIGNED]))
        ways = [theirs if one.hook == SIGNED else news for one in cleaned]
        return [next(way) if fits else None for way, fits in zip(ways, has_room, strict=True)]

    def _write_signed(self, batch: Sequence[Received]) -> list[bool]:
        """Store those of the other system; a delivery that any receiver has kept is no news, whatever it says now."""
        if not batch:
            return []
        store, pair, now = self._hooks.store, self._hooks.pair, self._now()
        named = [one.delivery for one in batch if one.delivery]
        known = events.seen_deliveries(store, pair, named, now)
        firsts = []
        for number, one in enumerate(batch):
            if one.delivery not in known:
                firsts.append(number)
            known |= {one.delivery} - {""}
        news = events.receive_many(store, pair, SIGNED_SYSTEM, self._with_source([batch[number] for number in firsts]))
        events.note_deliveries(store, pair, named, now)
        stored = dict(zip(firsts, news, strict=True))
        return [stored.get(number, False) for number in range(len(batch))]

    def _with_source(self, batch: Sequence[Received]) -> list[Received]:
        """Those about a record at the target, with the source's record that is linked to it; unknown ones are about nothing."""
        hooks, ids = self._hooks, {one.source_id for one in batch if one.entity is None and one.source_id}
        found = linked_to(hooks.store, hooks.pair, hooks.events.entities, ids)
        pairs = ((one, found.get(one.source_id or "", (None, None))) for one in batch)
        return [one if one.entity else one._replace(entity=to[0], source_id=to[1]) for one, to in pairs]

    async def take(self, request: Request) -> Response:
        """POST /hooks/{workspace}/{hook}/{secret}."""
        return await self._answer(request, self._take)

    async def take_signed(self, request: Request) -> Response:
        """POST /hooks/signed/{secret}/{event}."""
        return await self._answer(request, self._take_signed, SIGNED_BUSY)

    async def _answer(
        self, request: Request, take: Callable[[Request], Awaitable[bool]], busy: int = REFUSALS["busy"]
    ) -> Response:
        self.metrics.received.inc()
        try:
            news = await take(request)
        except RefusedDelivery as refused:
            self.metrics.refused.labels(refused.reason).inc()
            if refused.reason == "busy":
                return JSONResponse({"refused": "busy"}, busy, {"Retry-After": RETRY_AFTER_SECONDS})
            return JSONResponse({"refused": refused.reason}, REFUSALS[refused.reason])
        (self.metrics.stored if news else self.metrics.duplicate).inc()
        return JSONResponse({"status": "stored" if news else "duplicate"})

    async def health(self, request: Request) -> Response:
        """GET /healthz: 200 while deliveries can be kept. The figure is for this machine, not for a public address."""
        inbox = await self._open_counts()
        if inbox is None:
            return JSONResponse({"status": "the database does not answer"}, 503)
        is_here = is_local(request.headers.get("host", ""))
        return JSONResponse(
            {"status": "ok", **({"inbox_open": sum(inbox.values())} if is_here else {"receiver": "sync_pipeline"})}
        )

    async def report(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(self.metrics.text(await self._open_counts()), media_type=CONTENT_TYPE_LATEST)

    async def _take(self, request: Request) -> bool:
        hook = await self._verify(request)
        kind = request.headers.get(EVENT, "")
        if EVENT_NAME.fullmatch(kind) is None:
            raise RefusedDelivery("event")
        raw = await self._body(request)
        return await self._keep(self._received(hook, kind, raw))

    async def _take_signed(self, request: Request) -> bool:
        signed, event = await self._at_signed(request.path_params["secret"]), request.path_params["event"]
        if SIGNED_EVENT.fullmatch(event) is None:
            raise RefusedDelivery("event")
        signature = request.headers.get(signed.facts.signature, "")
        if signature in ("", signed.facts.unsigned):
            raise RefusedDelivery("unsigned")
        raw = await self._body(request)
        if not signed.accepts(raw, signature):
            raise RefusedDelivery("signature")
        body = _parsed(raw)
        if signed.is_stale(body, self._now()):
            raise RefusedDelivery("stale")
        if signed.company and body.get("companyId") not in (None, signed.company):
            raise RefusedDelivery("other_workspace")
        return await self._keep_signed(signed, event, body, raw)

    async def _at_signed(self, secret: str) -> Signed:
        """How the delivery is recognized, when its address is the secret one."""
        signed = self.options.signed
        if signed is None or len(secret) > MAX_SECRET:
            raise RefusedDelivery("path")
        try:
            _, is_fitting = await self._known_hooks.find(SIGNED, lambda hook: hook is not None and hook.is_at(secret))
        except HooksUnreadable:
            raise RefusedDelivery("busy") from None
        if not is_fitting:
            raise RefusedDelivery("path")
        return signed

    async def _keep_signed(self, signed: Signed, event: str, body: dict[str, Any], raw: bytes) -> bool:
        kind, entity, record = signed.about(event, body)
        content = _content(kind, record, body)
        delivery = signed.id_of(body)
        news = await self._keep(Received(content, kind, entity, record, raw.decode(), self._now(), SIGNED, delivery))
        if news and event in signed.facts.app:
            await run_sync(self._note_app, signed, event, body)
        return news

    def _note_app(self, signed: Signed, event: str, body: Mapping[str, Any]) -> None:
        place = str(body.get("locationId") or body.get("companyId") or "")[:64]
        note(self._hooks.store, "webhook", f"app: {event.lower()}", place, self._now())
        if not signed.is_late(body, self._now()):  # a late UNINSTALL may be older than an INSTALL that was followed
            signed.follow_app(event, body)

    async def _keep(self, received: Received) -> bool:
        if self._inbox is None:
            raise RefusedDelivery("busy")
        try:
            return await self._inbox.put(received)
        except Busy:
            raise RefusedDelivery("busy") from None

    async def _verify(self, request: Request) -> str:
        """The name of the hook by which a delivery came in."""
        asked = request.path_params
        if asked["workspace"] != self.options.workspace:
            raise RefusedDelivery("workspace")
        name, secret = str(asked["hook"]), asked["secret"]
        token = request.headers.get(SIGNATURE, "")
        if not self._hooks.knows(name) or max(len(secret), len(token)) > MAX_SECRET:
            raise RefusedDelivery("path")
        try:
            hook, is_fitting = await self._known_hooks.find(name, lambda hook: self._fits(hook, secret, token))
        except HooksUnreadable:
            raise RefusedDelivery("busy") from None
        if not is_fitting:
            raise RefusedDelivery("signature" if hook is not None and hook.is_at(secret) else "path")
        return name

    def _fits(self, hook: Hook | None, secret: str, token: str) -> bool:
        if hook is None or not hook.is_at(secret):
            return False
        if hook.name != ADDON:
            return hook.accepts(token, self._now())
        key = self.options.addon_key
        return key is not None and key.accepts(token, self.options.workspace, self._now())

    async def _body(self, request: Request) -> bytes:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedDelivery("content_type")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.options.max_body:
            raise RefusedDelivery("too_large")
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                self._reading += len(part)
                if len(body) > self.options.max_body:
                    raise RefusedDelivery("too_large")
                if self._reading > self.options.limits.bytes:
                    raise RefusedDelivery("busy")
        except ClientDisconnect:
            raise RefusedDelivery("incomplete") from None
        finally:
            self._reading -= len(body)
        return bytes(body)

    def _received(self, hook: str, kind: str, raw: bytes) -> Received:
        body = _parsed(raw)
        entity, source_id = self._hooks.events.about(kind, body)
        content = _content(kind, source_id, body)
        if body.get("workspaceId") not in (None, self.options.workspace):
            raise RefusedDelivery("other_workspace")
        return Received(content, kind, entity, source_id, raw.decode(), self._now(), hook)

    async def _open_counts(self) -> dict[str, int] | None:
        async with self._counting:
            if self._clock() >= self._counted_until:
                try:
                    self._counts = await run_sync(events.open_counts, self._hooks.store, self._hooks.pair)
                except SyncError as error:
                    log_.warning("The inbox could not be counted. %s", error)
                    self._counts = None
                self._counted_until = self._clock() + COUNTED_SECONDS
            return self._counts


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise RefusedDelivery("not_json") from None
    if not isinstance(body, dict):
        raise RefusedDelivery("not_json")
    return body


def _content(kind: str, source_id: str | None, body: dict[str, Any]) -> str:
    try:
        return content_id(kind, source_id, body)
    except orjson.JSONEncodeError:  # nested too deeply to be written
        raise RefusedDelivery("not_json") from None


Renewed = Callable[[], tuple[HookStore, ReceiverOptions] | None]
"""Gives what to work with from now on, when the set-up has changed; None while it has not."""


def same() -> None:
    """The set-up does not change."""


class Current:
    """The receiver of the current set-up. The one before it finishes what it has started, and writes the events it has accepted."""

    def __init__(self, receiver: Receiver, renewed: Renewed = same) -> None:
        self.receiver = receiver
        self._renewed = renewed
        self._opened = AsyncExitStack()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take deliveries, and follow the set-up."""
        await self._opened.enter_async_context(self.receiver.open())
        ended = asyncio.Event()
        following = asyncio.create_task(self._follow(ended), name="webhook-set-up")
        try:
            yield
        finally:
            ended.set()
            await following
            await self._opened.aclose()

    async def _follow(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), FOLLOW_SECONDS)
            try:
                if not ended.is_set() and (found := await run_sync(self._renewed)) is not None:
                    await self._replace(self.receiver.for_accounts(*found))
            except SyncError as error:  # such as a database that does not answer
                log_.warning("The set-up cannot be read. %s", error)
            except Exception:  # whatever it is, the set-up is read again: deliveries of new accounts depend on it
                log_.exception("The set-up cannot be read.")

    async def _replace(self, receiver: Receiver) -> None:
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(receiver.open())
            before, self._opened, self.receiver = self._opened, opening.pop_all(), receiver
        await before.aclose()

    async def take(self, request: Request) -> Response:
        """POST /hooks/{workspace}/{hook}/{secret}."""
        return await self.receiver.take(request)

    async def take_signed(self, request: Request) -> Response:
        """POST /hooks/signed/{secret}/{event}."""
        return await self.receiver.take_signed(request)

    async def health(self, request: Request) -> Response:
        """GET /healthz."""
        return await self.receiver.health(request)

    async def report(self, request: Request) -> Response:
        """GET /metrics."""
        return await self.receiver.report(request)


def build_app(current: Current) -> Starlette:
    """The receiver as an ASGI app."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with current.open():
            yield

    return Starlette(
        routes=[
            Route(PATH + "/{secret}/{event}", current.take_signed, methods=["POST"]),
            Route("/hooks/{workspace}/{hook}/{secret}", current.take, methods=["POST"]),
            Route("/healthz", current.health),
            Route("/metrics", current.report),
        ],
        lifespan=lifespan,
    )


_PREFIX = "sync_pipeline_webhooks"


class ReceiverMetrics:
    """The figures of one receiver, for Prometheus, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", help_, labels, registry=self._registry)

        self.received = counter("received", "Requests to the webhook paths, good or bad.")
        self.stored = counter("stored", "Events that were new and are kept in the inbox.")
        self.duplicate = counter("duplicate", "Events that repeated what was known and were dropped.")
        self.refused = counter("refused", "Requests that changed nothing, by reason.", "reason")
        self._open = Gauge(f"{_PREFIX}_inbox_open", "Events to be processed.", ["entity"], registry=self._registry)
        self._up = Gauge(f"{_PREFIX}_store_up", "1 when the database answers.", registry=self._registry)

    def text(self, inbox: Mapping[str, int] | None) -> bytes:
        """Everything as Prometheus reads it; ``inbox`` is None when the database does not answer."""
        self._up.set(0 if inbox is None else 1)
        self._open.clear()
        for entity, number in (inbox or {}).items():
            self._open.labels(entity).set(number)
        return generate_latest(self._registry)
