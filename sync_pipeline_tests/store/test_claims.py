"""A record is written by one run at a time: the one that has claimed it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from sync_pipeline.errors import LockLost
from sync_pipeline.store.claims import held_records
from sync_pipeline.store.deliveries import Delivered, Refused, Removed
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.liveness import alive
from sync_pipeline.store.loads import Loading
from sync_pipeline.store.planned import Pending
from sync_pipeline.store.schema import SENT, SENT_NEW
from sync_pipeline.store.staging import Staging
from sync_pipeline_tests.store.batch import ENTITY, HERE, LATER, at, deliver, here, merge, row
from sync_pipeline_tests.store.living import kill, living, outlast

ONE, OTHER = "run-one", "run-two"


@pytest.fixture
def one(store: Store) -> Iterator[Store]:
    """The store, in a run that is alive."""
    with alive(store, ONE):
        yield store


@pytest.fixture
def other(url: str, store: Store) -> Iterator[Store]:
    """The same, in another run."""
    del store  # is there first
    with closing(open_store(url)) as opened, alive(opened, OTHER):
        yield opened


def place(pending: Pending) -> str:
    """Where a record is at the target."""
    return pending.source_id


def claim(staging: Staging) -> list[str]:
    """Claim all that can be."""
    return [pending.source_id for page in staging.claimed_pages(2, place) for pending in page]


def delivered(store: Store, keys: str) -> None:
    """Records that the run of this store has delivered."""
    with here(store).staging(read_no=1) as staging:
        staging.add([row(key) for key in keys])
        staging.merge(at(1))
        claim(staging)
    here(store).mark_delivered([done(key) for key in keys], None, at(1))


def done(key: str, value: str = "v1") -> Delivered:
    """The target has it."""
    return Delivered(key, key, value, "create")


def test_what_one_run_has_claimed_another_leaves_out_until_it_is_answered(one: Store, other: Store) -> None:
    """The other one delivers the rest, and the newer state of the claimed record when that is answered."""
    rows = [row(key) for key in "abc"]
    with here(one).staging(read_no=1) as first, here(other).staging(read_no=2) as second:
        first.add(rows[:1])
        first.merge(at(1))
        assert claim(first) == ["a"]
        second.add([row("a", "v2"), *rows[1:]])
        second.merge(at(2))
        assert (claim(second), second.is_left(), second.left()) == (["b", "c"], True, {"a": "2024-03-01"})
        assert here(other).claims.free_ended() == [ONE]
        assert held_records(one, HERE) == {ENTITY: {ONE: 1, OTHER: 2}}
        assert here(one).mark_delivered([done("a")], None, at(3)) == {"a"}
        assert (claim(second), second.is_left()) == (["a"], False)
        assert here(one).lookup("a")["a"].delivered_hash == SENT
        assert here(other).mark_delivered([done("a", "v2"), done("b"), done("c")], None, at(4)) == set("abc")
    assert [known.delivered_hash for known in here(one).lookup("abc").values()] == ["v2", "v1", "v1"]
    assert held_records(one, HERE) == {}


def test_what_was_merged_after_it_was_sent_is_left_to_the_run_that_merged_it(one: Store, other: Store) -> None:
    """The older run has sent its state and is done with the record."""
    with here(one).staging(read_no=1) as first:
        first.add([row("a")])
        first.merge(at(1))
        assert claim(first) == ["a"]
        merge(other, [row("a", "v2")], 2)
        here(one).mark_delivered([done("a")], None, at(3))
        assert (claim(first), first.is_left()) == ([], False)
        assert [pending.source_id for pending in first.pending(9)] == ["a"]


def test_the_late_answer_of_a_run_that_lost_its_claim_is_not_noted(one: Store, other: Store) -> None:
    """The run that took the record over knows better: neither its state nor the audit has the late answer."""
    delivered(one, "abc")
    with here(one).staging(read_no=LATER) as first:
        first.add([row(key, "v2") for key in "abc"])
        first.merge(at(2))
    ledger = here(one)
    ledger.claims.give_back()
    assert here(other).claims.take("abc") == set("abc")
    assert ledger.claims.take("abc") == set()
    assert ledger.mark_delivered([done("a", "v2")], None, at(3)) == set()
    assert ledger.mark_refused([Refused("b", "v2", "update", "no")], None, at(3)) == set()
    assert ledger.mark_removed([Removed("c", "c", "delete")], None, at(3)) == set()
    assert {known.delivered_hash for known in ledger.lookup("abc").values()} == {"v1"}
    assert ledger.observe_target([("a", None)], LATER + 1) == 0
    assert not ledger.link("a", "t9")
    for write in (
        lambda: ledger.intend("a", "create", {}, at(3)),
        lambda: ledger.forget_delivered("a"),
        lambda: ledger.exchange_links({"a": "b", "b": "a"}),
    ):
        with pytest.raises(LockLost, match=r"taken over the record a of time_entries .* Nothing more is sent"):
            write()


def test_an_intent_of_a_record_that_was_taken_over_stays_open(one: Store, other: Store) -> None:
    """The run that has it now looks up its outcome."""
    merge(one, [row("a")], 1)
    intent = here(one).intend("a", "create", {}, at(1))
    here(other).claims.take("a")
    here(one).conclude(intent, "delivered", at(2), target_id="t1", fields_hash="v1")
    assert [found.id for found in here(other).open_intents()] == [intent]
    here(other).conclude(intent, "delivered", at(3), target_id="t1", fields_hash="v1")
    assert (here(other).open_intents(), held_records(one, HERE)) == ([], {})


def test_an_intent_of_a_record_whose_claim_was_ended_stays_open(one: Store, other: Store) -> None:
    """Its run was taken for dead while the answer was on its way: what was created is looked up, never left without a link."""
    merge(one, [row("a")], 1)
    here(one).claims.take("a")
    intent = here(one).intend("a", "create", {}, at(1))
    here(one).claims.give_back()  # as another run does that finds this one dead
    here(one).conclude(intent, "delivered", at(2), target_id="t1", fields_hash="v1")
    assert (here(one).lookup("a")["a"].target_id, [found.id for found in here(other).open_intents()]) == (
        None,
        [intent],
    )
    here(other).claims.take("a")
    here(other).conclude(intent, "delivered", at(3), target_id="t1", fields_hash="v1")
    assert (here(one).lookup("a")["a"].target_id, here(other).open_intents()) == ("t1", [])


def test_the_claims_of_a_killed_run_are_free_when_it_is_dead(url: str, one: Store) -> None:
    """What it sent is unknown, so the next run sends it again."""
    with living(url, OTHER) as process, closing(open_store(url)) as store, here(one).staging(read_no=1) as staging:
        staging.add([row("a")])
        staging.merge(at(1))
        with store.working_under(_Lock(), OTHER):
            assert here(store).claims.take("a") == {"a"}
        assert (claim(staging), here(one).claims.free_ended()) == ([], [OTHER])
        kill(process, url, OTHER)
        outlast(url)
        assert here(one).claims.free_ended() == []
        assert (staging.is_left(), claim(staging)) == (True, ["a"])
        assert here(one).lookup("a")["a"].delivered_hash == SENT_NEW


class _Lock:
    """Of a run that lives in another process."""

    def check(self, *, ask: bool) -> None:
        """It is held."""


def test_the_claims_of_a_run_that_has_ended_are_free_immediately(url: str, one: Store) -> None:
    """It reported its end: no one has to wait until it is declared dead."""
    merge(one, [row("a")], 1)
    with closing(open_store(url)) as store, alive(store, OTHER):
        here(store).claims.take("a")
    assert (here(one).claims.free_ended(), held_records(one, HERE)) == ([], {})


def test_a_delete_is_claimed_only_while_the_record_is_deleted(one: Store, other: Store) -> None:
    """It came back between the proof and the write, or another run has it."""
    delivered(one, "ab")
    here(one).mark_deleted({"a": 3, "b": 3}, at(3))
    merge(other, [row("a")], 4)
    assert here(one).claims.take_delete("a") is None
    here(other).claims.take("b")
    assert here(one).claims.take_delete("b") is None
    here(other).claims.give_back()
    assert here(one).claims.take_delete("b") is not None


def test_an_older_read_by_id_does_not_replace_what_a_load_found_unchanged(store: Store) -> None:
    """The load leaves its number with the day; a read of a lower number that differs is set apart."""
    deliver(store, [row("a")], hour=1)
    ledger = here(store)
    with store.writing() as tx:
        ledger.loads.note(tx, Loading(["2024-03-01"], 9, "f", 1, "r", at(1)))
    with ledger.staging() as staging:
        staging.add_read([row("a", "v0"), row("new", "v0")], {"a": 8, "new": 8}, by_id=True)
        assert staging.keep_superseded() == 2
        assert staging.doubtful() == {"a": "superseded", "new": "superseded"}
        assert staging.unread_days() == {"2024-03-01", ""}
    assert (ledger.read_since({"a": 8}), ledger.read_since({"a": 9})) == ({"a"}, set())
    with ledger.staging() as staging:
        staging.add_read([row("a", "v0")], {"a": 10}, by_id=True)
        assert (staging.keep_superseded(), staging.doubtful()) == (0, {})


def test_a_claimed_record_may_be_created_on_the_day_it_had(one: Store, other: Store) -> None:
    """The run that has claimed it sends what it has, whatever is read in the meantime."""
    merge(one, [row("new", "v1", "2024-03-02")], 1)
    assert here(other).claims.take(["new"]) == {"new"}
    merge(one, [row("new", "v2", "2024-03-01")], 2)
    here(other).mark_delivered([done("new")], None, at(3))
    with here(one).staging(("2024-03-02", "2024-03-02"), read_no=LATER) as staging:
        assert staging.left_behind(10) == ["new"]
