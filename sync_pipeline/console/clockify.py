"""Step 1: a key and a region, then the workspace, picked from those the key opens."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from sync_pipeline.console.forms import Form, place_named, shown_again
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.console.sessions import LookedAt
from sync_pipeline.errors import ApiError, SyncError
from sync_pipeline.settings import SANDBOX_CLOCKIFY_KEY, Settings
from sync_pipeline.setup.clockify import (
    CUSTOM,
    REGIONS,
    ClockifyAccount,
    ClockifyForm,
    Workspace,
    connect_clockify,
    look_at_clockify,
    may_connect,
    region_of,
    requests_left,
)
from sync_pipeline.setup.connections import SystemConnection, connections

FREE, PAID = PLANS = ("free", "paid")
NAMED = {
    "The Clockify API key": "secret",
    "The Clockify add-on token": "secret",
    "The base URL of Clockify's reports": "reports_url",
}
KINDS = {"api_key": "API key", "addon_token": "Add-on token"}
GIVEN = (
    "CLOCKIFY_API_KEY",
    "CLOCKIFY_ADDON_TOKEN",
    "CLOCKIFY_BASE_URL",
    "CLOCKIFY_REPORTS_URL",
    "CLOCKIFY_WORKSPACE_ID",
    "CLOCKIFY_PLAN",
)


def show(context: RequestContext) -> Response:
    """GET /clockify."""
    if context.query("again") and (before := context.browser.looked_at) is not None:
        context.browser.looked_at = LookedAt(replace(before.form, secret=""), None)
    return _page(context, _as_it_is(context))


def connect(context: RequestContext) -> Response:
    """POST /clockify: look at the account, or connect the workspace that was chosen."""
    form = context.form
    entered = _entered(context)
    if form.text("action") != "connect":
        return _look(context, entered)
    try:
        connect_clockify(context.setup, entered, form.text("workspace"), form.text("plan"), since=context.since)
    except SyncError as error:
        context.went_wrong(error, _place(error, entered, "workspace"))
        return _page(context, _typed(form, entered))
    context.browser.looked_at = None
    context.changed()
    return context.go("/setup/snapshots", "Clockify is connected.")


def _look(context: RequestContext, entered: ClockifyForm) -> Response:
    context.browser.looked_at = None
    if entered.region == "sandbox":
        context.console.keep_sandbox(context.setup.settings())
    try:
        context.browser.looked_at = LookedAt(entered, look_at_clockify(context.setup, entered))
    except SyncError as error:
        context.went_wrong(error, _place(error, entered, "region"))
        return _page(context, _typed(context.form, entered))
    return context.go("/setup/clockify")


def _entered(context: RequestContext) -> ClockifyForm:
    """What the form says; in the second half, with the key of the first half, which stays on this side."""
    form, looked_at = context.form, context.browser.looked_at
    if form.text("action") == "connect" and looked_at is not None and looked_at.account is not None:
        return looked_at.form
    region, kind = form.text("region"), form.text("kind")
    custom = region == CUSTOM
    return ClockifyForm(
        region=region,
        base_url=form.text("base_url") if custom else "",
        reports_url=form.text("reports_url") if custom else "",
        kind="addon_token" if kind == "addon_token" else "api_key",
        secret=form.text("secret"),
    )


def _place(error: SyncError, entered: ClockifyForm, otherwise: str) -> str:
    """The field that a refusal is about."""
    if isinstance(error, ApiError) and error.request.status in {401, 403}:
        return "secret"
    if named := place_named(error, NAMED):
        return named
    if entered.region == CUSTOM and otherwise == "region":
        return "base_url"
    return otherwise


def _as_it_is(context: RequestContext) -> dict[str, Any]:
    looked_at, settings = context.browser.looked_at, context.settings()
    if looked_at is not None:
        return _shown(looked_at.form) | _suggested(looked_at, settings)
    return {
        "region": region_of(settings),
        "base_url": settings.clockify_base_url if settings.stored else "",
        "reports_url": settings.clockify_reports_url if settings.stored else "",
        "kind": "api_key",
        "workspace": settings.clockify_workspace_id,
        "plan": settings.clockify_plan,
    }


def _suggested(looked_at: LookedAt, settings: Settings) -> dict[str, str]:
    """The workspace that is connected, or the first one that can be; and the plan it names."""
    found = {one.id: one for one in _connectable(looked_at)}
    chosen = found.get(settings.clockify_workspace_id) or next(iter(found.values()), None)
    if chosen is None:
        return {"workspace": "", "plan": FREE}
    return {"workspace": chosen.id, "plan": chosen.plan if chosen.plan in PLANS else PAID}


def _typed(form: Form, entered: ClockifyForm) -> dict[str, Any]:
    return _shown(entered) | {"workspace": form.text("workspace"), "plan": form.text("plan")}


def _shown(form: ClockifyForm) -> dict[str, Any]:
    base, reports = shown_again(form.base_url), shown_again(form.reports_url)
    return {"region": form.region, "base_url": base, "reports_url": reports, "kind": form.kind}


def _page(context: RequestContext, values: dict[str, Any]) -> Response:
    connection = connections(context.setup)[0]
    looked_at = context.browser.looked_at
    account, may = (looked_at.account, _connectable(looked_at)) if looked_at is not None else (None, [])
    return context.page(
        "clockify.html",
        "Step 1: Clockify",
        step="clockify",
        would_pause=context.would_pause(),
        values=values,
        regions=[(region.name, region.label) for region in REGIONS] + [(CUSTOM, "Another address")],
        kinds=KINDS,
        plans={FREE: "Free (30 requests an hour)", PAID: "Paid (50 requests a second)"},
        account=account,
        workspace_options=_workspaces(account, may),
        closed=[one.id for one in account.workspaces if one not in may] if account is not None else [],
        connection=connection,
        budget=requests_left(context.setup),
        given=context.given(*GIVEN),
        stored=stored_on(connection),
        sandbox_key=SANDBOX_CLOCKIFY_KEY,
    )


def stored_on(connection: SystemConnection) -> str:
    """The day on which a connection's secret was stored; "" when there is none."""
    return connection.since[:10] if connection.state != "from the environment" else ""


def _connectable(looked_at: LookedAt) -> list[Workspace]:
    account = looked_at.account
    return [one for one in account.workspaces if may_connect(one, looked_at.form.kind)] if account is not None else []


def _workspaces(account: ClockifyAccount | None, may: Collection[Workspace]) -> list[tuple[str, str]]:
    found = account.workspaces if account else ()
    role = {one.id: one.role if one in may else f"{one.role}: needs an admin's key" for one in found}
    return [(one.id, " - ".join(filter(None, (one.name, one.plan, role[one.id])))) for one in found]
