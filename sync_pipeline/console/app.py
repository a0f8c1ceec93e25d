"""The console as an ASGI app: which page is where, who may see it, and what an error looks like."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, compile_path
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from sync_pipeline.console import (
    activity,
    alert_rules,
    alerts,
    approvals,
    automations,
    clockify,
    connections,
    dashboard,
    drafts,
    helping,
    live,
    mapping,
    operations,
    overview,
    preferences,
    prepare,
    records,
    requests,
    secrets,
    snapshots,
    trying,
)
from sync_pipeline.console.forms import BadForm, Form, read_form
from sync_pipeline.console.frame import Frame
from sync_pipeline.console.gate import MAX_BODY, SecurityMiddleware
from sync_pipeline.console.programs import FOR_PROGRAMS, HEALTH, METRICS, health, scrape
from sync_pipeline.console.request_context import Console, RequestContext, render
from sync_pipeline.console.roles import ROLES, Role, may, refusal, without_forms
from sync_pipeline.console.sessions import BrowserSession
from sync_pipeline.console.sign_in_links import SIGN_IN
from sync_pipeline.console.signing_in import not_by_head, refused, remove_cookie, set_cookie, signed_out, take_link
from sync_pipeline.console.site import USER
from sync_pipeline.console.work import where
from sync_pipeline.errors import NotFound, RetryableApiError, StoreError, SyncError

log = logging.getLogger(__name__)

Handler = Callable[[RequestContext], Response]

PAGES: Mapping[str, Handler] = {
    "/": overview.show,
    "/overview/progress": overview.progress,
    "/dashboard": dashboard.show,
    "/dashboard/entries": dashboard.entries,
    "/dashboard/export/{name}": dashboard.export,
    "/activity": activity.show,
    "/activity/csv": activity.export,
    "/activity/run/{run}": activity.run,
    "/records": records.show,
    "/records/csv": records.export,
    "/records/{entity}/{source_id:path}": records.record,
    "/setup": overview.begin_setup,
    "/setup/clockify": clockify.show,
    "/setup/snapshots": snapshots.show,
    "/setup/snapshots/authorize": snapshots.consent,
    snapshots.AUTHORIZED: snapshots.authorized,
    prepare.HERE: prepare.show,
    f"{prepare.HERE}/progress": prepare.progress,
    "/mapping": mapping.overview,
    "/mapping/{entity}": mapping.show,
    "/mapping/new/{entity}": mapping.new,
    "/mapping/{entity}/{name}": mapping.edit,
    "/draft": drafts.show,
    "/versions": drafts.history,
    "/setup/preview": trying.show,
    "/setup/preview/progress": trying.progress,
    "/setup/live": live.show,
    "/connections": connections.show,
    "/connections/progress": connections.progress,
    "/connections/{system}": connections.one,
    "/connections/{system}/disconnect": connections.ask_to_disconnect,
    "/requests": requests.overview,
    "/requests/{number}": requests.show,
    "/requests/{number}/progress": requests.progress,
    "/approvals": approvals.overview,
    "/approvals/{number}": approvals.show,
    automations.HERE: automations.overview,
    f"{automations.HERE}/{{name}}": automations.show,
    "/settings/general": preferences.general,
    "/settings/sandbox": preferences.lab,
    "/settings/about": preferences.about,
    "/settings/about/support-bundle": preferences.bundle,
    "/settings/about/setup": preferences.setup_file,
    "/settings/alerts": alerts.show,
    "/settings/alerts/new-rule": alert_rules.new_rule,
    "/settings/alerts/rules/{name}": alert_rules.rule,
    "/settings/alerts/new-subscription": alert_rules.new_subscription,
    "/settings/alerts/subscriptions/{name}": alert_rules.subscription,
    "/settings/alerts/rules.yaml": alert_rules.export,
    "/settings/secrets": secrets.show,
    "/settings/audit": secrets.audit,
    operations.HERE: operations.show,
    f"{operations.HERE}/events": operations.show_events,
    f"{operations.HERE}/{{name}}": operations.one,
    "/help": helping.show,
}
FORMS: Mapping[str, Handler] = {
    "/dashboard/compute": dashboard.compute,
    "/setup/clockify": clockify.connect,
    "/setup/snapshots": snapshots.connect,
    "/setup/snapshots/authorize": snapshots.authorize,
    prepare.HERE: prepare.begin,
    "/mapping": mapping.choose,
    "/mapping/{entity}": mapping.save,
    "/mapping/check/{entity}": mapping.check,
    "/mapping/drop/{entity}": mapping.drop,
    "/mapping/restore/{entity}": mapping.restore,
    "/draft/preview": drafts.preview,
    "/draft/publish": drafts.put_in_force,
    "/draft/discard": drafts.forget,
    "/versions/{number}": drafts.restore,
    "/setup/preview": trying.begin,
    "/setup/live": live.turn,
    "/connections": connections.begin,
    "/connections/{system}/disconnect": connections.disconnect,
    "/connections/{system}/key": connections.replace_key,
    "/records/{entity}/retry": records.retry,
    "/records/{entity}/ignore": records.ignore,
    "/records/{entity}/compare": records.compare,
    "/requests": requests.begin,
    "/requests/{number}/cancel": requests.cancel,
    "/requests/{number}/pause": requests.pause,
    "/requests/{number}/resume": requests.resume,
    "/approvals/{number}": approvals.decide_one,
    f"{automations.HERE}/{{name}}": automations.switch,
    f"{automations.HERE}/{{name}}/preview": automations.preview,
    "/settings/general": preferences.save,
    "/settings/sandbox": preferences.experiment,
    "/settings/alerts": alerts.add,
    "/settings/alerts/test": alerts.test,
    "/settings/alerts/remove": alerts.remove,
    "/settings/alerts/new-rule": alert_rules.save_rule,
    "/settings/alerts/rules/{name}": alert_rules.save_rule,
    "/settings/alerts/new-subscription": alert_rules.save_subscription,
    "/settings/alerts/subscriptions/{name}": alert_rules.save_subscription,
    "/settings/alerts/days": alert_rules.save_days,
    f"{operations.HERE}/{{name}}": operations.send,
    "/settings/secrets/rotate": secrets.rotate,
    "/settings/secrets/retire": secrets.retire,
    "/settings/secrets/encrypt-again": secrets.encrypt_again,
}
MOVED = {
    "/check": "/connections",
    "/check/progress": "/connections/progress",
    "/clockify": "/setup/clockify",
    "/clockify/disconnect": "/connections/clockify/disconnect",
    "/fields": "/mapping",
    "/fields/{entity}": "/mapping/{entity}",
    "/fields/{entity}/new": "/mapping/new/{entity}",
    "/fields/{entity}/check": "/mapping/check/{entity}",
    "/fields/{entity}/drop": "/mapping/drop/{entity}",
    "/fields/{entity}/restore": "/mapping/restore/{entity}",
    "/fields/{entity}/edit/{name}": "/mapping/{entity}/{name}",
    "/rejects": "/records?state=rejected",
    "/live": "/setup/live",
    "/snapshots": "/setup/snapshots",
    "/snapshots/authorize": "/setup/snapshots/authorize",
    "/snapshots/disconnect": "/connections/snapshots/disconnect",
    "/secrets": "/settings/secrets",
    "/secrets/{form}": "/settings/secrets/{form}",
    "/settings": "/settings/general",
    "/setup/mapping": "/mapping",
    "/trail": "/settings/audit",
    "/try": "/setup/preview",
    "/try/progress": "/setup/preview/progress",
}
"""Addresses of earlier versions, and where their pages and forms are now."""
LEAST_ROLES: Mapping[str, Role] = {
    "/dashboard/compute": "operator",
    "/setup/clockify": "admin",
    "/setup/snapshots": "admin",
    "/setup/snapshots/authorize": "admin",
    prepare.HERE: "admin",
    "/mapping": "admin",
    "/mapping/{entity}": "admin",
    "/mapping/check/{entity}": "admin",
    "/mapping/drop/{entity}": "admin",
    "/mapping/restore/{entity}": "admin",
    "/draft/preview": "admin",
    "/draft/publish": "admin",
    "/draft/discard": "admin",
    "/versions/{number}": "admin",
    "/setup/preview": "operator",
    "/setup/live": "admin",
    "/connections": "operator",
    "/connections/{system}/disconnect": "admin",
    "/connections/{system}/key": "admin",
    "/records/{entity}/retry": "operator",
    "/records/{entity}/ignore": "operator",
    "/records/{entity}/compare": "operator",
    "/requests": "operator",
    "/requests/{number}/cancel": "operator",
    "/requests/{number}/pause": "operator",
    "/requests/{number}/resume": "operator",
    "/approvals/{number}": "operator",
    f"{automations.HERE}/{{name}}": "admin",
    f"{automations.HERE}/{{name}}/preview": "operator",
    "/settings/general": "admin",
    "/settings/sandbox": "admin",
    "/settings/alerts": "admin",
    "/settings/alerts/test": "admin",
    "/settings/alerts/remove": "admin",
    "/settings/alerts/new-rule": "admin",
    "/settings/alerts/rules/{name}": "admin",
    "/settings/alerts/new-subscription": "admin",
    "/settings/alerts/subscriptions/{name}": "admin",
    "/settings/alerts/days": "admin",
    f"{operations.HERE}/{{name}}": "admin",
    "/settings/secrets/rotate": "admin",
    "/settings/secrets/retire": "admin",
    "/settings/secrets/encrypt-again": "admin",
    "/sign-out": "dashboard",
}
"""Who may send each form. A form that is not named here does not start."""
PAGE_ROLES: Mapping[str, Role] = {
    "/dashboard": "dashboard",
    "/dashboard/entries": "dashboard",
    "/dashboard/export/{name}": "dashboard",
    "/connections/{system}/disconnect": "admin",
    "/mapping/new/{entity}": "admin",
    "/settings/about/setup": "admin",
    "/settings/alerts/new-rule": "admin",
    "/settings/alerts/rules/{name}": "admin",
    "/settings/alerts/new-subscription": "admin",
    "/settings/alerts/subscriptions/{name}": "admin",
    "/settings/about/support-bundle": "admin",
    "/settings/sandbox": "admin",
    "/settings/secrets": "admin",
    "/setup/snapshots/authorize": "admin",
    snapshots.AUTHORIZED: "admin",
    prepare.HERE: "admin",
}
"""Who may see a page; any other is for viewers."""
PROGRESS = "/progress"
"""Pages look for news at addresses that end so, by themselves: that keeps no session alive."""
STATIC = Path(__file__).parent / "static"
BACK = "Back to the step"
NO_DATABASE = "The database in which sessions are kept does not answer. Try again in a moment."
BROKEN = "The console made a mistake here; its log says where. Nothing else is affected."


def build_app(console: Console) -> ASGIApp:
    """The app over a console; it ends what the console began when it is shut down."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_sync(console.close)

    door = _Router(console)
    paths = [Route(path, door.page(handler, path), methods=["GET"]) for path, handler in PAGES.items()]
    forms = [Route(path, door.form(handler, path), methods=["POST"]) for path, handler in FORMS.items()]
    routes: list[BaseRoute] = [
        Mount("/static", StaticFiles(directory=STATIC)),
        Route(SIGN_IN, door.sign_in, methods=["GET"]),
        Route(snapshots.CALLBACK, door.way_back, methods=["GET"]),
        Route(HEALTH, health(console.setup), methods=["GET"]),
        Route(METRICS, scrape(console.setup), methods=["GET"]),
        Route("/sign-out", door.sign_out, methods=["POST"]),
        Route("/rejects/{entity}", _moved("/records?state=rejected&entity={entity}"), methods=["GET"]),
        Route("/rejects/{entity}", _moved("/records/{entity}/retry"), methods=["POST"]),
        *_by_path([*forms, *paths, *(Route(old, _moved(new), methods=["GET", "POST"]) for old, new in MOVED.items())]),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _not_found, StoreError: _no_database, 500: _broken},
    )
    app.router.redirect_slashes = False
    return SecurityMiddleware(app, console.site, refused, way_back=snapshots.CALLBACK, for_programs=FOR_PROGRAMS)


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

    def page(self, handler: Handler, path: str) -> Callable[[Request], object]:
        """An endpoint that shows something."""
        least = PAGE_ROLES.get(path, "viewer")

        async def endpoint(request: Request) -> Response:
            return await run_sync(self._page, request, handler, path, least)

        return endpoint

    def _page(self, request: Request, handler: Handler, path: str, least: Role) -> Response:
        sign_in, cookie = self._console.sign_in, None
        browser = self._member(request)
        if browser is None and _is_by_hand(request) and request.method == "GET":
            cookie = sign_in.begin(request.scope[USER])
            browser = sign_in.browser(dict([cookie]), request.scope[USER]) if cookie else None
        if browser is None:
            return signed_out(request)
        answer = self._answer(handler, RequestContext(self._console, request, browser), path, least)
        if cookie is not None:
            set_cookie(answer, cookie)
        return answer

    def form(self, handler: Handler, path: str) -> Callable[[Request], object]:
        """An endpoint that does something."""
        least = LEAST_ROLES[path]

        async def endpoint(request: Request) -> Response:
            browser = await run_sync(self._member, request)
            if browser is None:
                return signed_out(request)
            form = await self._form(request, browser)
            if isinstance(form, Response):
                return form
            context = RequestContext(self._console, request, browser, form)
            return await run_sync(self._answer, handler, context, path, least)

        return endpoint

    def _answer(self, handler: Handler, context: RequestContext, path: str, least: Role) -> Response:
        answer = _allowed(handler, context, path, least)
        self._console.sign_in.sessions.keep(context.browser)
        return answer

    async def sign_in(self, request: Request) -> Response:
        """Redeem a link."""
        sign_in, user = self._console.sign_in, request.scope[USER]
        return await run_sync(
            take_link, request, lambda token: sign_in.redeem(token, user), lambda: self._member(request) is not None
        )

    async def way_back(self, request: Request) -> Response:
        """Take what a consent page sends back, at the address that is registered there, on to the session that asked.

        That session's cookie is not sent to this address, so its secret ``state`` names it.
        """
        if request.method == "HEAD":
            return not_by_head()
        answer = {name: request.query_params.get(name, "") for name in snapshots.ANSWER}
        keep = self._console.sign_in.sessions.keep_answer
        if len(str(request.query_params)) > MAX_BODY or not await run_sync(keep, answer):
            home = self._console.site.url_of(request, "/setup/snapshots")
            return refused(request, 400, "Not authorized", snapshots.FOREIGN, link=str(home), words=BACK)
        there = self._console.site.url_of(request, snapshots.AUTHORIZED)
        return RedirectResponse(there.include_query_params(state=answer["state"]), 303)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        sign_in = self._console.sign_in
        browser = await run_sync(self._member, request)
        if browser is not None:
            form = await self._form(request, browser)
            if isinstance(form, Response):
                return form
            await run_sync(sign_in.sessions.close, request.cookies.get(sign_in.cookie, ""))
        answer = RedirectResponse(SIGN_IN, 303)
        remove_cookie(answer, sign_in.cookie)
        return answer

    def _member(self, request: Request) -> BrowserSession | None:
        is_use = _is_by_hand(request)
        return self._console.sign_in.browser(request.cookies, request.scope[USER], counts_as_use=is_use)

    async def _form(self, request: Request, browser: BrowserSession) -> Form | Response:
        try:
            form = await read_form(request)
        except BadForm as bad:
            return refused(request, bad.status, "Refused", bad.why)
        if not browser.may_post(form.raw("csrf")):
            why = "This form is not from your present session. Nothing was changed: go back, load the page again, and repeat."
            return refused(request, 403, "Refused", why)
        return form


