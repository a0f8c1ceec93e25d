"""One path of the API: method to operation, with the token, the version, the limits and the refusals around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sync_pipeline.sandbox.database import transaction
from sync_pipeline.sandbox.highlevel.auth import Budget, Caller, authenticate, check_version
from sync_pipeline.sandbox.highlevel.refusals import Refusal, unprocessable
from sync_pipeline.sandbox.highlevel.settings import Settings, read_settings
from sync_pipeline.sandbox.journal import serving
from sync_pipeline.sandbox.lag import Frozen
from sync_pipeline.sandbox.world import World

Json = dict[str, Any]
Types = Mapping[str, type]
KINDS: dict[type, str] = {
    str: "a string", int: "a number", bool: "a boolean value", list: "an array", dict: "an object",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request with its body read."""

    world: World
    settings: Settings
    request: Request
    caller: Caller
    body: bytes
    frozen: Frozen | None = None

    @property
    def path(self) -> Mapping[str, str]:
        """The variables of the path."""
        return self.request.path_params

    def query(self, name: str, default: str | None = None) -> str:
        """A query parameter; 422 when it is required and missing."""
        value = self.request.query_params.get(name, default)
        if value is None or (default is None and not value):
            raise unprocessable(f"{name} must be a string", f"{name} should not be empty")
        return value

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a whole number written as a text."""
        value = self.query(name, str(default))
        if not value.isascii() or not value.isdigit() or len(value) > 15:
            raise unprocessable(f"{name} must be a number string")
        return int(value)

    def json(self, required: Types, optional: Types | None = None) -> Json:
        """The body: an object with properties of these types and no others, or 422. Null is as if it was not sent."""
        try:
            sent = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            sent = None
        if not isinstance(sent, dict):
            raise unprocessable("the body must be a JSON object")
        types, sent = {**required, **(optional or {})}, {name: one for name, one in sent.items() if one is not None}
        problems = [f"property {name} should not exist" for name in sent if name not in types]
        problems += [f"{name} should not be empty" for name in required if name not in sent]
        problems += [
            f"{name} must be {KINDS[kind]}"
            for name, kind in types.items()
            if name in sent and type(sent[name]) is not kind
        ]
        if problems:
            raise unprocessable(*problems)
        return sent

    def location(self, wanted: str) -> str:
        """The location to answer for: the one asked for, when the token may see it."""
        if self.caller.kind == "location" and wanted != self.caller.owner:
            if not self.settings.own_location_only:
                raise Refusal("other_location")
            wanted = self.caller.owner
        if not self.world.db.execute("SELECT 1 FROM highlevel_locations WHERE id = ?", (wanted,)).fetchone():
            raise Refusal("location_not_found", id=wanted)
        return wanted


Answer = tuple[int, Any] | Any
"""The JSON of a 200, or a status and its JSON."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What answers one method of a path, the scope it takes, and whose tokens may ask for it."""

    answer: Callable[[Call], Answer]
    scope: str = ""
    kinds: tuple[str, ...] = ("location",)
    lags: bool = False


class Resource:
    """An ASGI application for one path. Operations are plain functions: all they wait for is SQLite."""

    def __init__(self, world: World, budget: Budget, operations: Mapping[str, Operation]) -> None:
        self.world, self.budget, self.operations = world, budget, operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every refusal raised on the way becomes the answer."""
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        settings, headers = read_settings(self.world.db), dict[str, str]()
        try:
            response = self._answer(request, body, settings, headers)
        except Refusal as refusal:
            response = refusal.response(settings)
        response.headers.update(headers)
        await response(scope, receive, send)

    def _answer(self, request: Request, body: bytes, settings: Settings, headers: dict[str, str]) -> Response:
        operation = self.operations.get(request.method)
        if operation is None:
            raise Refusal("unknown_path", method=request.method, path=request.scope["path"])
        caller = authenticate(self.world, settings, request)
        check_version(request)
        headers |= self.budget.take(caller.owner, settings)
        if min(int(headers["X-RateLimit-Remaining"]), int(headers["X-RateLimit-Daily-Remaining"])) < 0:
            headers |= {name: str(max(0, int(value))) for name, value in headers.items()}
            self.world.stats.rate_limited += 1
            raise Refusal("limited")
        self._permit(operation, caller, settings)
        frozen = self.world.lag.of("highlevel", request.headers) if operation.lags else None
        with serving(self.world.journal, request, body, frozen):
            world = self.world.as_of(frozen)
            with transaction(world.db):
                answer = operation.answer(Call(world, settings, request, caller, body, frozen))
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        return Response(orjson.dumps(content), status, media_type="application/json")

    def _permit(self, operation: Operation, caller: Caller, settings: Settings) -> None:
        kinds = (settings.schema_by,) if operation.kinds == ("schema",) else operation.kinds
        if caller.kind not in kinds:
            raise Refusal("no_route")
        if operation.scope not in caller.scopes:
            raise Refusal("no_scope")
