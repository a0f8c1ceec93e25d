"""What a staged batch comes to: the same before the merge and after it, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.store.claims import Sending
from sync_pipeline.store.deliveries import Delivered, Refused, Removed
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.staged import StagedRow
from sync_pipeline.store.staging import Staging
from sync_pipeline_tests.store.batch import LATER, at, deliver, here, merge, row

NEW, SAME, OTHER = "v2", "v1", "v0"


def known(store: Store) -> None:
    """One record of each state a row can meet."""
    names = ("same", "changed", "refused", "archived", "unknown", "excluded", "kept", "held", "waits", "rejected")
    deliver(store, [row(name) for name in names])
    ledger = here(store)
    merge(store, [row("refused", NEW)], 2)
    ledger.mark_refused([Refused("refused", NEW, "update", "no")], None, at(2))
    ledger.mark_deleted({"archived": LATER}, at(3))
    ledger.mark_removed([Removed("archived", "t-archived", "archive")], None, at(3))
    merge(store, [row("interrupted")], 4)
    ledger.mark_sending([Sending("unknown", "t-unknown", "v1"), Sending("interrupted", None, None)])


def batch(staging: Staging) -> None:
    """A row for each, and one that is new."""
    staging.add(
        [
            row("same"),
            row("changed", NEW),
            row("refused", NEW),
            row("archived"),
            row("unknown"),
            row("interrupted"),
            row("new"),
            row("excluded", NEW, status="excluded", rule="running"),
            row("kept", NEW, status="kept"),
            row("held", NEW, status="held"),
            row("waits", NEW, status="waiting", rule="not_delivered"),
            row("awaits", NEW, status="waiting"),
            row("rejected", NEW, status="rejected"),
        ]
    )


def actions(staging: Staging, *, archives: bool = False) -> dict[str, str]:
    """What is planned, a page of two rows at a time."""
    return {one.source_id: one.action for page in staging.planned(archives=archives, size=2) for one in page}


def test_each_row_has_one_action(store: Store) -> None:
    """Unchanged, excluded and undecided rows are in no plan; the unchanged are counted."""
    known(store)
    with here(store).staging(read_no=2 * LATER) as staging:
        batch(staging)
        expected = {
            "archived": "create",
            "awaits": "create",
            "changed": "update",
            "held": "update",
            "interrupted": "create",
            "new": "create",
            "refused": "reject",
            "rejected": "reject",
            "unknown": "update",
            "waits": "wait",
        }
        assert actions(staging) == expected
        assert actions(staging, archives=True) == expected | {"archived": "restore"}
        assert staging.unchanged() == 1


def test_what_is_delivered_is_what_was_planned(store: Store) -> None:
    """The accepted rows, with the same action after the merge as before it."""
    known(store)
    with here(store).staging(read_no=2 * LATER) as staging:
        batch(staging)
        before = {one.source_id: (one.action, one.fields_hash) for page in staging.planned() for one in page}
        staging.merge(at(9))
        after = {one.source_id: (one.action, one.fields_hash) for one in staging.pending(100)}
    assert set(after) == {"archived", "changed", "interrupted", "new", "unknown"}
    assert after.items() <= before.items()


def test_the_fields_before_are_reported_until_the_merge(store: Store) -> None:
    """Of a changed record both; of a new one, and afterwards, only those that are wanted. What is sent has those at the target."""
    deliver(store, [row("changed")])
    with here(store).staging(read_no=LATER) as staging:
        staging.add([row("changed", NEW), row("new")])
        ((changed, new),) = staging.planned()
        assert (changed.before, changed.fields) == (row("changed").fields, row("changed", NEW).fields)
        assert new.before is None
        staging.merge(at(9))
        ((changed, new),) = staging.planned()
        assert (changed.before, changed.fields) == (None, row("changed", NEW).fields)
        (changed, new) = staging.pending(9)
        assert (changed.before, changed.fields) == (row("changed").fields, row("changed", NEW).fields)
        assert new.before is None


def test_what_a_newer_read_stored_decides(store: Store) -> None:
    """An older batch plans what is stored, or nothing where that is not wanted."""
    deliver(store, [row("edited"), row("gone")])
    merge(store, [row("edited", NEW)], LATER)
    here(store).mark_deleted({"gone": LATER}, at(3))
    with here(store).staging(read_no=2) as staging:
        staging.add([row("edited", OTHER), row("gone", OTHER)])
        ((edited,),) = staging.planned()
        assert (edited.source_id, edited.fields_hash, edited.fields) == ("edited", NEW, row("edited", NEW).fields)
        assert staging.unchanged() == 1


def test_a_row_that_travelled_as_an_id_is_what_is_stored(store: Store) -> None:
    """Delivered it is unchanged; when it was written otherwise meanwhile, it is planned."""
    deliver(store, [row("a"), row("b")])
    with here(store).staging(read_no=LATER) as staging:
        staging.add_unchanged([("a", "hash"), ("b", "hash")])
        assert (actions(staging), staging.unchanged()) == ({}, 2)
        here(store).mark_delivered([Delivered("b", "t-b", OTHER, "update")], None, at(9))
        assert actions(staging) == {"b": "update"}


def test_creates_are_counted_and_held_until_they_are_stored(store: Store) -> None:
    """What is merged was let through before."""
    deliver(store, [row("there")])
    merge(store, [row("let through")], 2)
    with here(store).staging(read_no=LATER) as staging:
        staging.add([row("there", NEW), row("let through"), row("new", day=None), row("newer")])
        assert (staging.count_creates(), [line.source_id for line in staging.creates(5)]) == (2, ["new", "newer"])
        assert staging.creates(5)[0].hash_after == SAME
        staging.hold_creates()
        assert staging.held_days() == {"", "2024-03-01"}
        staging.merge(at(9))
        assert [one.source_id for one in staging.pending(9)] == ["let through", "there"]


@pytest.mark.parametrize("after", ["", "a"])
def test_the_record_is_found_from_the_staged_row(tmp_path: Path, after: str) -> None:
    """SQLite walks the few staged rows, never all records of an entity."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    with here(store).staging(read_no=9) as staging:
        staging.add([row("a"), StagedRow("b", None, "{}", "v1", "accepted")])
        staging.counts()
        statement = staging._pending(9, after, archives=True)
        compiled = statement.compile(store.engine, compile_kwargs={"literal_binds": True})
        with staging._held.reading() as tx:
            plan = [found[3] for found in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
    store.close()
    assert plan[0].startswith("SEARCH staged USING")
    assert plan[1].startswith("SEARCH records USING")
    assert not [step for step in plan if "TEMP B-TREE" in step]
