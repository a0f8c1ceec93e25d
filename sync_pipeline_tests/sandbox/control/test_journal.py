"""The journal: versions of records by the number of a step, the writes received, the reads answered."""

from __future__ import annotations

from typing import Any

import pytest

from sync_pipeline.sandbox import journal
from sync_pipeline_tests.sandbox.control.clockify import clockify
from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox

Json = dict[str, Any]


def _start(sandbox: Sandbox) -> None:
    assert sandbox.control.post("journal", json={"on": True}).json() == {"on": True, "step": 0, "complete_since": 0}


def _after(sandbox: Sandbox, step: int = 0) -> Json:
    answer = sandbox.control.post("journal", json={"after": step})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def _versions(sandbox: Sandbox, kind: str, record_id: str, system: str = "clockify") -> list[Json]:
    """The versions of one record, in order."""
    found = [
        one
        for one in _after(sandbox, -1)["versions"]
        if (one["system"], one["kind"], one["id"]) == (system, kind, record_id)
    ]
    return sorted(found, key=lambda one: int(one["since"]))


def test_it_is_off_until_it_is_started_and_after_a_reset(sandbox: Sandbox) -> None:
    """Nothing is kept and nothing can be asked for; a start begins at step 0 with what exists."""
    assert sandbox.control.get("journal").json() == {"on": False}
    assert "is off" in sandbox.control.post("journal", json={"after": 0}).json()["error"]
    _start(sandbox)
    versions = _after(sandbox, -1)["versions"]
    assert {one["since"] for one in versions} == {0}
    assert {(one["system"], one["kind"]) for one in versions} == {
        ("clockify", "users"), ("clockify", "projects"), ("clockify", "clients"), ("clockify", "time_entries"),
        ("snapshots", "locations"), ("highlevel", "locations"),
    }  # fmt: skip
    sandbox.control.post("reset")
    assert sandbox.control.get("journal").json() == {"on": False}


def test_an_entrys_life_is_numbered(sandbox: Sandbox) -> None:
    """Made, edited and deleted: two versions, each from the step that made it to the one that ended it."""
    us = clockify(sandbox)
    _start(sandbox)
    entry = us.add_entry("first")
    us.edit_entry(entry, "second")
    us.clockify("DELETE", f"/time-entries/{entry['id']}")
    versions = _versions(sandbox, "time_entries", entry["id"])
    assert [(one["body"]["description"], one["since"], one["until"]) for one in versions] == [
        ("first", 1, 2),
        ("second", 2, 3),
    ]
    assert versions[1]["by"].startswith("PUT ")
    assert versions[1]["body"]["tags"] == []


def test_a_read_has_the_number_of_what_it_saw(sandbox: Sandbox) -> None:
    """The step of a read lies in the life of the version it answered, and makes no version."""
    us = clockify(sandbox)
    _start(sandbox)
    entry = us.add_entry("first")
    answer = us.clockify("GET", f"/time-entries/{entry['id']}")
    us.edit_entry(entry, "second")
    steps = _after(sandbox)["steps"]
    assert [one["request"].split()[0] for one in steps] == ["POST", "GET", "PUT"]
    read = steps[1]
    assert (read["number"], read["as_of"], read["sent"]) == (2, 2, None)
    (seen,) = [
        one
        for one in _versions(sandbox, "time_entries", entry["id"])
        if one["since"] <= read["number"] < (one["until"] or read["number"] + 1)
    ]
    assert seen["body"]["description"] == answer["description"] == "first"


def test_a_write_is_noted_with_its_fields_also_when_it_is_refused(sandbox: Sandbox) -> None:
    """What was sent by which request; a refused one makes no version."""
    us = clockify(sandbox)
    _start(sandbox)
    user = us.user
    refused = us.people.post(
        f"{us.base}/user/{user}/time-entries", json={"start": "2026-01-05T09:00:00Z", "end": "2026-01-05T08:00:00Z"}
    )
    assert refused.status_code == 400
    sandbox.api.put("users/u1", json={"email": "ada@example.org"})
    first, second = _after(sandbox)["steps"]
    assert (first["refused"], first["sent"]["end"]) == (True, "2026-01-05T08:00:00Z")
    assert second == {
        "number": 2, "request": "PUT /snapshots/users/u1", "as_of": 2, "refused": False, "sent": {"email": "ada@example.org"},
    }  # fmt: skip
    assert [(one["since"], one["id"]) for one in _after(sandbox)["versions"]] == [(2, "u1")]


