"""Automations: what each does and has made lately, a preview of what exists already, and switching one on or off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from sync_pipeline.console.mapping import tabs_of
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.console.roles import may
from sync_pipeline.diagnose.connection_test import without_retries
from sync_pipeline.errors import SyncError
from sync_pipeline.operations.catalogue import operation
from sync_pipeline.setup.automations import (
    Ask,
    Automation,
    list_automations,
    preview_automation,
    show_automation,
    switch_off,
    switch_on,
)
from sync_pipeline.setup.operations import Choice, choices_of
from sync_pipeline.setup.switching import read_live_status

HERE = "/automations"
FIELD = "set."
"""The prefix of form fields that are named after inputs of the operation."""
LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """A field of the form: a value that is needed before it can be switched on."""

    name: str
    label: str
    value: str
    choices: tuple[Choice, ...] | None
    """None where the value is typed."""
    hint: str = ""

    @property
    def options(self) -> list[tuple[str, str]]:
        """As a list to choose from."""
        return [("", "Choose one"), *((each.id, each.label) for each in self.choices or ())]


def overview(context: RequestContext) -> Response:
    """GET /automations."""
    context.settings()
    return context.page(
        "automations.html",
        "Automations",
        found=list_automations(context.setup),
        is_live=read_live_status(context.setup).is_live,
        tabs=tabs_of(context),
    )


def show(context: RequestContext) -> Response:
    """GET /automations/{name}."""
    context.settings()
    return _page(context, show_automation(context.setup, context.param("name")), {})


def preview(context: RequestContext) -> Response:
    """POST /automations/{name}/preview: what exists, and what would be sent for it; nothing is written."""
    context.settings()
    found = show_automation(context.setup, context.param("name"))
    values = _values(context, found)
    if _lacks(context, found, values):
        return _page(context, found, values)
    try:
        existing = preview_automation(context.setup, found.name, values)
    except SyncError as error:
        return _wrong(context, found, values, error)
    return _page(context, found, values, existing=existing, many=_many(found, existing.records))


def switch(context: RequestContext) -> Response:
    """POST /automations/{name}: on, which leaves alone what exists unless that is included, or off."""
    context.settings()
    found = show_automation(context.setup, context.param("name"))
    values, is_included = _values(context, found), context.form.text("existing") == "include"
    here = f"{HERE}/{found.name}"
    try:
        if context.form.text("on") != "1":
            switch_off(context.setup, found.name, since=context.since)
            return context.saved(here, "It is switched off. What it has made stays.")
        if _lacks(context, found, values):
            return _page(context, found, values)
        count = switch_on(context.setup, found.name, values, backfill=is_included, since=context.since)
    except SyncError as error:
        return _wrong(context, found, values, error)
    what = "included" if is_included else "left alone"
    return context.saved(here, f"It is switched on. What exists already, {_many(found, count)}, is {what}.")


def _many(found: Automation, count: int) -> str:
    """A number of records, with the noun of its source."""
    nouns = found.source.rpartition(" ")[2].rpartition("/")[2].replace("_", " ")
    one = f"{nouns[:-3]}y" if nouns.endswith("ies") else nouns.removesuffix("s")
    return f"{count:,} {one if count == 1 else nouns}"


def _wrong(context: RequestContext, found: Automation, values: Mapping[str, str], error: SyncError) -> Response:
    context.went_wrong(error)
    return _page(context, found, values)


def _lacks(context: RequestContext, found: Automation, values: Mapping[str, str]) -> bool:
    """Whether values are missing, each noted beside its field."""
    for name in found.lacks:
        if name not in values:
            context.problems.add(FIELD + name, "Choose or enter a value.")
    return bool(context.problems)


def _values(context: RequestContext, found: Automation) -> dict[str, str]:
    given = {ask.field: context.form.text(FIELD + ask.field)[:LONGEST] for ask in found.asks}
    return {name: text for name, text in given.items() if text}


def _page(context: RequestContext, found: Automation, values: Mapping[str, str], **extra: Any) -> Response:
    is_asked = not found.is_on and not found.obstacle and may(context.browser.role, "operator")
    return context.page(
        "automation.html",
        found.sentence,
        found=found,
        operation=operation(found.operation),
        asked=[_asked(context, found, ask, values) for ask in found.asks] if is_asked else [],
        is_live=read_live_status(context.setup).is_live,
        tabs=tabs_of(context),
        **{"existing": None, "many": "", **extra},
    )


def _asked(context: RequestContext, found: Automation, ask: Ask, values: Mapping[str, str]) -> Asked:
    value = values.get(ask.field, "" if ask.value is None else str(ask.value))
    try:
        with context.setup.session(without_retries(context.settings())) as session:
            choices = choices_of(session, found.operation, ask.field)
    except SyncError as error:
        return Asked(ask.field, ask.says, value, None, f"The list of choices cannot be read; enter the id. {error}")
    if choices is None:
        return Asked(ask.field, ask.says, value, None)
    return Asked(
        ask.field,
        ask.says,
        value,
        tuple(choices),
        "" if choices else "The account has none yet. Make one there, then reload this page.",
    )
