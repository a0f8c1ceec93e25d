"""Activity: runs and changes of the set-up in one list with filters in the address, as CSV, and one run in full."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from sync_pipeline.console.request_context import CSV, OUTCOMES, TRIGGERS, RequestContext, download, title_of_run, took
from sync_pipeline.console.requests import panel
from sync_pipeline.errors import NotFound
from sync_pipeline.reporting.export import csv_text
from sync_pipeline.session.session import Session
from sync_pipeline.stages.guards import as_decided
from sync_pipeline.store.activity import Activity, ActivityFilter, Entry, Run, activity, run_of
from sync_pipeline.store.record_search import labels_of
from sync_pipeline.store.rejects import list_rejects

KINDS = {"run": "Runs", "change": "Changes of the set-up"}
FILTERS = ("entity", "outcome", "trigger", "kind", "from", "to", "changes")
SHOWN_REJECTS = 1_000
EXPORTED = 5_000
"""Lines of a CSV file."""
COLUMNS = (
    "when",
    "kind",
    "what",
    "entities",
    "outcome",
    "read",
    "created",
    "updated",
    "deleted",
    "rejected",
    "seconds",
    "by",
    "trigger",
    "requested_by",
    "waiting",
)
MEANINGS = {
    "failed": (
        "What was delivered stays delivered; nothing is lost.",
        "Correct the cause; the next sync continues from there.",
    ),
    "blocked": (
        "Nothing of this batch was written.",
        "Correct what the checks found; the next sync checks everything again.",
    ),
    "incomplete": ("The rest was loaded.", "The next sync continues from there; nothing has to be done."),
    "held": ("The rest was loaded. What is held waits for a decision.", "Allow or decline it under Approvals."),
    "running": (
        "It is still running, or it was stopped before it ended.",
        "Wait for it; what is left is done by the next sync.",
    ),
}
"""What an outcome means, and what to do."""
_PERSONAL = re.compile(r"[^\s@]+@[^\s@]+|'[^']*'|\"[^\"]*\"")


def show(context: RequestContext) -> Response:
    """GET /activity."""
    context.settings()
    values = {name: context.query(name) for name in FILTERS}
    with context.reading() as session:
        entities = list(session.specs) if session is not None else []
        found = Activity([], "")
        if session is not None:
            found = activity(session.store, session.pair, _wanted(values), before=context.query("before"))
    asked = {name: value for name, value in values.items() if value}
    return context.page(
        "activity.html",
        "Activity",
        lines=found.entries,
        older=f"/activity?{urlencode({**asked, 'before': found.before})}" if found.before else "",
        export=f"/activity/csv?{urlencode(asked)}",
        values=values,
        is_filtered=bool(asked),
        work=None if found.entries else panel(context),
        options={
            "entity": [("", "All"), *((name, name.replace("_", " ")) for name in entities)],
            "outcome": [("", "All"), *(OUTCOMES | {"targeted": "success, single records"}).items()],
            "trigger": [("", "All"), *TRIGGERS.items()],
            "kind": [("", "All"), *KINDS.items()],
        },
    )


def export(context: RequestContext) -> Response:
    """GET /activity/csv: the lines with these filters, one a run."""
    context.settings()
    wanted = _wanted({name: context.query(name) for name in FILTERS})
    with context.setup.reading() as session:
        found = activity(session.store, session.pair, wanted, limit=EXPORTED).entries
    return download("activity.csv", csv_text(COLUMNS, map(_exported, found)), CSV)


def run(context: RequestContext) -> Response:
    """GET /activity/run/{id}."""
    context.settings()
    with context.setup.reading() as session:
        found = run_of(session.store, session.pair, context.param("run"))
        if found is None:
            fix = "Runs are kept for SYNC_KEEP_SYNCS_DAYS days; the page Activity lists them."
            raise NotFound("There is no such run.", fix=fix)
        rejected: dict[tuple[str, str | None, str], list[str]] = {}
        rows = list_rejects(session.store, session.pair, run_id=found.id, limit=SHOWN_REJECTS)
        for row in rows:
            rejected.setdefault((row.entity, row.field, row.reason), []).append(row.source_id)
        reasons = [as_decided(session, reason) for reason in found.reasons]
        what = "held" if found.outcome == "success" and reasons else found.outcome
        return context.page(
            "run.html",
            title_of_run(found),
            run=found,
            reasons=reasons,
            meaning=MEANINGS.get(what) if reasons == list(found.reasons) else None,
            is_held=what == "held",
            rejected=rejected,
            labels=labels_of(session.store, session.pair, [(row.entity, row.source_id or "") for row in rows]),
            is_cut=len(rows) == SHOWN_REJECTS,
            support=for_support(session, found),
            dagster=context.console.dagster if not found.id.startswith("sync-") else "",
        )


def for_support(session: Session, found: Run) -> str:
    """A run as text that can be sent to others: without values, names and addresses of people."""
    lines = [
        f"run {found.id}: {found.outcome}, {found.requests} requests, took {took(found)}",
        f"mode {session.mode.name}, database {session.store.dialect}, profile {session.settings.snapshots_profile}",
    ]
    for sync in found.syncs:
        figures = ", ".join(f"{name} {value}" for name, value in sync.counts.items() if value)
        lines.append(f"{sync.entity}: {sync.ended}, began {sync.begun_at:%Y-%m-%dT%H:%M:%SZ}, {figures or 'nothing'}")
        if sync.reason:
            lines.append(f"  {_PERSONAL.sub('***', sync.reason)}")
    return "\n".join(lines)


def _wanted(values: dict[str, str]) -> ActivityFilter:
    """The filters of an address; unknown ones are left out."""
    until = _day(values["to"])
    return ActivityFilter(
        entity=values["entity"],
        outcome=values["outcome"],
        trigger=values["trigger"] if values["trigger"] in TRIGGERS else "",
        kind=values["kind"] if values["kind"] in KINDS else "",
        since=_day(values["from"]),
        until=until + timedelta(days=1) if until is not None else None,
        with_changes=bool(values["changes"]),
    )


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _exported(line: Entry) -> list[Any]:
    at = f"{line.at:%Y-%m-%dT%H:%M:%SZ}"
    if line.run is None:
        change = line.change
        what = f"{change.what}: {change.detail}" if change is not None else ""
        return [at, "change", what, "", "", "", "", "", "", "", "", change.by if change is not None else "", "", "", ""]
    counts, end = line.run.counts, line.run.finished_at
    seconds = round((end - line.run.begun_at).total_seconds(), 1) if end is not None else ""
    figures = [
        counts["extracted"],
        counts["created"] + counts["adopted"],
        counts["updated"],
        counts["deleted"],
        counts["rejected"],
    ]
    what = title_of_run(line.run) if line.times == 1 else f"Checked {line.times} times, nothing changed"
    return [
        at,
        "run",
        what,
        " ".join(line.entities),
        line.run.outcome,
        *figures,
        seconds,
        line.run.id,
        line.run.trigger,
        line.run.requested_by,
        counts["waiting"],
    ]
