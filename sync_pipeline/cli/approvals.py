"""`approvals`: list, show, allow and decline what the guards hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.opening import must_exist
from sync_pipeline.cli.options import entity_argument, json_option
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.setup.approvals import decide, request_of, requests
from sync_pipeline.setup.service import SetupService, actor

COLUMNS = ("id", "state", "what", "requested", "decided by", "expires")
SHOWN_LINES = 50
"""Records of a request in the table that people read; `--json` has all."""
PAGE = 1000
NAMED_IDS = 10
"""Requests that a message names."""
LONGEST = 18
"""Digits of a number that the store can look for."""


@click.group()
def approvals() -> None:
    """Allow or decline what a guard holds. Mass deletes, rewrites and creates, and the first contact."""


@approvals.command("list")
@entity_argument
@click.option("--all", "every", is_flag=True, help="Also those that were used or have expired.")
@json_option
def approvals_list(entity: str | None, every: bool, as_json: bool) -> None:
    """List what waits for a decision. Also lists the decisions that are in force."""
    setup = SetupService(actor("terminal"))
    if entity:
        must_exist(specs_of(setup.settings()), [entity])
    found = [request for request in requests(setup, every=every) if entity in (None, request.approval.entity)]
    terminal.emit(as_json, _documents(found), lambda: _list(found))


def _list(found: Sequence[Any]) -> None:
    terminal.table("Approvals", [_row(request) for request in found], COLUMNS)
    terminal.hint("`sync-pipeline approvals show ID` names the records." if found else "Nothing is held.")


@approvals.command("show")
@click.argument("approval_id", metavar="ID")
@json_option
def approvals_show(approval_id: str, as_json: bool) -> None:
    """Show one request and the records it names."""
    setup = SetupService(actor("terminal"))
    found = request_of(setup, _number(setup, approval_id), limit=PAGE if as_json else SHOWN_LINES)
    if found is None:
        raise _unknown(setup, approval_id)
    terminal.emit(
        as_json,
        lambda: {**document(found), "records": [line._asdict() for line in _lines(setup, found)]},
        lambda: _show(approval_id, found),
    )


def _show(approval_id: str, found: Any) -> None:
    terminal.table(f"Request {approval_id}", [_row(found)], COLUMNS)
    names = {line.source_id: found.labels.get((found.approval.entity, line.source_id), "") for line in found.lines}
    rows = [
        {"record": line.source_id, "would be": f"{line.action}d", "day": line.partition, "name": names[line.source_id]}
        for line in found.lines
    ]
    total = found.approval.shown
    some = f" (the first {len(rows)} of {total}; --json names them all)" if len(rows) < total else ""
    terminal.table(f"Records{some}", rows, optional=("name",))
    if found.approval.kind == "configuration":
        terminal.hint(f"It is about this configuration, and at most {total * 11 // 10:,} records.")
    if found.is_undecided:
        terminal.hint(f"`sync-pipeline approvals allow {approval_id}` allows {found.title}.")


@approvals.command("allow")
@click.argument("approval_ids", metavar="ID...", nargs=-1, required=True)
@json_option
def approvals_allow(approval_ids: tuple[str, ...], as_json: bool) -> None:
    """Allow what these requests show. For seven days: the next sync does it."""
    _decide(approval_ids, "allowed", as_json)


@approvals.command("decline")
@click.argument("approval_ids", metavar="ID...", nargs=-1, required=True)
@json_option
def approvals_decline(approval_ids: tuple[str, ...], as_json: bool) -> None:
    """Decline what these requests show. Also takes back what was allowed: nothing changes at the target."""
    _decide(approval_ids, "declined", as_json)


def _number(setup: SetupService, word: str) -> int:
    """The number of a request as it was typed."""
    if not (word.isascii() and word.isdecimal() and len(word) <= LONGEST):
        raise _unknown(setup, word)
    return int(word)


def _unknown(setup: SetupService, word: str) -> ConfigError:
    """There is no such request; names those that there are."""
    ids = [str(request.approval.id) for request in requests(setup, every=True)]
    some = ", ".join(ids[:NAMED_IDS]) + (", ..." if ids[NAMED_IDS:] else "")
    there = f"There are {some}" if ids[1:] else f"There is only {some}" if ids else "There is none"
    return ConfigError(
        f"There is no request {word}.", fix=f"{there}; `sync-pipeline approvals list --all` shows what each is about."
    )


def _decide(words: Sequence[str], decision: Any, as_json: bool) -> None:
    setup = SetupService(actor("terminal"))
    found = [decide(setup, approval_id, decision) for approval_id in [_number(setup, word) for word in words]]
    terminal.emit(as_json, _documents(found), lambda: _say_decided(found, decision))


def _say_decided(found: Sequence[Any], decision: str) -> None:
    for request in found:
        until = f"until {terminal.moment(request.approval.expires_at)}" if request.approval.expires_at else ""
        what = f"{request.heading} is {decision}"
        terminal.say(f"{what}, {until}." if decision == "allowed" else f"{what}; nothing changes at the target.")


def _lines(setup: Any, found: Any) -> list[Any]:
    """Every record of a request, read a page at a time."""
    lines, page = list(found.lines), found
    while page is not None and len(page.lines) == PAGE:
        page = request_of(setup, found.approval.id, limit=PAGE, after=page.lines[-1].source_id)
        lines += page.lines if page is not None else ()
    return lines


def document(request: Any) -> dict[str, Any]:
    """A request for ``--json``."""
    facts = asdict(request.approval)
    return {
        **{name: facts[name] for name in facts if name != "connection"},
        "state": request.state,
        "title": request.title,
    }


def _documents(found: Sequence[Any]) -> dict[str, Any]:
    return {"approvals": [document(request) for request in found]}


def _row(request: Any) -> dict[str, Any]:
    approval = request.approval
    used = f" ({approval.used:,} done)" if approval.used else ""
    return {
        "id": approval.id,
        "state": request.state,
        "what": f"{request.title}{used}",
        "requested": approval.requested_at,
        "decided by": approval.by,
        "expires": approval.expires_at,
    }
