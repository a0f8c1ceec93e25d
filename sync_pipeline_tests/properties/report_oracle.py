"""What reports should show, computed from what both systems hold and without any code of the pipeline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sync_pipeline.clock import utc_now
from sync_pipeline_tests.harness import Json, Team
from sync_pipeline_tests.properties.oracle import DURATION, facts_of_entries

Key = tuple[Any, ...]
Figures = dict[Key, Json]
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
KEYS = {
    "project": ("project_id", "project", "client"),
    "client": ("client_id", "client"),
    "person": ("user_id", "person"),
    "month": ("month",),
    "week": ("week",),
    "tag": ("tag",),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the reports are set."""

    zone: str = "UTC"
    week_start: str = "monday"
    currency: str = ""
    rounding: str = ""
    """Such as ``up 6``."""

    def environ(self) -> dict[str, str]:
        """As settings."""
        found = {"SYNC_REPORT_TIME_ZONE": self.zone, "SYNC_REPORT_WEEK_START": self.week_start}
        return {**found, "SYNC_REPORT_CURRENCY": self.currency, "SYNC_REPORT_ROUNDING": self.rounding}


class World:
    """All finished entries with what they refer to, and the revenue, as both systems have them now."""

    def __init__(self, us: Team, wanted: Wanted) -> None:
        self.wanted, self.today = wanted, utc_now().astimezone(ZoneInfo(wanted.zone)).date()
        self.projects = {each["id"]: each for each in us.projects()}
        self.people = {each["id"]: each["name"] for each in us.users()}
        self.entries = [self._entry(facts) for facts in facts_of_entries(us).values()]
        self.revenue = us.snapshots("GET", "/analytics/projects", limit=1000)["data"]

    def _entry(self, facts: Json) -> Json:
        local = facts["start_time"].astimezone(ZoneInfo(self.wanted.zone))
        first = local.date() - timedelta(days=(local.weekday() - DAYS.index(self.wanted.week_start)) % 7)
        return {
            **facts,
            "seconds": self._rounded(facts["seconds"]),
            "currency": facts["currency"] or self.wanted.currency or None,
            "month": local.strftime("%Y-%m"),
            "week": first.isoformat(),
            "person": self.people.get(facts["user_id"]),
            **self.of_project(facts["project_id"]),
        }

    def of_project(self, project_id: str | None) -> Json:
        """What is known of a project today."""
        found = self.projects.get(project_id or "", {})
        named = {"project": found.get("name"), "client_id": found.get("clientId"), "client": found.get("clientName")}
        return {name: value or None for name, value in named.items()}

    def _rounded(self, seconds: int) -> int:
        if not self.wanted.rounding:
            return seconds
        direction, minutes = self.wanted.rounding.split()
        unit = int(minutes) * 60
        whole, rest = seconds // unit, seconds % unit
        goes_up = {"up": rest > 0, "nearest": 2 * rest >= unit, "down": False}[direction]
        return (whole + goes_up) * unit

    def figures(self, *by: str, currencies: bool = True, entries: Iterable[Json] | None = None) -> Figures:
        """Sums of the entries by these groups; an entry counts for each of its tags."""
        groups: dict[Key, list[Json]] = defaultdict(list)
        names = tuple(name for each in by for name in KEYS[each])
        for entry in self.entries if entries is None else entries:
            for tag in (entry["tags"] or [None]) if "tag" in by else [None]:
                key = tuple(({**entry, "tag": tag})[name] for name in names)
                groups[key, entry["currency"] if currencies else None].append(entry)
        return {key: sums(some) for key, some in groups.items()}

    def performance(self, by: str, entries: list[Json], first: str = "0000") -> Figures:
        """The same by project, client or month, with budgets and revenue; what earns without hours as well."""
        found = self.figures(by, entries=entries)
        for (key, currency), line in found.items():
            if by == "project":
                line.update(self._budget(key[0], currency))
        for each in self.revenue:
            if each["month"] < first:
                continue
            names = {**each, **self.of_project(each["project_id"])}
            key = (tuple(names[name] for name in KEYS[by]), each["currency"])
            line = found.setdefault(key, sums([]))
            for name in ("revenue", "budget", "margin"):
                column = "revenue" if name == "revenue" else f"revenue_{name}"
                line[column] = round(line.get(column, 0) + each[name], 2)
        return found

    def _budget(self, project_id: str | None, currency: str | None) -> Json:
        """What of a project's budget and estimate is used, from its beginning."""
        project = self.projects.get(project_id or "", {})
        mine = [each for each in self.entries if each["project_id"] == project_id]
        amount = total(each["amount"] for each in mine if each["currency"] == currency)
        limit = (project.get("budgetEstimate") or {}).get("estimate") or None
        duration = DURATION.fullmatch((project.get("timeEstimate") or {}).get("estimate") or "PT0S")
        assert duration is not None
        estimate = sum(int(part or 0) * unit for part, unit in zip(duration.groups(), (3600, 60, 1), strict=True))
        return {
            "budget": money(limit),
            "budget_used": share(amount, limit),
            "estimate_hours": estimate / 3600 if estimate else None,
            "estimate_used": share(sum(each["seconds"] for each in mine), estimate),
        }


def sums(entries: list[Json]) -> Json:
    """The figures of some entries."""
    seconds = sum(each["seconds"] for each in entries)
    billable = sum(each["seconds"] for each in entries if each["billable"])
    amount, cost = total(each["amount"] for each in entries), total(each["cost"] for each in entries)
    return {
        "entries": len(entries),
        "hours": round(seconds / 3600, 4),
        "billable_hours": round(billable / 3600, 4),
        "billable_share": share(billable, seconds),
        "people": len({each["user_id"] for each in entries}),
        "projects": len({each["project_id"] for each in entries} - {None}),
        "amount": money(amount),
        "cost": money(cost),
        "margin": None if amount is None or cost is None else money(amount - cost),
    }


def total(values: Iterable[int | None]) -> int | None:
    """None, never 0, where nothing is known."""
    known = [each for each in values if each is not None]
    return sum(known) if known else None


def share(part: int | None, whole: int | None) -> float | None:
    """None where it is unknown."""
    return None if part is None or not whole else round(part / whole, 4)


def money(hundredths: int | None) -> float | None:
    """In the currency's unit."""
    return None if hundredths is None else hundredths / 100
