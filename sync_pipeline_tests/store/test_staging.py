"""A batch next to what is known: duplicates, absence, merge and what is pending."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select

from sync_pipeline.mapping.json_types import LONGEST_ID
from sync_pipeline.store import records as steps
from sync_pipeline.store.claims import Sending
from sync_pipeline.store.deliveries import Delivered, Refused
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.loads import Loading
from sync_pipeline.store.merge import MERGE_ROWS, MergeCounts
from sync_pipeline.store.rejects import Reject, list_rejects
from sync_pipeline.store.schema import records
from sync_pipeline.store.staged import StagedRow
from sync_pipeline.store.staging import Staging
from sync_pipeline_tests.store.batch import (
    ENTITY,
    HERE,
    LATER,
    at,
    commits,
    content,
    deliver,
    here,
    is_pending,
    merge,
    row,
    there,
)
from sync_pipeline_tests.store.conftest import Server

MARCH = ("2024-03-01", "2024-03-31")


def missing_ids(staging: Staging, *, again: bool = False) -> list[str]:
    """The records that a batch did not find."""
    staging.find_missing(again=again)
    return list(staging.missing.ids())


def test_new_records_are_inserted_and_pending(store: Store) -> None:
    """A first batch becomes the desired state, all of it to be delivered."""
    with here(store).staging(read_no=9) as staging:
        staging.add([row("b"), row("a")])
        staging.add([row("c")])

        assert staging.merge(at(1)) == MergeCounts(new=3)
        assert [pending.source_id for pending in staging.pending(10)] == ["a", "b", "c"]
        assert staging.pending(10)[0].fields == row("a")[2]
    assert steps.counts(store, HERE)[ENTITY].pending == 3


def test_unchanged_data_writes_nothing(store: Store) -> None:
    """The law: a second sync of the same data commits nothing, to no table at all."""
    rows = [row("a"), row("b"), row("gone", status="excluded", rule="running")]
    deliver(store, rows[:2])
    with commits(store) as count:
        before = count()

        assert merge(store, rows, 2, MARCH) == MergeCounts(unchanged=2)
        assert count() == before


def test_only_changed_records_are_written(store: Store) -> None:
    """A change of value or of day updates the row and keeps what was delivered."""
    deliver(store, [row("a"), row("b"), row("c")])

    counts = merge(store, [row("a"), row("b", "v2"), row("c", day="2024-03-09")], 2)

    known = here(store).lookup(["a", "b", "c"])
    assert counts == MergeCounts(changed=2, unchanged=1)
    assert known["a"].observed_at == at(1)
    assert (known["b"].fields_hash, known["b"].delivered_hash, known["b"].target_id) == ("v2", "v1", "t-b")
    assert known["b"].observed_at == at(2)
    assert known["c"].partition == "2024-03-09"


def test_an_older_read_never_replaces_a_newer_one(store: Store) -> None:
    """Whatever an old batch holds, rows of a newer read stay unchanged."""
    merge(store, [row("a", "new"), row("same")], 5)

    assert merge(store, [row("a", "old"), row("same"), row("b")], 3) == MergeCounts(new=1, unchanged=1, newer=1)
    assert here(store).lookup(["a"])["a"].fields_hash == "new"


def test_an_old_batch_does_not_bring_back_a_deleted_record(store: Store) -> None:
    """A proven deletion is an observation too."""
    deliver(store, [row("a")])
    here(store).mark_deleted(dict.fromkeys(["a"], 5), at(5))

    assert merge(store, [row("a")], 3) == MergeCounts(newer=1)
    assert here(store).lookup(["a"])["a"].deleted_at == at(5)


def test_a_read_by_id_that_finds_nothing_stops_older_batches_and_deletes_nothing_stored_meanwhile(store: Store) -> None:
    """Unknown or deleted, it is not added by a batch that was read before; one that such a batch has added is returned."""
    deliver(store, [row("live"), row("gone")], 1)
    here(store).mark_deleted({"gone": 2}, at(2))
    assert here(store).leave_tombstones(dict.fromkeys(["live", "gone", "unknown"], 11), at(11)) == {"live"}

    assert merge(store, [row(key, "v2") for key in ("live", "gone", "unknown")], 10) == MergeCounts(changed=1, newer=2)
    found = here(store).lookup(["live", "gone", "unknown"])
    assert {key: known.deleted_at for key, known in found.items()} == {"live": None, "gone": at(2), "unknown": at(11)}


def test_a_record_that_comes_back_is_wanted_again(store: Store) -> None:
    """A later read of a deleted, unconfirmed or excluded record clears those marks."""
    deliver(store, [row("a"), row("b"), row("c")])
    here(store).mark_deleted(dict.fromkeys(["a"], 2), at(2))
    here(store).mark_unconfirmed(["b"], at(2), read_no=LATER)
    merge(store, [row("c", status="excluded", rule="running")], 2)

    assert merge(store, [row("a"), row("b"), row("c")], 3) == MergeCounts(changed=3)
    for known in here(store).lookup(["a", "b", "c"]).values():
        assert (known.deleted_at, known.unconfirmed_at, known.excluded_rule) == (None, None, None)


def test_leaving_the_scope_by_a_rule_is_not_a_deletion(store: Store) -> None:
    """An excluded record carries its rule and is not pending; a new one is not stored. It is missed while it is there."""
    deliver(store, [row("a")])
    merge(store, [row("a", "v2")], 2)
    batch = [row("a", "v3", status="excluded", rule="running"), row("new", status="excluded", rule="running")]
    with here(store).staging(read_no=9) as staging:
        staging.add(batch)

        assert missing_ids(staging) == []
        assert staging.merge(at(3)) == MergeCounts()
        assert staging.pending(10) == []
    known = here(store).lookup(["a", "new"])
    assert known.keys() == {"a"}
    assert (known["a"].excluded_rule, known["a"].fields_hash) == ("running", "v2")
    with here(store).staging(read_no=9) as staging:
        assert staging.count_absent() == 1
    here(store).observe_target([("a", None)], LATER)
    with here(store).staging(read_no=9) as staging:
        assert missing_ids(staging) == []


def test_a_delivered_record_that_becomes_invalid_keeps_its_last_good_state(store: Store) -> None:
    """A rejected row changes nothing, but proves that the record is not deleted."""
    deliver(store, [row("a")])
    here(store).mark_deleted(dict.fromkeys(["a"], 2), at(2))

    merge(store, [row("a", "broken", status="rejected", rule="required_fields")], 3)

    known = here(store).lookup(["a"])["a"]
    assert (known.fields_hash, known.delivered_hash, known.deleted_at) == ("v1", "v1", None)
    assert here(store).pending_deletes(["a"]) == []


def test_waiting_rows_are_kept_but_not_delivered(store: Store) -> None:
    """A row that waits for another record becomes the desired state without being handed out."""
    with here(store).staging(read_no=9) as staging:
        staging.add([row("a", status="waiting"), row("b")])

        assert staging.merge(at(1)) == MergeCounts(new=2)
        assert [pending.source_id for pending in staging.pending(10)] == ["b"]
        assert staging.counts() == {"waiting": 1, "accepted": 1}


def test_of_an_id_that_comes_twice_the_last_row_counts(store: Store) -> None:
    """An id that arrives twice, in one part or in two, takes part once."""
    with here(store).staging(read_no=9) as staging:
        staging.add([row("a", "first"), row("a", "second"), row("b")])
        assert staging.counts() == {"accepted": 2}
        staging.add([row("b", "later"), row("c")])

        assert staging.counts() == {"accepted": 3}
        assert staging.merge(at(1)) == MergeCounts(new=3)
    known = here(store).lookup(["a", "b", "c"])
    assert [known[key].fields_hash for key in "abc"] == ["second", "later", "v1"]


def test_absent_is_what_the_scope_has_and_the_read_did_not_meet(store: Store) -> None:
    """Only live records of the covered days are missed; any staged row, even a rejected one, is met."""
    days = ["2024-02-29", "2024-03-01", "2024-03-31", "2024-04-01"]
    deliver(store, [row(f"r{day}", day=day) for day in days])
    deliver(store, [row("met"), row("invalid"), row("dead"), row("undated", day=None)])
    merge(store, [row("pending", day="2024-03-05")], 1)
    here(store).mark_deleted(dict.fromkeys(["dead"], 2), at(2))
    with here(store).staging(MARCH, 9) as staging:
        staging.add([row("met"), row("invalid", status="rejected", rule="valid_values")])

        assert missing_ids(staging) == ["pending", "r2024-03-01", "r2024-03-31"]
        assert missing_ids(staging, again=True)[0] == "dead"
        assert (staging.count_absent(), staging.count_absent(again=True), staging.known()) == (2, 3, 4)
        assert staging.known(everywhere=True) == 7
    with here(store).staging(read_no=9) as staging:
        assert (len(missing_ids(staging)), staging.count_absent()) == (8, 7)


def test_a_record_with_an_id_that_no_read_accepts_any_more_is_never_absent(store: Store) -> None:
    """It was delivered before ids had a limit: that a batch has no such row proves nothing."""
    deliver(store, [row("x" * LONGEST_ID), row("x" * (LONGEST_ID + 1))])
    with here(store).staging(read_no=9) as staging:
        assert missing_ids(staging) == ["x" * LONGEST_ID]
        assert staging.count_absent() == 1
        assert staging.absent_among(["x" * (LONGEST_ID + 1)]) == set()


def test_pending_comes_in_pages_and_shrinks_with_every_delivery(store: Store) -> None:
    """Every record is handed out exactly once, in the order of ids, until nothing is left."""
    rows = [row(f"{nr:03}") for nr in range(25)]
    seen: list[str] = []
    with here(store).staging(read_no=9) as staging:
        staging.add(rows)
        staging.merge(at(1))
        after = ""
        while page := staging.pending(10, after):
            after = page[-1].source_id
            seen += [pending.source_id for pending in page]
            done = [Delivered(p.source_id, p.source_id, p.fields_hash, "create") for p in page]
            here(store).mark_delivered(done, None, at(2))

        assert seen == [staged.source_id for staged in rows]
        assert staging.pending(10) == []


def test_what_the_target_refused_waits_for_a_change(store: Store) -> None:
    """A refused state is counted, not handed out; a changed one is handed out again."""
    merge(store, [row("a"), row("b")], 1)
    here(store).mark_refused([Refused("a", "v1", "create", "no")], None, at(1))
    with here(store).staging(read_no=9) as staging:
        staging.add([row("a"), row("b")])
        staging.merge(at(2))
        assert (staging.refused(), [p.source_id for p in staging.pending(9)]) == (1, ["b"])
    with here(store).staging(read_no=9) as staging:
        staging.add([row("a", "v2"), row("b")])
        staging.merge(at(3))
        assert (staging.refused(), [p.source_id for p in staging.pending(9)]) == (0, ["a", "b"])


def test_a_refusal_ends_with_its_reason(store: Store) -> None:
    """Excluded, changed or back to what the target has: what it refused is no longer wanted, and is shown no more."""
    keys = ["excluded", "back", "changed", "same"]
    deliver(store, [row(key) for key in keys])
    wanted = [row(key, "v2") for key in keys]
    merge(store, wanted, 2)
    here(store).mark_refused([Refused(key, "v2", "update", "no") for key in keys], None, at(2))
    with commits(store) as count:
        before = count()
        merge(store, wanted, 3)
        assert count() == before

    later = [row("excluded", status="excluded", rule="x"), row("back"), row("changed", "v3"), row("same", "v2")]
    merge(store, later, 4)
    assert [reject.source_id for reject in list_rejects(store, HERE)] == ["same"]
    merge(store, wanted, 5)

    known = here(store).lookup(keys)
    assert sorted(key for key in keys if is_pending(known[key])) == ["back", "changed", "excluded"]


def test_a_refusal_ends_when_its_record_only_waits(store: Store) -> None:
    """Another state of it waits for a reference: the state that was refused is not wanted any more."""
    merge(store, [row("a")], 1)
    here(store).mark_refused([Refused("a", "v1", "create", "no")], None, at(1))

    merge(store, [row("a", "v2", status="waiting")], 2)

    assert list_rejects(store, HERE) == []


def test_a_reject_does_not_outlive_the_day_its_record_has_left(store: Store) -> None:
    """Met on another day it was judged there; what is reported about other records, or was reported since, stays."""
    said = [Reject(key, "end", "valid_values", "no", None, "2024-04-01") for key in ("moved", "there", "since")]
    here(store).rejects.replace(None, said[:2], None, at(1), read_no=1)
    here(store).rejects.replace(MARCH, [], None, at(2), read_no=2)
    assert [reject.source_id for reject in list_rejects(store, HERE)] == ["moved", "there"]
    here(store).rejects.replace(None, said[2:], None, at(3), source_ids=["since"], read_no=3)

    merge(store, [row("moved"), row("since"), row("there", day="2024-04-01", status="rejected")], 2, MARCH)

    assert [reject.source_id for reject in list_rejects(store, HERE)] == ["there", "since"]
    with commits(store) as count:
        before = count()
        merge(store, [row("moved"), row("since"), row("there", day="2024-04-01", status="rejected")], 2, MARCH)
        assert count() == before


def test_rewritten_counts_delivered_records_that_would_change(store: Store) -> None:
    """The guard against a mapping change sees only what is at the target in another form."""
    deliver(store, [row("a"), row("b")])
    with here(store).staging(read_no=9) as staging:
        staging.add([row("a", "v2"), row("b"), row("c", "v2")])

        assert staging.count_rewrites([None]) == 1
        assert staging.count_rewrites([]) == 0
        assert staging.count_rewrites([("2024-01-01", "2024-01-31")]) == 0


def made(source_id: str, value: str = "v1", source: str = "s1") -> StagedRow:
    """A row, and the hash of what it was made from."""
    return row(source_id, value)._replace(source_hash=source)


def load(store: Store, rows: list[StagedRow], hour: int, decided_by: str = "mapping 1") -> MergeCounts:
    """Merge rows that were made by this mapping."""
    with here(store).staging(read_no=hour) as staging:
        staging.decided_by = decided_by
        staging.add(rows)
        return staging.merge(at(hour))


def test_what_unchanged_fields_were_made_from_is_noted_once(store: Store) -> None:
    """Another record at the source, or another mapping, with the same outcome changes nothing else of a record."""
    load(store, [made("a")], 1)
    (before,) = (known for page in here(store).scan() for known in page)
    assert load(store, [made("a", source="s2")], 2) == MergeCounts(restated=1)
    assert load(store, [made("a", source="s2")], 3, "mapping 2") == MergeCounts(restated=1)
    with commits(store) as reading:
        was = reading()
        assert load(store, [made("a", source="s2")], 4, "mapping 2") == MergeCounts(unchanged=1)
        assert reading() == was
    assert [known for page in here(store).scan() for known in page] == [before]


def test_only_what_is_delivered_as_read_is_unchanged(store: Store) -> None:
    """Not what is pending, refused, rejected, deleted, missing or excluded, nor what is made otherwise by now."""
    ids = ("fine", "pending", "refused", "rejected", "deleted", "missing", "excluded", "source", "mapping")
    load(store, [made(key) for key in ids], 1)
    done = [Delivered(key, f"t-{key}", "v1", "create") for key in ids if key != "pending"]
    ledger = here(store)
    ledger.mark_delivered(done, None, at(1))
    ledger.rejects.replace(None, [Reject("rejected", "f", "valid_values", "wrong")], "run", at(1), read_no=1)
    ledger.mark_deleted({"deleted": 2}, at(2))
    ledger.mark_unconfirmed(["missing"], at(2), read_no=2)
    load(store, [row("excluded", status="excluded", rule="running")], 2)
    load(store, [made("source", source="s2")], 2)
    load(store, [made("mapping")], 2, "mapping 2")
    ledger.mark_refused([Refused("refused", "v1", "update", "no")], None, at(1))
    rows = [(key, "s1") for key in (*ids, "unknown")]
    assert ledger.unchanged(rows, "mapping 1") == {"fine"}
    assert there(store).unchanged(rows, "mapping 1") == frozenset()


def test_what_only_the_mapping_changes_can_keep_its_form(store: Store) -> None:
    """Not what changed at the source, is new, moved, pending or drifted: these get the mapping in force."""
    ids = ("former", "changed", "pending", "drifted", "moved", "same")
    load(store, [made(key) for key in ids], 1)
    there_now = {"pending": None, "drifted": "other"}
    ledger = here(store)
    ledger.mark_delivered(
        [Delivered(key, f"t-{key}", there_now.get(key) or "v1", "create") for key in ids if key != "pending"],
        None,
        at(1),
    )
    with ledger.staging(read_no=2) as staging:
        staging.decided_by = "mapping 2"
        rows = [
            made(key, "v2", "s2" if key == "changed" else "s1")
            for key in ("former", "changed", "pending", "drifted", "new")
        ]
        staging.add([*rows, made("same"), made("moved", "v2")._replace(partition="2024-03-02")])
        staging.leave_former()
        assert staging.counts() == {"accepted": 6, "former": 1}
        assert "former" not in {one.source_id for page in staging.planned() for one in page}
        assert (staging.unchanged(), missing_ids(staging)) == (2, [])
        staging.merge(at(2))
    known = ledger.lookup(["former", "changed"])
    assert (known["former"].fields_hash, known["changed"].fields_hash) == ("v1", "v2")
    with ledger.staging(read_no=3) as staging:
        staging.decided_by = "mapping 2"
        staging.add([made("former", "v2")])
        staging.leave_former()
        assert staging.counts() == {"former": 1}


def test_a_row_taken_in_by_its_id_is_the_stored_one(store: Store) -> None:
    """It is met, has the stored fields, and is not written; what is stored otherwise by now is named."""
    ids = ("same", "other", "newer", "removed")
    load(store, [made(key) for key in ids], 1)
    here(store).mark_delivered([Delivered(key, f"t-{key}", "v1", "create") for key in ids], None, at(1))
    with here(store).staging(read_no=5) as staging:
        staging.decided_by = "mapping 1"
        staging.add_unchanged([(key, "s1") for key in ids])
        load(store, [made("other", "v2", "s2")], 4)
        load(store, [made("newer", "v2", "s2")], 6)
        here(store).remove_records(["removed"])

        assert staging.counts() == {"accepted": 4}
        assert missing_ids(staging) == []
        fields = {found.source_id: found.fields for page in staging.rows() for found in page}
        assert fields["same"] == row("same").fields
        before = content(store, records)
        assert staging.merge(at(5)) == MergeCounts()
        assert content(store, records) == before
        assert staging.keep_doubtful() == 2
        assert staging.doubtful() == {"other": "changed", "removed": "changed"}
        assert staging.doubtful_days() == {("changed", "2024-03-01")}
        assert (staging.counts(), staging.kept_among(ids)) == ({"accepted": 2, "kept": 2}, {"other", "removed"})


def test_rows_come_in_their_order_and_wait_until_they_are_accepted(store: Store) -> None:
    """However many pages they take; what they wait for comes with them."""
    rows = [row(f"{nr:05}")._replace(status="waiting", waiting_for='[["users","u"]]') for nr in range(1500)]
    with here(store).staging(read_no=9) as staging:
        staging.add([row("first"), *rows, row("last")])

        assert [found for page in staging.rows(waiting=True) for found in page] == rows
        staging.accept(found.source_id for found in rows[:-1])
        assert [found for page in staging.rows(waiting=True) for found in page] == rows[-1:]
        assert [found.source_id for page in staging.rows() for found in page][:: len(rows) + 1] == ["first", "last"]


def test_an_empty_batch_is_a_batch(store: Store) -> None:
    """Nothing read: nothing merged, everything absent."""
    deliver(store, [row("a")])
    with here(store).staging(read_no=9) as staging:
        staging.add([])

        assert (staging.counts(), staging.merge(at(2))) == ({}, MergeCounts())
        assert missing_ids(staging) == ["a"]


def test_nothing_crosses_connections(store: Store) -> None:
    """The same ids over another connection are other records."""
    deliver(store, [row("a")])
    before = content(store, records)
    with there(store).staging(read_no=9) as staging:
        assert (staging.known(), staging.count_absent(), staging.count_rewrites([None])) == (0, 0, 0)
        staging.add([row("a", "other")])
        assert (staging.merge(at(2)), staging.refused()) == (MergeCounts(new=1), 0)
        assert [(p.target_id, p.delivered_hash) for p in staging.pending(10)] == [(None, None)]

    assert [found for found in content(store, records) if found[0] == HERE] == before


def test_a_merge_larger_than_one_transaction_is_complete(store: Store) -> None:
    """The stretches of a big merge neither overlap nor leave a gap."""
    rows = [row(f"{nr:05}") for nr in range(20_001)]

    assert merge(store, rows, 1) == MergeCounts(new=20_001)
    assert merge(store, [*rows[:-1], row("20000", "v2")], 2) == MergeCounts(changed=1, unchanged=20_000)


def test_staging_locks_no_one_out(tmp_path: Path) -> None:
    """Filling and reading a batch neither waits for a writer nor keeps one waiting."""
    path = tmp_path / "store.db"
    store = open_store(f"sqlite:///{path}", timeout=0.05)
    deliver(store, [row("a")])
    writer = sqlite3.connect(path, isolation_level=None, timeout=0.05)
    with here(store).staging(read_no=9) as staging:
        staging.add([row("a")])
        writer.execute("BEGIN IMMEDIATE")
        staging.add([row("b")])
        assert (staging.known(), staging.count_absent()) == (1, 0)
        writer.execute("ROLLBACK")
        staging.merge(at(2))
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("ROLLBACK")
    writer.close()
    store.close()


def test_two_batches_in_parallel_do_not_meet(store: Store) -> None:
    """Each staging has a connection of its own and leaves nothing behind."""
    with here(store).staging(read_no=9) as one, Ledger(store, HERE, "users").staging() as two:
        one.add([row("a")])
        two.add([row("b"), row("c")])

        assert (one.merge(at(1)), two.merge(at(1))) == (MergeCounts(new=1), MergeCounts(new=2))
    with here(store).staging(read_no=9) as again:
        assert again.counts() == {}


@contextmanager
def plans(store: Store) -> Iterator[list[list[str]]]:
    """How SQLite finds what each statement about records asks for, as the statements are sent."""
    found: list[list[str]] = []

    def explain(_: Any, cursor: sqlite3.Cursor, statement: str, parameters: Any, *more: Any) -> None:
        del more
        if "records" in statement:
            lines = cursor.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.append([line[3] for line in lines])

    event.listen(store.engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(store.engine, "before_cursor_execute", explain)


def test_a_page_of_records_is_found_by_its_ids(tmp_path: Path) -> None:
    """SQLite walks the page and looks up each record, never the other way round, however many rows the page has."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    ledger, keys = here(store), [f"k{number:03}" for number in range(500)]
    merge(store, [row(key) for key in keys], 1)
    with plans(store) as found:
        ledger.mark_sending([Sending(key, key, None) for key in keys])
        ledger.mark_delivered([Delivered(key, key, "v1", "create") for key in keys], None, at(1))
        assert ledger.observe_target([(key, "v2") for key in keys], 10**6) == len(keys)
    store.close()

    assert len(found) >= 4  # sent, acknowledged, compared, observed
    assert all("source_id=?" in lines[-1] for lines in found), found


