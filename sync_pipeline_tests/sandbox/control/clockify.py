"""Someone who works at the sandbox's Clockify, for tests of the controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Clockify:
    """The owner at work; ``base`` is the workspace's address."""

    people: httpx.Client
    base: str
    reports: str
    user: str

    def clockify(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """One request below the workspace."""
        answer = self.people.request(method, f"{self.base}{path}", json=body, params=params).raise_for_status()
        return answer.json() if answer.content else None

    def add_entry(self, description: str) -> Json:
        """An hour's work."""
        times = {"start": "2026-01-05T09:00:00Z", "end": "2026-01-05T10:00:00Z"}
        made: Json = self.clockify("POST", f"/user/{self.user}/time-entries", times | {"description": description})
        return made

    def edit_entry(self, entry: Json, description: str) -> None:
        """Another description, the same times."""
        times = {name: entry["timeInterval"][name] for name in ("start", "end")}
        self.clockify("PUT", f"/time-entries/{entry['id']}", times | {"description": description})

    def listed(self, **headers: str) -> dict[str, str]:
        """The user's entries of that day as the list shows them: id to description."""
        url = f"{self.base}/user/{self.user}/time-entries"
        rows = self.people.get(url, params={"page-size": 1000}, headers=headers).raise_for_status().json()
        return {row["id"]: row["description"] for row in rows}

    def reported(self) -> dict[str, str]:
        """The entries of that day as the detailed report shows them."""
        body = {
            "dateRangeStart": "2026-01-05T00:00:00Z",
            "dateRangeEnd": "2026-01-05T23:59:59Z",
            "detailedFilter": {"page": 1, "pageSize": 200},
        }
        answer = self.people.post(f"{self.reports}/reports/detailed", json=body).raise_for_status()
        return {row["_id"]: row["description"] for row in answer.json()["timeentries"]}


def clockify(sandbox: Sandbox) -> Clockify:
    """The owner of the seeded workspace."""
    running = sandbox.running
    people = sandbox.others.setdefault("clockify", httpx.Client(headers={"X-Api-Key": "sandbox-clockify-key"}))
    me = people.get(f"{running.clockify}/user").raise_for_status().json()
    base, reports = (f"{url}/workspaces/{running.workspace}" for url in (running.clockify, running.reports))
    return Clockify(people, base, reports, me["id"])
