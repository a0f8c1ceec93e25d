"""How many writes there were: never fewer than before, and each counted once, whatever was deleted and in every process."""

from __future__ import annotations

from contextlib import closing

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.retention import prune
from sync_pipeline.store.schema import deliveries, metadata, subscriptions
from sync_pipeline.store.totals import Totals
from sync_pipeline_tests.store.batch import ENTITY, HERE, THERE, at, deliver, here, row
from sync_pipeline_tests.store.conftest import Server
from sync_pipeline_tests.store.test_retention import AGES

KEPT = AGES.deliveries.days * 24
DELIVERED = (ENTITY, "delivered")
STEPS = st.one_of(
    st.tuples(st.just("deliver"), st.sets(st.sampled_from("abcd"), min_size=1)),
    st.tuples(st.just("forget"), st.sets(st.sampled_from("abcd"), min_size=1)),
    st.tuples(st.just("scrape"), st.none()),
    st.tuples(st.just("wait"), st.integers(1, 2 * KEPT)),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(STEPS, min_size=4, max_size=14))
def test_each_write_is_counted_once(store: Store, history: list[tuple[str, object]]) -> None:
    """By a process that has counted all the time, however seldom, and by one that has just started."""
    with store.writing() as tx:
        for table in reversed(metadata.sorted_tables):
            tx.execute(delete(table))
    old, hour, written = Totals(), 1, 0
    for what, value in history:
        if what == "deliver" and isinstance(value, set):
            deliver(store, [row(key, f"v{written}") for key in sorted(value)], hour)
            deliver(store, [row("x", f"v{written}")], hour, connection=THERE)
            written += len(value)
        elif what == "forget" and isinstance(value, set):
            here(store).remove_records(sorted(value))
        elif isinstance(value, int):
            hour += value
            prune(store, AGES, at(hour))
        for totals in [Totals(), *([old] if what == "scrape" else [])]:
            totals.add_new(store, HERE, at(hour))
            assert totals.deliveries[DELIVERED] == written
        hour += 1
    old.add_new(store, HERE, at(hour))
    assert old.deliveries == ({DELIVERED: written} if written else {})


def test_a_write_whose_transaction_ends_late_is_counted(postgres: Server) -> None:
    """Its number is lower than that of one that was counted already."""
    with closing(open_store(postgres.emptied())) as store, closing(open_store(postgres.emptied())) as other:
        deliver(store, [row("a")])
        with store.reading() as tx:
            line = dict(tx.execute(select(deliveries)).mappings().one())
        del line["id"]
        totals = Totals()
        totals.add_new(store, HERE, at(1))
        with other.writing() as tx:
            tx.execute(insert(deliveries).values(**line | {"source_id": "late"}))
            deliver(store, [row("b")])
            totals.add_new(store, HERE, at(2))
            assert totals.deliveries[DELIVERED] == 2
        totals.add_new(store, HERE, at(3))
        assert totals.deliveries[DELIVERED] == 3


def test_no_subscription_waits_for_a_number_that_is_given_out_again(store: Store) -> None:
    """SQLite does that with the newest ones after a person was forgotten: what is delivered then is news."""
    deliver(store, [row("a"), row("b")])
    with store.writing() as tx:
        newest = tx.execute(select(deliveries.c.id).order_by(deliveries.c.id.desc())).scalars().first()
        row_ = {"connection": HERE, "name": "mail", "delivery": newest, "looked_at": at(1)}
        tx.execute(insert(subscriptions).values(**row_))
    here(store).remove_records(["a", "b"])
    deliver(store, [row("c")], 2)
    with store.reading() as tx:
        seen = tx.scalar(select(subscriptions.c.delivery))
        assert (tx.scalar(select(deliveries.c.id)) or 0) > (seen or 0)
