"""Step 5: what is fulfilled and what is not, and the switch."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.connections import WELL, SystemConnection, connections
from sync_pipeline.setup.switching import LiveStatus, effects, read_live_status, turn_off, turn_on
from sync_pipeline.setup.system_details import last_tests
from sync_pipeline.setup.trial import kind_for


def show(context: RequestContext) -> Response:
    """GET /live."""
    settings, tests = context.settings(), last_tests(context.setup)
    now, both = read_live_status(context.setup), connections(context.setup)
    return context.page(
        "live.html",
        "Step 5: Go live",
        step="live",
        live_status=now,
        conditions=_conditions(context, now, both),
        has_switch=settings.stored or not settings.sandbox,
        accounts={one.system: tests[one.system].workspace or one.workspace or one.where for one in both},
        effects=effects(context.setup, now),
        since=settings.start_date,
    )


def turn(context: RequestContext) -> Response:
    """POST /live."""
    context.settings()
    on = context.form.text("on") == "1"
    try:
        (turn_on if on else turn_off)(context.setup)
    except SyncError as error:
        context.went_wrong(error, "switch")
        return show(context)
    context.changed()
    notice = (
        "Live syncing is on: changes are synced automatically."
        if on
        else "Live syncing is off: nothing is synced automatically."
    )
    return context.go("/" if context.form.text("back") == "home" else "/setup/live", notice)


def _conditions(
    context: RequestContext, now: LiveStatus, both: tuple[SystemConnection, SystemConnection]
) -> list[dict[str, object]]:
    """What going live asks for, each with the page where it is done."""
    trial, systems = now.trial, context.systems()
    rows: list[dict[str, object]] = [
        {"what": f"{systems[name].at_start} is connected", "is_met": state in WELL, "where": f"/setup/{name}"}
        for name, state in ((one.system, one.state) for one in both)
    ]
    rows.append(
        {"what": "A preview of this configuration has passed", "is_met": now.has_passed, "where": "/setup/preview"}
    )
    if now.mode is not None and kind_for(context.setup.settings()) == "dry_run":
        on_accounts = trial is not None and trial.kind == "dry_run"
        rows.append({"what": "The preview was on the real accounts", "is_met": on_accounts, "where": "/setup/preview"})
    return rows
