"""The draft: its changes, their preview, publishing and discarding them; and the versions with a way back."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.approvals import by_id
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.console.trying import ACTIONS, KINDS
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.clockify import requests_left
from sync_pipeline.setup.drafts import discard, go_back, publish, read_draft, read_publication, versions
from sync_pipeline.setup.trial import held_by, kind_for

DONE = "The changes are published, and live syncing continues with them."
REWRITING = f"{DONE} Records that were delivered before are rewritten by"


def show(context: RequestContext) -> Response:
    """GET /draft."""
    draft = read_draft(context.setup)
    if draft is None:
        return context.page("draft.html", "Unpublished changes", draft=None)
    way = read_publication(context.setup)
    trial = way.trial
    under_way = trial is not None and context.console.work.is_trying(trial)
    held = held_by(trial.report) if trial is not None and not under_way else []
    others = (one["approval"] for one in held if one["guard"] != "rewrite")
    return context.page(
        "draft.html",
        "Unpublished changes",
        draft=draft,
        way=way,
        trial=trial,
        under_way=under_way,
        requests=by_id(context, others),
        has_passed=trial is not None and not way.obstacle and not way.rewrites,
        kinds=KINDS,
        actions=ACTIONS,
        budget=requests_left(context.setup),
        revision=context.setup.on_draft().revision(),
    )


def preview(context: RequestContext) -> Response:
    """POST /draft/preview."""
    setup = context.setup.on_draft()
    try:
        context.console.work.begin_trial(setup, kind_for(context.settings()))
    except SyncError as error:
        context.went_wrong(error)
        return show(context)
    return context.go("/draft")


def put_in_force(context: RequestContext) -> Response:
    """POST /draft/publish."""
    try:
        only_changed = context.form.flag("only_changed")
        accept = context.form.flag("rewrite") and not only_changed
        done = publish(context.setup, since=context.since, accept_rewrite=accept, only_changed=only_changed)
    except SyncError as error:
        context.went_wrong(error)
        return show(context)
    context.changed()
    if done.requests:
        is_one = len(done.requests) == 1
        path = f"/requests/{done.requests[0]}" if is_one else "/requests"
        return context.go(path, f"{REWRITING} {'this request' if is_one else 'these requests'}.")
    return context.go("/mapping", "The changes are published." if context.is_paused else DONE)


def forget(context: RequestContext) -> Response:
    """POST /draft/discard."""
    try:
        discard(context.setup, since=context.since)
    except SyncError as error:
        context.went_wrong(error)
        return show(context)
    return context.go("/mapping", "The changes were discarded.")


def history(context: RequestContext) -> Response:
    """GET /versions."""
    return context.page(
        "versions.html",
        "Versions of the set-up",
        versions=versions(context.setup),
        revision=context.setup.on_draft().revision(),
    )


def restore(context: RequestContext) -> Response:
    """POST /versions/{number}: make a draft from an earlier version."""
    number = context.param("number")
    try:
        draft = go_back(
            context.setup, int(number) if number.isdecimal() and len(number) < 10 else 0, since=context.since
        )
    except SyncError as error:
        context.went_wrong(error)
        return history(context)
    if draft is None:
        return context.go("/versions", f"Version {number} says the same about entities, start date and mappings.")
    return context.go("/draft", f"This is what going back to version {number} changes.")
