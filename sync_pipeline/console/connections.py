"""Connections: both systems as they answered last, each with a page of its own, a test, and cutting one off."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.console.secrets import labels_of
from sync_pipeline.console.work import Test
from sync_pipeline.diagnose.finding import stored_finding
from sync_pipeline.errors import ConfigError, NotFound, SyncError
from sync_pipeline.session.secrets import Slot
from sync_pipeline.settings import SYSTEMS
from sync_pipeline.setup import rotation
from sync_pipeline.setup.connections import WELL, connections
from sync_pipeline.setup.connections import disconnect as forget
from sync_pipeline.setup.system_details import SystemDetails, last_tests, system_details
from sync_pipeline.store.health import SystemFacts

HERE = "/connections"


def show(context: RequestContext) -> Response:
    """GET /connections."""
    tests = last_tests(context.setup)
    return context.page(
        "connections.html",
        "Connections",
        connections=connections(context.setup),
        tests=tests,
        **_test(context, *tests.values()),
    )


def begin(context: RequestContext) -> Response:
    """POST /connections: test both, or one."""
    context.settings()
    system = context.form.text("system")
    chosen = (system,) if system in SYSTEMS else SYSTEMS
    context.console.work.begin_test(chosen)
    return context.go(f"{HERE}/{system}" if system in SYSTEMS else HERE)


def progress(context: RequestContext) -> Response:
    """GET /connections/progress: the part of the page that changes by itself."""
    found = _test(context, *last_tests(context.setup).values())
    return context.part("_checking.html", is_under_way=found["under_way"], **found)


def one(context: RequestContext) -> Response:
    """GET /connections/{system}."""
    return _page(context, _system(context))


def replace_key(context: RequestContext) -> Response:
    """POST /connections/{system}/key: the new one is tried first; the old one stays as a fallback."""
    system = _system(context)
    context.settings()
    found = system_details(context.setup, system)
    if (slot := found.slot) is None:
        raise ConfigError(f"No key of {found.system.title} is stored here.", fix=f"Connect it at /{system}.")
    try:
        rotation.rotate(context.setup, slot, context.form.text("secret"))
    except SyncError as error:
        context.went_wrong(error, "secret")
        return _page(context, system)
    return context.go(f"{HERE}/{system}", f"{_label(context, slot)}: the new one is in use.")


def ask_to_disconnect(context: RequestContext) -> Response:
    """GET /connections/{system}/disconnect: what is forgotten, what stays, and a name to type."""
    return _disconnect_page(context, system_details(context.setup, _system(context)))


def disconnect(context: RequestContext) -> Response:
    """POST /connections/{system}/disconnect."""
    found = system_details(context.setup, _system(context))
    system = found.connection.system
    if context.form.text("name").casefold() not in {found.name.casefold(), found.system.title.casefold()}:
        context.problems.add("name", f"Type {found.name} to disconnect it. Nothing was changed.")
        return _disconnect_page(context, found)
    context.browser.looked_at = None
    try:
        forget(context.setup, system, since=context.since)
    except SyncError as error:
        context.went_wrong(error)
        return _disconnect_page(context, found)
    context.changed()
    return context.go(HERE, f"{found.system.title} is disconnected; its secrets are forgotten.")


def _page(context: RequestContext, system: str) -> Response:
    found = system_details(context.setup, system)
    return context.page(
        "connection.html",
        found.system.title,
        found=found,
        is_well=found.connection.state in WELL,
        secret_label=_label(context, found.slot) if found.slot is not None else "",
        **_test(context, found.facts),
    )


def _label(context: RequestContext, slot: Slot) -> str:
    return labels_of(context.settings()).get(f"{slot.system}.{slot.name}", "")


def _disconnect_page(context: RequestContext, found: SystemDetails) -> Response:
    return context.page("disconnect.html", f"Disconnect {found.system.title}", found=found)


def _test(context: RequestContext, *stored: SystemFacts) -> dict[str, Any]:
    """The test that is under way, or else what the last tests found."""
    test = context.console.work.test
    under_way = test is not None and not test.is_done
    tested = [facts for facts in stored if facts.tested_at is not None]
    if not under_way and tested and not (test is not None and test.problem):
        findings = [stored_finding(found) for facts in tested for found in facts.findings]
        test = Test(min(facts.tested_at for facts in tested if facts.tested_at), findings, is_done=True)
    return {"test": test, "under_way": under_way}


def _system(context: RequestContext) -> str:
    system = context.param("system")
    if system not in SYSTEMS:
        raise NotFound(f"There is no system {system[:40]!r}.", fix=f"There are {' and '.join(SYSTEMS)}.")
    return system
