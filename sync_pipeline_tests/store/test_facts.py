"""Facts and labels: of every record that is read and in scope, as the newest read has it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from sync_pipeline.mapping.facts import COLUMNS
from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import FACTS, entry_facts, records
from sync_pipeline.store.staged import FactsIn, StagedRow, Status
from sync_pipeline_tests.store.batch import HERE, at, commits, deliver, here, row, there

NAMES = ("user_id", "start_time", "end_time", "seconds", "billable", "amount", "tags")
IN = FactsIn(entry_facts, NAMES)
MARCH = ("2024-03-01", "2024-03-31")


def made(
    source_id: str, seconds: int | None = 3_600, status: Status = "accepted", label: str | None = None
) -> StagedRow:
    """A row with facts; those that are excluded have some, too."""
    times = ["2024-03-01 09:00:00.000000", None if seconds is None else "2024-03-01 10:00:00.250000"]
    facts = ["u1", *times, seconds, True, None, ['a "b"', "c"]]
    rule = "running" if status == "excluded" else None
    return row(source_id, status=status, rule=rule)._replace(facts=json.dumps(facts), label=label, source_hash="s")


def load(
    store: Store, rows: list[StagedRow], number: int, scope: tuple[str, str] | None = MARCH, *, whole: bool = True
) -> None:
    """Merge rows as a load does, or as a read of single records."""
    with here(store).staging(scope, read_no=number) as staging:
        staging.decided_by, staging.facts = "mapping", IN
        staging.add(rows)
        staging.merge(at(number), staging.drop_unmet_facts if whole else None)


def seconds(store: Store) -> dict[str, int | None]:
    """The seconds of each record that has facts."""
    with store.reading() as tx:
        found = tx.execute(
            select(entry_facts.c.source_id, entry_facts.c.seconds).where(entry_facts.c.connection == HERE)
        )
        return {one.source_id: one.seconds for one in found}


def labels(store: Store) -> dict[str, str | None]:
    """The label of each record."""
    with store.reading() as tx:
        return {one.source_id: one.label for one in tx.execute(select(records.c.source_id, records.c.label))}


def test_the_mapping_names_the_columns_that_the_store_has() -> None:
    """One list of tables and columns, declared on both sides of the layers."""
    kept = {"connection", "entity", "source_id", "read_no", "rejected_on"}
    assert {name: set(columns) | kept for name, columns in COLUMNS.items()} == {
        name: set(table.c.keys()) for name, table in FACTS.items()
    }


def test_every_type_comes_back_unchanged(store: Store) -> None:
    """Instants, numbers, flags, texts and what is missing, on both databases."""
    load(store, [made("a"), made("b", None)], 1)
    with store.reading() as tx:
        found: dict[str, Any] = {one.source_id: one for one in tx.execute(select(entry_facts))}
    a, b = found["a"], found["b"]
    assert (a.connection, a.entity, a.user_id, a.read_no, a.rejected_on) == (HERE, "time_entries", "u1", 1, None)
    assert (a.start_time, a.end_time) == (at(9), at(10).replace(microsecond=250_000))
    assert (a.seconds, a.billable, a.amount, a.project_id) == (3_600, True, None, None)
    assert json.loads(a.tags) == ['a "b"', "c"]
    assert (b.start_time, b.end_time, b.seconds) == (at(9), None, None)


def test_whatever_becomes_of_a_record_its_facts_are_kept_unless_it_is_excluded(store: Store) -> None:
    """Also those of records that are rejected, wait or are held, of which perhaps nothing else is stored."""
    statuses: tuple[Status, ...] = ("accepted", "waiting", "rejected", "held", "former", "excluded")
    load(store, [made(status, status=status) for status in statuses], 1)
    assert seconds(store).keys() == {*statuses} - {"excluded"}


def test_unchanged_facts_are_not_written(store: Store) -> None:
    """Nor are those of rows that come without any; changed ones are."""
    load(store, [made("a"), made("rejected", status="rejected")], 1)
    with commits(store) as reading:
        before = reading()
        load(store, [made("a"), made("rejected", status="rejected")], 2)
        assert reading() == before
        load(store, [made("a", 60), made("rejected", 60, "rejected")], 3)
        assert reading() != before
    assert seconds(store) == {"a": 60, "rejected": 60}


def test_a_row_taken_in_by_its_id_keeps_its_facts(store: Store) -> None:
    """The short way: nothing of it was read."""
    load(store, [made("a")], 1)
    with here(store).staging(MARCH, read_no=2) as staging:
        staging.decided_by, staging.facts = "mapping", IN
        staging.add_unchanged([("a", "s")])
        staging.merge(at(2), staging.drop_unmet_facts)
    assert seconds(store) == {"a": 3_600}


@pytest.mark.parametrize("status", ["accepted", "rejected", "waiting", "excluded"])
def test_an_older_read_never_replaces_facts_of_a_newer_one(store: Store, status: Status) -> None:
    """Whatever it makes of the record."""
    load(store, [made("a", 60)], 5)
    load(store, [made("rejected", 60, "rejected")], 5, whole=False)
    load(store, [made("a", 1, status), made("rejected", 1, status)], 4)
    load(store, [], 4)
    assert seconds(store) == {"a": 60, "rejected": 60}


def test_an_older_read_brings_nothing_back(store: Store) -> None:
    """Neither of a record that is known to be deleted, nor of an unknown id that a read by id did not find."""
    load(store, [made("a")], 1)
    here(store).mark_deleted({"a": 5}, at(5))
    here(store).leave_tombstones({"b": 5}, at(5))
    load(store, [made("a"), made("b", status="rejected")], 4)
    assert seconds(store) == {}


def test_facts_are_deleted_with_the_record(store: Store) -> None:
    """By the proof of its absence, by a read by id of a rejected one, when it is excluded, and when it is removed."""
    deliver(store, [row("proven")])
    load(store, [made(key) for key in ("proven", "older", "excluded", "removed", "stays")], 2)
    load(store, [made("rejected", status="rejected")], 2, whole=False)
    with there(store).staging(read_no=2) as staging:
        staging.facts = IN
        staging.add([made("elsewhere")])
        staging.merge(at(2))
    ledger = here(store)
    ledger.mark_deleted({"proven": 3, "older": 1}, at(3))
    ledger.mark_unconfirmed(["stays"], at(3), read_no=3)
    ledger.leave_tombstones({"rejected": 3, "stays": 3}, at(3))
    ledger.remove_records(["removed", "elsewhere"])
    load(store, [made("excluded", status="excluded")], 3, whole=False)
    assert seconds(store).keys() == {"older", "stays"}
    with store.reading() as tx:
        assert set(tx.scalars(select(entry_facts.c.source_id))) == {"older", "stays", "elsewhere"}


def test_facts_of_a_rejected_record_are_deleted_when_its_day_is_read_without_it(store: Store) -> None:
    """No record is stored whose absence could be proven. Of one that was delivered before, the absence decides."""
    deliver(store, [row("delivered")])
    both = [made(key, status="rejected") for key in ("never", "delivered")]
    load(store, both, 2)
    load(store, [], 3, ("2024-04-01", "2024-04-30"))
    load(store, [made("other")], 3, whole=False)
    assert seconds(store).keys() == {"never", "delivered", "other"}
    load(store, [made("other")], 4)
    assert seconds(store).keys() == {"delivered", "other"}
    load(store, [made("other"), *both], 5)
    load(store, [made("other"), made("never"), made("delivered")], 6)
    load(store, [made("other")], 7)
    assert seconds(store).keys() == {"never", "delivered", "other"}  # accepted since: stored records


def test_labels_are_written_with_the_fields_and_alone(store: Store) -> None:
    """A label that alone has changed is noted once; facts and labels need each other in nothing."""
    load(store, [made("a", label="first"), made("b"), made("rejected", status="rejected", label="no")], 1)
    assert labels(store) == {"a": "first", "b": None}
    load(store, [made("a", label="second"), made("b", label="named")], 2)
    assert labels(store) == {"a": "second", "b": "named"}
    with commits(store) as reading:
        before = reading()
        load(store, [made("a", label="second"), made("b", label="named")], 3)
        assert reading() == before
    here(store).replace_fields({"a": ("{}", "v2")}, 4)
    assert labels(store) == {"a": None, "b": "named"}
