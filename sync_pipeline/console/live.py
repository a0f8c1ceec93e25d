"""Step 5: what is fulfilled and what is not, and the switch."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.visit import Visit
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.accounts import Connection, connections
from sync_pipeline.setup.switching import Standing, standing, turn_off, turn_on
from sync_pipeline.setup.trial import kind_for

CONNECTED = ("connected", "from the environment")


def show(visit: Visit) -> Response:
    """GET /live."""
    visit.settings()
    now, both = standing(visit.desk), connections(visit.desk)
    return visit.page(
        "live.html", "Step 5: Go live", step="live", standing=now, conditions=_conditions(visit, now, both)
    )


def turn(visit: Visit) -> Response:
    """POST /live."""
    visit.settings()
    on = visit.form.text("on") == "1"
    try:
        (turn_on if on else turn_off)(visit.desk)
    except SyncError as error:
        visit.went_wrong(error, "switch")
        return show(visit)
    visit.changed()
    notice = (
        "Live syncing is on: changes travel by themselves." if on else "Live syncing is off: nothing happens by itself."
    )
    return visit.go("/" if visit.form.text("back") == "home" else "/live", notice)


def _conditions(visit: Visit, now: Standing, both: tuple[Connection, Connection]) -> list[dict[str, object]]:
    """What going live asks for, each with the page where it is done."""
    clockify, snapshots = both
    trial = now.trial
    tried = trial is not None and trial.outcome == "passed"
    rows: list[dict[str, object]] = [
        {"what": "Clockify is connected", "is_met": clockify.state in CONNECTED, "where": "/clockify"},
        {"what": "The Snapshots API is connected", "is_met": snapshots.state in CONNECTED, "where": "/snapshots"},
        {"what": "This configuration has passed a trial", "is_met": tried, "where": "/try"},
    ]
    if now.mode is not None and kind_for(visit.desk.settings()) == "dry_run":
        on_accounts = trial is not None and trial.kind == "dry_run" and tried
        rows.append({"what": "The trial was on the real accounts", "is_met": on_accounts, "where": "/try"})
    return rows
