"""What a report covers: range, time zone, and the filters all reports share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from sync_pipeline.sandbox.clockify.documents import integer, one_of, strings
from sync_pipeline.sandbox.clockify.entry_rows import CURRENCY, DESCRIPTION, TAGGED
from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, invalid
from sync_pipeline.sandbox.clockify.paging import Where
from sync_pipeline.sandbox.clockify.times import wall_clock, zone

LONGEST = {"free": 31, "paid": 366}
EXPORTS = ("JSON", "JSON_V1", "PDF", "CSV", "XLSX", "ZIP")
AMOUNTS = ("EARNED", "COST", "PROFIT")
SHOWN = {name: (name,) for name in AMOUNTS} | {"HIDE_AMOUNT": (), "EXPORT": AMOUNTS}
"""What each value of ``amountShown`` and ``amounts`` shows."""
_EARNED = "CASE WHEN billable THEN coalesce(hourly, 0) * (ended - started) / 3600.0 ELSE 0 END"
_COST = "coalesce(cost, 0) * (ended - started) / 3600.0"
AMOUNT_SQL = {"EARNED": _EARNED, "COST": _COST, "PROFIT": f"{_EARNED} - {_COST}"}
"""Amounts of one entry, in the hundredths that rates are in."""
_CLIENT = "(SELECT p.parent FROM projects p WHERE p.id = project_id)"


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """The rows a report covers, as SQL, the zone it is written in, and the amounts it shows."""

    sql: str
    values: list[Any]
    zone: tzinfo
    amounts: tuple[str, ...]


def report_query(call: Call, asked: Json, audit: Any = None) -> ReportQuery:
    """Understand a report's body; members only ever see their own entries."""
    _demand_json(asked)
    in_zone = _zone(call, asked)
    first, last = _moment(asked, "dateRangeStart", in_zone), _moment(asked, "dateRangeEnd", in_zone)
    _demand_range(call, first, last)
    where = Where()
    # Both bounds belong to the range: people end it at 23:59:59.
    where.add("started >= ?", _ceil(first))
    where.add("started <= ?", int(last.timestamp()))
    where.add("ended IS NOT NULL")
    if not call.caller.admin:
        where.add("user_id = ?", call.caller.user_id)
    _relations(asked, where)
    _properties(asked, where)
    if isinstance(audit, dict):
        _audit(audit, where)
    return ReportQuery(where.sql(), where.values, in_zone, _amounts(call, asked))


def _demand_json(asked: Json) -> None:
    kind = one_of(asked, "exportType", EXPORTS, "JSON")
    if kind not in ("JSON", "JSON_V1"):
        raise invalid(f"exportType: this sandbox makes no {kind} files, ask for JSON")


def _amounts(call: Call, asked: Json) -> tuple[str, ...]:
    """The amounts that are asked for - by ``amounts``, else by ``amountShown`` - and that the caller may see."""
    wanted = strings(asked, "amounts") or [str(one_of(asked, "amountShown", tuple(SHOWN), "EARNED"))]
    if unknown := set(wanted) - SHOWN.keys():
        raise Refusal(400, 3002, f"JSON parse error: amounts: {sorted(unknown)} not of {list(SHOWN)}")
    if "HIDE_AMOUNT" in wanted or not call.shows_rates:
        return ()
    shown = {name for one in wanted for name in SHOWN[one]}
    return tuple(name for name in AMOUNTS if name in shown)


def amount_facts(values: dict[str, float]) -> Json:
    """Sums as totals carry them: the first one by itself, all of them by kind, and by currency."""
    total = next(iter(values.values()), None)
    return {
        "totalAmount": total,
        "amounts": [{"type": kind, "value": value} for kind, value in values.items()],
        "numOfCurrencies": 1,
        "totalAmountByCurrency": [] if total is None else [{"currency": CURRENCY, "amount": total}],
    }


def _zone(call: Call, asked: Json) -> tzinfo:
    try:
        return zone(asked.get("timeZone") or call.caller.zone)
    except ValueError as error:
        raise invalid(f"timeZone: {error}") from error


def _moment(asked: Json, name: str, in_zone: tzinfo) -> datetime:
    text = asked.get(name)
    moment = wall_clock(text, in_zone)
    if moment is None or "T" not in str(text):  # a date alone is refused
        raise invalid(f"{name}: must be a date and time like 2026-08-01T00:00:00.000")
    return moment


def _ceil(moment: datetime) -> int:
    second = int(moment.timestamp())
    return second + 1 if moment.microsecond else second


def _demand_range(call: Call, first: datetime, last: datetime) -> None:
    if last < first:
        raise invalid("dateRangeEnd must be after dateRangeStart")
    longest = LONGEST[call.world.options.plan]
    if last - first > timedelta(days=longest):
        raise invalid(f"Date range is longer than the {longest} days your subscription plan allows")


def _relations(asked: Json, where: Where) -> None:
    for name, column in (
        ("users", "user_id"),
        ("projects", "coalesce(project_id, '')"),
        ("tasks", "coalesce(task_id, '')"),
        ("clients", f"coalesce({_CLIENT}, '')"),
    ):
        chosen = asked.get(name)
        if ids := _ids(chosen):
            where.any_of(column, ids, contains="DOES_NOT_CONTAIN" not in _modes(chosen))
    tags = asked.get("tags")
    if tag_ids := _ids(tags):
        clause = TAGGED.format(",".join("?" * len(tag_ids)))
        excluded = "DOES_NOT_CONTAIN" in _modes(tags)
        where.add(f"NOT {clause}" if excluded else clause, *tag_ids)
    groups = asked.get("userGroups")
    if group_ids := _ids(groups):
        marks = ",".join("?" * len(group_ids))
        where.add(
            f"user_id IN (SELECT m.value FROM user_groups g, json_each(g.body, '$.userIds') m WHERE g.id IN ({marks}))",
            *group_ids,
        )


def _ids(chosen: Any) -> list[str]:
    ids = chosen.get("ids") if isinstance(chosen, dict) else None
    return [str(one) for one in ids] if isinstance(ids, list) else []


def _modes(chosen: Any) -> tuple[Any, Any]:
    return chosen.get("contains"), chosen.get("containedInTimeentry")


def _properties(asked: Json, where: Where) -> None:
    if isinstance(asked.get("billable"), bool):
        where.add("billable = ?", asked["billable"])
    if asked.get("description"):
        where.contains(DESCRIPTION, str(asked["description"]))
    if asked.get("withoutDescription") is True:
        where.add(f"{DESCRIPTION} = ''")
    if asked.get("approvalState") == "APPROVED":
        where.add("approval = 'APPROVED'")
    if asked.get("approvalState") == "UNAPPROVED":
        where.add("approval IS NOT 'APPROVED'")
    if asked.get("invoicingState") in ("INVOICED", "UNINVOICED"):
        where.add("invoiced = ?", asked["invoicingState"] == "INVOICED")


def _audit(audit: Json, where: Where) -> None:
    if audit.get("withoutProject") is True:
        where.add("project_id IS NULL")
    if audit.get("withoutTask") is True:
        where.add("task_id IS NULL")
    if audit.get("duration"):
        comparison = "<" if audit.get("durationShorter") else ">"
        where.add(f"ended - started {comparison} ?", integer(audit, "duration", 0))