def _is_by_hand(request: Request) -> bool:
    return not request.url.path.endswith(PROGRESS)


def _allowed(handler: Handler, context: RequestContext, path: str, least: Role) -> Response:
    """What a handler answers to a role that may ask for it, without the forms that it may not send; else a refusal."""
    role = context.browser.role
    if role == "dashboard" and path == "/":
        return context.go(dashboard.HERE)
    if not may(role, least):
        return _not_allowed(context, path, least)
    answer = _answered(handler, context)
    if role == "admin" or not isinstance(answer, HTMLResponse):
        return answer
    page = without_forms(bytes(answer.body).decode(), role, _least_of)
    shown = HTMLResponse(page, answer.status_code)
    kept = ((name, value) for name, value in answer.headers.items() if name != "content-length")
    shown.headers.update(dict(kept))
    return shown


def _least_of(address: str) -> Role:
    """The role that a form needs, by its address; that of an unknown one is the highest."""
    path = urlsplit(address).path
    return (
        LEAST_ROLES[path]
        if path in LEAST_ROLES
        else next((r for regex, r in _PATTERNS if regex.match(path)), ROLES[-1])
    )


_PATTERNS: list[tuple[re.Pattern[str], Role]] = [(compile_path(path)[0], role) for path, role in LEAST_ROLES.items()]


