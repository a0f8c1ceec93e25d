"""Which few runs answer the open events: by id, by days, or the whole list."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest

from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.connectors.error_category import ErrorCategory
from sync_pipeline.connectors.ports import Pace
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.watch import EVENTS_A_TICK, SPANS_A_TICK, Dirty, Watched, watch
from sync_pipeline.store.events import Received, content_id, mark_attempt, mark_failed, receive_many
from sync_pipeline.store.syncs import SyncOutcome
from sync_pipeline_tests.harness import Team, team

pytestmark = pytest.mark.clock
MANY = Pace().reads_by_id + 1


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team that is in step."""
    with team(tmp_path, users=2, projects=2, clients=1, locations=2, entries=0) as made:
        made.sync()
        yield made


@pytest.fixture
def session(us: Team) -> Iterator[Session]:
    """A session in which polling is not due."""
    with us.session() as opened:
        yield opened


def receive(session: Session, entity: str, *records: tuple[str | None, date | None]) -> None:
    """Events about these records, with the day that the body names."""
    events = []
    for key, day in records:
        body = {"id": key, "timeInterval": {"start": f"{day}T10:00:00Z", "end": f"{day}T11:00:00Z"}} if day else {}
        content = content_id("CHANGED", key, body)
        events.append(Received(content, "CHANGED", entity, key, orjson.dumps(body).decode(), session.now()))
    receive_many(session.store, session.pair, "clockify", events)


def look(session: Session, entity: str) -> Watched:
    """Watch, with the last poll a moment ago."""
    now = utc_now().isoformat()
    return watch(session, session.specs[entity], orjson.dumps({"polled": now, "listed": now}).decode())


def ids_of(session: Session, entity: str) -> dict[str | None, int]:
    """The open events by the record they are about."""
    return {one.source_id: one.id for one in session.ledger(entity).events.open_events(EVENTS_A_TICK)}


def test_nothing_is_asked_for_while_nothing_changed(session: Session) -> None:
    """No run, no note, no trouble."""
    found = look(session, "users")
    assert (found.runs, found.note, found.trouble) == ([], "", "")


def test_a_few_are_read_by_id(session: Session) -> None:
    """One run for all of them, which answers their events."""
    receive(session, "users", ("a", None), ("b", None))
    (run,) = look(session, "users").runs
    assert (run.ids, run.days) == (("a", "b"), None)
    assert sorted(run.events) == sorted(ids_of(session, "users").values())


def test_many_of_an_entity_without_days_are_read_as_the_list(session: Session) -> None:
    """One run over everything."""
    receive(session, "users", *((f"u{number}", None) for number in range(MANY)))
    (run,) = look(session, "users").runs
    assert (run.ids, run.days, len(run.events)) == ((), None, MANY)


def test_many_entries_are_read_as_the_days_they_are_on(us: Team, session: Session) -> None:
    """Days close together make one span, a day far away another; each has the events of its own days."""
    first = us.days.first
    near = [(f"n{number}", first + timedelta(days=number % 3)) for number in range(MANY)]
    receive(session, "time_entries", *near, ("far", first + timedelta(days=15)))
    known = ids_of(session, "time_entries")
    near_run, far_run = look(session, "time_entries").runs
    assert near_run.days == Days(first, first + timedelta(days=2))
    assert set(near_run.events) == {known[key] for key, _ in near}
    assert (far_run.days, far_run.events) == (Days(far := first + timedelta(days=15), far), (known["far"],))


def test_an_entry_without_a_day_is_read_by_id_next_to_them(us: Team, session: Session) -> None:
    """Nothing is known of it and its event does not hold it; so is one whose day is out of range."""
    dated = [(f"n{number}", us.days.first) for number in range(MANY)]
    receive(session, "time_entries", *dated, ("lone", None), ("early", date(2001, 1, 1)))
    days, by_id = look(session, "time_entries").runs
    assert (days.days, by_id.ids) == (Days(us.days.first, us.days.first), ("early", "lone"))


