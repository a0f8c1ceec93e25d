"""Overview: where everything is in one sentence with one action, what needs attention, each entity, and the last activity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.responses import Response

from sync_pipeline.console.approvals import undecided
from sync_pipeline.console.request_context import RequestContext, render
from sync_pipeline.session.health import REFUSED
from sync_pipeline.setup.approvals import ApprovalRequest
from sync_pipeline.setup.connections import WELL, Connection, connections
from sync_pipeline.setup.overview import EntityCard, EntityRow, entity_cards
from sync_pipeline.setup.situation import Facts, Situation, situation_of
from sync_pipeline.setup.switching import LiveStatus, pause_of, read_live_status
from sync_pipeline.store.activity import Entry, Wanted, activity

LINES = 5
"""So much of the last activity is shown."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One open problem: the cause in one sentence, and the page that helps."""

    title: str
    detail: str
    action: str
    path: str
    since: datetime | None = None
    count: int = 1


def show(context: RequestContext) -> Response:
    """GET /."""
    return context.page("overview.html", "Overview", **_facts(context))


def progress(context: RequestContext) -> Response:
    """GET /overview/progress: the part of the page that changes by itself."""
    answer = render("_overview.html", csrf=context.browser.csrf, now=context.setup.now(), **_facts(context))
    answer.headers["X-Under-Way"] = "yes"
    return answer


def _facts(context: RequestContext) -> dict[str, Any]:
    context.settings()
    both, live, requests = connections(context.setup), read_live_status(context.setup), undecided(context)
    cards, lines = _stored(context)
    problems = _problems(both, [card.row for card in cards], requests, live)
    return {
        "standing": live,
        "situation": _situation(context, both, live, cards, problems),
        "attention": problems,
        "undecided": requests,
        "cards": cards,
        "lines": lines,
        "has_switch": context.setup.settings().stored or not context.setup.settings().sandbox,
    }


def _stored(context: RequestContext) -> tuple[list[EntityCard], list[Entry]]:
    with context.reading() as session:
        if session is None:
            return [], []
        return entity_cards(session), activity(session.store, session.pair, Wanted(), limit=LINES).entries


def _situation(
    context: RequestContext,
    both: tuple[Connection, Connection],
    live: LiveStatus,
    cards: list[EntityCard],
    problems: list[Problem],
) -> Situation:
    settings = context.setup.settings()
    is_sample = settings.sandbox and not settings.stored
    by_hand = live.mode is not None and not live.is_live and (bool(settings.mode) or not settings.stored)
    return situation_of(
        Facts(
            is_connected=live.mode is not None and (not settings.stored or all(side.state in WELL for side in both)),
            is_sample=is_sample and live.is_live,
            why=f"{live.mode.why[:1].upper()}{live.mode.why[1:]}." if by_hand and live.mode is not None else "",
            refused=next((side.system for side in both if side.state == REFUSED), ""),
            pause=pause_of(context.setup),
            has_passed=live.has_passed,
            is_live=live.is_live,
            silent=live.problem,
            problems=len(problems),
            left=sum(card.row.pending for card in cards),
            records=sum(card.row.records for card in cards),
        )
    )


def _problems(
    both: tuple[Connection, Connection], rows: list[EntityRow], requests: list[ApprovalRequest], live: LiveStatus
) -> list[Problem]:
    """What is open, worst first."""
    found = [_of_connection(side) for side in both if side.detail]
    found += [Problem("Live, but nothing is running", live.problem, "How to start", "/help")] if live.problem else []
    found += [_of_sync(row) for row in rows if row.reason]
    found += [
        Problem(
            f"{request.heading} waits for you",
            "It is held, because it is unusual enough to ask first. Everything else is synced.",
            "See the records",
            f"/approvals/{request.approval.id}",
            request.approval.requested_at,
            request.approval.shown,
        )
        for request in requests
    ]
    return found + [_of_rejects(row, row.rejects - row.waiting) for row in rows if row.rejects > row.waiting]


def _of_connection(side: Connection) -> Problem:
    name = "Clockify" if side.system == "clockify" else "Snapshots API"
    action = (
        ("Replace the key", "/settings/secrets") if side.state == REFUSED else ("Open the connection", "/connections")
    )
    return Problem(f"{name}: {side.state}", side.detail, *action)


def _of_sync(row: EntityRow) -> Problem:
    words = row.entity.replace("_", " ")
    return Problem(
        f"{words.capitalize()}: last sync {row.ended}", row.reason, "See what ran", f"/activity?entity={row.entity}"
    )


def _of_rejects(row: EntityRow, count: int) -> Problem:
    words = row.entity.replace("_", " ")
    some = f"1 record of {words} is" if count == 1 else f"{count:,} records of {words} are"
    detail = "The others are delivered. Correct these at the source, or retry what the target refused."
    path = f"/records?state=rejected&entity={row.entity}"
    return Problem(f"{some} rejected", detail, "See why", path, count=count)
