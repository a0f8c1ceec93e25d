"""Step 4: a trial - what would be created, updated, deleted and rejected, record by record; nothing is written."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from sync_pipeline.console.approvals import by_id
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.clockify import requests_left
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import read_live_status
from sync_pipeline.setup.trial import DAYS, held_by, kind_for
from sync_pipeline.store.trials import Trial, last_trial

KINDS = {"sandbox": "In the sandbox", "dry_run": "Dry run on the accounts"}
ACTIONS = {
    "create": "created",
    "adopt": "adopted",
    "update": "updated",
    "delete": "deleted",
    "unconfirmed": "not deleted: unconfirmed",
}


def show(context: RequestContext) -> Response:
    """GET /try."""
    settings = context.settings()
    now = read_live_status(context.setup)
    return context.page(
        "try.html",
        "Step 4: Preview",
        step="try",
        live_status=now,
        kind=kind_for(settings),
        kinds=KINDS,
        actions=ACTIONS,
        days=DAYS,
        settings=settings,
        budget=requests_left(context.setup),
        **_progress(context),
    )


def begin(context: RequestContext) -> Response:
    """POST /try."""
    kind = context.form.text("kind")
    settings = context.settings()
    if kind == "sandbox":
        context.console.keep_sandbox(settings)
    try:
        context.console.work.begin_trial(
            context.setup, "dry_run" if kind == "dry_run" and not settings.sandbox else "sandbox"
        )
    except SyncError as error:
        context.went_wrong(error, "kind")
        return show(context)
    return context.go("/setup/preview")


def progress(context: RequestContext) -> Response:
    """GET /try/progress: the part of the page that changes by itself."""
    found = _progress(context)
    return context.part("_trying.html", is_under_way=found["under_way"], kinds=KINDS, actions=ACTIONS, **found)


def _progress(context: RequestContext) -> dict[str, Any]:
    trial = _newest(context.setup)
    under_way = trial is not None and context.console.work.is_trying(trial)
    held = held_by(trial.report) if trial is not None and not under_way else []
    return {
        "trial": trial,
        "under_way": under_way,
        "requests": by_id(context, (one["approval"] for one in held)),
        "has_passed": bool(held) and read_live_status(context.setup).has_passed,
    }


def _newest(setup: SetupService) -> Trial | None:
    """The newest trial of this connection, of whatever configuration."""
    try:
        with setup.reading() as session:
            return last_trial(session.store, session.pair, throttled=True)
    except SyncError:
        return None
