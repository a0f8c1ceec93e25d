"""Secrets: which are stored, replacing one without a gap, and encrypting them all with the newest key."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.visit import Visit
from sync_pipeline.errors import SyncError
from sync_pipeline.setup import rotation
from sync_pipeline.setup.rotation import NAMES, Held

LABELS = {
    "clockify.api_key": "Clockify API key",
    "clockify.addon_token": "Clockify add-on token",
    "snapshots.api_key": "Snapshots API key",
    "snapshots.client_secret": "Secret of the Snapshots OAuth client",
}


def show(visit: Visit) -> Response:
    """GET /secrets."""
    return _page(visit)


def rotate(visit: Visit) -> Response:
    """POST /secrets/rotate: the new one is tried first; the old one stays as a fallback."""
    visit.settings()
    name = visit.form.text("name")
    if name not in NAMES:
        visit.problems.add("name", "Choose which one to replace.")
        return _page(visit)
    try:
        rotation.rotate(visit.desk, NAMES[name], visit.form.text("secret"))
    except SyncError as error:
        visit.went_wrong(error, "secret")
        return _page(visit, name)
    return visit.go("/secrets", f"{LABELS[name]}: the new one is in use.")


def retire(visit: Visit) -> Response:
    """POST /secrets/retire: the fallback is forgotten."""
    name = visit.form.text("name")
    had = name in NAMES and rotation.retire(visit.desk, NAMES[name])
    return visit.go("/secrets", f"{LABELS[name]}: the old one is forgotten." if had else "There was no old one.")


def encrypt_again(visit: Visit) -> Response:
    """POST /secrets/encrypt-again."""
    count = rotation.encrypt_again(visit.desk)
    return visit.go("/secrets", f"Encrypted again with the newest key: {count}. Older keys can be taken out.")


def _page(visit: Visit, chosen: str = "") -> Response:
    rows = rotation.held(visit.desk)
    return visit.page(
        "secrets.html",
        "Secrets",
        rows=rows,
        labels=LABELS,
        chosen=chosen,
        options=[(row.name, LABELS[row.name]) for row in rows if _is_ours(visit, row)],
        given=[slot.variable for slot in NAMES.values() if visit.desk.is_given(slot.variable)],
    )


def _is_ours(visit: Visit, row: Held) -> bool:
    """Whether it is replaced here: it is in use, and the environment does not decide."""
    return row.in_use and row.name in NAMES and not visit.desk.is_given(NAMES[row.name].variable)
