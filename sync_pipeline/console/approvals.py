"""Approvals: the requests, the records of each, and the decision."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import NotFound, SyncError
from sync_pipeline.setup.approvals import NAMED, SHOWN, ApprovalRequest, decide, request_of, requests

BACK = frozenset({"/", "/setup/preview", "/try", "/approvals"})
"""The pages with these buttons."""


def overview(visit: RequestContext) -> Response:
    """GET /approvals."""
    visit.settings()
    return visit.page("approvals.html", "Approvals", found=requests(visit.setup, every=True))


def show(visit: RequestContext) -> Response:
    """GET /approvals/{id}: the records of one request, a page at a time."""
    visit.settings()
    found = request_of(visit.setup, _number(visit), after=visit.query("after"))
    if found is None:
        raise NotFound(
            "There is no such request any more: what is held has changed, so that another one took its place.",
            fix="The list of approvals shows what waits.",
        )
    return visit.page("approval.html", f"Approval {found.approval.id}", found=found, shown=SHOWN)


def decide_one(visit: RequestContext) -> Response:
    """POST /approvals/{id}: allow or decline it."""
    visit.settings()
    back = visit.form.text("back")
    where = back if back in BACK else f"/approvals/{_number(visit)}"
    try:
        found = decide(
            visit.setup, _number(visit), "allowed" if visit.form.text("decision") == "allowed" else "declined"
        )
    except SyncError as error:
        return visit.go(where if back in BACK else "/approvals", str(error))
    if found.state == "allowed":
        return visit.go(where, f"{found.heading} is allowed. The next sync carries it out.")
    return visit.go(where, f"{found.heading} is declined. Nothing changes at the target.")


def undecided(visit: RequestContext) -> list[ApprovalRequest]:
    """What waits for a decision; nothing while the set-up is not finished."""
    try:
        ids = [request.approval.id for request in requests(visit.setup) if request.state == "open"]
        return list(by_id(visit, ids).values())
    except SyncError:
        return []


def by_id(visit: RequestContext, ids: Iterable[int | None]) -> dict[int, ApprovalRequest]:
    """The requests with these ids, as far as they exist."""
    found = {number: request_of(visit.setup, number, limit=NAMED) for number in ids if number is not None}
    return {number: request for number, request in found.items() if request is not None}


def _number(visit: RequestContext) -> int:
    text = visit.param("number")
    if not text.isdecimal() or len(text) > 15:
        raise NotFound("There is no such request.", fix="The list of approvals shows what waits.")
    return int(text)
