"""Records: created, merged, deleted and searched, with all that the vendor refuses and an index that lags."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.sandbox.server import open_world, running
from sync_pipeline.sandbox.world import Clock, Options
from sync_pipeline_tests.sandbox.highlevel.agency import LITTLE, PROJECTS, Agency
from sync_pipeline_tests.sandbox.running import SMALL

RECORDS = f"/objects/{PROJECTS}/records"
HERE = {"locationId": HOME}
NO_SUCH_ID = "0" * 24


def eq(key: str, value: Any) -> dict[str, Any]:
    """A filter for one value."""
    return {"field": f"properties.{key}", "operator": "eq", "value": value}


def any_of(*filters: dict[str, Any]) -> dict[str, Any]:
    """A group of filters of which one must match."""
    return {"group": "OR", "filters": list(filters)}


def test_a_record_is_created_merged_and_deleted(agency: Agency) -> None:
    """PUT keeps what is not sent and removes what is null."""
    made = agency.create(1, note="first", color=None)
    assert made["properties"] == {"title": "Project 1", "project_id": "p1", "note": "first"}
    sent = {"properties": {"color": "#fff", "note": None}, "owners": {"add": ["u1"]}}
    changed = agency.ask("PUT", f"{RECORDS}/{made['id']}", params=HERE, json=sent)["record"]
    assert changed["properties"] == {"title": "Project 1", "project_id": "p1", "color": "#fff"}
    assert changed["owner"] == ["u1"]
    assert agency.ask("GET", f"{RECORDS}/{made['id']}")["record"] == changed
    (row,) = agency.search()["records"]
    assert (row["properties"], row["createdBy"]["source"]) == (changed["properties"], "PUBLIC_API")

    assert agency.ask("DELETE", f"{RECORDS}/{made['id']}") == {"id": made["id"], "success": True}
    for method, params in (("GET", None), ("PUT", HERE), ("DELETE", None)):
        body: Any = {"properties": {}} if method == "PUT" else None
        refused = agency.refused(method, f"{RECORDS}/{made['id']}", params=params, json=body)
        assert refused == (400, f"Record with id {made['id']} not found")
    assert agency.control("highlevel/records/clockify_projects") == {"records": []}


@pytest.mark.parametrize(
    ("method", "path", "request_", "expected"),
    [
        ("POST", "", {"json": {"properties": {"title": "x"}}}, (422, ["locationId should not be empty"])),
        ("PUT", f"/{NO_SUCH_ID}", {"json": {"properties": {}}}, (422, ["locationId must be a string", "locationId should not be empty"])),
        ("PUT", f"/{NO_SUCH_ID}", {"params": HERE, "json": {**HERE, "properties": {}}}, (422, ["property locationId should not exist"])),
        ("PUT", f"/{NO_SUCH_ID}", {"params": HERE, "json": {"properties": {}}}, (400, f"Record with id {NO_SUCH_ID} not found")),
        ("DELETE", f"/{NO_SUCH_ID}", {"params": HERE}, (422, ["property locationId should not exist"])),
        ("GET", "/p1", {}, (400, "Invalid record id")),
        ("POST", "", {"json": {**HERE, "properties": {"title": "x", "nothing": 1}}}, (400, "Invalid Key Passed")),
        ("POST", "", {"json": {**HERE, "properties": {f"{PROJECTS}.title": "x"}}}, (400, "Invalid Key Passed")),
        ("POST", "", {"json": {**HERE, "properties": {"title": "x", "note": 1}}}, (400, "Invalid value for note")),
        ("POST", "", {"json": {**HERE, "properties": {}}}, (422, [f"{PROJECTS}.title should not be empty"])),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_record_is_said(
    agency: Agency, method: str, path: str, request_: dict[str, Any], expected: tuple[int, Any]
) -> None:
    """The location is in another place for each method, and keys are bare."""
    assert agency.refused(method, f"{RECORDS}{path}", **request_) == expected


def test_lists_are_whole_when_created_and_parts_when_updated(agency: Agency) -> None:
    """A list in an update is refused."""
    made = agency.ask("POST", RECORDS, json={**HERE, "properties": {"title": "x"}, "owners": ["u1"]})["record"]
    whole, parts = {"owners": ["u2"]}, {"owners": {"add": ["u2"], "remove": ["u1"]}}
    assert agency.refused("PUT", f"{RECORDS}/{made['id']}", params=HERE, json=whole)[0] == 422
    changed = agency.ask("PUT", f"{RECORDS}/{made['id']}", params=HERE, json=parts)["record"]
    assert changed["owner"] == ["u2"]


def test_a_field_can_be_unique_and_a_deleted_record_can_block_its_value(agency: Agency) -> None:
    """Two switches; what exists already stays."""
    agency.create(1)
    agency.create(1)
    agency.switch(unique=True)
    first = agency.create(2)
    message = "A record with the same value for project_id already exists."
    sent = {**HERE, "properties": {"title": "x", "project_id": "p2"}}
    assert agency.refused("POST", RECORDS, json=sent) == (400, message)
    other = agency.create(3)
    taken = agency.refused("PUT", f"{RECORDS}/{other['id']}", params=HERE, json={"properties": {"project_id": "p2"}})
    assert taken == (400, message)

    agency.ask("DELETE", f"{RECORDS}/{first['id']}")
    agency.switch(deleted_blocks=True)
    assert agency.refused("POST", RECORDS, json=sent)[0] == 400
    agency.switch(deleted_blocks=False)
    agency.ask("POST", RECORDS, json=sent)


def test_an_object_holds_so_many_records(agency: Agency) -> None:
    """300,000 unless a test sets another number."""
    agency.switch(largest=1)
    agency.create(1)
    assert agency.refused("POST", RECORDS, json={**HERE, "properties": {"title": "x"}})[0] == 400


def test_the_search_lags_behind_and_flickers(agency: Agency) -> None:
    """Each write shows after the lag, in the order of the writes."""
    agency.control("clock", {"now": "2026-11-26T08:00:00Z", "frozen": True})
    agency.switch(index_lag=5)
    made = agency.create(1)
    agency.control("clock", {"advance": 4})
    assert agency.search()["total"] == 0
    agency.ask("PUT", f"{RECORDS}/{made['id']}", params=HERE, json={"properties": {"note": "new"}})
    agency.control("clock", {"advance": 1})
    assert "note" not in agency.search()["records"][0]["properties"]
    agency.control("clock", {"advance": 4})
    assert agency.search()["records"][0]["properties"]["note"] == "new"
    agency.ask("DELETE", f"{RECORDS}/{made['id']}")
    assert agency.search()["total"] == 1
    agency.switch(index_lag=0, flicker=30)
    agency.create(2)
    assert {agency.search()["total"] for _ in range(2)} == {0, 1}
    agency.control("clock", {"advance": 30})
    assert [agency.search()["total"] for _ in range(2)] == [1, 1]


def test_the_search_filters(agency: Agency) -> None:
    """Groups and operators; a switch makes it ignore them, another makes the total too high."""
    for number in range(5):
        agency.create(number, note="even" if number % 2 == 0 else None, color=f"#{number}")

    def keys(*filters: dict[str, Any]) -> list[str]:
        rows = agency.search(*filters, sort=[{"field": "createdAt", "direction": "asc"}])["records"]
        return [row["properties"]["project_id"] for row in rows]

    assert keys(any_of(eq("project_id", "p1"), eq("project_id", "p3"), eq("project_id", "p9"))) == ["p1", "p3"]
    assert keys(any_of(eq("project_id", "p1"), eq("color", "#4"))) == ["p1", "p4"]
    assert keys(eq("note", "even"), {"field": "properties.color", "operator": "not_eq", "value": "#2"}) == ["p0", "p4"]
    assert keys({"field": "properties.note", "operator": "not_exists"}) == ["p1", "p3"]
    assert keys({"field": "properties.title", "operator": "contains", "value": "JECT 3"}) == ["p3"]
    assert keys({"field": "createdAt", "operator": "range", "value": {"lt": "2000-01-01"}}) == []
    assert agency.search(query="project 2")["total"] == 1
    agency.switch(filters_ignored=True, total_extra=2)
    assert agency.search(eq("project_id", "p1"))["total"] == 7


@pytest.mark.parametrize(
    "filter_",
    [
        {"field": "project_id", "operator": "eq", "value": "p1"},
        {"field": "properties.nothing", "operator": "eq", "value": "p1"},
        {"field": "properties.title", "operator": "range", "value": {"gte": "a"}},
        {"field": "createdAt", "operator": "eq", "value": "2026"},
        {"group": "XOR", "filters": []},
    ],
)
def test_a_filter_that_does_not_exist_is_refused(agency: Agency, filter_: dict[str, Any]) -> None:
    """A bare key, an unknown one, an operator of another type."""
    body = {**HERE, "page": 1, "pageLimit": 10, "query": "", "searchAfter": [], "filters": [filter_]}
    assert agency.refused("POST", f"{RECORDS}/search", json=body)[0] == 400
    assert agency.refused("POST", f"{RECORDS}/search", json=body | {"query": "x" * 76, "filters": []})[0] == 422
    assert agency.refused("POST", f"{RECORDS}/search", json=body | {"pageLimit": 301, "filters": []})[0] == 422


@pytest.mark.parametrize(
    "sort", [[], [{"field": "createdAt", "direction": "asc"}], [{"field": "properties.note", "direction": "desc"}]]
)
def test_pages_by_number_and_by_the_last_row_show_each_record_once(agency: Agency, sort: list[dict[str, str]]) -> None:
    """Whatever the order, records of the same instant among them."""
    for number in range(7):
        agency.create(number, note=f"n{number % 3}")
    every = [row["id"] for row in agency.search(sort=sort)["records"]]
    assert len(set(every)) == 7
    pages = [agency.search(sort=sort, page=page, pageLimit=3)["records"] for page in (1, 2, 3, 4)]
    assert [row["id"] for page in pages for row in page] == every
    seen, after = list[str](), list[Any]()
    while rows := agency.search(sort=sort, pageLimit=2, searchAfter=after)["records"]:
        seen += [row["id"] for row in rows]
        after = rows[-1]["searchAfter"]
    assert seen == every


def test_people_change_records_by_hand(agency: Agency) -> None:
    """The controls write like a user of HighLevel's own app."""
    made = agency.create(1)
    agency.control("highlevel/records/clockify_projects", {"id": made["id"], "properties": {"note": "by hand"}})
    (row,) = agency.search()["records"]
    assert (row["lastUpdatedBy"]["source"], row["properties"]["note"]) == ("WEB_USER", "by hand")
    other = agency.control("highlevel/records/clockify_projects", {"properties": {"title": "x", "project_id": "p1"}})
    agency.control("highlevel/records/clockify_projects", {"id": made["id"], "remove": True})
    assert [row["id"] for row in agency.search()["records"]] == [other["id"]]


