"""Every kind of fault as a client meets it, repeatable and on the routes it names."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import orjson
import pytest

from sync_pipeline.sandbox.control.pages import asked_page, shift
from sync_pipeline.sandbox.control.rules import FaultRule, read_rule
from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox, entry
from sync_pipeline_tests.scenarios.commands import wait_until

USERS = {"email": "ada@example.org"}


def _fault(sandbox: Sandbox, kind: str, route: str = "*", **rule: Any) -> None:
    answer = sandbox.control.post("faults", json={"kind": kind, "route": route, **rule})
    assert answer.status_code == 200, answer.text


def test_status_with_headers_and_body(sandbox: Sandbox) -> None:
    """The named route answers the named status as often as asked, other routes are well."""
    _fault(sandbox, "status", "GET /snapshots/users", status=429, headers={"Retry-After": "7"}, body="", count=1)
    assert sandbox.api.get("projects").status_code == 200
    struck = sandbox.api.get("users")
    assert (struck.status_code, struck.headers["retry-after"], struck.content) == (429, "7", b"")
    assert sandbox.api.get("users").status_code == 200


def test_pattern_may_be_the_counted_route(sandbox: Sandbox) -> None:
    """A route as the counters write it is a pattern."""
    _fault(sandbox, "status", "PUT /snapshots/users/{id}", status=503)
    assert sandbox.api.put("users/u1", json=USERS).status_code == 503
    assert sandbox.api.get("users/u1").status_code == 404


@pytest.mark.parametrize(("kind", "seen"), [("hold_before", "new"), ("hold_after", "old")])
def test_a_held_request_continues_when_its_rule_is_removed(sandbox: Sandbox, kind: str, seen: str) -> None:
    """Held before it is carried out it meets what was written meanwhile; held after it, its answer is old."""
    sandbox.api.put("users/u1", json={**USERS, "name": "old"})
    _fault(sandbox, kind, "GET /snapshots/users/*", count=1)
    with ThreadPoolExecutor() as pool:
        held = pool.submit(sandbox.api.get, "users/u1")
        wait_until(lambda: sandbox.control.get("faults").json()["faults"][0]["holding"] == 1)
        sandbox.client("sandbox-snapshots-key").put("users/u1", json={**USERS, "name": "new"})
        assert not held.done()
        sandbox.control.request("DELETE", "faults", json={"route": "GET /snapshots/users/*"})
        assert held.result(30).json()["name"] == seen
    assert sandbox.control.get("faults").json()["faults"] == []


def test_a_rule_ends_after_some_time(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """In real time, also when the sandbox's clock is moved; then it is not listed any more."""
    now = 1_000.0
    monkeypatch.setattr(sandbox.world.faults, "clock", lambda: now)
    _fault(sandbox, "status", status=503, lasts=60)
    sandbox.control.post("clock", json={"advance": 3600})
    assert sandbox.api.get("users").status_code == 503
    now += 59
    assert [rule["lasts"] for rule in sandbox.control.get("faults").json()["faults"]] == [60]
    now += 1
    assert sandbox.api.get("users").status_code == 200
    assert sandbox.control.get("faults").json()["faults"] == []


def test_a_rule_spares_the_first_requests(sandbox: Sandbox) -> None:
    """``skip`` counts covered requests only."""
    _fault(sandbox, "status", "GET /snapshots/users", status=503, skip=2, count=1)
    answers = [sandbox.api.get(path).status_code for path in ("users", "projects", "users", "users", "users")]
    assert answers == [200, 200, 200, 503, 200]