def test_a_batch_makes_a_version_of_each_record_it_changes(sandbox: Sandbox) -> None:
    """At the Snapshots side: created and changed ones, not those that were so already."""
    _start(sandbox)
    ada, eve = {"user_id": "u1", "email": "ada@example.org"}, {"user_id": "u2", "email": "eve@example.org"}
    sandbox.batch("users", ada, eve)
    sandbox.batch("users", ada, eve | {"email": "eve@elsewhere.example"})
    assert [one["since"] for one in _versions(sandbox, "users", "u1", "snapshots")] == [1]
    assert [one["since"] for one in _versions(sandbox, "users", "u2", "snapshots")] == [1, 2]
    sandbox.api.delete("users/u1")
    (deleted,) = _versions(sandbox, "users", "u1", "snapshots")
    assert (deleted["since"], deleted["until"]) == (1, 3)


def test_a_project_is_another_when_its_client_is_renamed(sandbox: Sandbox) -> None:
    """A version is what a read by id shows, wherever that is stored."""
    us = clockify(sandbox)
    client = us.clockify("POST", "/clients", {"name": "Before"})
    project = us.clockify("POST", "/projects", {"name": "For a client", "clientId": client["id"]})
    _start(sandbox)
    us.clockify("PUT", f"/clients/{client['id']}", {"name": "After"})
    names = [one["body"]["clientName"] for one in _versions(sandbox, "projects", project["id"])]
    assert names == ["Before", "After"]


def test_what_people_do_on_pages_and_past_the_api_is_numbered_too(sandbox: Sandbox) -> None:
    """A control that changes a record is a step; a write into the database is one before the next request."""
    us = clockify(sandbox)
    _start(sandbox)
    sandbox.control.post("users", json={"id": us.user, "name": "Renamed"})
    assert [one["body"]["name"] for one in _versions(sandbox, "users", us.user)][-1] == "Renamed"
    sandbox.world.db.execute("UPDATE users SET name = 'Again' WHERE id = ?", (us.user,))
    us.clockify("GET", "/projects")
    requests = [one["request"] for one in _after(sandbox)["steps"]]
    assert requests[:2] == ["POST /_control/users", journal.PAST_THE_API]
    assert [one["since"] for one in _versions(sandbox, "users", us.user)] == [0, 1, 2]


def test_it_is_bounded_and_says_from_where_it_is_complete(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest ended versions and steps are dropped, never what exists; a sandbox that is too large is refused."""
    monkeypatch.setattr(journal, "MOST", 80)
    us = clockify(sandbox)
    _start(sandbox)
    entry = us.add_entry("0")
    for number in range(1, 100):
        us.edit_entry(entry, str(number))
    found = _after(sandbox, -1)
    assert found["complete_since"] == found["step"] - 80
    assert len(found["steps"]) == 80
    assert us.user in {one["id"] for one in found["versions"]}
    lives = [one for one in found["versions"] if one["id"] == entry["id"]]
    assert len(lives) < 100
    assert [one["body"]["description"] for one in lives if one["until"] is None] == ["99"]
    monkeypatch.setattr(journal, "MOST", 10)
    assert "it keeps 10" in sandbox.control.post("journal", json={"on": True}).json()["error"]


def test_long_journals_are_read_in_pages(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again from the last step of a page, every step comes once, every version when it begins and when it ends."""
    monkeypatch.setattr(journal, "PAGE", 3)
    us = clockify(sandbox)
    _start(sandbox)
    entry = us.add_entry("0")
    for number in range(1, 8):
        us.edit_entry(entry, str(number))
    steps: list[int] = []
    lives: dict[int, int | None] = {}
    while (page := _after(sandbox, steps[-1] if steps else 0))["steps"]:
        steps += [one["number"] for one in page["steps"]]
        lives |= {one["since"]: one["until"] for one in page["versions"] if one["id"] == entry["id"]}
    assert steps == list(range(1, 9))
    assert lives == {number: number + 1 for number in range(1, 8)} | {8: None}
