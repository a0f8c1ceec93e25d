"""The receiver: verify, store, answer. An ASGI app; nothing is worked on here.

The sender is verified before a byte of the body is read: who does not know path and token costs neither memory nor a
write. Every refusal has one reason, which is counted; 200 means that the event is committed, or was known.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import orjson
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sync_pipeline.errors import SyncError
from sync_pipeline.store import events
from sync_pipeline.store.events import Received, content_id
from sync_pipeline.webhooks.addon import AddonKey
from sync_pipeline.webhooks.events import about
from sync_pipeline.webhooks.hooks import ADDON, NAMES, Hook, HookStore
from sync_pipeline.webhooks.inbox import Busy, Inbox, InboxLimits
from sync_pipeline.webhooks.metrics import CONTENT_TYPE, Metrics

log = logging.getLogger(__name__)

SYSTEM = "clockify"
SIGNATURE = "clockify-signature"
EVENT = "clockify-webhook-event-type"
EVENT_NAME = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
MAX_BODY = 1024 * 1024
MAX_SECRET = 8192
"""Characters of a path secret or a token; an add-on's is about a thousand long."""
RETRY_AFTER_SECONDS = "15"
REMEMBERED_SECONDS = 10.0
"""For how long a hook is taken from memory. A delivery it does not fit is compared with the store at once."""

REFUSALS = {
    "workspace": 404,
    "path": 404,
    "signature": 401,
    "event": 400,
    "content_type": 415,
    "too_large": 413,
    "incomplete": 400,
    "not_json": 400,
    "other_workspace": 403,
    "busy": 503,
}
"""Every reason for which a delivery changes nothing, and its status."""


class Refused(Exception):
    """The delivery changes nothing; ``reason`` is one of REFUSALS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverOptions:
    """What a receiver is for, and its limits."""

    workspace: str
    addon_key: AddonKey | None = None
    max_body: int = MAX_BODY
    limits: InboxLimits = field(default_factory=InboxLimits)


class Receiver:
    """Takes in the deliveries for one connection."""

    def __init__(
        self, hooks: HookStore, options: ReceiverOptions, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self.metrics = Metrics()
        self._hooks = hooks
        self._options = options
        self._now = now
        self._clock = clock
        self._known: dict[str, tuple[Hook | None, float]] = {}
        self._inbox: Inbox | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run the inbox; what was taken in is written before this ends."""
        write = partial(events.receive_many, self._hooks.store, self._hooks.connection, SYSTEM)
        async with Inbox(write, self._options.limits) as self._inbox:
            yield

    async def take(self, request: Request) -> Response:
        """POST /hooks/{workspace}/{hook}/{secret}."""
        self.metrics.received.inc()
        try:
            news = await self._take(request)
        except Refused as refused:
            self.metrics.refused.labels(refused.reason).inc()
            headers = {"Retry-After": RETRY_AFTER_SECONDS} if refused.reason == "busy" else None
            return JSONResponse({"refused": refused.reason}, REFUSALS[refused.reason], headers)
        (self.metrics.stored if news else self.metrics.duplicate).inc()
        return JSONResponse({"status": "stored" if news else "duplicate"})

    async def health(self, _: Request) -> Response:
        """GET /healthz: 200 while deliveries can be kept."""
        inbox = await self._open_counts()
        if inbox is None:
            return JSONResponse({"status": "the database does not answer"}, 503)
        return JSONResponse({"status": "ok", "inbox_open": sum(inbox.values())})

    async def report(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(self.metrics.text(await self._open_counts()), media_type=CONTENT_TYPE)

    async def _take(self, request: Request) -> bool:
        await self._verify(request)
        kind = request.headers.get(EVENT, "")
        if EVENT_NAME.fullmatch(kind) is None:
            raise Refused("event")
        raw = await self._body(request)
        received = self._received(kind, raw)
        if self._inbox is None:
            raise Refused("busy")
        try:
            return await self._inbox.put(received)
        except Busy:
            raise Refused("busy") from None

    async def _verify(self, request: Request) -> None:
        asked = request.path_params
        if asked["workspace"] != self._options.workspace:
            raise Refused("workspace")
        name, secret = asked["hook"], asked["secret"]
        token = request.headers.get(SIGNATURE, "")
        if name not in NAMES or max(len(secret), len(token)) > MAX_SECRET:
            raise Refused("path")
        if not self._fits(await self._hook(name), secret, token):
            # It may have been registered, or its token changed, a moment ago by another process.
            hook = await self._hook(name, anew=True)
            if not self._fits(hook, secret, token):
                raise Refused("signature" if hook is not None and hook.is_at(secret) else "path")

    def _fits(self, hook: Hook | None, secret: str, token: str) -> bool:
        if hook is None or not hook.is_at(secret):
            return False
        if hook.name != ADDON:
            return hook.accepts(token, self._now())
        key = self._options.addon_key
        return key is not None and key.accepts(token, self._options.workspace, self._now())

    async def _hook(self, name: str, *, anew: bool = False) -> Hook | None:
        hook, until = self._known.get(name, (None, 0.0))
        if anew or self._clock() >= until:
            try:
                hook = await run_sync(self._hooks.load, name)
            except SyncError as error:
                log.warning("A delivery could not be verified; Clockify will send it again. %s", error)
                raise Refused("busy") from error
            self._known[name] = (hook, self._clock() + REMEMBERED_SECONDS)
        return hook

    async def _body(self, request: Request) -> bytes:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused("content_type")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._options.max_body:
            raise Refused("too_large")
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                if len(body) > self._options.max_body:
                    raise Refused("too_large")
        except ClientDisconnect:
            raise Refused("incomplete") from None
        return bytes(body)

    def _received(self, kind: str, raw: bytes) -> Received:
        try:
            body = orjson.loads(raw)
            if not isinstance(body, dict):
                raise Refused("not_json")
            entity, source_id = about(kind, body)
            content = content_id(kind, source_id, body)
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # the second one: nested too deeply to be written
            raise Refused("not_json") from None
        if body.get("workspaceId") not in (None, self._options.workspace):
            raise Refused("other_workspace")
        return Received(content, kind, entity, source_id, raw.decode(), self._now())

    async def _open_counts(self) -> dict[str, int] | None:
        try:
            return await run_sync(events.open_counts, self._hooks.store, self._hooks.connection)
        except SyncError as error:
            log.warning("The inbox could not be counted. %s", error)
            return None


def build_app(receiver: Receiver) -> Starlette:
    """The receiver as an ASGI app."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with receiver.open():
            yield

    return Starlette(
        routes=[
            Route("/hooks/{workspace}/{hook}/{secret}", receiver.take, methods=["POST"]),
            Route("/healthz", receiver.health),
            Route("/metrics", receiver.report),
        ],
        lifespan=lifespan,
    )
