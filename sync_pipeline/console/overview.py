"""Overview: where everything is in one sentence with one action, what needs attention, each entity, and the last activity."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from sync_pipeline.alerts import kinds
from sync_pipeline.alerts.current import Alert, open_alerts
from sync_pipeline.console.approvals import undecided
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.console.requests import panel
from sync_pipeline.session.health import REFUSED
from sync_pipeline.setup.connections import TO_CONNECT, SystemConnection, connections
from sync_pipeline.setup.overview import EntityCard, SetupFacts, Situation, entity_cards, situation_of
from sync_pipeline.setup.switching import LiveStatus, pause_of, read_live_status
from sync_pipeline.store.activity import ActivityFilter, Entry, activity

LINES = 5
"""So much of the last activity is shown."""


ACTIONS = {
    kinds.KEY_REFUSED: "Replace the key",
    kinds.CREDENTIALS_AGE: "Replace the key",
    kinds.NO_HEARTBEAT: "How to start",
    kinds.RUN_FAILED: "See what ran",
    kinds.NO_SUCCESS: "See what ran",
    kinds.HELD: "See the records",
    kinds.REJECTS: "See why",
    kinds.SCHEMA_CHANGED: "Open the mapping",
    kinds.DRIFT: "See what ran",
}
"""What the button of each kind of alert says; *Open* where none is named."""


def show(context: RequestContext) -> Response:
    """GET /."""
    facts = _facts(context)
    return context.page("overview.html", "Overview", work=panel(context), dagster=context.console.dagster, **facts)


def begin_setup(context: RequestContext) -> Response:
    """GET /setup: the step that comes next; none is left once live syncing was turned on."""
    step = context.frame().following
    return context.go(step.path if step is not None else "/")


def progress(context: RequestContext) -> Response:
    """GET /overview/progress: the part of the page that changes by itself."""
    return context.part("_overview.html", is_under_way=True, work=panel(context), **_facts(context))


def _facts(context: RequestContext) -> dict[str, Any]:
    context.settings()
    both, live, requests = connections(context.setup), read_live_status(context.setup), undecided(context)
    cards, lines, alerts = _stored(context)
    return {
        "live_status": live,
        "situation": _situation(context, both, live, cards, alerts),
        "attention": alerts,
        "actions": ACTIONS,
        "undecided": requests,
        "cards": cards,
        "lines": lines,
        "has_switch": context.setup.settings().stored or not context.setup.settings().sandbox,
    }


def _stored(context: RequestContext) -> tuple[list[EntityCard], list[Entry], list[Alert]]:
    with context.reading() as session:
        if session is None:
            return [], [], []
        lines = activity(session.store, session.pair, ActivityFilter(), limit=LINES).entries
        return entity_cards(session), lines, open_alerts(session)


def _situation(
    context: RequestContext,
    both: tuple[SystemConnection, SystemConnection],
    live: LiveStatus,
    cards: list[EntityCard],
    alerts: list[Alert],
) -> Situation:
    settings = context.setup.settings()
    is_sample = settings.sandbox and not settings.stored
    by_hand = live.mode is not None and not live.is_live and (bool(settings.mode) or not settings.stored)
    refused = next((side.system for side in both if side.state == REFUSED), "")
    return situation_of(
        SetupFacts(
            is_connected=live.mode is not None
            and not (settings.stored and any(side.state in TO_CONNECT for side in both)),
            is_sample=is_sample and live.is_live,
            why=f"{live.mode.why[:1].upper()}{live.mode.why[1:]}." if by_hand and live.mode is not None else "",
            refused=refused,
            refused_name=context.systems()[refused].at_start if refused else "",
            pause=pause_of(context.setup),
            has_passed=live.has_passed,
            is_live=live.is_live,
            silent=live.problem,
            problems=len([alert for alert in alerts if alert.acknowledged_at is None and alert.severity != "info"]),
            left=sum(card.row.pending for card in cards),
            records=sum(card.row.records for card in cards),
        )
    )
