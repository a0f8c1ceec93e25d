"""The steps between desired and delivered."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from sync_pipeline.errors import StoreError
from sync_pipeline.store import deliveries as audit
from sync_pipeline.store import records as steps
from sync_pipeline.store.claims import Sending
from sync_pipeline.store.deliveries import Delivered, Refused, Removed
from sync_pipeline.store.engine import Store
from sync_pipeline.store.records import Known, RecordCounts
from sync_pipeline.store.rejects import Reject, list_rejects
from sync_pipeline.store.schema import deliveries, records
from sync_pipeline.store.scope import draw
from sync_pipeline_tests.store.batch import (
    ENTITY,
    HERE,
    LATER,
    THERE,
    at,
    commits,
    deliver,
    here,
    is_pending,
    merge,
    row,
    there,
)
from sync_pipeline_tests.webhooks.test_strangers import statements

BOTH = ["a", "b"]


def _one(store: Store, source_id: str) -> Known:
    return here(store).lookup([source_id])[source_id]


def test_a_delivery_notes_what_was_sent_not_the_current_state(store: Store) -> None:
    """A record that changed while its write was under way stays pending."""
    merge(store, [row("a", "v2")], 1)
    here(store).mark_delivered([Delivered("a", "t-a", "v1", "create")], None, at(2))

    known = _one(store, "a")
    assert (known.delivered_hash, known.target_id, is_pending(known)) == ("v1", "t-a", True)


def test_every_delivery_is_in_the_audit(store: Store) -> None:
    """Record and audit line are written together."""
    deliver(store, [row("a")])
    (line,) = audit.recent(store, HERE)

    assert (line.source_id, line.target_id, line.fields_hash) == ("a", "t-a", "v1")
    assert (line.kind, line.phase, line.outcome, line.at) == ("create", "outcome", "delivered", at(1))


def test_any_number_of_deliveries_is_noted_whatever_their_ids_are(store: Store) -> None:
    """More than fit into one statement, with ids full of signs that mean something to a database, in their order."""
    ids = ["'); --", '"a"', "back\\slash", "100%s", "q?", "{rows}", "Zoë 🕰", *(f"{nr:03}" for nr in range(500))]
    deliver(store, [row(source_id) for source_id in ids])

    assert [line.source_id for line in reversed(audit.recent(store, HERE, limit=999))] == ids
    assert {known.target_id for known in here(store).lookup(ids).values()} == {f"t-{key}" for key in ids}
    assert steps.counts(store, HERE)[ENTITY].delivered == len(ids)


def test_the_time_of_a_delivery_can_be_searched_for(store: Store) -> None:
    """Rows that were written past SQLAlchemy hold times in the form that all others have."""
    deliver(store, [row("a")])

    with store.reading() as tx:
        assert tx.scalars(select(deliveries.c.source_id).where(deliveries.c.at == at(1))).all() == ["a"]
        assert tx.scalars(select(records.c.source_id).where(records.c.delivered_at == at(1))).all() == ["a"]


def test_a_batch_of_deliveries_is_noted_whole_or_not_at_all(store: Store) -> None:
    """Two records that claim one target id leave neither record nor audit changed."""
    merge(store, [row("a"), row("b")], 1)
    with pytest.raises(StoreError, match="contradicts another one"):
        here(store).mark_delivered(
            [Delivered("a", "t", "v1", "create"), Delivered("b", "t", "v1", "create")], None, at(2)
        )

    assert _one(store, "a").delivered_hash is None
    assert audit.recent(store, HERE) == []


def test_a_deletion_is_pending_until_it_is_delivered(store: Store) -> None:
    """Deleted at the source and still at the target: to be deleted, once."""
    deliver(store, [row("a"), row("b")])
    merge(store, [row("never delivered")], 1)
    every = ["never delivered", "b", "a", "unknown"]
    assert here(store).mark_deleted(dict.fromkeys(every, 2), at(2)) == 3
    assert [known.source_id for known in here(store).pending_deletes(every)] == ["a", "b"]
    assert [known.source_id for known in here(store).pending_deletes(["b"])] == ["b"]

    here(store).mark_removed([Removed("a", "t-a", "delete"), Removed("b", "t-b", "archive")], None, at(3))

    assert here(store).pending_deletes(BOTH) == []
    assert (_one(store, "a").target_id, _one(store, "b").target_id) == (None, "t-b")
    assert [(line.source_id, line.kind) for line in audit.recent(store, HERE, limit=2)] == [
        ("b", "archive"),
        ("a", "delete"),
    ]


def test_a_later_observation_prevents_a_deletion(store: Store) -> None:
    """An absence that was seen before the record last changed is not trusted."""
    merge(store, [row("a")], 5)

    assert here(store).mark_deleted(dict.fromkeys(["a"], 4), at(4)) == 0


def test_an_unconfirmed_absence_keeps_its_first_time(store: Store) -> None:
    """Missing again changes nothing."""
    deliver(store, [row("a")])

    assert here(store).mark_unconfirmed(["a"], at(2), read_no=LATER) == 1
    assert here(store).mark_unconfirmed(["a"], at(3), read_no=LATER) == 0
    assert _one(store, "a").unconfirmed_at == at(2)


def test_a_refusal_is_kept_until_a_retry_or_a_success(store: Store) -> None:
    """The reason is shown as a reject, is removed by a delivery, and a retry makes the record pending."""
    merge(store, [row("a"), row("b")], 1)
    refused = [Refused(key, "v1", "create", "no such e-mail", field="email", value="x" * 500) for key in "ab"]
    here(store).mark_refused(refused, None, at(2), run_id="r1")
    shown = list_rejects(store, HERE, origin="target")
    assert [(reject.source_id, reject.field, len(reject.value or "")) for reject in shown] == [
        ("a", "email", 200),
        ("b", "email", 200),
    ]
    assert not is_pending(_one(store, "a"))

    assert here(store).clear_refused(["a", "unknown"]) == 1
    assert is_pending(_one(store, "a"))
    here(store).mark_delivered([Delivered("b", "t-b", "v1", "create")], None, at(3))

    assert list_rejects(store, HERE) == []
    assert _one(store, "b").refused_hash is None


def test_a_refused_removal_waits_for_a_retry(store: Store) -> None:
    """What cannot be deleted is not sent again and again; it is shown, counted, and a retry makes it pending."""
    deliver(store, [row("a")])
    here(store).mark_deleted(dict.fromkeys(["a"], 2), at(2))
    here(store).mark_refused([Refused("a", "v1", "delete", "in use")], None, at(3))

    assert here(store).pending_deletes(BOTH) == []
    assert [reject.reason for reject in list_rejects(store, HERE)] == ["in use"]
    state = steps.counts(store, HERE)[ENTITY]
    assert (state.refused, state.pending, state.pending_deletes) == (1, 0, 0)
    merge(store, [], 4)
    assert len(list_rejects(store, HERE)) == 1

    assert here(store).clear_refused() == 1
    assert [known.source_id for known in here(store).pending_deletes(BOTH)] == ["a"]
    here(store).mark_removed([Removed("a", "t-a", "archive")], None, at(5))
    assert (list_rejects(store, HERE), _one(store, "a").refused_hash) == ([], None)


def test_a_refused_removal_is_forgotten_when_the_record_is_back(store: Store) -> None:
    """Deleted for a second time, it is removed like any other."""
    deliver(store, [row("a")])
    here(store).mark_deleted(dict.fromkeys(["a"], 2), at(2))
    here(store).mark_refused([Refused("a", "v1", "archive", "in use")], None, at(3))

    merge(store, [row("a")], 4)
    assert (list_rejects(store, HERE), _one(store, "a").refused_hash) == ([], None)
    here(store).mark_deleted(dict.fromkeys(["a"], 5), at(5))

    assert [known.source_id for known in here(store).pending_deletes(BOTH)] == ["a"]


def test_a_deletion_ends_what_the_target_refused_before(store: Store) -> None:
    """No one has to correct a deleted record; should it be back in the same state, it is offered again."""
    deliver(store, [row("a"), row("b")])
    merge(store, [row("a", "v2"), row("b", "v2")], 2)
    here(store).mark_refused([Refused(key, "v2", "update", "no") for key in "ab"], None, at(2))

    here(store).mark_deleted(dict.fromkeys(["a"], 3), at(3))
    assert [reject.source_id for reject in list_rejects(store, HERE)] == ["b"]
    merge(store, [row("a", "v2")], 4)

    assert pending(store) == ["a"]


def pending(store: Store) -> list[str]:
    """The records still to be delivered."""
    return [known.source_id for page in here(store).scan() for known in page if is_pending(known)]


def test_what_was_read_at_the_target_replaces_what_was_believed(store: Store) -> None:
    """An edited or emptied target makes records pending; what is as believed is not written."""
    deliver(store, [row("same"), row("edited"), row("gone")])

    assert here(store).observe_target([("same", "v1"), ("edited", "v0"), ("gone", None)], LATER) == 2
    assert pending(store) == ["edited", "gone"]
    with commits(store) as count:
        before = count()
        assert here(store).observe_target([("same", "v1"), ("unknown", "v1")], LATER) == 0
        assert count() == before


def test_a_delivery_after_the_read_of_the_target_began_is_believed(store: Store) -> None:
    """What was read before - or while - it was written proves nothing about it."""
    before = draw(store)
    deliver(store, [row("a"), row("b")])

    assert here(store).observe_target([("a", "v0"), ("b", None)], before) == 0
    assert pending(store) == []


def test_a_link_belongs_to_one_record(store: Store) -> None:
    """What is linked to one record is never linked to another."""
    merge(store, [row("a"), row("b")], 1)

    assert here(store).link("a", "t1")
    assert here(store).link("a", "t1", delivered_hash="v1")
    assert not here(store).link("b", "t1")
    assert not here(store).link("unknown", "t2")
    assert here(store).linked() == {"t1": "a"}
    assert _one(store, "a").delivered_hash == "v1"


def test_the_record_of_an_id_at_the_target_can_be_looked_up(store: Store) -> None:
    """Also of deleted records, which are named as such; never of another entity or pair."""
    deliver(store, [row("a"), row("b")])
    deliver(store, [row("elsewhere")], connection=THERE)
    here(store).mark_deleted({"b": 2}, at(2))
    ids = ["t-a", "t-b", "t-elsewhere", "unknown"]

    assert here(store).links(ids) == {"t-a": ("a", False), "t-b": ("b", True)}
    assert here(store).owners(ids, existing=True) == {"t-a": "a"}
    assert here(store).lookup_targets(ids) == {f"t-{key}": _one(store, key) for key in BOTH}


def test_links_are_exchanged_together(store: Store) -> None:
    """Each record gets that of another one, and is pending: its fields are not there yet."""
    deliver(store, [row(key) for key in "abc"])
    here(store).exchange_links({"a": "t-b", "b": "t-c", "c": "t-a"})

    assert here(store).linked() == {"t-a": "c", "t-b": "a", "t-c": "b"}
    assert pending(store) == ["a", "b", "c"]


def test_forgetting_makes_pending_with_or_without_the_link(store: Store) -> None:
    """What is missing at the target is created again; what is only changed keeps its link."""
    deliver(store, [row("a"), row("b")])
    here(store).forget_delivered("a")
    here(store).forget_delivered("b", keep_link=True)

    assert here(store).linked() == {"t-b": "b"}
    assert pending(store) == ["a", "b"]


def test_a_read_of_the_target_says_nothing_about_a_write_that_was_sent_after_it(store: Store) -> None:
    """While a write is under way - or was cut off - an older read does not make it forgotten; a newer one decides."""
    deliver(store, [row("a")])
    merge(store, [row("a", "v2"), row("b"), row("c")], 3)
    before = draw(store)
    here(store).mark_sending([Sending("a", "t-a", "v1"), Sending("b", "t-b", None)])
    assert here(store).link("c", "t-c")
    seen = [("a", "v1"), ("b", None), ("c", None)]
    assert here(store).observe_target(seen, before) == 0
    assert [_one(store, key).delivered_hash for key in "abc"] == ["sent", "sent:new", "sent"]
    assert here(store).observe_target(seen, draw(store)) == 3
    assert [_one(store, key).delivered_hash for key in "abc"] == ["v1", None, None]


def test_records_that_were_read_one_by_one_are_noted_together(store: Store) -> None:
    """One statement, however many numbers they have; each record gets its own, unless a newer read has changed it."""
    merge(store, [row(key) for key in "abc"], 1)
    merge(store, [row("d", "v2")], 9)
    with statements(store) as seen:
        assert here(store).mark_observed({"a": 2, "b": 3, "c": 4, "d": 5}, at(2), by_id=True) == 3

    assert [one.split()[0] for one in seen if "UPDATE records" in one] == ["UPDATE"]
    with store.reading() as tx:
        found = tx.execute(select(records.c.source_id, records.c.read_no).order_by(records.c.source_id)).all()
    assert [tuple(each) for each in found] == [("a", 2), ("b", 3), ("c", 4), ("d", 9)]


def test_fields_are_replaced_together(store: Store) -> None:
    """Of each record its own, with two statements for all; the values in rejects go, those of other records stay."""
    merge(store, [row(key) for key in "abc"], 1)
    wrong = [Reject(key, "name", "required_fields", "no", key) for key in "abc"]
    here(store).rejects.replace(None, wrong, "run", at(1), read_no=1)
    with statements(store) as seen:
        here(store).replace_fields({"a": ('{"name":"x"}', "v2"), "b": ("{}", "v3")}, 4)

    assert sum("UPDATE" in one and "FOR UPDATE" not in one for one in seen) == 2
    known = here(store).lookup("abc")
    assert [(known[key].fields, known[key].fields_hash) for key in "ab"] == [('{"name":"x"}', "v2"), ("{}", "v3")]
    assert known["c"].fields_hash == "v1"
    assert [reject.value for reject in list_rejects(store, HERE, entity=ENTITY)] == [None, None, "c"]


def test_long_lists_are_looked_up_in_parts(store: Store) -> None:
    """No list is too long for one statement."""
    keys = [f"{nr:04}" for nr in range(1201)]
    merge(store, [row(key) for key in keys], 1)

    assert sorted(here(store).lookup(keys)) == keys
    assert here(store).mark_deleted(dict.fromkeys(keys, 2), at(2)) == 1201


def test_a_scan_meets_every_record_of_the_scope_once(store: Store) -> None:
    """Pages neither overlap nor leave a gap."""
    merge(store, [row(f"{nr:02}", day=f"2024-03-{nr:02}") for nr in range(1, 12)], 1)
    pages = list(here(store).scan(("2024-03-02", "2024-03-08"), size=3))

    assert [[known.source_id for known in page] for page in pages] == [
        ["02", "03", "04"],
        ["05", "06", "07"],
        ["08"],
    ]


def test_counts_show_the_state_of_each_entity(store: Store) -> None:
    """Each figure counts what its name states, for this connection only."""
    deliver(store, [row("in step"), row("changed"), row("gone"), row("away"), row("out")])
    merge(store, [row("changed", "v2"), row("new"), row("refused"), row("out", status="excluded", rule="x")], 2)
    here(store).mark_deleted(dict.fromkeys(["gone"], 3), at(3))
    here(store).mark_unconfirmed(["away"], at(3), read_no=LATER)
    here(store).mark_refused([Refused("refused", "v1", "create", "no")], None, at(3))
    deliver(store, [row("in step")], connection=THERE)

    assert steps.counts(store, HERE) == {
        ENTITY: RecordCounts(
            records=6, delivered=3, pending=2, pending_deletes=1, refused=1, deleted=1, excluded=1, unconfirmed=1
        )
    }


def test_no_step_crosses_connections(store: Store) -> None:
    """Steps over another connection with the same ids change nothing here."""
    deliver(store, [row("a")])
    here(store).rejects.replace(None, [Reject("x", None, "rule", "why")], None, at(1))
    with commits(store) as count:
        before = count()
        there(store).mark_deleted(dict.fromkeys(["a"], 9), at(9))
        there(store).mark_unconfirmed(["a"], at(9), read_no=LATER)
        there(store).observe_target([("a", None)], LATER)
        there(store).forget_delivered("a")
        there(store).clear_refused()
        there(store).rejects.replace(None, [], None, at(9))

        assert (there(store).lookup(["a"]), steps.counts(store, THERE)) == ({}, {})
        assert there(store).linked() == {}
        assert there(store).pending_deletes(BOTH) == []
        assert count() == before


def test_empty_lists_open_no_transaction(store: Store) -> None:
    """Nothing to note is nothing to write."""
    with commits(store) as count:
        before = count()
        here(store).mark_delivered([], None, at(1))
        here(store).mark_removed([], None, at(1))
        here(store).mark_refused([], None, at(1))

        assert count() == before
