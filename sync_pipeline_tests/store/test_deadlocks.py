"""Runs that overlap: two transactions that need the same rows do not block each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, update

from sync_pipeline.store.approvals import LASTS, Line, approval_of, lines_of, withdraw
from sync_pipeline.store.claims import Sending
from sync_pipeline.store.deliveries import Delivered, Refused, Removed
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.liveness import alive
from sync_pipeline.store.loads import Loading
from sync_pipeline.store.schema import approvals, records
from sync_pipeline.store.scope import draw_in
from sync_pipeline.store.staging import Staging
from sync_pipeline_tests.store.batch import HERE, at, here, merge, row

DAYS = ["2024-03-01", "2024-03-02", "2024-03-03"]
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def one(store: Store) -> Iterator[Store]:
    """The store, in a run that is alive."""
    with alive(store, "run-one"):
        yield store


@pytest.fixture
def other(url: str, store: Store) -> Iterator[Store]:
    """The same, in another run."""
    del store  # is there first
    with closing(open_store(url)) as opened, alive(opened, "run-two"):
        yield opened


def done(key: str, value: str = "v1") -> Delivered:
    """The target has it."""
    return Delivered(key, key, value, "create")


def until_done_or_blocked(url: str, work: Future[Any], blocked: int = 1) -> None:
    """Wait until the work of another thread is done, or so many wait for a lock."""
    with psycopg.connect(url, autocommit=True) as looking:
        while not work.done() and looking.execute(BLOCKED).fetchone() != (blocked,):
            try:
                work.result(0.01)
            except NotYet:
                continue


def during(monkeypatch: pytest.MonkeyPatch, url: str, name: str, work: Callable[[], object]) -> list[Future[object]]:
    """Before this step of a merge, another thread begins some work."""
    started: list[Future[object]] = []
    pool, step = ThreadPoolExecutor(1), getattr(Staging, name)

    def first_the_work(staging: Staging, *args: object) -> None:
        started.append(pool.submit(work))
        until_done_or_blocked(url, started[0])
        step(staging, *args)

    monkeypatch.setattr(Staging, name, first_the_work)
    return started


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_merge_and_the_answer_of_another_run(
    monkeypatch: pytest.MonkeyPatch, url: str, one: Store, other: Store
) -> None:
    """One has changed b and is to note what a was made from; the other notes that both were delivered."""
    with here(one).staging(read_no=1) as first, here(other).staging(read_no=2) as second:
        first.add([row("a"), row("b")])
        first.merge(at(1))
        assert len([*first.claimed_pages(9, lambda pending: pending.source_id)]) == 1
        second.decided_by = "mapping"
        second.add([row("a"), row("b", "v2")])
        answers = [done(key) for key in "ab"]
        started = during(monkeypatch, url, "_restate", lambda: here(one).mark_delivered(answers, None, at(3)))
        counts = second.merge(at(2))
        assert (counts.changed, counts.restated) == (1, 1)
        assert started[0].result() == {"a", "b"}
    assert [known.delivered_hash for known in here(one).lookup("ab").values()] == ["v1", "v1"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("beside", [[], ["known"]], ids=["new rows only", "beside a changed one"])
def test_a_deletion_that_is_noted_during_an_older_merge_stays(
    monkeypatch: pytest.MonkeyPatch, url: str, one: Store, other: Store, beside: list[str]
) -> None:
    """A newer read by id did not find the record; the merge had looked what is stored of it just before."""
    merge(one, [row(key) for key in beside], 1)
    begun = during(monkeypatch, url, "_upsert", lambda: here(other).leave_tombstones({"new": 11}, at(11)))
    merge(one, [row(key, "v2") for key in [*beside, "new"]], 10)
    assert begun[0].result() == set()
    assert here(one).lookup(["new"])["new"].deleted_at == at(11)
    assert [known.fields_hash for known in here(one).lookup(beside).values()] == ["v2"] * len(beside)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_merge_and_the_end_of_another_load(url: str, one: Store, other: Store) -> None:
    """One has loaded the last day, onto the first of which a record has moved; the other has delivered all three."""

    def loading(days: list[str], read_no: int, sync_id: int) -> Loading:
        return Loading(days, read_no, "mapping", sync_id, f"run {sync_id}", at(read_no), frozenset())

    loads, theirs = here(one).loads, here(other).loads
    with one.writing() as tx:
        loads.note(tx, loading(DAYS, 1, 1))
    loads.mark_done(DAYS[:1], 1, at(1))
    with ThreadPoolExecutor(1) as pool, other.writing() as tx:
        theirs.note(tx, loading(DAYS[1:], 2, 2))
        work: Future[object] = pool.submit(loads.mark_done, DAYS, 1, at(3))
        until_done_or_blocked(url, work)
        theirs.reopen(tx, DAYS[:1])
        tx.commit()
        work.result()
    assert loads.done_since((DAYS[0], DAYS[2]), 0) == set(DAYS[:1])


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("step", ["observe", "delete", "retry", "outlive"])
def test_rows_are_locked_in_the_order_of_their_ids(url: str, one: Store, other: Store, step: str) -> None:
    """Whatever changes several records together, in whatever order they are given or stored."""
    ledger, numbers = here(other), {"c": 11, "b": 12, "a": 13}
    steps: dict[str, Callable[[], object]] = {
        "observe": lambda: ledger.mark_observed(numbers, at(4), by_id=True),
        "delete": lambda: ledger.mark_deleted(numbers, at(4), by_id=True),
        "retry": ledger.clear_refused,
        "outlive": ledger.rejects.drop_obsolete,
    }
    for key in "cba":  # so they lie in the table
        merge(one, [row(key)], 1)
    here(one).claims.take("abc")
    here(one).mark_refused([Refused(key, "v1", "create", "no") for key in "abc"], None, at(2))
    with other.writing() as tx:
        tx.execute(update(records).where(records.c.source_id.in_(["a", "b", "c"])).values(fields_hash="v2"))
    here(one).claims.take("ac")
    with ThreadPoolExecutor(2) as pool, one.writing() as tx:
        tx.execute(select(records.c.source_id).where(records.c.source_id == "b").with_for_update())
        first = pool.submit(steps[step])
        until_done_or_blocked(url, first)
        answer = pool.submit(here(one).mark_delivered, [done(key, "v2") for key in "ac"], None, at(5))
        until_done_or_blocked(url, answer, blocked=2)
        tx.commit()
        first.result()
        assert answer.result() == {"a", "c"}


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("step", ["link", "exchange", "sending", "delivered", "removed"])
def test_a_record_is_locked_before_a_number_is_drawn(url: str, one: Store, other: Store, step: str) -> None:
    """Whatever does both does so in this order, since numbers are drawn one at a time."""
    ledger = here(other)

    def exchange() -> bool:
        ledger.exchange_links({"a": "t1"})
        return True

    steps: dict[str, Callable[[], object]] = {
        "link": lambda: ledger.link("a", "t1"),
        "exchange": exchange,
        "sending": lambda: ledger.mark_sending([Sending("a", "t1", None)]),
        "delivered": lambda: ledger.mark_delivered([done("a")], None, at(5)),
        "removed": lambda: ledger.mark_removed([Removed("a", "t1", "delete")], None, at(5)),
    }
    merge(one, [row("a")], 1)
    here(other).claims.take("a")
    with ThreadPoolExecutor(1) as pool, one.writing() as tx:
        tx.execute(select(records.c.source_id).where(records.c.source_id == "a").with_for_update())
        work = pool.submit(steps[step])
        until_done_or_blocked(url, work)
        draw_in(tx)
        tx.commit()
        assert work.result()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("is_asked_again", [True, False])
def test_a_decision_that_is_made_meanwhile_is_kept(url: str, one: Store, other: Store, is_asked_again: bool) -> None:
    """A run that replaces or withdraws an open request waits for the person who is just deciding, and leaves it then."""
    lines = [Line(key, "delete", "v1", None) for key in "ab"]
    held = here(one).approvals
    first = held.request_lines("deletes", lines, lambda _: True, at(1))
    assert first is not None
    mine = approvals.c.id == first.id
    declined = {"decision": "declined", "by": "anna", "decided_at": at(2), "expires_at": at(2) + LASTS}

    def replace_or_withdraw() -> None:
        if is_asked_again:
            held.request_lines("deletes", lines[:1], lambda _: True, at(3))
        else:
            withdraw(one, first.id)

    with ThreadPoolExecutor(1) as pool:
        with other.writing() as tx:
            tx.execute(update(approvals).where(mine).values(**declined))
            run = pool.submit(replace_or_withdraw)
            until_done_or_blocked(url, run)
        run.result()

    decided = approval_of(one, HERE, first.id)
    assert decided is not None
    assert decided.decision == "declined"
    assert [line.source_id for line in lines_of(one, first.id, 10)] == ["a", "b"]
