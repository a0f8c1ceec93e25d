"""Who may ask, and how Clockify refuses."""

from __future__ import annotations

import pytest

from sync_pipeline_tests.sandbox.clockify.conftest import Api

UNKNOWN = "65ffffff0000000000000000"
MEMBER = "sandbox-clockify-member-key"
ADDON = {"X-Addon-Token": "sandbox-clockify-addon-token"}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 1000),
        ({"Authorization": "Bearer sandbox-clockify-key"}, 1000),
        ({"X-Api-Key": "sandbox-clockify-key", **ADDON}, 1000),
        ({"X-Api-Key": "nonsense"}, 4003),
        ({"X-Api-Key": "sandbox-clockify-addon-token"}, 4003),
        ({"X-Addon-Token": "nonsense"}, 4017),
    ],
)
def test_each_wrong_credential_has_its_own_401(shared: Api, headers: dict[str, str], code: int) -> None:
    """No, two, unknown and invalid credentials are distinguished by a numeric code."""
    answer = shared.http.get(shared.sandbox.clockify + "/user", headers={"X-Api-Key": "", **headers})
    assert answer.status_code == 401
    assert answer.json()["code"] == code


def test_unknown_workspace_is_an_empty_404(shared: Api) -> None:
    """The only 404 without a body is the one for a workspace that is not there."""
    answer = shared.call("GET", f"/workspaces/{UNKNOWN}/users")
    assert (answer.status_code, answer.content) == (404, b"")


def test_unknown_route_is_404_3000(shared: Api) -> None:
    """Routes Clockify does not have answer 404 with code 3000."""
    assert shared.refused("GET", "locations") == (404, 3000)
    assert shared.refused("PUT", f"projects/{UNKNOWN}/archive") == (404, 3000)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", f"custom-fields/{UNKNOWN}", "DELETE,PUT"),
        ("GET", f"user-groups/{UNKNOWN}", "DELETE,PUT"),
        ("GET", "time-entries", "POST"),
        ("PUT", "", "GET"),
        ("GET", f"webhooks/{UNKNOWN}/logs", "POST"),
    ],
)
def test_wrong_verb_is_405_with_allow(shared: Api, method: str, path: str, allow: str) -> None:
    """A verb a route does not have answers 405/3000 and names those it has."""
    answer = shared.call(method, path)
    assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, 3000, allow)


@pytest.mark.parametrize("path", ["projects", "clients", "tags", "time-entries", "webhooks"])
def test_foreign_ids_are_400_501(shared: Api, path: str) -> None:
    """An id that does not exist here is a bad request, not a missing one."""
    assert shared.refused("GET", f"{path}/{UNKNOWN}") == (400, 501)


def test_deleted_reads_like_never_existed(shared: Api) -> None:
    """A deleted record answers exactly what an invented id answers."""
    tag = shared.send("POST", "tags", {"name": "short-lived"}, expect=201)
    assert shared.send("DELETE", f"tags/{tag['id']}") == tag
    deleted, invented = shared.call("GET", f"tags/{tag['id']}"), shared.call("GET", f"tags/{UNKNOWN}")
    assert (deleted.status_code, deleted.content) == (invented.status_code, invented.content)


def test_members_are_denied_what_needs_an_admin(shared: Api) -> None:
    """A plain member gets 403/501 for users, webhooks, other people's entries and new clients."""
    for method, path in (
        ("GET", "users"),
        ("GET", "webhooks"),
        ("GET", f"user/{shared.me}/time-entries"),
        ("POST", "clients"),
    ):
        assert shared.refused(method, path, {"name": "X"} if method == "POST" else None, key=MEMBER) == (403, 501)


def test_members_see_their_own_entries_everywhere(shared: Api) -> None:
    """Lists, timers and reports of a member hold that member's entries only."""
    member = shared.call("GET", "/user", key=MEMBER).json()["id"]
    listed = shared.call("GET", f"user/{member}/time-entries", key=MEMBER).json()
    running = shared.call("GET", "time-entries/status/in-progress", key=MEMBER).json()
    assert {entry["userId"] for entry in [*listed, *running]} == {member}


def test_addons_lack_some_permissions(shared: Api) -> None:
    """An add-on token cannot list workspaces, manage webhooks or create custom fields: 401 without code."""
    for method, path in (("GET", "/workspaces"), ("GET", "webhooks"), ("POST", "custom-fields")):
        answer = shared.http.request(
            method,
            shared.sandbox.clockify
            + (path if path.startswith("/") else f"/workspaces/{shared.sandbox.workspace}/{path}"),
            headers={"X-Api-Key": "", **ADDON},
        )
        assert answer.status_code == 401
        assert "code" not in answer.json()


def test_unreadable_requests_have_their_codes(shared: Api) -> None:
    """Conversion failures, missing parameters and unknown enum values are distinguished."""
    assert shared.refused("GET", "projects?archived=maybe") == (400, 3000)
    assert shared.refused("GET", "projects?page=x") == (400, 3000)
    assert shared.refused("GET", "entities/created") == (400, 3001)
    assert shared.refused("POST", "time-entries", {"type": "PARTY"}) == (400, 3002)
    assert shared.call("POST", "tags", content=b"{").json()["code"] == 3002
