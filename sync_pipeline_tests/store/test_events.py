"""The inbox keeps what is news, drops repeats, and closes only what a run processed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from sync_pipeline.store import events
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline.store.retention import prune_events
from sync_pipeline_tests.store import inbox
from sync_pipeline_tests.store.batch import ENTITY, HERE, THERE, at, here

pytestmark = pytest.mark.clock

UPDATED = "TIME_ENTRY_UPDATED"


def event(
    source_id: str | None = "e1",
    value: str = "a",
    when: datetime = at(1),  # noqa: B008 - a constant of the story
    kind: str = UPDATED,
    entity: str | None = ENTITY,
) -> Received:
    """One event; ``value`` is what its body holds."""
    body: dict[str, Any] = {"id": source_id, "value": value}
    return Received(content_id(kind, source_id, body), kind, entity, source_id, f'{{"value":"{value}"}}', when)


def take(store: Store, *batch: Received) -> list[bool]:
    """Receive some events together."""
    return receive_many(store, HERE, "clockify", batch)


def opened(store: Store) -> list[events.Event]:
    """Everything still to do."""
    return here(store).events.open_events(1000)


def ids(store: Store) -> list[int]:
    """The ids of everything still to do."""
    return [one.id for one in opened(store)]


def test_an_event_is_kept_as_it_came(store: Store) -> None:
    """Body, kind, record and time are there for the run; nothing has been tried."""
    one = event()

    assert take(store, one) == [True]

    (found,) = opened(store)
    assert (found.kind, found.source_id, found.payload, found.received_at, found.attempts) == (
        UPDATED, "e1", '{"value":"a"}', at(1), 0,
    )  # fmt: skip


def test_what_an_event_says_does_not_depend_on_the_order_of_its_keys() -> None:
    """A repeat is recognised however its body is written; another kind is another event."""
    first = content_id(UPDATED, "e1", {"a": 1, "b": {"c": 2, "d": 3}})

    assert content_id(UPDATED, "e1", {"b": {"d": 3, "c": 2}, "a": 1}) == first
    assert content_id("TIME_ENTRY_DELETED", "e1", {"a": 1, "b": {"c": 2, "d": 3}}) != first


@pytest.mark.parametrize("together", [True, False])
def test_a_repeat_is_dropped(store: Store, together: bool) -> None:
    """In one batch or one after the other: the same words about the same record are one event."""
    twice = [event(), event(when=at(1) + timedelta(seconds=20))]
    news = take(store, *twice) if together else [take(store, one)[0] for one in twice]

    assert news == [True, False]
    assert len(opened(store)) == 1


def test_a_change_back_is_news(store: Store) -> None:
    """A, B, A: the third body equals the first, which has been processed, and is a change nevertheless."""
    assert take(store, event(value="a")) == [True]
    events.close(store, ids(store), "run", at(1))

    assert take(store, event(value="b"), event(value="a"), event(value="a")) == [True, True, False]


def test_old_words_are_no_news_while_their_record_is_to_be_read(store: Store) -> None:
    """Repeats come out of order: while the first event is untouched, one read answers them all."""
    assert take(store, event(value="a"), event(value="b"), event(value="a"), event(value="b")) == [
        True,
        True,
        False,
        False,
    ]

    events.mark_attempt(store, ids(store), at(1))
    assert take(store, event(value="a"), event(value="b")) == [True, True]


@pytest.mark.parametrize("closed", [True, False], ids=["processed", "taken up"])
def test_the_same_words_are_news_once_a_run_has_taken_them_up(store: Store, closed: bool) -> None:
    """A body does not hold all of its record: the same one may report a change the run has not seen."""
    take(store, event())
    events.mark_attempt(store, ids(store), at(1))
    if closed:
        events.close(store, ids(store), "run", at(1))

    assert take(store, event(), event()) == [True, False]


def test_a_sender_that_sends_the_same_at_every_look_is_processed_now_and_then(store: Store) -> None:
    """With patience, what was sent last is not new for a while, though it was processed; later it is accepted."""
    take(store, event())
    events.mark_attempt(store, ids(store), at(1))
    events.close(store, ids(store), "run", at(1))
    repeat_after, soon, later = timedelta(minutes=10), timedelta(minutes=5), timedelta(minutes=10)

    assert receive_many(store, HERE, "clockify", [event(when=at(1) + soon)], repeat_after=repeat_after) == [False]
    assert receive_many(store, HERE, "clockify", [event(when=at(1) + later)], repeat_after=repeat_after) == [True]


def test_what_is_untouched_needs_no_second_flag(store: Store) -> None:
    """However late the repeat comes: the record has still to be read."""
    take(store, event())

    assert take(store, event(when=at(20))) == [False]


def test_an_event_about_no_record_counts_once_an_hour(store: Store) -> None:
    """Without an id there is no newest event to compare with."""
    assert take(store, event(None), event(None)) == [True, False]
    assert take(store, event(None, when=at(2))) == [True]


def test_connections_do_not_meet(store: Store) -> None:
    """The same event of another connection is another event."""
    take(store, event())

    assert receive_many(store, THERE, "clockify", [event()]) == [True]
    assert events.open_counts(store, HERE) == {ENTITY: 1}


def test_what_is_about_nothing_is_kept_and_not_to_do(store: Store) -> None:
    """An unknown event stays to be looked at; no run waits for it."""
    assert take(store, event("x", kind="BRAND_NEW", entity=None)) == [True]

    found = inbox.counts(store, HERE)
    assert (found[None].open, found[None].closed) == (0, 1)
    assert events.open_counts(store, HERE) == {}


def test_a_failed_run_leaves_its_events_open(store: Store) -> None:
    """The attempt and the reason are noted; a later run closes them, and closing twice is nothing."""
    take(store, event("e1"), event("e2"))
    tried = ids(store)
    events.mark_attempt(store, tried, at(1))
    events.mark_failed(store, tried, "Clockify does not answer\0")

    assert [(one.attempts, one.reason) for one in opened(store)] == [(1, "Clockify does not answer�")] * 2
    found = inbox.counts(store, HERE)[ENTITY]
    assert (found.open, found.failed, found.closed, found.oldest) == (2, 2, 0, at(1))

    assert events.close(store, tried, "run", at(3)) == 2
    assert events.close(store, tried, "other", at(4)) == 0
    assert opened(store) == []


def test_an_event_during_a_run_survives_it(store: Store) -> None:
    """What comes in after the run took its events up is not closed by it."""
    take(store, event(value="a"))
    taken = ids(store)
    events.mark_attempt(store, taken, at(1))
    take(store, event(value="b"))
    events.close(store, taken, "run", at(2))

    assert [one.payload for one in opened(store)] == ['{"value":"b"}']


def test_pages_come_in_order(store: Store) -> None:
    """Oldest first, each page after the last one's last id."""
    take(store, *[event(f"e{n}") for n in range(5)])
    first = here(store).events.open_events(3)

    rest = here(store).events.open_events(3, after=first[-1].id)

    assert [one.source_id for one in first + rest] == [f"e{n}" for n in range(5)]


