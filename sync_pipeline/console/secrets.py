"""Secrets: which are stored, replacing one without a gap, and encrypting them all with the newest key."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import SyncError
from sync_pipeline.session.health import REFUSED
from sync_pipeline.setup import rotation
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.rotation import NAMES, StoredSecret

LABELS = {
    "clockify.api_key": "Clockify API key",
    "clockify.addon_token": "Clockify add-on token",
    "snapshots.api_key": "Snapshots API key",
    "snapshots.client_secret": "Secret of the Snapshots OAuth client",
}


def show(visit: RequestContext) -> Response:
    """GET /secrets."""
    return _page(visit)


def rotate(visit: RequestContext) -> Response:
    """POST /secrets/rotate: the new one is tried first; the old one stays as a fallback."""
    visit.settings()
    name = visit.form.text("name")
    if name not in NAMES:
        visit.problems.add("name", "Choose which one to replace.")
        return _page(visit)
    try:
        rotation.rotate(visit.setup, NAMES[name], visit.form.text("secret"))
    except SyncError as error:
        visit.went_wrong(error, "secret")
        return _page(visit, name)
    return visit.go("/secrets", f"{LABELS[name]}: the new one is in use.")


def retire(visit: RequestContext) -> Response:
    """POST /secrets/retire: the fallback is forgotten."""
    name = visit.form.text("name")
    had = name in NAMES and rotation.retire(visit.setup, NAMES[name])
    return visit.go("/secrets", f"{LABELS[name]}: the old one is forgotten." if had else "There was no old one.")


def encrypt_again(visit: RequestContext) -> Response:
    """POST /secrets/encrypt-again."""
    count = rotation.encrypt_again(visit.setup)
    return visit.go("/secrets", f"Encrypted again with the newest key: {count}. Older keys can be taken out.")


def _page(visit: RequestContext, chosen: str = "") -> Response:
    rows = rotation.held(visit.setup)
    return visit.page(
        "secrets.html",
        "Secrets",
        rows=rows,
        refused={side.system for side in connections(visit.setup) if side.state == REFUSED},
        labels=LABELS,
        chosen=chosen,
        options=[(row.name, LABELS[row.name]) for row in rows if _is_ours(visit, row)],
        given=[slot.variable for slot in NAMES.values() if visit.setup.is_given(slot.variable)],
    )


def _is_ours(visit: RequestContext, row: StoredSecret) -> bool:
    """Whether it is replaced here: it is in use, and the environment does not decide."""
    return row.in_use and row.name in NAMES and not visit.setup.is_given(NAMES[row.name].variable)
