"""From an HTTP request to a handler: routes, credentials, request budget, workspace, role - in that order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sync_pipeline.sandbox.clockify.auth import authenticate
from sync_pipeline.sandbox.clockify.http import Call, Caller, Endpoint, Refusal, Reply, denied
from sync_pipeline.sandbox.journal import serving
from sync_pipeline.sandbox.limits import RequestBudget, retry_after
from sync_pipeline.sandbox.webhooks.publish import publish
from sync_pipeline.sandbox.world import World

Tree = dict[str, Any]
"""What is below a path: by the next segment, ``*`` for a parameter; under "" the endpoints by verb."""


class ClockifyApi:
    """One host of Clockify as an ASGI application."""

    def __init__(self, world: World, endpoints: Sequence[Endpoint], budget: Callable[[], RequestBudget]) -> None:
        self.world = world
        self.budget = budget
        self.root: Tree = {}
        for endpoint in endpoints:
            tree = self.root
            for segment in endpoint.segments:
                tree = tree.setdefault("*" if segment.startswith("{") else segment, {})
            tree.setdefault("", {})[endpoint.method] = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            response = _response(self._answer(request, await request.body()))
        except Refusal as refusal:
            response = _response(refusal)
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
        frozen = self.world.lag.of("clockify", request.headers) if endpoint.lags else None
        call = Call(self.world.as_of(frozen), caller, workspace, ids, request.query_params, _parse(raw))
        with serving(self.world.journal, request, raw, frozen):
            reply = endpoint.handler(call)
        if call.events:
            publish(self.world, call.events)
        return reply

    def _find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        segments = path.strip("/").split("/")
        endpoints: dict[str, Endpoint] = (_walk(self.root, segments) or {}).get("", {})
        if not endpoints:
            raise Refusal(404, 3000, f"No static resource v1{path}.")
        if method not in endpoints:
            allow = {"Allow": ",".join(sorted(endpoints))}
            raise Refusal(405, 3000, f"Request method '{method}' is not supported", allow)
        named = zip(endpoints[method].segments, segments, strict=True)
        return endpoints[method], {name[1:-1]: value for name, value in named if name.startswith("{")}

    def _spend(self) -> None:
        options, now = self.world.options, self.world.clock.epoch()
        wait = self.budget().take(now, options)
        if wait > 0:
            self.world.stats.rate_limited += 1
            message = "Too many requests" if options.limit_body else ""
            raise Refusal(429, None, message, retry_after(wait, now, options))

    def _workspace(self, ids: dict[str, str]) -> str:
        asked, known = ids.pop("ws", None), self.world.workspace
        if not known or (asked is not None and asked != known):
            # An unknown workspace is the one thing Clockify answers with an empty 404.
            raise Refusal(404, None, "")
        return known


def _walk(tree: Tree, segments: Sequence[str]) -> Tree | None:
    """What is below these segments; literal names come before parameters."""
    if not segments:
        return tree
    head, *rest = segments
    for name in (head, "*") if head else ():
        if name in tree and (found := _walk(tree[name], rest)) is not None:
            return found
    return None


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


def _response(answer: Reply | Refusal) -> Response:
    body = answer.body()
    return Response(body, answer.status, answer.headers, media_type="application/json" if body else None)
