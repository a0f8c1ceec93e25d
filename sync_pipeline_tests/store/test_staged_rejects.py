"""The rejects of one read: counted and paged by the database, whatever their number."""

from __future__ import annotations

from sync_pipeline.store.engine import Store
from sync_pipeline.store.references import NOT_DELIVERED
from sync_pipeline.store.rejects import Reject
from sync_pipeline.store.staged_rejects import COUNTED, PAGE, StagedRejects


def test_reasons_come_back_in_order_and_unchanged(store: Store) -> None:
    """More than a page of them, with values of every kind and without an id."""
    found = [
        Reject(None if nr % 7 == 0 else f"r{nr}", "email", "valid_values", f"is no address {nr}", value, "2026-11-01")
        for nr, value in enumerate([None, "a\0b", 3, 1.5, True, ["x", {"y": None}]] * (PAGE // 2))
    ]
    with store.holding() as held:
        staged = StagedRejects(held)
        for start in range(0, len(found), 700):
            staged.add([("rejected", reject) for reject in found[start : start + 700]])

        assert list(staged) == found
        assert staged.first("valid_values", 3) == found[:3]
        assert staged.failing() == {"valid_values": len(found)}


def test_a_record_counts_once_under_each_rule(store: Store) -> None:
    """Whatever its reasons; one without an id is a record of its own; one that only waits fails under none."""
    with store.holding() as held:
        staged = StagedRejects(held)
        assert (list(staged), staged.failing(), staged.count_waiting(), staged.first_waiting(5)) == ([], {}, 0, [])

        waits = [Reject("c", field, NOT_DELIVERED, "waits for p", "p") for field in ("project_id", "task_id")]
        staged.add([("waiting", each) for each in waits])
        staged.add([("rejected", Reject("a", field, "required_fields", "is missing")) for field in ("x", "y")])
        staged.add([("rejected", Reject(None, "id", "required_fields", "is missing")) for _ in range(2)])
        staged.add(
            [("rejected", Reject("a", None, "unique_ids", "twice")), (COUNTED, Reject("a", None, "unique_ids", ""))]
        )
        staged.add([(COUNTED, Reject("b", None, "unique_ids", ""))])

        assert staged.failing() == {"required_fields": 3, "unique_ids": 2}
        assert (staged.count_waiting(), staged.first_waiting(5)) == (1, waits)
        assert [reject.source_id for reject in staged] == ["c", "c", "a", "a", None, None, "a"]
