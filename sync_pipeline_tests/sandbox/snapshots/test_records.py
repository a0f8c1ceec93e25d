"""Writes merge, are idempotent, and refuse what a real API would refuse."""

from __future__ import annotations

from typing import Any

import pytest

from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox, entry

USER = {"user_id": "u1", "email": "ada@example.org", "role": "ADMIN"}


def test_put_creates_then_reports_the_record(sandbox: Sandbox) -> None:
    """The first PUT answers 201, the same again 200, and both show the whole record."""
    created = sandbox.api.put("users/u1", json={"email": "ada@example.org"})
    again = sandbox.api.put("users/u1", json={"email": "ada@example.org"})
    assert (created.status_code, again.status_code) == (201, 200)
    assert created.json() == again.json() == sandbox.api.get("users/u1").json()
    assert created.json()["role"] is None


def test_absent_fields_are_kept_and_null_clears(sandbox: Sandbox) -> None:
    """A merge touches the fields it names, and null empties one."""
    sandbox.api.put("users/u1", json={**USER, "desk": "B 12", "badge": 7})
    merged = sandbox.api.put("users/u1", json={"role": None, "desk": None, "name": "Ada"}).json()
    assert (merged["email"], merged["role"], merged["name"], merged["badge"]) == ("ada@example.org", None, "Ada", 7)
    assert "desk" not in merged


def test_batch_answers_every_item_in_order(sandbox: Sandbox) -> None:
    """One result an item: created, unchanged, updated or refused, whatever the others are."""
    results = sandbox.batch(
        "users", USER, USER, {**USER, "role": "MEMBER"}, {"user_id": "u2", "email": 2}, "nonsense", {}
    )
    assert [result["status"] for result in results] == [
        "created", "unchanged", "updated", "refused", "refused", "refused",
    ]  # fmt: skip
    assert [result["id"] for result in results] == ["u1", "u1", "u1", "u2", None, None]
    assert sandbox.api.get("users/u2").status_code == 404


def test_unchanged_record_keeps_its_update_time(sandbox: Sandbox) -> None:
    """An upsert that changes nothing does not make the record look changed."""
    sandbox.api.put("users/u1", json=USER)
    before = sandbox.api.get("users/u1").json()
    sandbox.control.post("clock", json={"advance": 60})
    sandbox.api.put("users/u1", json={"email": "ada@example.org", "updated_at": "2001-01-01T00:00:00Z"})
    assert sandbox.api.get("users/u1").json() == before


def test_delete_succeeds_repeatedly(sandbox: Sandbox) -> None:
    """A record can be deleted repeatedly; reading it is a 404 that states it."""
    sandbox.api.put("users/u1", json=USER)
    assert [sandbox.api.delete("users/u1").status_code for _ in range(2)] == [204, 204]
    deleted = sandbox.api.get("users/u1")
    assert (deleted.status_code, deleted.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"start_time": None}, "required", "start_time"),
        ({"start_time": "2026-01-05 09:00"}, "invalid_instant", "start_time"),
        ({"start_time": "2026-01-05T09:00:00"}, "invalid_instant", "start_time"),
        ({"end_time": 1767600000}, "invalid_instant", "end_time"),
        ({"end_time": "2026-02-30T09:00:00Z"}, "invalid_instant", "end_time"),
        ({"end_time": "2026-01-05T08:59:59Z"}, "end_before_start", "end_time"),
        ({"description": "x" * 10_000_000}, "too_long", "description"),
        ({"description": ["x"]}, "invalid_type", "description"),
        ({"billable": "yes"}, "invalid_type", "billable"),
        ({"duration_seconds": 1.5}, "invalid_type", "duration_seconds"),
        ({"tags": [1]}, "invalid_type", "tags"),
        ({"project_id": 12}, "invalid_id", "project_id"),
        ({"time_entry_id": None}, "missing_id", "time_entry_id"),
        ({"time_entry_id": ""}, "invalid_id", "time_entry_id"),
        ({"time_entry_id": 5}, "invalid_id", "time_entry_id"),
    ],
)
def test_refusals_name_code_and_field(sandbox: Sandbox, changes: dict[str, Any], code: str, field: str) -> None:
    """What is wrong with an entry is reported by code and field; nothing of it is stored."""
    (result,) = sandbox.batch("time_entries", entry(1, **changes))
    assert (result["status"], result["error"]["code"], result["error"]["field"]) == ("refused", code, field)
    assert sandbox.pages("time_entries") == [[]]


@pytest.mark.parametrize("email", ["ada", "ada@", "a b@c.de", "ada@example", "@example.org", ""])
def test_malformed_email_is_refused(sandbox: Sandbox, email: str) -> None:
    """A user's e-mail address must be one."""
    (result,) = sandbox.batch("users", {"user_id": "u1", "email": email})
    assert (result["status"], result["error"]["field"]) == ("refused", "email")


