"""Credentials, scopes and the rate limit answer as the contract states."""

from __future__ import annotations

import httpx
import pytest

from sync_pipeline.sandbox.snapshots.auth import Caller, RateLimiter
from sync_pipeline.sandbox.snapshots.problems import Problem
from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox

ROUTES = [
    ("GET", "locations", "saas/location.read"),
    ("GET", "locations/x", "saas/location.read"),
    ("PUT", "locations/x", "saas/location.write"),
    ("GET", "users", "users.read"),
    ("POST", "users/batch", "users.write"),
    ("GET", "projects/x", "projects.read"),
    ("DELETE", "projects/x", "projects.write"),
    ("GET", "time_entries", "time_entries.read"),
    ("PUT", "time_entries/x", "time_entries.write"),
    ("GET", "analytics/projects", "analytics.read"),
]


@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization"])
def test_key_in_either_header(sandbox: Sandbox, header: str) -> None:
    """The key is taken from X-Api-Key and as a bearer token."""
    value = "sandbox-snapshots-key" if header == "X-Api-Key" else "Bearer sandbox-snapshots-key"
    assert httpx.get(f"{sandbox.running.snapshots}/users", headers={header: value}).status_code == 200


@pytest.mark.parametrize(("key", "code"), [(None, "missing_credentials"), ("wrong", "invalid_credentials")])
def test_without_a_known_key_everything_is_401(sandbox: Sandbox, key: str | None, code: str) -> None:
    """No key and a wrong key are distinguished, and both name the scheme to use."""
    for method, path, _scope in ROUTES:
        answer = sandbox.client(key).request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("state", ["revoked", "expired"])
def test_a_key_can_be_taken_back(sandbox: Sandbox, state: str) -> None:
    """A revoked and an expired key are distinguished from one that never existed, and from each other; both can be restored."""
    key = "sandbox-snapshots-read-only-key"
    sandbox.control.post("snapshots", json={"keys": {key: state}})
    answer = sandbox.client(key).get("users")
    assert (answer.status_code, answer.json()["code"]) == (401, f"key_{state}")
    sandbox.control.post("snapshots", json={"keys": {key: "valid"}})
    assert (sandbox.client(key).get("users").status_code, sandbox.client(key).delete("users/x").status_code) == (
        200,
        403,
    )


def test_a_key_can_be_added(sandbox: Sandbox) -> None:
    """For changing keys: a second one that may do everything, until it is reset."""
    sandbox.control.post("snapshots", json={"keys": {"another-key": "valid"}})
    assert sandbox.client("another-key").delete("users/x").status_code == 204
    assert sandbox.control.post("snapshots", json={"keys": {"another-key": "lost"}}).status_code == 400
    sandbox.control.post("reset")
    assert sandbox.client("another-key").get("users").status_code == 401


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_each_route_takes_its_own_scope(sandbox: Sandbox, method: str, path: str, scope: str) -> None:
    """The key with just that scope passes; every other single-scope key gets a 403 that names it."""
    keys = sandbox.control.get("keys").json()["snapshots_scopes"]
    for key, scopes in keys.items():
        answer = sandbox.client(key).request(method, path)
        if scope in scopes:
            assert answer.status_code not in {401, 403}
        else:
            assert (answer.status_code, answer.json()["required_scope"]) == (403, scope)


def test_read_only_key_reads_and_never_writes(sandbox: Sandbox) -> None:
    """One key for people who must not change anything."""
    client = sandbox.client("sandbox-snapshots-read-only-key")
    assert client.get("time_entries").status_code == 200
    assert client.delete("time_entries/x").status_code == 403
    assert sandbox.control.get("stats").json()["writes"] == {}


def test_problems_carry_the_request_id(sandbox: Sandbox) -> None:
    """Every answer has an id; a problem repeats it with type, title, status and the path."""
    ok, bad = sandbox.api.get("users"), sandbox.api.get("users/none")
    assert ok.headers["x-request-id"] != bad.headers["x-request-id"] == bad.json()["request_id"]
    assert bad.headers["content-type"] == "application/problem+json"
    assert (bad.json()["title"], bad.json()["instance"]) == ("Not Found", "/snapshots/users/none")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "users", 405, "method_not_allowed"),
        ("PATCH", "users/u1", 405, "method_not_allowed"),
        ("GET", "nothing", 404, "unknown_entity"),
        ("GET", "nothing/x", 404, "unknown_entity"),
        ("GET", "", 404, "unknown_route"),
    ],
)
def test_unknown_routes(sandbox: Sandbox, method: str, path: str, status: int, code: str) -> None:
    """A wrong address is a problem of its own, never mistaken for a deleted record."""
    answer = sandbox.api.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_rate_limit_answers_429_with_retry_after(sandbox: Sandbox) -> None:
    """Above the limit the answer is 429 with the seconds to wait, counted by the stats."""
    sandbox.control.post("snapshots", json={"rate_per_second": 1})
    statuses = [sandbox.api.get("users") for _ in range(4)]
    limited = [answer for answer in statuses if answer.status_code == 429]
    assert limited
    assert {(a.json()["code"], a.headers["retry-after"]) for a in limited} == {("rate_limited", "1")}
    assert sandbox.control.get("stats").json()["rate_limited"] == len(limited)


def test_limiter_lets_through_so_many_in_any_second() -> None:
    """Each caller has a sliding second of its own; None is no limit."""
    limiter, ada, bob = RateLimiter(), Caller("ada", frozenset()), Caller("bob", frozenset())
    for _ in range(2):
        limiter.admit(ada, 2, now=10.0)
        limiter.admit(bob, 2, now=10.0)
    with pytest.raises(Problem):
        limiter.admit(ada, 2, now=10.99)
    limiter.admit(ada, None, now=10.99)
    limiter.admit(ada, 2, now=11.0)
