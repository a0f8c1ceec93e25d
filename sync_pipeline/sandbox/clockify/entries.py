"""Reading time entries: one user's list, one entry, everything that runs."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import document
from sync_pipeline.sandbox.clockify.entry_rows import DESCRIPTION, LISTED, TAGGED, entry_body, entry_texts
from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, Reply, denied, invalid, not_ours
from sync_pipeline.sandbox.clockify.ids import id_floor
from sync_pipeline.sandbox.clockify.paging import Page, Where, select_page
from sync_pipeline.sandbox.clockify.projects import SELECT as SELECT_PROJECT
from sync_pipeline.sandbox.clockify.projects import project_body
from sync_pipeline.sandbox.clockify.tasks import task_body
from sync_pipeline.sandbox.clockify.times import parse_instant, wall_clock, zone
from sync_pipeline.sandbox.clockify.users import find_user
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
    """GET .../time-entries/{id}."""
    row = find_entry(call, call.ids["id"])
    demand_access(call, row["user_id"])
    body = entry_body(row, call.workspace, locked_before(call))
    return Reply(Lookup(call.db).hydrate(body) if call.flag("hydrated") else body)


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
        find_user(call, user_id)


def find_entry(call: Call, entry_id: str) -> sqlite3.Row:
    """The entry's row, or 400/501."""
    row: sqlite3.Row | None = call.db.execute("SELECT * FROM time_entries WHERE id = ?", (entry_id,)).fetchone()
    if row is None:
        raise not_ours("Time entry")
    return row


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
    text = call.query.get(name)
    if not text:
        return None
    instant = parse_instant(text)
    if instant is None:
        raise Refusal(400, 3000, f"Failed to convert {name}: {text!r} is not in yyyy-MM-ddThh:mm:ssZ format")
    if call.world.options.wall_clock_windows:
        # The real service re-reads the instant as a wall clock in the account's zone.
        instant = wall_clock(text, zone(call.caller.zone)) or instant
    return int(instant.timestamp())


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


def locked_before(call: Call) -> int | None:
    """Entries that start before this second are locked; None when nothing is."""
    return lock_time(call.world)


def lock_time(world: World) -> int | None:
    """The second before which entries are locked."""
    moment = parse_instant(settings(world)["lockTimeEntries"])
    return None if moment is None else int(moment.timestamp())


def render(call: Call, rows: list[sqlite3.Row], hydrated: bool) -> bytes:
    """Rows as one JSON array; unhydrated ones are not even parsed."""
    lock = locked_before(call)
    texts = f"[{','.join(entry_texts(rows, call.workspace, lock))}]".encode()
    if not hydrated:
        return texts
    lookup = Lookup(call.db)
    return orjson.dumps([lookup.hydrate(entry) for entry in orjson.loads(texts)])


class Lookup:
    """The records entries refer to, each read once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._seen: dict[tuple[str, str], Json | None] = {}

    def hydrate(self, entry: Json) -> Json:
        """The entry with its project, task, tags and user inside."""
        tags = [self.get("tags", tag_id) for tag_id in entry["tagIds"] or []]
        return entry | {
            "project": self.get("projects", entry["projectId"]),
            "task": self.get("tasks", entry["taskId"]),
            "tags": [tag for tag in tags if tag is not None],
            "user": self.get("users", entry["userId"]),
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
        select = {
            "projects": f"{SELECT_PROJECT} WHERE p.id = ?",
            "users": "SELECT id, email, name, membership_status FROM users WHERE id = ?",
        }.get(table, f"SELECT * FROM {table} WHERE id = ?")
        row: Any = self._db.execute(select, (record_id,)).fetchone()
        if row is None:
            return None
        if table == "users":
            return {"id": row["id"], "name": row["name"], "email": row["email"], "status": row["membership_status"]}
        if table == "projects":
            return project_body(row)
        return task_body(row) if table == "tasks" else document(row)
