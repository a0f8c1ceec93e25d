"""A stranger's Clockify client, in a dozen lines: what the tests talk to the sandbox with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from sync_pipeline.sandbox.server import Running
from sync_pipeline_tests.sandbox.running import running_sandbox


class Api:
    """Plain HTTP against one sandbox; paths are relative to the workspace unless they start with a slash."""

    def __init__(self, sandbox: Running) -> None:
        self.sandbox = sandbox
        self.http = httpx.Client(headers={"X-Api-Key": "sandbox-clockify-key"})

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request; ``key`` sends another API key."""
        key = options.pop("key", None)
        if key is not None:
            options["headers"] = {"X-Api-Key": key} | options.get("headers", {})
        url = path if path.startswith("/") else f"/workspaces/{self.sandbox.workspace}/{path}".rstrip("/")
        return self.http.request(method, self.sandbox.clockify + url, **options)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of a successful GET; ``page_size`` becomes ``page-size``."""
        answer = self.call("GET", path, params={name.replace("_", "-"): value for name, value in params.items()})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: Any = None, expect: int = 200, **options: Any) -> Any:
        """The JSON answer to a write that must succeed."""
        answer = self.call(method, path, json=body, **options)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    def refused(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, int | None]:
        """Status and code of a request that must fail."""
        answer = self.call(method, path, json=body, **options)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json().get("code") if answer.content else None

    def report(self, kind: str = "detailed", key: str | None = None, **body: Any) -> httpx.Response:
        """A report over the last 60 days, in UTC, unless given otherwise."""
        headers = {} if key is None else {"X-Api-Key": key}
        filters = {"detailedFilter": {"page": 1, "pageSize": 200}} if kind == "detailed" else {}
        url = f"{self.sandbox.reports}/workspaces/{self.sandbox.workspace}/reports/{kind}"
        return self.http.post(url, json=self.span(60) | filters | body, headers=headers)

    def control(self, path: str, body: Any = None) -> Any:
        """Use a control of the sandbox; without a body it is read."""
        url = f"{self.sandbox.control}/{path}"
        answer = httpx.get(url) if body is None else httpx.post(url, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def span(self, days: int) -> dict[str, str]:
        """The report range of the last so many days, as wall clock in UTC."""
        now = self.sandbox.world.clock.now()
        first = (now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.000")
        return {"timeZone": "UTC", "dateRangeStart": first, "dateRangeEnd": now.strftime("%Y-%m-%dT%H:%M:%S.999")}

    @property
    def me(self) -> str:
        """The caller's user id."""
        return str(self.get("/user")["id"])


@pytest.fixture
def api(sandbox: Running) -> Iterator[Api]:
    """The owner's client of this test's own sandbox."""
    client = Api(sandbox)
    yield client
    client.http.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One sandbox for all tests of a module that change nothing others could notice."""
    with running_sandbox(tmp_path_factory.mktemp("shared")) as started:
        client = Api(started)
        yield client
        client.http.close()
