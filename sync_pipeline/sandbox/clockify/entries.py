"""Reading time entries: one user's list, one entry, everything that runs."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import document, find
from sync_pipeline.sandbox.clockify.entry_rows import (
    DESCRIPTION,
    LISTED,
    TAGGED,
    currencies_of_projects,
    entry_body,
    entry_texts,
)
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply, denied, invalid
from sync_pipeline.sandbox.clockify.ids import id_floor
from sync_pipeline.sandbox.clockify.paging import Page, Where, select_page
from sync_pipeline.sandbox.clockify.projects import SELECT_PROJECT, project_body
from sync_pipeline.sandbox.clockify.tasks import task_body
from sync_pipeline.sandbox.clockify.times import parse_instant, wall_clock, zone
from sync_pipeline.sandbox.clockify.users import whole_user
from sync_pipeline.sandbox.clockify.workspaces import settings
from sync_pipeline.sandbox.world import World

SELECT = f"SELECT {', '.join(LISTED)} FROM time_entries"
NEWEST_FIRST = "started DESC, id DESC"


def list_entries(call: Call) -> Reply:
    """GET .../user/{user}/time-entries: newest start first, running ones included."""
    demand_access(call, call.ids["user"])
    where = Where()
    where.add("user_id = ?", call.ids["user"])
    _window(call, where)
    _content(call, where)
    hydrated = bool(call.flag("hydrated"))
    return select_page(call, SELECT, where, NEWEST_FIRST, Page.asked(call), lambda rows: render(call, rows, hydrated))


def list_running(call: Call) -> Reply:
    """GET .../time-entries/status/in-progress: of the whole workspace; members see their own."""
    where = Where()
    where.add("ended IS NULL")
    if not call.caller.admin:
        where.add("user_id = ?", call.caller.user_id)
    page = Page.asked(call, default=10, cap=call.world.options.in_progress_page_cap)
    return select_page(call, SELECT, where, NEWEST_FIRST, page, lambda rows: render(call, rows, False))


def get_entry(call: Call) -> Reply:
    """GET .../time-entries/{id}; hydrated it has everything but the user, which is null."""
    row = find(call, "time_entries", call.ids["id"])
    demand_access(call, row["user_id"])
    body = _visible(call, entry_body(row, call.workspace, locked_before(call.world), currencies_of_projects(call.db)))
    return Reply(Lookup(call.db, call.workspace).hydrate(body) | {"user": None} if call.flag("hydrated") else body)


def fetch_entries(call: Call) -> Reply:
    """POST .../time-entries/batch: many by id; unknown ids are left out."""
    asked = call.body if isinstance(call.body, list) else call.json().get("ids") or call.json().get("timeEntryIds")
    if not isinstance(asked, list) or not asked:
        raise invalid("ids: must not be empty")
    where = Where()
    where.any_of("id", [str(entry_id) for entry_id in asked])
    if not call.caller.admin:
        where.add("user_id = ?", call.caller.user_id)
    rows = call.db.execute(f"{SELECT}{where.sql()} ORDER BY {NEWEST_FIRST}", where.values).fetchall()
    return Reply(render(call, rows, False))


def demand_access(call: Call, user_id: str) -> None:
    """Members reach their own entries only; an unknown user is refused like any unknown id."""
    if user_id != call.caller.user_id:
        if not call.caller.admin:
            raise denied()
        find(call, "users", user_id)


def _window(call: Call, where: Where) -> None:
    bounds = {name: _bound(call, name) for name in ("start", "end")}
    week_before = call.query.get("get-week-before")
    if week_before:
        end = _bound(call, "get-week-before")
        bounds = {"start": None if end is None else end - int(timedelta(days=7).total_seconds()), "end": end}
    if bounds["start"] is not None:
        where.add("started >= ?", bounds["start"])
    if bounds["end"] is not None:
        where.add("started < ?", bounds["end"])
    lag = call.world.options.windowed_list_lag
    if lag > 0 and any(bound is not None for bound in bounds.values()):
        where.add("id < ?", id_floor(call.world.clock.epoch() - lag))


def _bound(call: Call, name: str) -> int | None:
    instant = call.instant(name)
    if instant is not None and call.world.options.wall_clock_windows:
        # The real service re-reads the instant as a wall clock in the account's zone.
        instant = wall_clock(call.query[name], zone(call.caller.zone)) or instant
    return None if instant is None else int(instant.timestamp())


def _content(call: Call, where: Where) -> None:
    if description := call.query.get("description"):
        where.contains(DESCRIPTION, description)
    for parameter, column in (("project", "project_id"), ("task", "task_id")):
        if wanted := call.query.get(parameter):
            where.add(f"{column} = ?", wanted)
        if call.flag(f"{parameter}-required"):
            where.add(f"{column} IS NOT NULL")
    if tags := call.many("tags"):
        where.add(TAGGED.format(",".join("?" * len(tags))), *tags)
    running = call.flag("in-progress")
    if running is not None:
        where.add("ended IS NULL" if running else "ended IS NOT NULL")


def locked_before(world: World) -> int | None:
    """Entries that start before this second are locked; None when nothing is."""
    moment = parse_instant(settings(world)["lockTimeEntries"])
    return None if moment is None else int(moment.timestamp())


def render(call: Call, rows: list[sqlite3.Row], hydrated: bool) -> bytes:
    """Rows as one JSON array; unhydrated ones are not even parsed for an admin."""
    lock = locked_before(call.world)
    texts = f"[{','.join(entry_texts(rows, call.workspace, lock, currencies_of_projects(call.db)))}]".encode()
    if not hydrated and call.shows_rates:
        return texts
    found = [_visible(call, entry) for entry in orjson.loads(texts)]
    lookup = Lookup(call.db, call.workspace)
    return orjson.dumps([lookup.hydrate(entry) for entry in found] if hydrated else found)


def _visible(call: Call, entry: Json) -> Json:
    """What the caller may see of an entry."""
    return entry if call.shows_rates else entry | {"hourlyRate": None, "costRate": None}


class Lookup:
    """The records entries refer to, each read once."""

    def __init__(self, db: sqlite3.Connection, workspace: str) -> None:
        self._db = db
        self._workspace = workspace
        self._seen: dict[tuple[str, str], Json | None] = {}

    def hydrate(self, entry: Json) -> Json:
        """The entry with its project, task, tags, user and kiosk inside; nothing here is ever tracked at a kiosk."""
        tags = [self.get("tags", tag_id) for tag_id in entry["tagIds"] or []]
        return entry | {
            "project": self.get("projects", entry["projectId"]),
            "task": self.get("tasks", entry["taskId"]),
            "tags": [tag for tag in tags if tag is not None],
            "user": self.get("users", entry["userId"]),
            "kiosk": None,
        }

    def get(self, table: str, record_id: str | None) -> Json | None:
        """The record's document; None when there is none (any more)."""
        if not record_id:
            return None
        key = (table, record_id)
        if key not in self._seen:
            self._seen[key] = self._read(table, record_id)
        return self._seen[key]

    def _read(self, table: str, record_id: str) -> Json | None:
        select = f"{SELECT_PROJECT} WHERE p.id = ?" if table == "projects" else f"SELECT * FROM {table} WHERE id = ?"
        row: Any = self._db.execute(select, (record_id,)).fetchone()
        if row is None:
            return None
        if table == "users":
            return whole_user(row, self._workspace)
        if table == "projects":
            return project_body(row)
        return task_body(row) if table == "tasks" else document(row)