def test_the_journal_has_every_version(agency: Agency) -> None:
    """Versions of records and locations, writes counted by object, lists that can be frozen."""
    agency.control("journal", {"on": True})
    made = agency.create(1)
    agency.ask("PUT", f"{RECORDS}/{made['id']}", params=HERE, json={"properties": {"note": "new"}})
    agency.control("highlevel/locations", {"id": HOME, "name": "Renamed"})
    found = agency.control("journal", {"after": 0})["versions"]
    versions = [(one["kind"], one["since"], one["until"]) for one in found if one["system"] == "highlevel"]
    assert sorted(versions) == [
        ("clockify_projects", 1, 2), ("clockify_projects", 2, None), ("locations", 0, 3), ("locations", 3, None),
    ]  # fmt: skip
    assert agency.control("stats")["writes"] == {"clockify_projects": 2}
    assert "PUT /highlevel/objects/custom_objects.clockify_projects/records/{id}" in agency.control("stats")["requests"]

    agency.control("lag", {"freeze": "highlevel"})
    agency.create(2)
    assert agency.search()["total"] == 1
    agency.http.delete(f"{agency.sandbox.control}/lag")
    assert agency.search()["total"] == 2


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    """Records, what the index does not show yet, switches, and what is left of the day."""
    ids = []
    for _ in range(2):
        options = Options(**(SMALL | LITTLE), highlevel_prepared=True)
        with running(tmp_path / "sandbox.db", options, Clock(lambda: 1_790_000_000.0)) as sandbox:
            agency = Agency(sandbox)
            ids += [one["id"] for one in agency.control("highlevel/records/clockify_projects")["records"]]
            if not ids:
                agency.switch(index_lag=3600, unique=True)
                made = agency.create(1)
            assert agency.search()["total"] == 0
            left = agency.send("GET", f"/locations/{HOME}").headers["x-ratelimit-daily-remaining"]
            agency.http.close()
    assert (ids, left) == ([made["id"]], "199995")


def test_a_database_of_an_earlier_version_gets_an_agency(tmp_path: Path) -> None:
    """What is in it stays."""
    file, options = tmp_path / "sandbox.db", Options(**(SMALL | LITTLE))
    open_world(file, options).db.close()
    with closing(sqlite3.connect(file)) as db, db:
        for (name,) in db.execute(
            "SELECT name FROM sqlite_master WHERE name GLOB 'highlevel_*' AND type = 'table'"
        ).fetchall():
            db.execute(f"DROP TABLE {name}")
        db.execute("DELETE FROM meta WHERE name GLOB 'highlevel.*'")
        db.execute("UPDATE clients SET body = json_set(body, '$.name', 'Kept')")
    with closing(open_world(file, options).db) as db:
        (names,) = db.execute("SELECT group_concat(body ->> 'name') FROM clients").fetchone()
        assert db.execute("SELECT count(*) FROM highlevel_locations").fetchone()[0] == 12
        assert "Kept" in names
