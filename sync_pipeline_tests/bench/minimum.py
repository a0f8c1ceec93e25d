"""The fewest requests a sync can make: full pages for each window the report allows, and the small lists."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil

from sync_pipeline_tests.bench.sandbox import Sandbox

REPORT_DAYS = 31  # the longest range of a report on the Free plan
DAYS_AHEAD = 7  # entries may be planned; a sync reads a week ahead
BATCH = 500  # records in one write
SNAPSHOTS_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Minimum:
    """Requests of the two syncs."""

    first: int
    second: int


def minimum(sandbox: Sandbox, first_day: date, today: date, page_size: int) -> Minimum:
    """Asks the sandbox how many rows each window and list really has; asked for before anything is counted."""
    base = f"/clockify/api/v1/workspaces/{sandbox.workspace}"
    users = len(sandbox.ask(f"{base}/users?status=ALL&page-size=5000"))
    projects = len(sandbox.ask(f"{base}/projects?page-size=5000"))
    locations = len(sandbox.ask(f"/snapshots/locations?limit={SNAPSHOTS_PAGE}")["data"])
    entries = _entries_by_window(sandbox, first_day, today + timedelta(days=DAYS_AHEAD))
    lists = _pages(users, page_size) + _pages(projects, page_size) + _pages(locations, SNAPSHOTS_PAGE)
    running = 1  # the list of running entries
    reads = lists + running + sum(_pages(count, page_size) for count in entries)
    clients = 1 + locations  # the list of those that exist, and a request for each to be made
    writes = clients + sum(ceil(count / BATCH) for count in (users, projects, sum(entries)))
    return Minimum(first=reads + writes, second=reads)


def _entries_by_window(sandbox: Sandbox, first: date, last: date) -> list[int]:
    counts = []
    while first <= last:
        end = min(first + timedelta(days=REPORT_DAYS - 1), last)
        body = {
            "dateRangeStart": f"{first}T00:00:00Z",
            "dateRangeEnd": f"{end}T23:59:59.999Z",
            "timeZone": "UTC",
            "exportType": "JSON",
            "detailedFilter": {"page": 1, "pageSize": 1, "options": {"totals": "CALCULATE"}},
        }
        totals = sandbox.ask(f"/clockify/report/v1/workspaces/{sandbox.workspace}/reports/detailed", body)["totals"]
        counts.append(int(totals[0]["entriesCount"]) if totals and totals[0] else 0)
        first = end + timedelta(days=1)
    return counts


def _pages(rows: int, size: int) -> int:
    return max(1, ceil(rows / size))