def _not_allowed(context: RequestContext, path: str, least: Role) -> Response:
    """The refusal, which is noted in the audit trail once a session and address."""
    browser, method = context.browser, context.request.method
    if f"{method} {path}" not in browser.refused:
        browser.refused.add(f"{method} {path}")
        try:
            context.setup.note("refused", f"{method} {path} needs the role {least}")
        except SyncError as error:
            log.error("A refusal could not be noted: %s", error)
    return _problem(context, 403, "Not allowed", refusal(browser.role, least))


def _answered(handler: Handler, context: RequestContext) -> Response:
    """What a handler answers; an error it did not expect at this place is a page with a sentence."""
    try:
        with context.setup.connected():
            return handler(context)
    except SyncError as error:
        return _problem(context, *_status_of(error), str(error))
    except Exception as error:  # noqa: BLE001 - no one is to see a traceback, in a page or with what it says in a log
        log.error("The page %s ended with %s.", context.request.url.path, where(error))
        return _problem(context, 500, "Something went wrong", BROKEN)


def _status_of(error: SyncError) -> tuple[int, str]:
    """The status of the page about an error, and its title."""
    if isinstance(error, NotFound):
        return 404, "Not found"
    return 503 if isinstance(error, StoreError | RetryableApiError) else 409, "It did not work"


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
        reader=context.reader,
    )


async def _no_database(request: Request, error: Exception) -> Response:
    log.error("The page %s ended with %s.", request.url.path, where(error))
    return refused(request, 503, "It did not work", NO_DATABASE)


async def _not_found(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    sentence = "There is no such page in the console." if status == 404 else "The console does not know this request."
    return refused(request, status, "Not found" if status == 404 else "Not possible here", sentence)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("The page %s ended with %s.", request.url.path, where(error))
    return refused(request, 500, "Something went wrong", BROKEN)