def test_the_record_is_found_from_the_staged_row(tmp_path: Path) -> None:
    """SQLite walks the few staged rows, never all records of an entity."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    with here(store).staging(read_no=9) as staging:
        staging.add([row("a")])
        with plans(store) as found:
            staging.pending(10)
    store.close()

    (lines,) = found
    assert lines[0].startswith("SEARCH staged USING COVERING INDEX")
    assert lines[1].startswith("SEARCH records USING")


def test_a_page_to_be_delivered_is_found_without_sorting_all_of_them(postgres: Server) -> None:
    """PostgreSQL, too, walks the rows in order and stops at the end of the page, however many records there are."""
    store = open_store(postgres.emptied())
    plan: list[str] = []

    def explain(_: Any, cursor: psycopg.Cursor[Any], statement: str, parameters: Any, *more: Any) -> None:
        del more
        if "FOR UPDATE" in statement:
            found = cursor.connection.execute(f"EXPLAIN {statement}".encode(), parameters)
            plan.extend(line[0] for line in found)

    with here(store).staging(read_no=9) as staging:
        staging.add([row(f"k{number:05}") for number in range(MERGE_ROWS // 2)])
        staging.merge(at(1))
        event.listen(store.engine, "before_cursor_execute", explain)
        page = next(staging.claimed_pages(100, lambda planned: planned.source_id))
        event.remove(store.engine, "before_cursor_execute", explain)
    store.close()

    assert len(page) == 100
    assert plan
    assert not [line for line in plan if "Sort" in line or "Seq Scan" in line], plan


values = st.sampled_from(["v1", "v2", "v3"])
batches = st.lists(
    st.tuples(st.integers(1, 6), st.dictionaries(st.sampled_from("abcd"), values, max_size=4)), min_size=1, max_size=6
)


def test_whatever_the_order_each_record_shows_its_latest_change(store: Store) -> None:
    """Batches in any order: a record is replaced exactly when it differs and was not observed later."""

    # The same SQL on both; each batch costs PostgreSQL a connection.
    @settings(max_examples=25 if store.dialect == "sqlite" else 8, deadline=None)
    @given(batches=batches)
    def holds(batches: list[tuple[int, dict[str, str]]]) -> None:
        with store.writing() as tx:
            tx.execute(records.delete())
        model: dict[str, tuple[str, int]] = {}
        for hour, batch in batches:
            merge(store, [row(key, value) for key, value in batch.items()], hour)
            for key, value in batch.items():
                known = model.get(key)
                if known is None or (known[0] != value and known[1] <= hour):
                    model[key] = (value, hour)

        with store.reading() as tx:
            found = tx.execute(select(records.c.source_id, records.c.fields_hash, records.c.read_no)).all()
        assert {key: (digest, number) for key, digest, number in found} == model

    holds()


def test_what_arrives_late_leaves_its_record_on_the_day_it_was_sent_for(store: Store) -> None:
    """A write is under way while a newer read moves its record: the target then shows a day that is neither old nor wanted."""
    first, second, third = "2024-03-03", "2024-03-02", "2024-03-01"
    deliver(store, [row("once", "v1", first), row("twice", "v1", first)])
    merge(store, [row("once", "v2", first), row("twice", "v2", second)], 2)
    here(store).mark_sending([Sending(key, f"t-{key}", "v1") for key in ("once", "twice")])
    merge(store, [row("once", "v3", second), row("twice", "v3", third)], 3)

    def left(*days: str) -> tuple[list[str], set[str]]:
        with here(store).staging((days[0], days[-1]), read_no=LATER) as staging:
            return sorted(staging.left_behind(10)), set(staging.days_left(days))

    assert left(first) == (["once", "twice"], {first})
    assert left(second) == (["twice"], {second})
    here(store).mark_delivered(
        [Delivered("once", "t-once", "v2", "update"), Delivered("twice", "t-twice", "v2", "update")], None, at(4)
    )
    for day in (first, second):  # which of its former days the target shows now is known to no one
        assert left(day) == (["once", "twice"], {day})
    assert left(third) == (["twice"], {third})
    here(store).mark_delivered(
        [Delivered("once", "t-once", "v3", "update"), Delivered("twice", "t-twice", "v3", "update")], None, at(5)
    )
    assert left(third, first) == ([], set())


def test_what_a_read_by_id_found_lately_is_absent_only_when_one_misses_it(store: Store) -> None:
    """Of records that the batch lacks: one of a newer read, one read by id minutes ago, one that nothing else speaks for."""
    deliver(store, [row(key) for key in ("newer", "lately", "absent", "met")])
    here(store).mark_observed({"newer": 12}, at(2), by_id=False)
    here(store).mark_observed({"lately": 2}, at(2), by_id=True)
    with here(store).staging(read_no=9) as staging:
        staging.add([row("met", "v2")])
        assert (missing_ids(staging), staging.count_absent()) == (["absent"], 1)
        assert (staging.keep_doubtful(), staging.doubtful()) == (1, {"lately": "unlisted"})
        assert (staging.counts(), staging.keep_doubtful()) == ({"accepted": 1, "kept": 1}, 0)
        staging.miss({"lately": 13, "newer": 14})
        assert missing_ids(staging) == ["absent", "lately", "newer"]
        assert (staging.counts(), staging.missed) == ({"accepted": 1}, {"lately": 13, "newer": 14})
        assert list(staging.met()) == [[("met", row("met", "v2")[2])]]


def test_news_is_what_a_batch_would_add_or_change(store: Store) -> None:
    """Not so a row equal to the stored one, one that is older than what is stored, a reject, or an exclusion that is known."""
    kept = ["same", "changed", "newer", "rejected", "left", "absent", "other"]
    deliver(store, [row(key) for key in kept])
    merge(store, [row("out", status="excluded", rule="running"), row("left")], 2)
    here(store).mark_observed({"newer": 12}, at(2), by_id=False)
    with here(store).staging(read_no=9) as staging:
        staging.add([row("same"), row("changed", "v2"), row("newer", "v2"), row("new"), row("other", "v2")])
        staging.add([row("rejected", "v2", status="rejected", rule="valid_values")])
        staging.add([row("left", status="excluded", rule="running"), row("out", status="excluded", rule="running")])
        asked = {*kept, "new", "out", "unknown"} - {"other"}
        assert staging.news_among(asked) == {"changed", "new", "left"}
        assert staging.absent_among(asked) == {"absent"}
        assert staging.listed_among(asked) == asked - {"absent", "unknown"}


def test_what_is_in_doubt_is_marked_until_it_is_settled(store: Store) -> None:
    """Each record for one reason, with its days; one that is known to be missing is named, and keeps no day open."""
    first, second, third = "2024-03-01", "2024-03-02", "2024-03-03"
    deliver(store, [row(key, day=first) for key in ("lost", "moved", "same", "shown", "unshown")])
    ledger = here(store)
    ledger.mark_observed({"shown": 2, "unshown": 2}, at(2), by_id=True)
    ledger.mark_unconfirmed(["lost"], at(2), read_no=2)
    with store.writing() as tx:
        ledger.loads.note(tx, Loading([first], LATER, "f", 1, "r", at(3)))
    with ledger.staging((second, third), read_no=9) as staging:
        staging.decided_by = "another mapping"
        staging.add_unchanged([("lost", "s1")])
        staging.add([row("moved", day=second), row("new", day=second), row("same", day=first), row("shown", day=third)])
        assert staging.keep_doubtful() == 3
        assert staging.doubtful() == {"lost": "changed", "moved": "contested", "shown": "contested"}
        assert staging.doubtful(2) == {"lost": "changed", "moved": "contested"}
        assert staging.doubtful_days() == {("changed", first), ("contested", second), ("contested", third)}
        assert staging.unread_days() == {first, second, third}
        assert (staging.counts(), staging.keep_doubtful()) == ({"accepted": 2, "kept": 3}, 0)
        staging.settle(["shown", "moved"])
        assert (staging.doubtful(), staging.unread_days()) == ({"lost": "changed"}, set())
        staging.keep(["unshown", "unknown"], "unlisted")
        assert staging.doubtful() == {"lost": "changed", "unshown": "unlisted"}
        assert staging.doubtful_among(["lost", "moved", "unshown", "new"]) == {"lost", "unshown"}
        staging.settle()
        assert staging.doubtful() == {}
        assert staging.kept_among(["lost", "moved", "shown", "unshown", "new"]) == {"lost", "moved", "shown", "unshown"}
