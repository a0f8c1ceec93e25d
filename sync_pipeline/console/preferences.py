"""Settings: how times are shown, from when on and how far back entries are read; where each value comes from; and versions."""

from __future__ import annotations

import platform
import shlex
from typing import Any
from zoneinfo import available_timezones

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext, download
from sync_pipeline.errors import SyncError
from sync_pipeline.printable import json_text
from sync_pipeline.settings import SETTINGS, settings_in_force
from sync_pipeline.setup import sandbox_lab
from sync_pipeline.setup.support import file_name, support_bundle, versions
from sync_pipeline.setup.transfer import export_setup
from sync_pipeline.store.health import size_of
from sync_pipeline.store.schema import HEAD
from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.registration import Registrar, Wishes, registered_at

GENERAL, SANDBOX = "/settings/general", "/settings/sandbox"
EDITED = {
    "time_zone": "time zone",
    "date_form": "date format",
    "start_date": "start day",
    "rescan_days": "days read again",
}
"""The settings of this page, and what the audit trail calls them."""
SPECS: dict[str, Any] = {spec.name: spec for spec in SETTINGS if spec.name in EDITED}
OF_THE_SYNC = {"start_date", "rescan_days"}
DATE_FORMS = {"iso": "2026-01-31", "eu": "31.01.2026", "us": "01/31/2026"}


def general(context: RequestContext) -> Response:
    """GET /settings/general."""
    return _general(context, _texts(context))


def save(context: RequestContext) -> Response:
    """POST /settings/general: what differs is stored as a new version of the set-up."""
    now, typed = _texts(context), {name: context.form.text(name) for name in EDITED}
    changed = {name: text for name, text in typed.items() if text != now[name] and not _is_given(context, name)}
    for name, text in changed.items():
        _check(context, name, text)
    if context.problems:
        return _general(context, now | changed)
    try:
        values = {SPECS[name].metadata["at"]: text or None for name, text in changed.items()}
        detail = ", ".join(f"{EDITED[name]} {text or 'default'}" for name, text in changed.items())
        if values:
            context.setup.change(values, "settings", detail, since=context.since)
    except SyncError as error:
        context.went_wrong(error)
        return _general(context, now | changed)
    if OF_THE_SYNC & changed.keys():
        return context.saved(GENERAL, "Saved.")
    return context.go(GENERAL, "Saved." if changed else "Nothing was changed.")


def lab(context: RequestContext) -> Response:
    """GET /settings/sandbox."""
    settings = context.settings()
    state, buttons = sandbox_lab.read_lab(settings), sandbox_lab.experiments(settings)
    return context.page("sandbox_lab.html", "Sandbox lab", lab=state, experiments=buttons)


def experiment(context: RequestContext) -> Response:
    """POST /settings/sandbox: something is broken on purpose, or everything repaired."""
    settings, name = context.settings(), context.form.text("name")
    if name != "reset":
        return context.go(SANDBOX, sandbox_lab.experiment(context.setup, name))
    sandbox_lab.end_faults(settings)
    with context.setup.session() as session:
        hooks = open_hooks(session)
        address = registered_at(session, hooks)
        done = sandbox_lab.experiment(context.setup, name)
        sandbox_lab.note_reset(session)
        if address:  # the reset has deleted the webhooks, too
            Registrar.of(session, hooks, address).register(Wishes(enable=True))
    return context.go(SANDBOX, done)


def about(context: RequestContext) -> Response:
    """GET /settings/about."""
    settings = context.setup.settings()
    with context.setup.store() as store:
        kind, size, place = store.dialect, size_of(store), store.path or store.place
    backup = [f"cp -a {shlex.quote(str(settings.home))} {shlex.quote(f'{settings.home}.backup')}"]
    if kind == "postgresql":
        backup.append("pg_dump --format=custom --file=sync.dump DATABASE")
    return context.page(
        "about.html",
        "About",
        versions={**versions(), "python": platform.python_version()},
        schema=HEAD,
        kind={"sqlite": "SQLite", "postgresql": "PostgreSQL"}[kind],
        size=size,
        place=place,
        backup=backup,
    )


def bundle(context: RequestContext) -> Response:
    """GET /settings/about/support-bundle: the redacted file as a download."""
    text = json_text(support_bundle(context.setup), indent=2) + "\n"
    return download(file_name(context.setup.now()), text, "application/json")


def setup_file(context: RequestContext) -> Response:
    """GET /settings/about/setup: the set-up as a file, without secrets."""
    return download("setup.yaml", export_setup(context.setup), "application/yaml")


def _check(context: RequestContext, name: str, text: str) -> None:
    if not text:
        return
    try:
        SPECS[name].metadata["parse"](text)
    except ValueError as error:
        context.problems.add(name, f"{text[:60]} is not {error}.")


def _texts(context: RequestContext) -> dict[str, str]:
    """The values in force, in the form in which they are typed."""
    settings = context.setup.settings()
    return {name: str(getattr(settings, name)) for name in EDITED}


def _is_given(context: RequestContext, name: str) -> bool:
    return context.setup.is_given(SPECS[name].metadata["env"])


def _general(context: RequestContext, values: dict[str, str]) -> Response:
    variables = {name: spec.metadata["env"] for name, spec in SPECS.items()}
    in_force = {one.name: one for one in settings_in_force(context.setup.environ, context.setup.root)}
    return context.page(
        "general.html",
        "General",
        values=values,
        given=context.given(*variables.values()),
        variables=variables,
        in_force={name: in_force[variable] for name, variable in variables.items()},
        labels=EDITED,
        zones=sorted(available_timezones()),
        date_forms=DATE_FORMS,
        would_pause=context.would_pause(),
    )
