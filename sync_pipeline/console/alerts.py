"""Settings: where alerts are sent - destinations are added, tried and removed; an address is never shown - and your rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from sync_pipeline.alerts import destinations
from sync_pipeline.alerts.configuration import Configuration, configured
from sync_pipeline.alerts.rules import Named, Rule, ready_made
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import SyncError
from sync_pipeline.settings import Settings
from sync_pipeline.setup.alert_rules import in_force
from sync_pipeline.store.digests import looked_at
from sync_pipeline.store.figures import names_of
from sync_pipeline.store.project_months import WEEKDAYS

HERE = "/settings/alerts"


def show(context: RequestContext, **typed: Any) -> Response:
    """GET /settings/alerts; with what was typed into one of its forms that is not understood."""
    return _page(context, **typed)


def add(context: RequestContext) -> Response:
    """POST /settings/alerts: an address is kept under a name."""
    name, setup = context.form.text("name").strip(), context.setup
    with setup.vault() as vault:
        try:
            added = destinations.add(vault, name, context.form.text("address"), setup.by, setup.now())
        except SyncError as error:
            context.went_wrong(error, "address" if destinations.NAME.fullmatch(name) else "name")
            return _page(context, name)
    return context.go(
        HERE, f"Alerts are sent to {name} ({added.service}). Send a test message to see that they arrive."
    )


def test(context: RequestContext) -> Response:
    """POST /settings/alerts/test: a message is sent."""
    name, setup = context.form.text("name"), context.setup
    try:
        with setup.vault() as vault:
            answer = destinations.send_test(vault, name, setup.by, setup.now())
    except SyncError as error:
        context.went_wrong(error)
        return _page(context)
    if answer.problem:
        context.problems.add("", f"{name} was not reached: {answer.problem}.")
        return _page(context)
    return context.go(HERE, f"{name} took the test message.")


def remove(context: RequestContext) -> Response:
    """POST /settings/alerts/remove: nothing is sent there any more."""
    name, setup = context.form.text("name"), context.setup
    try:
        with setup.vault() as vault:
            destinations.remove(vault, name, setup.by, setup.now())
    except SyncError as error:
        context.went_wrong(error)
        return _page(context)
    return context.go(HERE, f"Nothing is sent to {name} any more.")


def _page(context: RequestContext, name: str = "", **typed: Any) -> Response:
    with context.setup.vault() as vault:
        rows = destinations.destinations(vault)
        settings = vault.settings
    found, problem = _configured(settings)
    with context.reading() as session:
        looked = {} if session is None else looked_at(session.store, session.pair)
        people = {} if session is None else names_of(session.store, session.pair, "person")
    calendar = found.calendar
    days = {
        "days": [day for number, day in enumerate(WEEKDAYS) if number in calendar.days],
        "holidays": ", ".join(map(str, sorted(calendar.holidays))),
    }

    def called(rule: Rule, some: Sequence[Named]) -> list[str]:
        """What a rule names, people by their names."""
        names = people if rule.scope == "person" else {}
        return [names.get(each.text) or each.text for each in some]

    return context.page(
        "alerts.html",
        "Alerts",
        rows=rows,
        name=name,
        configured=found,
        problem=problem,
        file=settings.alert_rules_file,
        in_force=in_force(settings),
        called=called,
        looked=looked,
        ready_made=ready_made(),
        weekdays=WEEKDAYS,
        **{**days, **typed},
    )


def _configured(settings: Settings) -> tuple[Configuration, str]:
    """Your rules and subscriptions, and the mistake in them."""
    try:
        return configured(settings), ""
    except SyncError as error:
        return Configuration(), str(error)
