"""Step 4: a trial - what would be created, updated, deleted and set aside, record by record; nothing is written."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from sync_pipeline.console.visit import Visit, render
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.desk import Desk
from sync_pipeline.setup.switching import standing
from sync_pipeline.setup.trial import kind_for
from sync_pipeline.store.trials import Trial, last_trial

KINDS = {"sandbox": "In the sandbox", "dry_run": "Dry run on the accounts"}
ACTIONS = {
    "create": "created",
    "adopt": "adopted",
    "update": "updated",
    "delete": "deleted",
    "unconfirmed": "not deleted: unconfirmed",
}


def show(visit: Visit) -> Response:
    """GET /try."""
    settings = visit.settings()
    now = standing(visit.desk)
    return visit.page(
        "try.html",
        "Step 4: Try it",
        step="try",
        standing=now,
        trial=_newest(visit.desk),
        kind=kind_for(settings),
        kinds=KINDS,
        actions=ACTIONS,
        settings=settings,
        **_progress(visit),
    )


def begin(visit: Visit) -> Response:
    """POST /try."""
    kind = visit.form.text("kind")
    settings = visit.settings()
    if kind == "sandbox":
        visit.console.keep_sandbox(settings)
    try:
        visit.console.work.begin_trial("dry_run" if kind == "dry_run" and not settings.sandbox else "sandbox")
    except SyncError as error:
        visit.went_wrong(error, "kind")
        return show(visit)
    return visit.go("/try")


def progress(visit: Visit) -> Response:
    """GET /try/progress: the part of the page that changes by itself."""
    found = _progress(visit)
    answer = render("_trying.html", trial=_newest(visit.desk), kinds=KINDS, actions=ACTIONS, **found)
    answer.headers["X-Under-Way"] = "yes" if found["under_way"] else "no"
    return answer


def _progress(visit: Visit) -> dict[str, Any]:
    trial = _newest(visit.desk)
    return {"under_way": trial is not None and visit.console.work.is_trying(trial.id)}


def _newest(desk: Desk) -> Trial | None:
    """The newest trial of this connection, of whatever configuration."""
    try:
        with desk.session() as session:
            return last_trial(session.store, session.connection)
    except SyncError:
        return None
