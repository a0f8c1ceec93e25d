"""What is set aside, why, and for how long."""

from __future__ import annotations

from sync_pipeline.store.engine import Store
from sync_pipeline.store.records import Refused, mark_refused
from sync_pipeline.store.rejects import Reject, count_rejects, list_rejects, replace_rejects, show
from sync_pipeline.store.schema import rejects
from sync_pipeline_tests.store.batch import ENTITY, HERE, THERE, at, commits, content, merge, row, size

MARCH = ("2024-03-01", "2024-03-31")
BAD = Reject("a", "email", "valid_values", "not an e-mail address", "jane@", "2024-03-02")


def test_check_rejects_are_judged_anew(store: Store) -> None:
    """What is fine now disappears, what is new appears, what stays keeps its row and its first time."""
    other = Reject("b", None, "required_fields", "no start", None, "2024-03-03")
    replace_rejects(store, HERE, ENTITY, MARCH, [BAD, other], "r1", at(1))
    (first, _) = list_rejects(store, HERE)
    new = Reject("c", "end", "valid_values", "ends before it starts", {"end": 1}, "2024-03-04")

    assert replace_rejects(store, HERE, ENTITY, MARCH, [BAD, new], "r2", at(2)) == 2

    kept, came = list_rejects(store, HERE)
    assert kept == first
    assert (came.source_id, came.value, came.run_id, came.at) == ("c", '{"end": 1}', "r2", at(2))
    assert [reject.source_id for reject in list_rejects(store, HERE, after=kept.id)] == ["c"]
    assert [reject.source_id for reject in list_rejects(store, HERE, run_id="r1")] == ["a"]


def test_the_same_rejects_write_nothing(store: Store) -> None:
    """A second read of the same bad data commits nothing."""
    batch = [BAD, Reject(None, "id", "required_fields", "no id"), Reject(None, "id", "required_fields", "no id")]
    replace_rejects(store, HERE, ENTITY, MARCH, batch, "r1", at(1))
    with commits(store) as count:
        before = count()

        assert replace_rejects(store, HERE, ENTITY, MARCH, batch, "r2", at(2)) == 3
        assert count() == before


def test_records_without_an_id_are_counted_one_by_one(store: Store) -> None:
    """Nothing is lost: two equal nameless records are two rejects."""
    batch = [Reject(None, "id", "required_fields", "no id")] * 2 + [BAD, BAD]
    replace_rejects(store, HERE, ENTITY, None, batch, None, at(1))

    assert size(store, rejects) == 3
    assert count_rejects(store, HERE) == {ENTITY: 3}


def test_only_the_scope_that_was_read_is_judged(store: Store) -> None:
    """Other days keep their rejects; a record without a day belongs to the first day of its read."""
    april = Reject("b", None, "rule", "why", None, "2024-04-01")
    undated = Reject("c", "start", "required_fields", "no start")
    replace_rejects(store, HERE, ENTITY, None, [april], None, at(1))
    replace_rejects(store, HERE, ENTITY, MARCH, [BAD, undated], None, at(1))
    replace_rejects(store, HERE, ENTITY, ("2024-03-02", "2024-03-02"), [], None, at(2))
    assert [reject.source_id for reject in list_rejects(store, HERE)] == ["b", "c"]

    replace_rejects(store, HERE, ENTITY, MARCH, [], None, at(3))

    assert [reject.source_id for reject in list_rejects(store, HERE)] == ["b"]


def test_what_the_target_refused_is_not_judged_by_our_checks(store: Store) -> None:
    """A read without problems leaves the target's refusals."""
    merge(store, [row("a")], 1)
    mark_refused(store, HERE, ENTITY, [Refused("a", "v1", "create", "no")], None, at(1))
    replace_rejects(store, HERE, ENTITY, None, [BAD], None, at(2))
    replace_rejects(store, HERE, ENTITY, None, [], None, at(3))

    assert [reject.origin for reject in list_rejects(store, HERE)] == ["target"]
    assert list_rejects(store, HERE, origin="check") == []


def test_all_reasons_of_one_record_are_shown(store: Store) -> None:
    """``show`` is about one record of one entity."""
    reasons = [BAD, Reject("a", "role", "valid_values", "unknown role", "KING"), Reject("b", None, "x", "y")]
    replace_rejects(store, HERE, ENTITY, None, reasons, None, at(1))

    assert [reject.field for reject in show(store, HERE, ENTITY, "a")] == ["email", "role"]
    assert show(store, HERE, "users", "a") == show(store, THERE, ENTITY, "a") == []
    assert count_rejects(store, HERE) == {ENTITY: 2}


def test_any_value_can_be_kept(store: Store) -> None:
    """Huge values are cut; characters that no database takes are replaced."""
    evil = "\0\ud800" + "x" * 10_000_000
    replace_rejects(
        store, HERE, ENTITY, None, [Reject("a", "description", "max_length", "too\0long", evil)], None, at(1)
    )

    (kept,) = list_rejects(store, HERE, entity=ENTITY)
    assert kept.value == "\N{REPLACEMENT CHARACTER}?" + "x" * 198
    assert kept.reason == "too\N{REPLACEMENT CHARACTER}long"


def test_other_connections_keep_their_rejects(store: Store) -> None:
    """The same rejects over another connection are other rows."""
    replace_rejects(store, HERE, ENTITY, None, [BAD], None, at(1))
    before = content(store, rejects)
    replace_rejects(store, THERE, ENTITY, None, [BAD], None, at(2))
    replace_rejects(store, THERE, ENTITY, None, [], None, at(3))

    assert content(store, rejects) == before