def test_one_look_asks_for_a_bounded_number_of_spans(us: Team) -> None:
    """The others keep their events, and come with the next look."""
    us.changes["SYNC_DAYS_PER_RUN"] = "1"
    records = [(f"n{number}", us.days.first + timedelta(days=number % 10)) for number in range(MANY)]
    with us.session() as narrow:
        receive(narrow, "time_entries", *records)
        runs = look(narrow, "time_entries").runs
    assert [run.days for run in runs] == [
        Days(day, day) for day in (us.days.first + timedelta(days=number) for number in range(SPANS_A_TICK))
    ]


def test_what_has_failed_is_read_apart_from_what_is_fresh(session: Session) -> None:
    """It may fail forever, and would hold up the others."""
    receive(session, "users", ("failing", None), ("fresh", None))
    known = ids_of(session, "users")
    mark_attempt(session.store, [known["failing"]], session.now() - timedelta(hours=2))
    runs = look(session, "users").runs
    assert {run.ids: run.events for run in runs} == {
        ("fresh",): (known["fresh"],),
        ("failing",): (known["failing"],),
    }


def test_what_has_just_failed_waits(session: Session) -> None:
    """The note states how many wait for their next try."""
    receive(session, "users", ("failing", None))
    known = list(ids_of(session, "users").values())
    mark_attempt(session.store, known, session.now())
    mark_failed(session.store, known, "no answer")
    found = look(session, "users")
    assert (found.runs, found.note) == ([], "1 events failed before and wait for their next try")


def test_an_event_of_entries_that_names_no_record_is_closed(session: Session) -> None:
    """There is nothing to look up: the days that are read again anyway bring what it meant."""
    receive(session, "time_entries", (None, None))
    assert look(session, "time_entries").runs == []
    assert ids_of(session, "time_entries") == {}


def ended(session: Session, entity: str, outcome: SyncOutcome, category: str, *, minutes_ago: float = 60) -> int:
    """A full read that ended so."""
    syncs, at = session.ledger(entity).syncs, session.now() - timedelta(minutes=minutes_ago)
    number = syncs.begin(observed_at=at, at=at)
    syncs.finish(number, outcome, {}, 1, at, "Why.", category)
    return number


def test_only_what_time_repairs_is_read_again(session: Session) -> None:
    """The newest full read failed because a system was away or busy: not a refused key, a blocked check or a held batch."""
    for category in ErrorCategory:
        number = ended(session, "users", "failed", category)
        repeated = [Dirty((), repeats=number)] if category in ("away", "busy") else []
        assert look(session, "users").runs == repeated, category
    cases: tuple[tuple[SyncOutcome, str], ...] = (("blocked", ""), ("held", ""), ("failed", ""), ("success", ""))
    for outcome, none in cases:
        ended(session, "users", "failed", "away")
        ended(session, "users", outcome, none)
        assert look(session, "users").runs == [], outcome
    ended(session, "time_entries", "failed", "away")
    assert look(session, "time_entries").runs == []  # the re-scan reads its days again


def test_the_pause_before_a_full_read_is_repeated_grows(session: Session) -> None:
    """5 minutes after the first failure, 10, 20, 40, then an hour; events that ask for everything do so instead."""
    pauses = (5, 10, 20, 40, 60, 60)
    for pause in pauses:
        number = ended(session, "users", "failed", "busy", minutes_ago=pause - 0.5)
        found = look(session, "users")
        assert (found.runs, "it is repeated at" in found.note) == ([], True)
        with clock_from(utc_now() + timedelta(minutes=1)):
            assert look(session, "users").runs == [Dirty((), repeats=number)]
    with clock_from(utc_now() + timedelta(minutes=1)):
        receive(session, "users", *((f"u{number}", None) for number in range(MANY)))
        assert [run.repeats for run in look(session, "users").runs] == [None]
