"""The console as an ASGI app: which page is where, who may see it, and what an error looks like."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from sync_pipeline.console import (
    activity,
    alerts,
    approvals,
    clockify,
    connections,
    drafts,
    helping,
    live,
    mapping,
    overview,
    records,
    secrets,
    snapshots,
    trying,
)
from sync_pipeline.console.forms import BadForm, Form, read_form
from sync_pipeline.console.frame import Frame
from sync_pipeline.console.gate import MAX_BODY, SecurityMiddleware
from sync_pipeline.console.request_context import Console, RequestContext, render
from sync_pipeline.console.sessions import BrowserSession
from sync_pipeline.console.sign_in_links import SIGN_IN
from sync_pipeline.console.signing_in import not_by_head, refused, signed_out, take_link
from sync_pipeline.console.work import where
from sync_pipeline.errors import RetryableApiError, StoreError, SyncError

log = logging.getLogger(__name__)

Handler = Callable[[RequestContext], Response]

PAGES: Mapping[str, Handler] = {
    "/": overview.show,
    "/overview/progress": overview.progress,
    "/activity": activity.show,
    "/activity/csv": activity.export,
    "/activity/run/{run}": activity.run,
    "/records": records.show,
    "/records/csv": records.export,
    "/records/{entity}/{source_id:path}": records.record,
    "/clockify": clockify.show,
    "/snapshots": snapshots.show,
    "/snapshots/authorize": snapshots.consent,
    snapshots.AUTHORIZED: snapshots.authorized,
    "/mapping": mapping.overview,
    "/mapping/{entity}": mapping.show,
    "/mapping/new/{entity}": mapping.new,
    "/mapping/{entity}/{name}": mapping.edit,
    "/draft": drafts.show,
    "/versions": drafts.history,
    "/try": trying.show,
    "/try/progress": trying.progress,
    "/live": live.show,
    "/connections": connections.show,
    "/connections/progress": connections.progress,
    "/approvals": approvals.overview,
    "/approvals/{number}": approvals.show,
    "/settings/alerts": alerts.show,
    "/settings/secrets": secrets.show,
    "/settings/audit": secrets.audit,
    "/help": helping.show,
}
FORMS: Mapping[str, Handler] = {
    "/clockify": clockify.connect,
    "/clockify/disconnect": clockify.leave,
    "/snapshots": snapshots.connect,
    "/snapshots/authorize": snapshots.authorize,
    "/snapshots/disconnect": snapshots.leave,
    "/mapping": mapping.choose,
    "/mapping/{entity}": mapping.save,
    "/mapping/check/{entity}": mapping.check,
    "/mapping/drop/{entity}": mapping.drop,
    "/mapping/restore/{entity}": mapping.restore,
    "/draft/preview": drafts.preview,
    "/draft/publish": drafts.put_in_force,
    "/draft/discard": drafts.forget,
    "/versions/{number}": drafts.restore,
    "/try": trying.begin,
    "/live": live.turn,
    "/connections": connections.begin,
    "/records/{entity}/retry": records.retry,
    "/records/{entity}/ignore": records.ignore,
    "/approvals/{number}": approvals.decide_one,
    "/settings/alerts": alerts.add,
    "/settings/alerts/test": alerts.test,
    "/settings/alerts/remove": alerts.remove,
    "/settings/secrets/rotate": secrets.rotate,
    "/settings/secrets/retire": secrets.retire,
    "/settings/secrets/encrypt-again": secrets.encrypt_again,
}
MOVED = {
    "/check": "/connections",
    "/check/progress": "/connections/progress",
    "/fields": "/mapping",
    "/fields/{entity}": "/mapping/{entity}",
    "/fields/{entity}/new": "/mapping/new/{entity}",
    "/fields/{entity}/check": "/mapping/check/{entity}",
    "/fields/{entity}/drop": "/mapping/drop/{entity}",
    "/fields/{entity}/restore": "/mapping/restore/{entity}",
    "/fields/{entity}/edit/{name}": "/mapping/{entity}/{name}",
    "/rejects": "/records?state=rejected",
    "/secrets": "/settings/secrets",
    "/secrets/{form}": "/settings/secrets/{form}",
    "/settings": "/settings/secrets",
    "/trail": "/settings/audit",
}
"""Addresses of earlier versions, and where their pages and forms are now."""
SELF_REFRESHING = frozenset({"/overview/progress", "/try/progress", "/connections/progress"})
"""Pages look for news here by themselves: that keeps no session alive."""
STATIC = Path(__file__).parent / "static"
BACK = "Back to the step"
BROKEN = "The console made a mistake here; its log says where. Nothing else is affected."


def build_app(console: Console) -> ASGIApp:
    """The app over a console; it ends what the console began when it is shut down."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_sync(console.close)

    door = _Router(console)
    paths = [Route(path, door.page(handler), methods=["GET"]) for path, handler in PAGES.items()]
    forms = [Route(path, door.form(handler), methods=["POST"]) for path, handler in FORMS.items()]
    routes: list[BaseRoute] = [
        Mount("/static", StaticFiles(directory=STATIC)),
        Route(SIGN_IN, door.sign_in, methods=["GET"]),
        Route(snapshots.CALLBACK, door.way_back, methods=["GET"]),
        Route("/sign-out", door.sign_out, methods=["POST"]),
        Route("/rejects/{entity}", _moved("/records?state=rejected&entity={entity}"), methods=["GET"]),
        Route("/rejects/{entity}", _moved("/records/{entity}/retry"), methods=["POST"]),
        *_by_path([*forms, *paths, *(Route(old, _moved(new), methods=["GET", "POST"]) for old, new in MOVED.items())]),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _not_found, 500: _broken})
    app.router.redirect_slashes = False
    return SecurityMiddleware(app, console.host, refused, way_back=snapshots.CALLBACK)


