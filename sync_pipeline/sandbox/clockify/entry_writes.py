"""Writing time entries: create, replace, stop, duplicate, delete, mark as invoiced."""

from __future__ import annotations

import sqlite3
from typing import Any

from sync_pipeline.sandbox.clockify.documents import bury, dump, find
from sync_pipeline.sandbox.clockify.entries import Lookup, demand_access
from sync_pipeline.sandbox.clockify.entry_rows import INSERT, UPDATE, entry_body, stored
from sync_pipeline.sandbox.clockify.entry_rules import (
    Draft,
    demand_manual_tracking,
    demand_unapproved,
    demand_unlocked,
    draft,
    interval,
)
from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, Reply, invalid, unavailable
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.times import parse_instant
from sync_pipeline.sandbox.database import transaction
from sync_pipeline.sandbox.world import World


def create_entry(call: Call) -> Reply:
    """POST .../time-entries: for the caller, whatever ``userId`` the body names."""
    asked = {} if call.body is None else call.json()
    demand_manual_tracking(call, asked, admins_exempt=False)
    return _create(call, asked, call.caller.user_id)


def create_entry_for(call: Call) -> Reply:
    """POST .../user/{user}/time-entries: for another user, with the permission and the feature."""
    asked = {} if call.body is None else call.json()
    demand_access(call, call.ids["user"])
    if call.ids["user"] != call.caller.user_id and call.world.options.plan == "free":
        raise unavailable()
    if source := call.query.get("from-entry"):
        asked = _as_request(_entry_to_copy(call, source)) | asked
    demand_manual_tracking(call, asked, admins_exempt=True)
    return _create(call, asked, call.ids["user"])


def _entry_to_copy(call: Call, entry_id: str) -> Json:
    """The entry, or an empty 404: not the 400/501 of other unknown ids."""
    try:
        return entry_body(find(call, "time_entries", entry_id), call.workspace)
    except Refusal:
        raise Refusal(404, None, "") from None


def _create(call: Call, asked: Json, user_id: str) -> Reply:
    made = draft(call, asked, user_id, new_id(call.now))
    demand_unlocked(call, made.started)
    with transaction(call.db):
        if made.ended is None:
            _stop_running(call, user_id, call.now)
        _insert(call, made, user_id)
    call.world.wrote("time_entries")
    return Reply(without_rates(made.body), 201)


def _insert(call: Call, made: Draft, user_id: str) -> None:
    body = made.body
    searched = (body["id"], user_id, body["projectId"], body["taskId"], made.started, made.ended, body["billable"])
    call.db.execute(INSERT, (*searched, *stored(body)))
    track(call.db, body, made.started, made.ended, 1)
    _report_event(call, "NEW_TIMER_STARTED" if made.ended is None else "NEW_TIME_ENTRY", body)


def _report_event(call: Call, event: str, body: Json) -> None:
    call.happened(event, "time_entries", body)


def track(db: sqlite3.Connection, body: Json, started: int, ended: int | None, sign: int) -> None:
    """Keep the tracked totals of project and task in step with their entries."""
    if ended is None:
        return
    for table, record_id in (("projects", body["projectId"]), ("tasks", body["taskId"])):
        if record_id:
            db.execute(f"UPDATE {table} SET tracked = tracked + ? WHERE id = ?", (sign * (ended - started), record_id))


def update_entry(call: Call) -> Reply:
    """PUT .../time-entries/{id}: full replace, ``start`` required."""
    row = find(call, "time_entries", call.ids["id"])
    demand_access(call, row["user_id"])
    with transaction(call.db):
        body = _replace(call, row, call.json())
    call.world.wrote("time_entries")
    return Reply(without_rates(body))


def _replace(call: Call, row: sqlite3.Row, asked: Json, *, required: str = "start") -> Json:
    old: Json = entry_body(row, call.workspace)
    if asked.get(required) is None:
        raise invalid(f"{required}: must not be null")
    asked = {"start": old["timeInterval"]["start"]} | {key: value for key, value in asked.items() if value is not None}
    demand_unapproved(row)
    made = draft(call, asked, row["user_id"], row["id"])
    for started in (row["started"], made.started):
        demand_unlocked(call, started)
    if (made.started, made.ended) != (row["started"], row["ended"]):
        demand_manual_tracking(call, asked, admins_exempt=True)
    if made.ended is None:
        _stop_running(call, row["user_id"], call.now, but=row["id"])
    _store(call, row, old, made.body, made.started, made.ended)
    _report_event(call, "TIME_ENTRY_UPDATED", made.body)
    return made.body


def _store(call: Call, row: sqlite3.Row, old: Json, body: Json, started: int, ended: int | None) -> None:
    track(call.db, old, row["started"], row["ended"], -1)
    searched = (body["projectId"], body["taskId"], started, ended, body["billable"], call.now)
    call.db.execute(UPDATE, (*searched, *stored(body), row["seq"]))
    track(call.db, body, started, ended, 1)


def update_entries(call: Call) -> Reply:
    """PUT .../user/{user}/time-entries: several in one request, all or none; here ``end`` is required, ``start`` is not."""
    demand_access(call, call.ids["user"])
    asked = call.body
    if not isinstance(asked, list) or not asked or not all(isinstance(item, dict) for item in asked):
        raise invalid("At least one time entry is required")
    with transaction(call.db):
        rows = [(find(call, "time_entries", str(item.get("id"))), item) for item in asked]
        if any(row["user_id"] != call.ids["user"] for row, _ in rows):
            raise invalid("Time entry doesn't belong to User")
        bodies = [_replace(call, row, item, required="end") for row, item in rows]
    call.world.wrote("time_entries", len(bodies))
    if call.flag("hydrated"):
        lookup = Lookup(call.db, call.workspace)
        bodies = [lookup.hydrate(body) for body in bodies]
    return Reply([without_rates(body, "costRate") for body in bodies])


