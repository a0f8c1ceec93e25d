"""Taking turns: what another run is writing is left to it, and looked at again. Each write is noted before and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.claims import (
    LOOKS,
    NAMED,
    await_others,
    note_sending,
    remember,
    still_held,
    take_turns,
    waiting,
)
from sync_pipeline.store.deliveries import Delivered, Kind, Refused
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.liveness import alive
from sync_pipeline.store.schema import records
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.invariants import converged

OTHER = "the-other-run"


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team whose projects are in step."""
    with team(tmp_path, entries=0) as opened:
        opened.sync("projects")
        yield opened


def a_project(us: Team) -> str:
    """The id of one of the projects."""
    return str(min(project["id"] for project in us.projects()))


def claimed(us: Team) -> str:
    """Claim a project for another run, and return its id."""
    key = a_project(us)
    with closing(open_store(us.settings().store_url)) as store, alive(store, OTHER), us.session() as session:
        ledger = session.ledger(session.specs["projects"])
        held = type(ledger)(store, ledger.pair, ledger.entity).claims.take([key])
    assert held == {key}
    return key


def test_it_is_waited_for_another_run_for_a_minute_and_said_once(us: Team) -> None:
    """As often as there are looks; the run that is waited for is named."""
    reported: list[Progress] = []
    with (
        us.session(report=reported.append) as session,
        closing(open_store(us.settings().store_url)) as store,
        alive(store, OTHER),
    ):
        spec = session.specs["projects"]
        key = a_project(us)
        ledger = session.ledger(spec)
        type(ledger)(store, ledger.pair, ledger.entity).claims.take([key])
        assert sum(waiting(session, spec)) == LOOKS
    assert [progress.note for progress in reported if OTHER in progress.note] == [reported[0].note]


def test_the_claims_of_a_run_that_has_ended_are_free_immediately(us: Team) -> None:
    """Nothing is waited for, and the record can be claimed."""
    key = claimed(us)
    with us.session() as session:
        spec = session.specs["projects"]
        session.come_alive()
        assert next(waiting(session, spec))
        assert session.ledger(spec).claims.take([key]) == {key}


@pytest.mark.parametrize("delivers", [True, False])
def test_what_is_late_is_read_again_after_its_run_has_ended(us: Team, delivers: bool) -> None:
    """A run may deliver and end at any moment, also while it is asked what is late; one that ends without it left it."""
    with us.session() as session, ExitStack() as other:
        spec = session.specs["projects"]
        key, store = a_project(us), other.enter_context(closing(open_store(us.settings().store_url)))
        other.enter_context(alive(store, OTHER))
        ledger = session.ledger(spec)
        type(ledger)(store, ledger.pair, ledger.entity).claims.take([key])
        undelivered = {"": "not delivered"}

        def late() -> dict[str, str]:
            found = dict(undelivered)
            if delivers:
                undelivered.clear()
            other.close()
            return found

        assert await_others(session, spec, None, late) == ({} if delivers else {"": "not delivered"})


def test_what_is_left_is_delivered_again_until_nothing_is(us: Team) -> None:
    """Each turn may find less; an error ends the claims of this run."""
    left, turns = [2, 1, 0], list[str]()
    with us.session() as session:
        spec = session.specs["projects"]
        take_turns(session, spec, lambda: turns.append("turn"), lambda: left.pop(0) > 0)
        assert (turns, left) == (["turn"] * 3, [])
        key = a_project(us)
        with pytest.raises(ZeroDivisionError):
            take_turns(session, spec, lambda: _claim_and_fail(session, key), lambda: False)
        assert session.ledger(spec).claims.free_ended() == []


def _claim_and_fail(session: Session, key: str) -> None:
    session.ledger(session.specs["projects"]).claims.take([key])
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("entity", "request_"), [("locations", "create"), ("locations", "update"), ("projects", "remove")]
)
@pytest.mark.parametrize("lives", [True, False])
def test_a_write_that_was_not_noted_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entity: str, request_: str, lives: bool
) -> None:
    """While it was on its way another run took the record over: that one notes it, or this one when that has ended."""
    with team(tmp_path, entries=0, locations=0, projects=3) as us:
        us.put_location("one", location_name="Oak")
        if request_ != "create":
            us.sync("locations", "projects")
            us.put_location("one", location_name="Elm")
            us.delete_project(us.projects()[0]["id"])
        taken, send = list[str](), Session.call

        def call(session: Session, function: Any, *args: Any) -> Any:
            found = send(session, function, *args)
            if function.__name__ == request_ and not taken:
                with closing(open_store(us.settings().store_url)) as store, store.writing() as tx:
                    tx.execute(update(records).where(records.c.claimed_by.isnot(None)).values(claimed_by=OTHER))
                taken.append(request_)
            return found

        monkeypatch.setattr(Session, "call", call)

        with closing(open_store(us.settings().store_url)) as store, ExitStack() as stack:
            if lives:
                stack.enter_context(alive(store, OTHER))
            with us.session() as session:
                batch = us.validated(session, entity)
                loaded = us.load(session, entity, batch)
                open_intents = [intent.source_id for intent in session.ledger(entity).open_intents()]
        counts = loaded.counts
        written = counts.created + counts.updated + counts.deleted
        assert taken == [request_]
        if lives:
            assert (written, bool(loaded.not_done), open_intents) == (0, True, ["one"] * (request_ == "create"))
        else:
            assert (written, loaded.not_done, open_intents) == (request_ != "create", {}, [])
        us.sync()
        converged(us)


def test_a_message_names_some_of_the_records() -> None:
    """And reports when there are more."""
    ids = [f"p{number}" for number in range(NAMED + 1)]
    assert "p0, p1, p2, p3, p4, ..." in still_held(ids)
    assert still_held(ids[:1]).endswith("(p0)")


def test_a_write_whose_answer_never_came_is_sent_again(us: Team) -> None:
    """It was noted before it was sent; nothing is believed of the record until then."""
    some = sorted(project["id"] for project in us.projects())[:2]
    with us.session() as session:
        spec = session.specs["projects"]
        rows = [session.ledger(spec).lookup(some)[key] for key in some]
        note_sending(session, spec, rows, some)
    assert us.sync("projects")["projects"].updated == 2
    assert us.sync("projects")["projects"].updated == 0


def test_what_was_acknowledged_and_refused_is_counted_and_kept(us: Team) -> None:
    """By the kind of write; a refused record is not offered again unchanged."""
    keys = sorted(project["id"] for project in us.projects())
    kinds: tuple[Kind, ...] = ("create", "adopt", "update", "restore")
    reported: list[Progress] = []
    with us.session(report=reported.append) as session:
        spec, counts = session.specs["projects"], Counts()
        rows = [session.ledger(spec).lookup(keys)[key] for key in keys]
        note_sending(session, spec, rows, keys)
        done = [
            Delivered(row.source_id, row.source_id, row.fields_hash, k) for row, k in zip(rows, kinds, strict=False)
        ]
        refused = [Refused(rows[4].source_id, rows[4].fields_hash, "update", "the color is unknown", "color")]
        remember(session, spec, done, refused, counts, None)
        stored = session.ledger(spec).lookup(keys)
    assert (counts.created, counts.adopted, counts.updated, counts.rejected) == (1, 1, 2, 1)
    assert [stored[key].delivered_hash == stored[key].fields_hash for key in keys[:4]] == [True] * 4
    assert stored[keys[4]].refused_hash == stored[keys[4]].fields_hash
    assert (reported[-1].stage, reported[-1].done) == ("load", 4)
    assert us.sync("projects")["projects"].rejected == 1
