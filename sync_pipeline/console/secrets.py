"""Settings: the stored secrets, replacing one without a gap, encrypting them all with the newest key; and the audit trail."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import SyncError
from sync_pipeline.session.health import REFUSED
from sync_pipeline.settings import Settings
from sync_pipeline.setup import rotation
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.rotation import NAMES, StoredSecret
from sync_pipeline.store.audit import changes

LABELS = {
    "clockify.api_key": "Clockify API key",
    "clockify.addon_token": "Clockify add-on token",
    "snapshots.api_key": "Snapshots API key",
    "snapshots.client_secret": "Secret of the Snapshots OAuth client",
    "snapshots.agency_key": "Agency token",
}


def labels_of(settings: Settings) -> dict[str, str]:
    """What each secret is called; a vendor that takes two tokens has words of its own for them."""
    if (tokens := load_profile(settings.snapshots_profile).tokens) is None:
        return LABELS
    theirs = {"api_key": tokens.key, "agency_key": tokens.agency_key, "client_secret": "Secret of the app"}
    return LABELS | {f"snapshots.{name}": label for name, label in theirs.items()}


def show(context: RequestContext) -> Response:
    """GET /settings/secrets."""
    return _page(context)


def rotate(context: RequestContext) -> Response:
    """POST /settings/secrets/rotate: the new one is tried first; the old one stays as a fallback."""
    labels = labels_of(context.settings())
    name = context.form.text("name")
    if name not in NAMES:
        context.problems.add("name", "Choose which one to replace.")
        return _page(context)
    try:
        rotation.rotate(context.setup, NAMES[name], context.form.text("secret"))
    except SyncError as error:
        context.went_wrong(error, "secret")
        return _page(context, name)
    return context.go("/settings/secrets", f"{labels[name]}: the new one is in use.")


def retire(context: RequestContext) -> Response:
    """POST /settings/secrets/retire: the fallback is forgotten."""
    name = context.form.text("name")
    had = name in NAMES and rotation.retire(context.setup, NAMES[name])
    label = labels_of(context.settings()).get(name, "")
    return context.go("/settings/secrets", f"{label}: the old one is removed." if had else "There was no old one.")


def encrypt_again(context: RequestContext) -> Response:
    """POST /settings/secrets/encrypt-again."""
    count = rotation.encrypt_again(context.setup)
    return context.go("/settings/secrets", f"Encrypted again with the newest key: {count}. Older keys can be removed.")


def audit(context: RequestContext) -> Response:
    """GET /settings/audit."""
    with context.setup.store() as store:
        return context.page("audit.html", "Audit trail", changes=changes(store))


def _page(context: RequestContext, chosen: str = "") -> Response:
    rows, labels = rotation.held(context.setup), labels_of(context.settings())
    return context.page(
        "secrets.html",
        "Secrets",
        rows=rows,
        refused={side.system for side in connections(context.setup) if side.state == REFUSED},
        labels=labels,
        chosen=chosen,
        options=[(row.name, labels[row.name]) for row in rows if _is_ours(context, row)],
        given=[slot.variable for slot in NAMES.values() if context.setup.is_given(slot.variable)],
    )


def _is_ours(context: RequestContext, row: StoredSecret) -> bool:
    """Whether it is replaced here: it is in use, and the environment does not decide."""
    return row.in_use and row.name in NAMES and not context.setup.is_given(NAMES[row.name].variable)