def stop_timer(call: Call) -> Reply:
    """PATCH .../user/{user}/time-entries: stop what runs; 404/404 when nothing does."""
    demand_access(call, call.ids["user"])
    moment = parse_instant(call.json().get("end"))
    if moment is None:
        raise invalid("end: is required in yyyy-MM-ddThh:mm:ssZ format")
    row = _running(call, call.ids["user"])
    if row is None:
        raise Refusal(404, 404, "Currently running time entry doesn't exist on workspace")
    if moment.timestamp() < row["started"]:
        raise invalid("Start date must be before end date")
    with transaction(call.db):
        body = _stop(call, row, int(moment.timestamp()))
    call.world.wrote("time_entries")
    return Reply(without_rates(body))


def _running(call: Call, user_id: str, but: str = "") -> sqlite3.Row | None:
    row: sqlite3.Row | None = call.db.execute(
        "SELECT * FROM time_entries WHERE ended IS NULL AND user_id = ? AND id <> ?", (user_id, but)
    ).fetchone()
    return row


def _stop_running(call: Call, user_id: str, at: int, but: str = "") -> None:
    """A user has one running timer: starting another one stops it."""
    row = _running(call, user_id, but)
    if row is not None:
        _stop(call, row, max(at, row["started"]))


def _stop(call: Call, row: sqlite3.Row, ended: int) -> Json:
    old: Json = entry_body(row, call.workspace)
    body = old | {"timeInterval": interval(row["started"], ended)}
    _store(call, row, old, body, row["started"], ended)
    _report_event(call, "TIMER_STOPPED", body)
    return body


def duplicate_entry(call: Call) -> Reply:
    """POST .../user/{user}/time-entries/{id}/duplicate."""
    demand_access(call, call.ids["user"])
    row = find(call, "time_entries", call.ids["id"])
    if row["user_id"] != call.ids["user"]:
        raise invalid("Time entry doesn't belong to User")
    demand_unlocked(call, row["started"])
    entry_id = new_id(call.now)
    body: Json = entry_body(row, call.workspace)
    values = [value | {"timeEntryId": entry_id} for value in body["customFieldValues"]]
    made = Draft(body | {"id": entry_id, "customFieldValues": values}, row["started"], row["ended"])
    with transaction(call.db):
        if made.ended is None:
            _stop_running(call, row["user_id"], call.now)
        _insert(call, made, row["user_id"])
    call.world.wrote("time_entries")
    return Reply(without_rates(made.body), 201)


def delete_entry(call: Call) -> Reply:
    """DELETE .../time-entries/{id}: 204 without a body."""
    row = find(call, "time_entries", call.ids["id"])
    demand_access(call, row["user_id"])
    with transaction(call.db):
        _delete(call, row)
    return Reply(status=204)


def delete_entries(call: Call) -> Reply:
    """DELETE .../user/{user}/time-entries?time-entry-ids=...: the deleted rows."""
    demand_access(call, call.ids["user"])
    wanted = call.many("time-entry-ids")
    if not wanted:
        raise Refusal(400, 3001, "Required parameter 'time-entry-ids' is not present.")
    with transaction(call.db):
        rows = [find(call, "time_entries", entry_id) for entry_id in dict.fromkeys(wanted)]
        if any(row["user_id"] != call.ids["user"] for row in rows):
            raise invalid("Time entry doesn't belong to User")
        deleted = [_delete(call, row) for row in rows]
    return Reply([without_rates(body) for body in deleted])


def _delete(call: Call, row: sqlite3.Row) -> Json:
    demand_unapproved(row)
    demand_unlocked(call, row["started"])
    body: Json = entry_body(row, call.workspace)
    call.db.execute("DELETE FROM time_entries WHERE seq = ?", (row["seq"],))
    track(call.db, body, row["started"], row["ended"], -1)
    bury(call, "time_entries", row["id"], dump(body))
    call.world.wrote("time_entries")
    _report_event(call, "TIME_ENTRY_DELETED", body)
    return body


def mark_invoiced(call: Call) -> Reply:
    """PATCH .../time-entries/invoiced: 200 without a body."""
    asked = call.json()
    ids = asked.get("timeEntryIds")
    if not isinstance(ids, list) or not ids:
        raise invalid("timeEntryIds: must not be empty")
    with transaction(call.db):
        for entry_id in ids:
            row = find(call, "time_entries", str(entry_id))
            call.db.execute(
                "UPDATE time_entries SET invoiced = ? WHERE seq = ?", (bool(asked.get("invoiced")), row["seq"])
            )
    call.world.wrote("time_entries", len(ids))
    return Reply()


def set_approval(world: World, entry_ids: list[str], status: str | None) -> int:
    """Approve entries (``APPROVED``), or withdraw the approval; in place of Clockify's approval pages."""
    marks = ",".join("?" * len(entry_ids))
    changed = world.db.execute(f"UPDATE time_entries SET approval = ? WHERE id IN ({marks})", (status, *entry_ids))
    return changed.rowcount


def without_rates(body: Json, *hidden: str) -> Json:
    """The shape of write answers: rates appear on reads only, and the billable one in the answer to a bulk edit."""
    return {name: value for name, value in body.items() if name not in (hidden or ("hourlyRate", "costRate"))}


def _as_request(body: Json) -> dict[str, Any]:
    """A stored entry as the request that would create it, without its times."""
    fields = ("description", "billable", "projectId", "taskId", "tagIds", "type")
    custom = [{"customFieldId": v["customFieldId"], "value": v["value"]} for v in body["customFieldValues"]]
    return {name: body[name] for name in fields} | {"customFields": custom}
