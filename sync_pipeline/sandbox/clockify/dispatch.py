"""From an HTTP request to a handler: routes, credentials, request budget, workspace, role - in that order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sync_pipeline.sandbox.clockify.auth import authenticate
from sync_pipeline.sandbox.clockify.http import Call, Caller, Endpoint, Refusal, Reply, denied
from sync_pipeline.sandbox.limits import RequestBudget, retry_after
from sync_pipeline.sandbox.webhooks.publish import publish
from sync_pipeline.sandbox.world import World


@dataclass
class _Node:
    """One path segment; ``ids`` are the names its parameter has in the templates below it."""

    children: dict[str, _Node] = field(default_factory=dict)
    endpoints: dict[str, tuple[Endpoint, list[str]]] = field(default_factory=dict)


class ClockifyApi:
    """One host of Clockify as an ASGI application."""

    def __init__(self, world: World, endpoints: Sequence[Endpoint], budget: Callable[[], RequestBudget]) -> None:
        self.world = world
        self.budget = budget
        self.root = _Node()
        for endpoint in endpoints:
            self._add(endpoint)

    def _add(self, endpoint: Endpoint) -> None:
        node, names = self.root, []
        for segment in endpoint.path.strip("/").split("/"):
            parameter = segment.startswith("{")
            if parameter:
                names.append(segment[1:-1])
            node = node.children.setdefault("*" if parameter else segment, _Node())
        node.endpoints[endpoint.method] = (endpoint, names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            reply = self._answer(request, await request.body())
            response = _response(reply)
        except Refusal as refusal:
            response = _error(refusal)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    def _answer(self, request: Request, raw: bytes) -> Reply:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        endpoint, ids = self._find(request.method, path)
        caller = authenticate(self.world, request.headers)
        self._spend()
        workspace = self._workspace(ids)
        _check_access(endpoint, caller)
        call = Call(self.world, caller, workspace, ids, request.query_params, _parse(raw))
        reply = endpoint.handler(call)
        if call.events:
            publish(self.world, workspace, call.events)
        return reply

    def _find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        node, values = _walk(self.root, path.strip("/").split("/"))
        if node is None or not node.endpoints:
            raise Refusal(404, 3000, f"No static resource v1{path}.")
        if method not in node.endpoints:
            allow = {"Allow": ",".join(sorted(node.endpoints))}
            raise Refusal(405, 3000, f"Request method '{method}' is not supported", allow)
        endpoint, names = node.endpoints[method]
        return endpoint, dict(zip(names, values, strict=True))

    def _spend(self) -> None:
        options, now = self.world.options, self.world.clock.epoch()
        wait = self.budget().take(now, options)
        if wait > 0:
            self.world.stats.rate_limited += 1
            message = "Too many requests" if options.limit_body else ""
            raise Refusal(429, None, message, retry_after(wait, now, options))

    def _workspace(self, ids: dict[str, str]) -> str:
        asked = ids.pop("ws", None)
        row = self.world.db.execute("SELECT id FROM workspaces LIMIT 1").fetchone()
        if row is None or (asked is not None and asked != row["id"]):
            # An unknown workspace is the one thing Clockify answers with an empty 404.
            raise Refusal(404, None, "")
        return str(row["id"])


def _walk(root: _Node, segments: list[str]) -> tuple[_Node | None, list[str]]:
    """Follow the segments, literal names before parameters, and give back the node and the parameters' values."""
    if not segments:
        return root, []
    head, rest = segments[0], segments[1:]
    if head in root.children:
        found, values = _walk(root.children[head], rest)
        if found is not None:
            return found, values
    if head and "*" in root.children:
        found, values = _walk(root.children["*"], rest)
        if found is not None:
            return found, [head, *values]
    return None, []


def _check_access(endpoint: Endpoint, caller: Caller) -> None:
    if endpoint.access == "member":
        return
    if caller.addon and endpoint.access in ("person", "no addon"):
        # A missing add-on scope is a 401 without code, not a 403.
        permission = endpoint.permission or "WORKSPACE_WRITE"
        raise Refusal(401, None, f"Addon sandbox does not have permission {permission}")
    if endpoint.access != "no addon" and not caller.admin:
        raise denied()


def _parse(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refusal(400, 3002, "JSON parse error: the request body is not valid JSON") from None


def _response(reply: Reply) -> Response:
    body = reply.body()
    media = "application/json" if body else None
    return Response(body, reply.status, reply.headers, media_type=media)


def _error(refusal: Refusal) -> Response:
    body = refusal.body()
    return Response(body, refusal.status, refusal.headers, media_type="application/json" if body else None)