def test_cut_before_does_nothing(sandbox: Sandbox) -> None:
    """The connection closes without an answer and nothing was written."""
    _fault(sandbox, "cut_before", "PUT *", count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.api.put("users/u1", json=USERS)
    assert sandbox.api.get("users/u1").status_code == 404
    assert sandbox.control.get("stats").json()["writes"] == {}


def test_cut_after_has_done_it(sandbox: Sandbox) -> None:
    """The connection closes without an answer although the record was written."""
    _fault(sandbox, "cut_after", "PUT *", count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.api.put("users/u1", json=USERS)
    assert sandbox.api.get("users/u1").status_code == 200
    assert sandbox.control.get("stats").json()["writes"] == {"users": 1}


def test_cut_with_a_large_body(sandbox: Sandbox) -> None:
    """A batch of half a megabyte is cut as cleanly as a small request."""
    _fault(sandbox, "cut_after", "POST *", count=1)
    items = [entry(number, description="x" * 1000) for number in range(500)]
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.api.post("time_entries/batch", json={"items": items})
    assert len(sandbox.pages("time_entries", limit=1000)[0]) == 500


def test_an_empty_object_in_place_of_what_was_made(sandbox: Sandbox) -> None:
    """The request is carried out all the same."""
    _fault(sandbox, "empty_object", "PUT /snapshots/users/*", count=1)
    answer = sandbox.api.put("users/u1", json=USERS)
    assert (answer.status_code < 300, answer.json()) == (True, {})
    assert sandbox.api.get("users/u1").json()["email"] == USERS["email"]


def test_truncated_json(sandbox: Sandbox) -> None:
    """Status and headers are fine, the JSON ends in the middle."""
    _fault(sandbox, "truncated_json")
    answer = sandbox.api.get("locations")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(answer.content)


def test_html(sandbox: Sandbox) -> None:
    """A web page where JSON should be, as a proxy or a wrong address gives it."""
    _fault(sandbox, "html")
    answer = sandbox.api.get("locations")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_stall_serves_in_the_end(sandbox: Sandbox) -> None:
    """A patient client gets its answer, an impatient one a time-out."""
    _fault(sandbox, "stall", seconds=0.2)
    assert sandbox.api.get("users").status_code == 200
    with pytest.raises(httpx.ReadTimeout):
        sandbox.api.get("users", timeout=0.05)


def test_duplicate_page(sandbox: Sandbox) -> None:
    """Page two is page one again, once; then the list continues where it should."""
    _fault(sandbox, "duplicate_page", "GET /snapshots/locations", count=1)
    pages = [[record["location_id"] for record in page] for page in sandbox.pages("locations", limit=5)]
    assert pages[0] == pages[1]
    assert sum(map(len, pages)) == 12 + 5
    assert [len(page) for page in sandbox.pages("locations", limit=5)] == [5, 5, 2]


def test_page_that_repeats_forever(sandbox: Sandbox) -> None:
    """Without a count, the first page comes for every page."""
    _fault(sandbox, "duplicate_page", "GET /snapshots/locations")
    first = sandbox.api.get("locations", params={"limit": 5}).json()
    for _ in range(3):
        assert sandbox.api.get("locations", params={"limit": 5, "cursor": first["next_cursor"]}).json() == first


def test_shifted_page_repeats_a_row_and_loses_none(sandbox: Sandbox) -> None:
    """As if a row had been inserted: the last row of page one opens page two, and every record is seen."""
    _fault(sandbox, "shifted_page", "GET /snapshots/locations", count=1)
    pages = [[record["location_id"] for record in page] for page in sandbox.pages("locations", limit=5)]
    assert pages[1][0] == pages[0][-1]
    assert [len(page) for page in pages] == [5, 5, 3]
    assert len({record for page in pages for record in page}) == 12


def test_dropped_row_is_seen_on_no_page(sandbox: Sandbox) -> None:
    """As if a row had been deleted: one record that exists is missing from a complete read of the list."""
    _fault(sandbox, "shifted_page", "GET /snapshots/locations", count=1, drop=True)
    seen = {record["location_id"] for page in sandbox.pages("locations", limit=5) for record in page}
    all_of_them = {record["location_id"] for page in sandbox.pages("locations", limit=5) for record in page}
    (missed,) = all_of_them - seen
    assert sandbox.api.get(f"locations/{missed}").status_code == 200


def test_same_seed_strikes_the_same_requests(sandbox: Sandbox) -> None:
    """A rate with a seed is a fixed sequence of strikes."""
    runs = []
    for _ in range(2):
        sandbox.control.delete("faults")
        _fault(sandbox, "status", "GET *", rate=0.4, seed=5, status=500)
        runs.append([sandbox.api.get("users").status_code for _ in range(20)])
    assert runs[0] == runs[1]
    assert 500 in runs[0]
    assert 200 in runs[0]


def test_rules_are_listed_and_removed(sandbox: Sandbox) -> None:
    """GET shows the rules with their strikes, DELETE ends them; the controls themselves are never struck."""
    _fault(sandbox, "status", "*", status=500)
    sandbox.api.get("users")
    (rule,) = sandbox.control.get("faults").json()["faults"]
    assert (rule["kind"], rule["struck"]) == ("status", 1)
    assert sandbox.control.delete("faults").json() == {"faults": []}
    assert sandbox.api.get("users").status_code == 200


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"kind": "explode"},
        {"kind": "status", "rat": 1},
        {"kind": "status", "rate": 2},
        {"kind": "status", "status": "500"},
        {"kind": "status", "count": True},
        {"kind": "shifted_page", "drop": 1},
        {"kind": "status", "status": 99},
        {"kind": "stall", "seconds": -1},
    ],
)
def test_unusable_rules_are_refused(sandbox: Sandbox, rule: dict[str, Any]) -> None:
    """A rule that would never do what was meant is a 400 with a reason."""
    answer = sandbox.control.post("faults", json=rule)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)


def test_page_of_a_request_in_query_or_body() -> None:
    """Pages are recognised in page, cursor and a report's body; the rest of the request names the list."""
    one = asked_page("GET", "/x", b"page=1&page-size=50&start=a", b"")
    two = asked_page("GET", "/x", b"start=a&page=2&page-size=50", b"")
    other = asked_page("GET", "/x", b"start=b&page=2&page-size=50", b"")
    assert (one.first, two.first) == (True, False)
    assert one.key == two.key != other.key
    report = [asked_page("POST", "/r", b"", orjson.dumps({"detailedFilter": {"page": n}})) for n in (1, 2)]
    assert report[0].key == report[1].key
    assert [asked.first for asked in report] == [True, False]


def test_shift_of_a_list_with_last_page_headers() -> None:
    """A row falls off a page in the middle, none off the last page."""
    middle, last = [{"id": 3}, {"id": 4}], [{"id": 5}, {"id": 6}]
    carried = shift(middle, {"id": 2}, {b"last-page": b"false"})
    shift(last, carried, {b"last-page": b"true"})
    assert [row["id"] for row in middle + last] == [2, 3, 4, 5, 6]


def test_count_is_used_up() -> None:
    """A rule with a count strikes so often and no more."""
    rule: FaultRule = read_rule({"kind": "status", "count": 2})
    assert [rule.strikes() for _ in range(4)] == [True, True, False, False]
