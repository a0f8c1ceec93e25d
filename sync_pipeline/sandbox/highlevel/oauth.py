"""OAuth of the sandbox's marketplace app: the consent page, tokens of the company, tokens of its locations."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from sync_pipeline.sandbox.highlevel import grants
from sync_pipeline.sandbox.highlevel.grants import CODE_SECONDS, REFRESH_SECONDS, Grant
from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME, letters
from sync_pipeline.sandbox.highlevel.keys import (
    APP_ID,
    APP_SCOPES,
    CLIENT_ID,
    CLIENT_SECRET,
    LOCATION_SCOPES,
)
from sync_pipeline.sandbox.highlevel.refusals import Refusal, unprocessable
from sync_pipeline.sandbox.highlevel.resource import Call, Json
from sync_pipeline.sandbox.highlevel.settings import VENDOR, read_settings
from sync_pipeline.sandbox.highlevel.webhooks import app_event
from sync_pipeline.sandbox.snapshots.consent import HEADERS, PAGE
from sync_pipeline.sandbox.world import World

REPEATABLE = 30.0
"""For so many seconds the same refresh token gets the same answer."""
USER_TYPES = ("Company", "Location")
FIELDS = ("client_id", "client_secret", "grant_type", "code", "refresh_token", "user_type", "redirect_uri")
USER_ID = letters("user", "who consented")


def oauth_routes(world: World) -> list[BaseRoute]:
    """The addresses without a bearer token: the page for people, and ``/oauth/token``."""

    async def choose(request: Request) -> Response:
        body = (await request.body()).decode("utf-8", "replace") if request.method == "POST" else request.url.query
        return _consent(world, dict(parse_qsl(body, keep_blank_values=True)), decided=request.method == "POST")

    async def token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            return Response(orjson.dumps(_tokens(world, form)), media_type="application/json")
        except Refusal as refusal:
            return refusal.response(read_settings(world.db))

    return [
        Route("/oauth/chooselocation", choose, methods=["GET", "POST"]),
        Route("/v2/oauth/chooselocation", choose, methods=["GET", "POST"]),
        Route("/oauth/token", token, methods=["POST"]),
    ]


def _consent(world: World, sent: Mapping[str, str], *, decided: bool) -> Response:
    if fault := _fault(world, sent):
        return _page("Error", f"<p>{fault}</p>", 400)
    if not decided:
        return _page("Add the app to the agency?", _form(sent), 200)
    state = {"state": sent["state"]} if "state" in sent else {}
    if sent.get("decision") != "approve":
        return _back(sent["redirect_uri"], {"error": "access_denied"} | state)
    locations = [one for (one,) in world.db.execute("SELECT id FROM highlevel_locations ORDER BY arrival")]
    detail = {"locations": locations, "redirect_uri": sent["redirect_uri"]}
    app_event(world, read_settings(world.db), "INSTALL")
    code = grants.issue(world, Grant("code", COMPANY, sent["scope"], detail), CODE_SECONDS)
    return _back(sent["redirect_uri"], {"code": code} | state)


def _fault(world: World, sent: Mapping[str, str]) -> str | None:
    address, scopes = sent.get("redirect_uri", ""), set(sent.get("scope", "").split())
    lacking = set(read_settings(world.db).missing_scopes.get(CLIENT_ID, ()))
    if sent.get("client_id") != CLIENT_ID or sent.get("response_type") != "code":
        return "There is no such app, or response_type is not code."
    if VENDOR.search(address):
        return "The redirect uri contains a Highlevel reference"
    host = urlsplit(address).hostname or ""
    if host not in ("localhost", "127.0.0.1", "::1") and not host.endswith(".localhost"):
        return "The redirect uri does not match the ones of the app."
    if not scopes or not scopes <= set(APP_SCOPES) - lacking:
        return "This integration cannot be added: it asks for scopes that the app does not have."
    return None


def _form(sent: Mapping[str, str]) -> str:
    listed = "".join(f"<li><code>{html.escape(scope)}</code></li>" for scope in sent["scope"].split())
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in sent.items()
        if name != "decision"
    )
    return (
        f"<p>It asks for access to the sandbox's agency and all its locations:</p><ul>{listed}</ul>"
        f'<form method="post">{hidden}<button name="decision" value="approve">Allow</button>'
        '<button name="decision" value="deny">Refuse</button></form>'
    )


def _page(title: str, content: str, status: int) -> Response:
    return HTMLResponse(PAGE.format(title=title, content=content), status, HEADERS)


def _back(address: str, answer: Mapping[str, str]) -> Response:
    joint = "&" if "?" in address else "?"
    return RedirectResponse(f"{address}{joint}{urlencode(answer)}", 302, HEADERS)


def _tokens(world: World, form: Mapping[str, str]) -> Json:
    """The answer of ``/oauth/token``. PKCE is unknown to it: ``code_verifier`` is a property that should not exist."""
    if unknown := [name for name in form if name not in FIELDS]:
        raise unprocessable(*(f"property {name} should not exist" for name in unknown))
    kind = {"authorization_code": "code", "refresh_token": "refresh_token"}.get(form.get("grant_type", ""), "")
    if missing := [name for name in ("client_id", "client_secret", kind or "grant_type") if not form.get(name)]:
        raise unprocessable(*(f"{name} should not be empty" for name in missing))
    if form.get("user_type") not in USER_TYPES:
        raise unprocessable(f"user_type must be one of the following values: {', '.join(USER_TYPES)}")
    if (form["client_id"], form["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
        raise Refusal("bad_client")
    return _first_pair(world, form) if kind == "code" else _next_pair(world, form["refresh_token"])


def _first_pair(world: World, form: Mapping[str, str]) -> Json:
    grant = grants.find(world, "code", form["code"])
    if (
        grant is None
        or grant.expires_at <= world.clock.epoch()
        or grant.detail["redirect_uri"] != form.get("redirect_uri")
    ):
        raise Refusal("bad_code")
    grants.remove(world, form["code"])
    owner = COMPANY if form["user_type"] == "Company" else HOME
    return _pair(world, Grant("refresh", owner, grant.scope, {"locations": grant.detail["locations"]}))


def _next_pair(world: World, secret: str) -> Json:
    grant, now = grants.find(world, "refresh", secret), world.clock.epoch()
    if grant is None or grant.expires_at <= now or grant.detail.get("used_at", now) < now - REPEATABLE:
        raise Refusal("bad_refresh")
    if "used_at" in grant.detail:
        answer: Json = grant.detail["answer"]
        return answer
    pair = _pair(world, Grant("refresh", grant.owner, grant.scope, {"locations": grant.detail["locations"]}))
    grants.change(world, secret, used_at=now, answer=pair)
    return pair


def _pair(world: World, grant: Grant) -> Json:
    """A new access token and the refresh token to replace it with."""
    seconds, is_company = read_settings(world.db).token_seconds, grant.owner == COMPANY
    answer: dict[str, Any] = {
        "access_token": grants.issue(world, Grant("access", grant.owner, grant.scope, grant.detail), seconds),
        "token_type": "Bearer",
        "expires_in": seconds,
        "refresh_token": grants.issue(world, grant, REFRESH_SECONDS),
        "scope": grant.scope,
        "userType": "Company" if is_company else "Location",
        "companyId": COMPANY,
        "userId": USER_ID,
    }
    if not is_company:
        return answer | {"locationId": grant.owner}
    future = read_settings(world.db).future_locations
    approved = {"approvedLocations": grant.detail["locations"], "approveAllLocations": False}
    return answer | approved | {"isBulkInstallation": True, "installToFutureLocations": future}


def location_token(call: Call) -> Json:
    """``POST /oauth/locationToken``: a token of one location, for that of its company."""
    form = dict(parse_qsl(call.body.decode("utf-8", "replace")))
    if missing := [name for name in ("companyId", "locationId") if not form.get(name)]:
        raise unprocessable(*(f"{name} should not be empty" for name in missing))
    grant = grants.find(call.world, "access", call.caller.token)
    if grant is None or form["companyId"] != COMPANY:
        raise Refusal("other_location")
    if not grant.has_app(call.location(form["locationId"]), call.settings):
        raise Refusal("not_installed", id=form["locationId"])
    scope = " ".join(one for one in grant.scope.split() if one in LOCATION_SCOPES)
    return _pair(call.world, Grant("refresh", form["locationId"], scope, grant.detail))


def installed_locations(call: Call) -> Json:
    """``GET /oauth/installedLocations``: every location, also without the app; at most a hundred at a time."""
    grant = grants.find(call.world, "access", call.caller.token)
    if grant is None or call.query("companyId") != COMPANY or call.query("appId") != APP_ID:
        raise Refusal("other_location")
    skip, limit = call.number("skip", 0), min(call.number("limit", 20), 100)
    rows = call.world.db.execute(
        "SELECT body FROM highlevel_locations ORDER BY arrival LIMIT ? OFFSET ?", (limit, skip)
    ).fetchall()
    found = [orjson.loads(body) for (body,) in rows]
    (count,) = call.world.db.execute("SELECT count(*) FROM highlevel_locations").fetchone()
    shown = [
        {
            "_id": one["id"],
            "name": one["name"],
            "address": one.get("address", ""),
            "isInstalled": grant.has_app(one["id"], call.settings),
        }
        for one in found
    ]
    return {"locations": shown, "count": count, "installToFutureLocations": call.settings.future_locations}