def test_put_refusal_is_a_422_problem(sandbox: Sandbox) -> None:
    """A refused PUT lists its errors as problem details."""
    answer = sandbox.api.put("projects/p1", json={"project_name": 3})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert answer.json()["errors"][0]["field"] == "project_name"
    mismatch = sandbox.api.put("projects/p1", json={"project_id": "p2", "project_name": "Apollo"})
    assert mismatch.json()["errors"][0]["code"] == "id_mismatch"


def test_instants_come_back_in_utc(sandbox: Sandbox) -> None:
    """Any offset is understood; the answer is UTC, with milliseconds only where there are some."""
    sandbox.batch("time_entries", entry(1, start_time="2026-01-05T10:00:00+01:00", end_time="2026-01-05T09:30:00.250Z"))
    stored = sandbox.api.get("time_entries/t00001").json()
    assert (stored["start_time"], stored["end_time"]) == ("2026-01-05T09:00:00Z", "2026-01-05T09:30:00.250Z")
    (again,) = sandbox.batch("time_entries", entry(1, start_time="2026-01-05T09:00:00.000Z", end_time=None))
    assert again["status"] == "refused"


def test_same_instant_in_another_notation_is_unchanged(sandbox: Sandbox) -> None:
    """An instant is compared as an instant, not as a text."""
    sandbox.batch("time_entries", entry(1))
    (again,) = sandbox.batch("time_entries", {"time_entry_id": "t00001", "start_time": "2026-01-05T10:01:00+01:00"})
    assert again["status"] == "unchanged"


def test_references_are_checked_when_switched_on(sandbox: Sandbox) -> None:
    """An entry of an unknown project is taken by default and refused under the strict rule."""
    assert sandbox.batch("time_entries", entry(1, project_id="p1"))[0]["status"] == "created"
    sandbox.control.post("snapshots", json={"check_references": True})
    (refused,) = sandbox.batch("time_entries", entry(2, project_id="p1"))
    assert refused["error"]["code"] == "unknown_reference"
    sandbox.api.put("projects/p1", json={"project_name": "Apollo"})
    assert sandbox.batch("time_entries", entry(2, project_id="p1"))[0]["status"] == "created"


def test_batch_limits(sandbox: Sandbox) -> None:
    """500 items pass, 501 do not; neither do an empty batch and a body that is no batch."""
    items = [entry(number) for number in range(501)]
    assert sandbox.api.post("time_entries/batch", json={"items": items}).json()["code"] == "too_many_items"
    assert {result["status"] for result in sandbox.batch("time_entries", *items[:500])} == {"created"}
    bodies: list[Any] = [{"items": []}, [], {"items": {}}, {}]
    for body in bodies:
        assert sandbox.api.post("time_entries/batch", json=body).json()["code"] == "malformed_body"


def test_bodies_that_are_not_json(sandbox: Sandbox) -> None:
    """Broken JSON, another media type and a giant body each get their own problem."""
    broken = sandbox.api.put("users/u1", content=b'{"email": ', headers={"Content-Type": "application/json"})
    form = sandbox.api.put("users/u1", data={"email": "ada@example.org"})
    assert [(r.status_code, r.json()["code"]) for r in (broken, form)] == [
        (400, "malformed_body"),
        (415, "unsupported_media_type"),
    ]


def test_ids_with_unusual_characters(sandbox: Sandbox) -> None:
    """An id is any printable text: slashes, spaces and letters of any script survive the path."""
    for record_id, path in (("a/b c", "a%2Fb%20c"), ("桜", "%E6%A1%9C")):
        assert sandbox.api.put(f"projects/{path}", json={"project_name": "Apollo"}).json()["project_id"] == record_id
        assert sandbox.api.get(f"projects/{path}").json()["project_id"] == record_id


def test_an_invented_entity_works_like_the_others(sandbox: Sandbox) -> None:
    """An entity registered at run time has the same routes and its own scopes."""
    assert sandbox.api.get("tags").json()["code"] == "unknown_entity"
    registered = sandbox.control.post("entities", json={"entity": "tags", "id_field": "tag_id"}).json()
    assert registered["scopes"] == ["tags.read", "tags.write"]
    assert sandbox.batch("tags", {"tag_id": "x", "label": "Support"})[0]["status"] == "created"
    assert sandbox.api.get("tags/x").json()["label"] == "Support"
    assert sandbox.client("sandbox-snapshots-tags-read-key").get("tags").json()["data"][0]["tag_id"] == "x"
    assert sandbox.client("sandbox-snapshots-tags-read-key").delete("tags/x").status_code == 403