def _moved(address: str) -> Callable[[Request], Response]:
    """A redirect to where a page or form is now, which keeps the method and what was sent."""

    def endpoint(request: Request) -> Response:
        named = {name: quote(str(value), safe="") for name, value in request.path_params.items()}
        query = f"?{request.url.query}" if request.url.query and "?" not in address else ""
        return RedirectResponse(address.format(**named) + query, 308)

    return endpoint


def _by_path(routes: list[Route]) -> list[Route]:
    """Literal paths before those with a parameter."""
    return sorted(routes, key=lambda route: route.path.count("{"))


class _Router:
    """Lets in who is signed in, and turns a handler into an endpoint."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def page(self, handler: Handler) -> Callable[[Request], object]:
        """An endpoint that shows something."""

        async def endpoint(request: Request) -> Response:
            browser = self._member(request)
            if browser is None:
                return signed_out(request)
            return await run_sync(_answered, handler, RequestContext(self._console, request, browser))

        return endpoint

    def form(self, handler: Handler) -> Callable[[Request], object]:
        """An endpoint that does something."""

        async def endpoint(request: Request) -> Response:
            browser = self._member(request)
            if browser is None:
                return signed_out(request)
            form = await self._form(request, browser)
            if isinstance(form, Response):
                return form
            return await run_sync(_answered, handler, RequestContext(self._console, request, browser, form))

        return endpoint

    async def sign_in(self, request: Request) -> Response:
        """Redeem a link."""
        return take_link(request, self._console.sign_in.redeem, lambda: self._member(request) is not None)

    async def way_back(self, request: Request) -> Response:
        """Take what a consent page sends back, at the address that is registered there, on to the session that asked.

        That session's cookie is not sent to this address, so its secret ``state`` names it.
        """
        if request.method == "HEAD":
            return not_by_head()
        answer = {name: request.query_params.get(name, "") for name in snapshots.ANSWER}
        if len(str(request.query_params)) > MAX_BODY or not self._console.sign_in.sessions.keep_answer(answer):
            home = request.url.replace(hostname=self._console.host, path="/snapshots", query="")
            return refused(request, 400, "Not authorized", snapshots.FOREIGN, link=str(home), words=BACK)
        there = request.url.replace(hostname=self._console.host, path=snapshots.AUTHORIZED, query="")
        return RedirectResponse(there.include_query_params(state=answer["state"]), 303)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        browser = self._member(request)
        if browser is not None:
            form = await self._form(request, browser)
            if isinstance(form, Response):
                return form
            self._console.sign_in.sessions.close(request.cookies.get(self._console.sign_in.cookie, ""))
        answer = RedirectResponse(SIGN_IN, 303)
        answer.delete_cookie(self._console.sign_in.cookie, path="/", httponly=True, samesite="lax")
        return answer

    def _member(self, request: Request) -> BrowserSession | None:
        by_hand = request.url.path not in SELF_REFRESHING
        return self._console.sign_in.browser(request.cookies, counts_as_use=by_hand)

    async def _form(self, request: Request, browser: BrowserSession) -> Form | Response:
        try:
            form = await read_form(request)
        except BadForm as bad:
            return refused(request, bad.status, "Refused", bad.why)
        if not browser.may_post(form.raw("csrf")):
            why = "This form is not from your present session. Nothing was changed: go back, load the page again, and repeat."
            return refused(request, 403, "Refused", why)
        return form


def _answered(handler: Handler, context: RequestContext) -> Response:
    """What a handler answers; an error it did not expect at this place is a page with a sentence."""
    try:
        return handler(context)
    except SyncError as error:
        status = 503 if isinstance(error, StoreError | RetryableApiError) else 409
        return _problem(context, status, "It did not work", str(error))
    except Exception as error:  # noqa: BLE001 - no one is to see a traceback, in a page or with what it says in a log
        log.error("The page %s ended with %s.", context.request.url.path, where(error))
        return _problem(context, 500, "Something went wrong", BROKEN)


def _problem(context: RequestContext, status: int, title: str, sentence: str) -> Response:
    try:
        frame = context.frame()
    except Exception as error:  # noqa: BLE001 - what broke the page may break this, too
        log.error("The frame of the page is not known: %s.", where(error))
        frame = Frame()
    return render(
        "problem.html",
        status,
        title=title,
        sentence=sentence,
        browser=context.browser,
        csrf=context.browser.csrf,
        frame=frame,
    )


async def _not_found(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    sentence = "There is no such page in the console." if status == 404 else "The console does not know this request."
    return refused(request, status, "Not found" if status == 404 else "Not possible here", sentence)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("The page %s ended with %s.", request.url.path, where(error))
    return refused(request, 500, "Something went wrong", BROKEN)