def test_old_bodies_are_forgotten_but_never_an_id(store: Store) -> None:
    """Closed long ago: deleted, all but the newest row; SQLite would give its id to another event."""
    take(store, *[event(f"e{n}") for n in range(3)])
    old = ids(store)
    events.close(store, old, "run", at(2))
    take(store, event("open", when=at(3)))
    kept = ids(store)
    events.close(store, kept, "run", at(3))

    assert prune_events(store, at(10)) == 3
    take(store, event("new", when=at(11)))
    assert ids(store)[0] > kept[0]


def test_two_receivers_keep_an_event_once(store: Store, url: str) -> None:
    """The same batch through several connections in parallel: every event is news exactly once."""
    batch = [event(f"e{n}", value=value) for n in range(50) for value in ("a", "b")]
    stores = [open_store(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: receive_many(one, HERE, "clockify", batch), stores))
    for one in stores:
        one.close()

    assert [sum(news) for news in zip(*answers, strict=True)] == [1] * len(batch)
    assert len(opened(store)) == len(batch)


def test_what_failed_while_the_clock_was_ahead_is_tried_immediately(store: Store) -> None:
    """No one waits until the clock has caught up - and a repeat of what was sent then is news."""
    take(store, event("e1"))
    events.mark_attempt(store, ids(store), at(4))
    events.mark_failed(store, ids(store), "no answer")
    assert here(store).events.to_do(10)[0].is_due(at(2), timedelta(seconds=30))


def test_what_failed_waits_longer_each_time(store: Store) -> None:
    """Fresh: immediately. Failed: after a pause that doubles, up to an hour - and behind what was tried less often."""
    take(store, event("e1"), event("e2"))
    pause, failed = timedelta(seconds=30), ids(store)[:1]
    for attempt, seconds in enumerate([30, 60, 120], 1):
        events.mark_attempt(store, failed, at(2))
        events.mark_failed(store, failed, "no answer")
        fresh, tried = here(store).events.to_do(10)
        assert (fresh.source_id, tried.attempts) == ("e2", attempt)
        assert fresh.is_due(at(1), pause)
        assert not tried.is_due(at(2) + timedelta(seconds=seconds - 1), pause)
        assert tried.is_due(at(2) + timedelta(seconds=seconds), pause)
    for _ in range(40):
        events.mark_attempt(store, failed, at(2))
    assert here(store).events.to_do(10)[1].is_due(at(2) + timedelta(hours=1), pause)


def test_an_id_that_cannot_be_stored_fails_no_other_event(store: Store) -> None:
    """Its event is kept without the id: something of its entity changed. The same on both databases."""
    bad = event("e1")._replace(source_id="a\0b", content="bad", payload="{}\0")
    half = event("e1")._replace(source_id="\ud800", content="half")

    assert take(store, event("e1"), bad, half) == [True, True, True]
    assert [one.source_id for one in opened(store)] == ["e1", None, None]
