"""Searching records: by id, e-mail, beginning of the label and state; in pages, counted, and by an index whatever their number."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sync_pipeline.store.deliveries import Delivered, Refused
from sync_pipeline.store.engine import Store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.record_search import STATES, RecordQuery, RecordRow, search_records
from sync_pipeline.store.records import counts
from sync_pipeline.store.rejects import Reject, group_rejects
from sync_pipeline.store.staged import StagedRow
from sync_pipeline_tests.store.batch import HERE, THERE, at
from sync_pipeline_tests.store.test_staging import plans

EVERYTHING = ("users", "time_entries")


def person(source_id: str, label: str | None, email: str = "", **more: Any) -> StagedRow:
    """A staged row with a label and an e-mail address."""
    fields = json.dumps({"email": email, "id": source_id}, separators=(",", ":"))
    return StagedRow(
        source_id, None, fields, f"hash of {source_id}", more.pop("status", "accepted"), label=label, **more
    )


def load(store: Store, rows: list[StagedRow], entity: str = "users", *, delivered: bool = True) -> Ledger:
    """Merge rows, and have the target acknowledge them."""
    ledger = Ledger(store, HERE, entity)
    with ledger.staging(read_no=1) as staging:
        staging.add(rows)
        staging.merge(at(1))
    if delivered:
        found = [Delivered(row.source_id, f"t-{row.source_id}", row.fields_hash, "create") for row in rows]
        ledger.mark_delivered(found, None, at(1))
    return ledger


def search(store: Store, **wanted: Any) -> list[RecordRow]:
    """Everything that is found."""
    query = RecordQuery(entities=EVERYTHING, emails={"users": ["email"]}, **wanted)
    found = search_records(store, HERE, query)
    assert found.total == len(found.rows)
    return found.rows


def ids(rows: list[RecordRow]) -> list[str]:
    """Their ids."""
    return [row.source_id for row in rows]


@pytest.fixture
def people(store: Store) -> Ledger:
    """Some users, and a time entry."""
    load(store, [person("e1", "Jana's work")], "time_entries")
    rows = [person("u1", "Jana Adeyemi", "jana@example.com"), person("u2", "Jan Berg", "jan@example.com")]
    return load(store, [*rows, person("u3", "jana lower"), person("u4", None)])


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("u1", ["u1"]),
        ("t-u2", ["u2"]),
        ("jana@example.com", ["u1"]),
        ("Jana@Example.com", ["u1"]),
        ("Jana", ["u1", "u3", "e1"]),
        ("jana a", ["u1"]),
        ("JAN", ["u3", "u2", "u1", "e1"]),
        ("ana", []),
        ("%", []),
        ("'); --", []),
    ],
)
def test_what_words_find(store: Store, words: str, found: list[str]) -> None:
    """An exact id at either side, an exact address, or the beginning of a label as usually written."""
    assert ids(search(store, q=words)) == found


def test_states(store: Store, people: Ledger) -> None:
    """Each record is found by its state, and by no other; the row states which, and why."""
    load(store, [person("p1", "Pending")], delivered=False)
    load(store, [person("r1", "Refused")], delivered=False)
    people.mark_refused([Refused("r1", "hash of r1", "create", "no such role")], None, at(2), "run-9")
    load(store, [person("d1", "Deleted"), person("x1", "Excluded"), person("m1", "Missing")])
    people.mark_deleted({"d1": 2}, at(2))
    with people.staging(read_no=3) as staging:
        staging.add([person("x1", "Excluded", status="excluded", rule="running")])
        staging.merge(at(3))
    people.mark_unconfirmed(["m1"], at(3), read_no=9)
    rejects = [
        Reject("c1", "email", "email", "is not an e-mail address", "nope"),
        Reject("w1", "user_id", "references", "waits for u9", "u9"),
        Reject(None, "id", "required", "is missing"),
    ]
    people.rejects.replace(None, rejects, "run-8", at(4))
    by_state = {state: search(store, state=state) for state in STATES}
    assert {state: ids(rows) for state, rows in by_state.items()} == {
        "in_step": ["u1", "u2", "u3", "u4", "e1"],
        "pending": ["d1", "p1"],
        "rejected": ["(no id)", "c1", "r1"],
        "ignored": [],
        "waiting": ["w1"],
        "excluded": ["x1"],
        "unconfirmed": ["m1"],
        "deleted": ["d1"],
    }
    shown = {row.source_id: (row.state, row.reason, row.run_id) for rows in by_state.values() for row in rows}
    assert shown["r1"] == ("rejected", "no such role", "run-9")
    assert shown["c1"] == ("rejected", "is not an e-mail address", "run-8")
    assert shown["x1"] == ("excluded", "running", None)
    assert shown["d1"][0] == "deleted"
    assert ids(search(store, state="rejected", q="nope")) == ["c1"]
    assert ids(search(store, state="rejected", q="refu")) == ["r1"]
    assert ids(search(store, state="rejected", reason="no such role")) == ["r1"]
    assert ids(search(store, state="pending", q="Pen")) == ["p1"]
    assert ids(search(store, run="run-8", action="rejected")) == ["(no id)", "c1", "w1"]
    found = counts(store, HERE)["users"]
    assert (found.records, found.delivered, found.pending, found.pending_deletes) == (8, 6, 1, 1)
    assert (found.refused, found.deleted, found.excluded, found.unconfirmed) == (1, 1, 1, 1)


def test_what_is_ignored_is_a_state_of_its_own(store: Store, people: Ledger) -> None:
    """Until it is rejected for another reason; who ignores it and why is kept."""
    people.rejects.replace(None, [Reject("c1", "email", "email", "is no address", "a")], "r1", at(1))
    assert people.rejects.ignore(["c1"], "Ana", "An old account", at(2)) == 1
    assert people.rejects.ignore(["c1"], "Ben", "Again", at(3)) == 0
    (kept,) = people.rejects.show("c1")
    assert (kept.ignored_by, kept.ignored_note, kept.ignored_at) == ("Ana", "An old account", at(2))
    assert (ids(search(store, state="rejected")), ids(search(store, state="ignored"))) == ([], ["c1"])
    people.rejects.replace(None, [Reject("c1", "email", "email", "is no address", "a")], "r2", at(4))
    assert ids(search(store, state="ignored")) == ["c1"], "the same reason"
    people.rejects.replace(None, [Reject("c1", "email", "email", "is no address", "b")], "r3", at(5))
    assert ids(search(store, state="rejected")) == ["c1"], "another value"
    people.rejects.ignore(["c1"], "Ana", "Still", at(6))
    assert people.rejects.stop_ignoring(["c1"]) == 1
    assert ids(search(store, state="rejected")) == ["c1"]


def test_rejects_by_reason(store: Store, people: Ledger) -> None:
    """The most frequent first, since when, of one pair and its entities; and the records of one reason."""
    bad = [Reject(f"c{number}", "email", "email", "is no address", str(number)) for number in range(3)]
    people.rejects.replace(None, [*bad, Reject("d", "role", "one_of", "is unknown")], "r1", at(1))
    first, second = group_rejects(store, HERE, entities=EVERYTHING)
    assert (first.reason, first.records, first.since, first.field) == ("is no address", 3, at(1), "email")
    assert (second.reason, second.records) == ("is unknown", 1)
    assert people.rejects.ids_of("is no address") == ["c0", "c1", "c2"]
    assert people.rejects.ids_of("is no address", "target") == []
    people.rejects.ignore(["c0"], "Ana", "old", at(2))
    assert [group.records for group in group_rejects(store, HERE, entities=EVERYTHING)] == [2, 1]
    assert [group.records for group in group_rejects(store, HERE, entities=EVERYTHING, state="ignored")] == [1]
    assert group_rejects(store, THERE, entities=EVERYTHING) == []


def test_pages_have_each_record_once(store: Store) -> None:
    """Over all entities; no more are counted than is asked for."""
    load(store, [person(f"e{number:02}", f"Work {number}") for number in range(15)], "time_entries")
    load(store, [person(f"u{number:02}", "Work") for number in range(15)])
    for wanted in ({}, {"q": "work"}):
        query = RecordQuery(entities=EVERYTHING, **wanted)  # type: ignore[arg-type]  # texts alone
        pages = [search_records(store, HERE, query, offset=offset, limit=7) for offset in range(0, 35, 7)]
        found = [row.source_id for page in pages for row in page.rows]
        assert (len(found), len(set(found)), pages[0].total) == (30, 30, 30)
        assert search_records(store, HERE, query, limit=7, most=20).total == 21


def test_what_a_run_did(store: Store, people: Ledger) -> None:
    """The records that it created, updated or deleted, each with one of these words."""
    sync = people.syncs.begin(observed_at=at(1), at=at(1), run_id="run-1")
    people.mark_delivered([Delivered("u1", "t-u1", "hash of u1", "update")], sync, at(2))
    people.mark_delivered([Delivered("u2", "t-u2", "hash of u2", "create")], sync, at(2))
    alone = people.syncs.begin(observed_at=at(1), at=at(1))
    people.mark_delivered([Delivered("u3", "t-u3", "hash of u3", "update")], alone, at(2))
    assert ids(search(store, run="run-1")) == ["u1", "u2"]
    assert ids(search(store, run="run-1", action="updated")) == ["u1"]
    assert ids(search(store, run="run-1", action="created")) == ["u2"]
    assert ids(search(store, run="run-1", action="deleted")) == []
    assert ids(search(store, run=f"sync-{alone}")) == ["u3"]
    assert ids(search(store, run="sync-x")) == []


WALKS: tuple[tuple[dict[str, str], str], ...] = (
    ({}, "sqlite_autoindex_records_1 (connection=? AND entity=?)"),
    ({"state": "pending"}, "ix_records_unsettled"),
    ({"state": "excluded"}, "ix_records_unsettled"),
    ({"state": "unconfirmed"}, "ix_records_unsettled"),
    ({"q": "Work 1"}, "ix_records_label (connection=? AND entity=? AND label>? AND label<?)"),
    ({"q": "u1"}, "ux_records_target"),
)


@pytest.mark.parametrize(("wanted", "index"), WALKS)
def test_nothing_walks_all_records(sqlite_store: Store, wanted: dict[str, str], index: str) -> None:
    """Each search reads an index that has just what is looked for, in its order: no scan, and no sort of everything."""
    load(sqlite_store, [person(f"u{number}", f"Work {number}") for number in range(5)])
    with plans(sqlite_store) as found:
        search(sqlite_store, **wanted)
    steps = [step for plan in found for step in plan]
    assert [step for step in steps if step.startswith("SCAN records")] == []
    assert any(index in step for step in steps), steps
    assert not wanted.get("q", "").startswith("Work") or "USE TEMP B-TREE FOR ORDER BY" not in steps
