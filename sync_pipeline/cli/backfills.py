"""`backfills`: their progress; pause, resume and cancel them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from sync_pipeline import terminal
from sync_pipeline.cli.opening import reading
from sync_pipeline.cli.options import json_option
from sync_pipeline.clock import utc_now
from sync_pipeline.errors import NotAllowed
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.store.audit import system_user
from sync_pipeline.store.requests import ask_cancel, open_requests, set_paused

if TYPE_CHECKING:
    from dagster import DagsterInstance

COLUMNS = ("backfill_id", "status", "days", "total", "done", "failed", "days_an_hour", "ends_at")
ID = click.argument("backfill_id", metavar="[ID]", required=False)


class _Opened(NamedTuple):
    settings: Settings
    session: Session
    instance: DagsterInstance


@contextmanager
def _opened() -> Iterator[_Opened]:
    from sync_pipeline.hosting.launch import open_instance  # late: Dagster takes over a second to import
    from sync_pipeline.hosting.main_job import dagster_files

    with (
        reading() as settings,
        dagster_files(settings),
        open_instance(settings) as instance,
        open_session(settings) as session,
    ):
        yield _Opened(settings, session, instance)


@click.group()
def backfills() -> None:
    """Watch, pause, resume and cancel backfills."""


@backfills.command("list")
@json_option
def backfills_list(as_json: bool) -> None:
    """List backfills with progress, the newest first. Those of the Dagster UI are included."""
    from sync_pipeline.definitions import build
    from sync_pipeline.hosting.backfill import listed

    with _opened() as here:
        graph = build(here.settings).resolve_asset_graph()
        found = listed(here.instance, here.session, graph, utc_now())
    rows = [{name: getattr(one, name) for name in COLUMNS} for one in found]
    none = "There is no backfill. `sync-pipeline backfill` starts one."
    document = {"backfills": [one.document for one in found]}
    terminal.emit(as_json, document, lambda: terminal.table("Backfills", rows, COLUMNS, empty=none))


@backfills.command("pause")
@ID
@json_option
def backfills_pause(backfill_id: str | None, as_json: bool) -> None:
    """Pause a backfill, without an ID the newest. Its runs are stopped; what was delivered stays delivered."""
    from sync_pipeline.hosting.backfill import find, pause

    with _opened() as here:
        found = find(here.instance, backfill_id, is_paused=False).backfill_id
        for number in _requests(here.session, found):
            set_paused(here.session.store, here.session.pair, number, system_user())
        pause(here.instance, found, system_user())
    _say(as_json, "paused", found)


@backfills.command("resume")
@ID
@json_option
def backfills_resume(backfill_id: str | None, as_json: bool) -> None:
    """Resume a paused backfill. Without an ID the newest; days that are done are not repeated."""
    from sync_pipeline.definitions import build
    from sync_pipeline.hosting.backfill import dated, find, resume

    with _opened() as here:
        found = find(here.instance, backfill_id, is_paused=True).backfill_id
        defs = build(here.settings)
        by, graph = system_user(), defs.resolve_asset_graph()
        chain = resume(here.instance, here.session, dated(defs)[1], found, utc_now(), by, graph)
        if not chain:
            raise NotAllowed(f"The backfill {found} is still being stopped.", fix="Try again in a minute.")
        for number in _requests(here.session, found):
            set_paused(here.session.store, here.session.pair, number, None)
    _say(as_json, "resumed", chain[0])


@backfills.command("cancel")
@ID
@json_option
def backfills_cancel(backfill_id: str | None, as_json: bool) -> None:
    """Cancel a backfill, without an ID the newest. What was delivered stays delivered."""
    from sync_pipeline.hosting.backfill import cancel, find

    with _opened() as here:
        found = find(here.instance, backfill_id, is_paused=None).backfill_id
        for number in _requests(here.session, found):
            ask_cancel(here.session.store, here.session.pair, number, system_user())
        cancel(here.instance, found)
    _say(as_json, "cancelled", found)


def _requests(session: Session, backfill_id: str) -> list[int]:
    """The request of the console that the backfill works on, if one does."""
    return [one.id for one in open_requests(session.store, session.pair) if backfill_id in one.runs[:1]]


def _say(as_json: bool, done: str, backfill_id: str) -> None:
    document: dict[str, Any] = {"success": True, "backfill_id": backfill_id, "action": done}
    said = f"The backfill {backfill_id} is {done}. `sync-pipeline backfills list` shows its progress."
    terminal.emit(as_json, document, lambda: terminal.notice(said))
