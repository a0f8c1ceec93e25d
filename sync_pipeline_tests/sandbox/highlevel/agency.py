"""A client of the HighLevel side of a running sandbox, shared by its tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx

from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.sandbox.highlevel.keys import HOME_TOKEN
from sync_pipeline.sandbox.server import Running

Json = dict[str, Any]
PROJECTS = "custom_objects.clockify_projects"
LITTLE = {"users": 5, "projects": 2, "clients": 2, "locations": 2, "entries": 5, "days": 3}


@dataclass
class Agency:
    """The HighLevel side of a running sandbox, as its clients see it."""

    sandbox: Running
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False))

    def send(self, method: str, path: str, token: str = HOME_TOKEN, **request: Any) -> httpx.Response:
        """One request with a token; ``json`` and ``params`` as for httpx."""
        headers = {"Authorization": f"Bearer {token}", "Version": "2021-07-28"} | request.pop("headers", {})
        return self.http.request(method, f"{self.sandbox.highlevel}{path}", headers=headers, **request)

    def ask(self, method: str, path: str, token: str = HOME_TOKEN, **request: Any) -> Any:
        """The answer to a request that succeeds."""
        answer = self.send(method, path, token, **request)
        assert answer.is_success, answer.text
        return answer.json()

    def refused(self, method: str, path: str, token: str = HOME_TOKEN, **request: Any) -> tuple[int, Any]:
        """The status and the words of a refusal."""
        answer = self.send(method, path, token, **request)
        assert answer.is_error, answer.text
        return answer.status_code, answer.json()["message"]

    def create(self, number: int, **properties: Any) -> Json:
        """A new project."""
        sent = {"title": f"Project {number}", "project_id": f"p{number}"} | properties
        body = {"locationId": HOME, "properties": {name: value for name, value in sent.items() if value is not None}}
        record: Json = self.ask("POST", f"/objects/{PROJECTS}/records", json=body)["record"]
        return record

    def search(self, *filters: Json, **body: Any) -> Json:
        """One page of projects."""
        sent = {
            "locationId": HOME,
            "page": 1,
            "pageLimit": 100,
            "query": "",
            "searchAfter": [],
            "filters": list(filters),
        }
        found: Json = self.ask("POST", f"/objects/{PROJECTS}/records/search", json=sent | body)
        return found

    def control(self, path: str, sent: Json | None = None) -> Any:
        """A control; what is sent makes it a POST."""
        url = f"{self.sandbox.control}/{path}"
        answer = self.http.get(url) if sent is None else self.http.post(url, json=sent)
        assert answer.is_success, answer.text
        return answer.json()

    def switch(self, **settings: Any) -> None:
        """Change switches of the HighLevel side."""
        self.control("highlevel", settings)
