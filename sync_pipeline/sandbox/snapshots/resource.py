"""One path of the API: method to handler, with authentication, limits and problem answers around it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sync_pipeline.sandbox.journal import serving
from sync_pipeline.sandbox.snapshots.auth import Caller, RateLimiter, authenticate
from sync_pipeline.sandbox.snapshots.problems import Problem, malformed_body
from sync_pipeline.sandbox.snapshots.settings import read_settings
from sync_pipeline.sandbox.world import World

MAX_BODY = 16 * 1024 * 1024
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request with its body read."""

    world: World
    request: Request
    caller: Caller
    body: bytes

    @property
    def path(self) -> Mapping[str, str]:
        """The variables of the path."""
        return self.request.path_params

    def json(self) -> Any:
        """The body as JSON, or a problem with the reason."""
        media = self.request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if media != JSON and not media.endswith("+json"):
            raise Problem(415, "unsupported_media_type", f"Send {JSON}, not {media}.")
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise malformed_body(f"The body is not JSON: {error}") from None


Handler = Callable[[Call], Response]


class Resource:
    """An ASGI application for one path. Handlers are plain functions: all they wait for is SQLite."""

    def __init__(
        self, world: World, limiter: RateLimiter, handlers: Mapping[str, Handler], *, lags: bool = False
    ) -> None:
        self.world = world
        self.lags = lags
        self.limiter = limiter
        self.handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every problem raised on the way becomes the answer."""
        request = Request(scope, receive)
        request_id = f"req_{secrets.token_hex(8)}"
        try:
            response = self._answer(request, await read_body(request))
        except ClientDisconnect:
            return
        except Problem as problem:
            if problem.status == 429:
                self.world.stats.rate_limited += 1
            response = problem.response(request.url.path, request_id)
        response.headers["X-Request-Id"] = request_id
        await response(scope, receive, send)

    def _answer(self, request: Request, body: bytes) -> Response:
        caller = authenticate(self.world, request)
        self.limiter.admit(caller, read_settings(self.world.db).rate_per_second)
        handler = self.handlers.get(request.method)
        if handler is None:
            allowed = ", ".join(self.handlers)
            if not allowed:
                raise Problem(404, "unknown_route", f"There is nothing at {request.url.path}.")
            raise Problem(
                405, "method_not_allowed", f"{request.method} is not offered here.", headers={"Allow": allowed}
            )
        frozen = self.world.lag.of("snapshots", request.headers) if self.lags else None
        with serving(self.world.journal, request, body, frozen):
            return handler(Call(self.world.as_of(frozen), request, caller, body))


async def read_body(request: Request) -> bytes:
    """The whole body, or 413 as soon as it is too large to be a batch."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise Problem(413, "body_too_large", f"A body may have {MAX_BODY} bytes.", headers={"Connection": "close"})
        parts.append(part)
    return b"".join(parts)
