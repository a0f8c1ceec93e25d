"""A stranger's Clockify client, in a dozen lines: what the tests talk to the sandbox with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sync_pipeline.sandbox.server import Running


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
        url = path if path.startswith("/") else f"/workspaces/{self.sandbox.workspace}/{path}"
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
        """A report; November 2025 in UTC unless said otherwise."""
        headers = {} if key is None else {"X-Api-Key": key}
        filters = {"detailedFilter": {"page": 1, "pageSize": 200}} if kind == "detailed" else {}
        url = f"{self.sandbox.reports}/workspaces/{self.sandbox.workspace}/reports/{kind}"
        return self.http.post(url, json={"timeZone": "UTC"} | filters | body, headers=headers)

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
