"""Managing webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from sync_pipeline_tests.sandbox.clockify.conftest import Api


def hook(**changes: Any) -> dict[str, Any]:
    """A valid request body."""
    body = {
        "name": "entries",
        "url": "https://example.com/hook",
        "webhookEvent": "NEW_TIME_ENTRY",
        "triggerSourceType": "WORKSPACE_ID",
        "triggerSource": [],
    }
    return body | changes


def test_a_webhook_lives_and_dies(api: Api) -> None:
    """Create, list in an envelope, replace, rotate the secret, read logs, delete."""
    made = api.send("POST", "webhooks", hook(), expect=201)
    assert (made["enabled"], made["deliveryEnabled"], made["planEnabled"]) == (True, True, True)
    assert api.get("webhooks") == {"workspaceWebhookCount": 1, "webhooks": [made]}
    path = f"webhooks/{made['id']}"
    changed = api.send("PUT", path, hook(webhookEvent="TIME_ENTRY_DELETED"))
    assert (changed["webhookEvent"], changed["authToken"]) == ("TIME_ENTRY_DELETED", made["authToken"])
    assert api.send("PATCH", f"{path}/token")["authToken"] != made["authToken"]
    assert api.send("POST", f"{path}/logs?page=0&size=50", {"status": "ALL"}) == []
    assert api.send("DELETE", path) is None
    assert api.refused("GET", path) == (400, 501)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": None}, 501),
        ({"name": "x"}, 501),
        ({"url": "nowhere"}, 501),
        ({"webhookEvent": "SOMETHING"}, 3002),
        ({"triggerSource": None}, 501),
    ],
)
def test_bad_webhooks_are_refused(shared: Api, changes: dict[str, Any], code: int) -> None:
    """Names, urls, events and sources are checked."""
    assert shared.refused("POST", "webhooks", hook(**changes)) == (400, code)


@pytest.mark.parametrize(("plan", "most"), [("free", 3), ("paid", 10)])
def test_plans_limit_webhooks(api: Api, plan: Any, most: int) -> None:
    """Free workspaces have three webhooks, a user of a paid one ten."""
    api.sandbox.world.options.plan = plan
    for _ in range(most):
        api.send("POST", "webhooks", hook(), expect=201)
    assert api.refused("POST", "webhooks", hook()) == (400, 501)
