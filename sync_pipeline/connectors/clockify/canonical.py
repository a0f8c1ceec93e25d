"""One time entry, one form: the same bytes whether the report, a user's list or a read by id gave it.

It holds what all three give. Instants are UTC with whole seconds, the duration is counted from them (the report
writes seconds, the lists ISO text), set custom fields are keyed by name, tags are in the order of their ids, and keys are
sorted. Rates are whole hundredths of the currency for an hour; null when nothing is charged or paid for it, or when the
caller may not see it: readers differ in whether they write nothing or 0. ``names`` adds the names that a reader leaves out.
Invalid values are passed on unchanged: checks decide about them, a connector does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sync_pipeline.connectors.answers import as_text
from sync_pipeline.connectors.paging import Record

Named = Mapping[str, Any]
FieldNames = Mapping[str, str]  # custom field id -> name, for rows that give only the id
NOTHING: Named = {}
WRITTEN = len("2026-01-31T10:00:00Z")


class _ReaderFields(NamedTuple):
    """What each reader of entries gives under names of its own."""

    id: Any
    tags: list[Record]
    fields: list[Any]
    client: tuple[Any, Any]
    """Id and name."""
    project_name: Any
    task_name: Any
    user_name: Any
    rate: Any
    cost_rate: Any
    currency: Any


def from_report(row: Named, workspace: str, field_names: FieldNames = NOTHING) -> Record:
    """The canonical form of a row of the detailed report."""
    tags = [tag for tag in _list(row, "tags") if isinstance(tag, dict)]
    found = _ReaderFields(
        row.get("_id", row.get("id")),
        tags=[{"id": tag.get("_id", tag.get("id")), "name": tag.get("name")} for tag in tags],
        fields=_list(row, "customFields"),
        client=(row.get("clientId"), row.get("clientName")),
        project_name=row.get("projectName"),
        task_name=row.get("taskName"),
        user_name=row.get("userName"),
        rate=row.get("rate"),
        cost_rate=row.get("costRate"),
        currency=row.get("currency"),
    )
    return _entry(row, found, workspace, field_names)


def from_list(row: Named, workspace: str, field_names: FieldNames = NOTHING) -> Record:
    """The canonical form of an entry of the core host, asked for with ``hydrated=true`` where that is possible."""
    project, task, user = _object(row, "project"), _object(row, "task"), _object(row, "user")
    rate, cost_rate = _object(row, "hourlyRate"), _object(row, "costRate")
    tags = [tag for tag in _list(row, "tags") if isinstance(tag, dict)]
    if "tags" not in row:  # not hydrated: a running entry's list gives only ids
        tags = [{"id": tag} for tag in _list(row, "tagIds")]
    found = _ReaderFields(
        row.get("id"),
        tags=[{"id": tag.get("id"), "name": tag.get("name")} for tag in tags],
        fields=_list(row, "customFieldValues"),
        client=(project.get("clientId"), project.get("clientName")),
        project_name=project.get("name"),
        task_name=task.get("name"),
        user_name=user.get("name"),
        rate=rate.get("amount"),
        cost_rate=cost_rate.get("amount"),
        currency=rate.get("currency") or cost_rate.get("currency"),
    )
    return _entry(row, found, workspace, field_names)


def needs_field_names(row: Named) -> bool:
    """Whether the row holds a custom field without its name."""
    fields = _list(row, "customFields") or _list(row, "customFieldValues")
    return any(isinstance(field, dict) and not field.get("name") for field in fields)


def start_of(entry: Named) -> datetime | None:
    """When the entry starts, if that can be understood."""
    return _instant(entry["timeInterval"]["start"])


def _entry(row: Named, found: _ReaderFields, workspace: str, field_names: FieldNames) -> Record:
    rate = _amount(found.rate) if row.get("billable") else None  # some readers give it although it is not charged
    cost_rate, tags = _amount(found.cost_rate), found.tags
    if len(tags) > 1:
        tags = list({as_text(tag["id"]): tag for tag in sorted(tags, key=_tag_order)}.values())
    entry = {
        "billable": row.get("billable"),
        "clientId": found.client[0] or None,
        "clientName": found.client[1] or None,
        "costRate": cost_rate,
        "currency": None if rate is None and cost_rate is None else found.currency or None,
        "customFields": _custom_fields(found.fields, field_names) if found.fields else {},
        "description": row.get("description") or "",
        "id": found.id,
        "projectId": row.get("projectId") or None,
        "projectName": found.project_name or None,
        "rate": rate,
        "tagIds": [tag["id"] for tag in tags],
        "tags": tags,
        "taskId": row.get("taskId") or None,
        "taskName": found.task_name or None,
        "timeInterval": _interval(row.get("timeInterval")),
        "type": row.get("type") or "REGULAR",
        "userId": row.get("userId"),
        "userName": found.user_name or None,
        "workspaceId": workspace,
    }
    if "malformed" in row:  # was no object at all: kept for the checks to see
        entry["malformed"] = row["malformed"]
    return entry


def _amount(value: Any) -> Any:
    """A rate that is set: the report may write it as a float."""
    return (int(value) if isinstance(value, float) and value.is_integer() else value) or None


def _interval(interval: Any) -> Record:
    found = interval if isinstance(interval, dict) else NOTHING
    start, end = found.get("start"), found.get("end")
    first, last = _instant(start), _instant(end)
    return {
        "duration": int((last - first).total_seconds()) if first and last else None,
        "end": _text(end, last),
        "start": _text(start, first),
    }


def _instant(value: Any) -> datetime | None:
    """The instant in UTC with whole seconds; None when it cannot be understood."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not UTC:
            if moment.tzinfo is None:  # no zone: no instant
                return None
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.replace(microsecond=0) if moment.microsecond else moment


def _text(value: Any, moment: datetime | None) -> Any:
    if moment is None or (len(value) == WRITTEN and value[10] == "T" and value[-1] == "Z"):
        return value  # unchanged: it is invalid, or in its final form already
    return moment.isoformat()[:19] + "Z"


def _custom_fields(fields: list[Any], names: FieldNames) -> Record:
    """Only fields with a value: the report leaves the others out, the lists give them as null."""
    found = {}
    for field in fields:
        if isinstance(field, dict) and field.get("value") is not None:
            field_id = as_text(field.get("customFieldId"))
            found[as_text(field.get("name") or names.get(field_id) or field_id)] = field["value"]
    return dict(sorted(found.items())) if len(found) > 1 else found


def _tag_order(tag: Record) -> str:
    return as_text(tag["id"])


def _list(row: Named, key: str) -> list[Any]:
    value = row.get(key)
    return value if isinstance(value, list) else []


def _object(row: Named, key: str) -> Named:
    value = row.get(key)
    return value if isinstance(value, dict) else NOTHING
