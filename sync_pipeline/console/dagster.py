"""The Dagster UI behind the console's gate and session: by itself it has neither, and it accepts mutations by GET."""

from __future__ import annotations

import logging
from pathlib import Path

from anyio.to_thread import run_sync
from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from sync_pipeline.console.gate import HEADERS, PROTECTED, SecurityMiddleware
from sync_pipeline.console.programs import HEALTH
from sync_pipeline.console.roles import Role
from sync_pipeline.console.sharing import SharedSignIn, SignIn
from sync_pipeline.console.sign_in_links import SIGN_IN
from sync_pipeline.console.signing_in import refused, signed_out, take_link
from sync_pipeline.console.site import USER, Site
from sync_pipeline.errors import StoreError
from sync_pipeline.serving import READ_ONLY, READING

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
GRAPHQL = "/graphql"
MAX_BODY = 16 * 1024 * 1024
MAX_TOKENS = 10_000
ONLY_ADMINS = "In the Dagster UI only admins may change something; other roles read. Nothing was changed."
NO_MUTATION = "A GET may only read. Nothing was changed."


def gated(app: ASGIApp, site: Site, sign_in: SharedSignIn | SignIn) -> ASGIApp:
    """The UI, for signed-in users and at the installation's address only."""

    def take(request: Request) -> Response:
        user = request.scope[USER]

        def is_member() -> bool:
            return sign_in.role_at_ui(request.cookies, user) is not None

        return _ours(take_link(request, lambda token: sign_in.redeem(token, user), is_member))

    inside = Starlette(
        routes=[
            Mount("/static", StaticFiles(directory=STATIC)),
            Route(SIGN_IN, take, methods=["GET"]),
            Route(HEALTH, lambda _: JSONResponse({"status": "ok"}), methods=["GET"]),
            Mount("/", _SignedIn(app, sign_in)),
        ]
    )
    return SecurityMiddleware(inside, site, _refused, for_programs=(HEALTH,), headers=PROTECTED, max_body=MAX_BODY)


class _SignedIn:
    """Passes on what comes from a signed-in browser, WebSockets included."""

    def __init__(self, app: ASGIApp, sign_in: SharedSignIn | SignIn) -> None:
        self._app, self._sign_in = app, sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket."""
        role = await run_sync(self._role, HTTPConnection(scope))
        if role is None:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await _ours(signed_out(Request(scope)))(scope, receive, send)
        elif scope["type"] == "http" and _changes_by_get(Request(scope)):
            await _refused(Request(scope), 405, "Not possible here", NO_MUTATION)(scope, receive, send)
        elif role != "admin" and scope["type"] == "http" and not _only_reads(Request(scope)):
            await _refused(Request(scope), 403, "Not allowed", ONLY_ADMINS)(scope, receive, send)
        else:
            await self._app({**scope, READ_ONLY: role != "admin"}, receive, send)

    def _role(self, asking: HTTPConnection) -> Role | None:
        try:
            return self._sign_in.role_at_ui(asking.cookies, asking.scope[USER])
        except StoreError as error:
            log.warning("The session of a request cannot be looked up: %s", error)
            return None


def _only_reads(request: Request) -> bool:
    """Whether a request is of a kind that the UI's own permissions guard, or reads; reports of assets are not guarded."""
    return request.method in READING or request.url.path.rstrip("/").endswith(GRAPHQL)


def _changes_by_get(request: Request) -> bool:
    """Whether a GET asks for more than queries; a document that cannot be parsed counts as such."""
    query = request.query_params.get("query")
    if request.method == "POST" or not request.url.path.startswith(GRAPHQL) or query is None:
        return False
    try:
        document = parse(query, no_location=True, max_tokens=MAX_TOKENS)
    except (GraphQLError, RecursionError):
        return True
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    return any(each.operation is not OperationType.QUERY for each in operations)


def _ours(page: Response) -> Response:
    page.headers.update(HEADERS)
    return page


def _refused(request: Request, status: int, title: str, why: str, *, link: str = "") -> Response:
    return _ours(refused(request, status, title, why, link=link))
