"""A day is done when the target shows what is wanted there, and is not kept open by what has another reason."""

from __future__ import annotations

from contextlib import suppress

import dagster as dg
import pytest
from sqlalchemy import select

from sync_pipeline.defs.changes import answer
from sync_pipeline.errors import SyncError
from sync_pipeline.sandbox.control.rules import read_rule
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.load import Loaded
from sync_pipeline.store.schema import loads, records
from sync_pipeline_tests.harness import Json, Team, day, instant, morning
from sync_pipeline_tests.scenarios.mappings import write_mapping
from sync_pipeline_tests.stages.test_load import WRITE, _at_target, _entry, _move, _span, us

__all__ = ["us"]


def _fails(us: Team, days: Days, **how: object) -> None:
    """A sync of these days whose write is refused, or cut off after it arrived."""
    rule = us.sandbox.world.faults.add(read_rule({"kind": "status", "route": WRITE, "count": 5, **how}))
    try:
        with us.session() as session, suppress(SyncError):
            us.sync_one(session, "time_entries", days)
    finally:
        us.sandbox.world.faults.remove(rule)


def _loaded(us: Team, days: Days) -> Loaded:
    with us.session() as session:
        return us.load(session, "time_entries", us.validated(session, "time_entries", days), days)


def _is_done(us: Team, days_ago: int) -> bool:
    of_day = select(loads.c.done_at).where(loads.c.entity == "time_entries", loads.c.day == str(day(days_ago)))
    with us.session() as session, session.store.reading() as tx:
        return tx.scalar(of_day) is not None


def _moved_twice(us: Team, entry: Json) -> None:
    """From its ninth day to the eighth and the seventh, and which of these the target shows is not known."""
    for days_ago, words in ((8, "once"), (7, "twice")):
        _move(us, entry, days_ago, words)
        _fails(us, _span(days_ago, days_ago), status=503)
    with us.session() as session, session.store.reading() as tx:
        found = tx.scalar(select(records.c.moved_from).where(records.c.source_id == entry["id"]))
    assert found == f"{day(9)}/{day(8)}"


def test_a_deleted_record_is_named_and_keeps_no_day_open(us: Team) -> None:
    """A read by id does not find it; whether it is deleted is for the read of its own day to prove."""
    entry, other = _entry(us, 9, "x"), _entry(us, 2, "other")
    us.sync()
    _moved_twice(us, entry)
    us.clockify("DELETE", f"/time-entries/{entry['id']}")
    assert _loaded(us, _span(2, 1)).not_done == {}
    loaded = _loaded(us, _span(9, 8))
    assert (loaded.not_done, loaded.counts.unconfirmed) == ({}, 1)
    us.sync()
    assert _at_target(us) == {other["id"]: "other"}


def test_the_day_that_proves_it_is_read_again(us: Team) -> None:
    """A record that was not found by its id is stored on a day that was done: that day is done no more."""
    entry, other = _entry(us, 9, "x"), _entry(us, 2, "other")
    us.sync()
    _move(us, entry, 7, "moved")
    rule = us.sandbox.world.faults.add(read_rule({"kind": "status", "route": WRITE, "count": 5, "status": 503}))
    with us.session() as session, suppress(dg.Failure):
        answer(session, session.specs["time_entries"], [entry["id"]], "event")
    us.sandbox.world.faults.remove(rule)
    us.clockify("DELETE", f"/time-entries/{entry['id']}")
    assert _is_done(us, 7)
    _loaded(us, _span(9, 9))
    assert not _is_done(us, 7)
    us.sync("time_entries")
    assert _at_target(us) == {other["id"]: "other"}


def test_an_entry_of_someone_who_left_is_not_taken_for_deleted(us: Team) -> None:
    """A read by id finds none of these, so that the days on which the target may show it stay open."""
    user = us.users()[0]["id"]
    entry = us.add_entry(user, morning(9), description="x")
    us.sync()
    _moved_twice(us, entry)
    us.control("POST", "users", {"id": user, "remove": True})
    loaded = _loaded(us, _span(9, 8))
    assert (set(loaded.not_done), loaded.counts.unconfirmed) == ({str(day(9)), str(day(8))}, 0)
    us.sync("time_entries")
    assert _at_target(us)[entry["id"]] == "twice"


def test_a_held_delete_keeps_no_former_day_open(us: Team) -> None:
    """It waits for a person, and says so."""
    folder = write_mapping(us, "time_entries.yaml", "entity: time_entries\ntarget: {deletes: approve}\n")
    us.changes["SYNC_MAPPINGS_DIR"] = str(folder)
    entry = _entry(us, 9, "x")
    us.sync()
    _moved_twice(us, entry)
    us.clockify("DELETE", f"/time-entries/{entry['id']}")
    assert us.sync("time_entries")["time_entries"].held_deletes == 1
    assert _loaded(us, _span(9, 8)).not_done == {}


def test_one_that_cannot_be_read_does_not_block_others(us: Team) -> None:
    """The days on which the target may show it are not done; whatever else is there is delivered."""
    entry, other = _entry(us, 9, "x"), _entry(us, 8, "other")
    us.sync()
    _moved_twice(us, entry)
    us.change_entry(other, description="edited")
    one = f"GET /clockify/api/v1/workspaces/*/time-entries/{entry['id']}"
    us.sandbox.world.faults.add(read_rule({"kind": "status", "status": 500, "route": one}))
    loaded = _loaded(us, _span(9, 8))
    assert loaded.not_done.keys() == {str(day(9)), str(day(8))}
    assert _at_target(us)[other["id"]] == "edited"


def test_what_a_comparison_found_moves_on_from_there(us: Team) -> None:
    """It arrived on its new day, unanswered, and was found there: this is the day that it leaves next."""
    entry = _entry(us, 9, "x")
    us.sync()
    _move(us, entry, 8, "once")
    _fails(us, _span(8, 8), kind="cut_after")
    us.verify()
    _move(us, entry, 7, "twice")
    _fails(us, _span(7, 7), status=503)
    assert _loaded(us, _span(8, 8)).not_done == {}
    assert _at_target(us)[entry["id"]] == "twice"


@pytest.mark.parametrize("how", ["rejected", "excluded"])
def test_what_was_not_wanted_on_its_new_day_is_still_on_its_old_one(us: Team, how: str) -> None:
    """When it is wanted there later, a sync of the old day delivers it."""
    entry = _entry(us, 9, "x")
    us.sync()
    end = instant(morning(7)) if how == "rejected" else None
    us.change_entry(entry, start=instant(morning(7)), end=end)
    _loaded(us, _span(9, 7))
    _move(us, entry, 7, "again")
    _fails(us, _span(7, 7), status=503)
    assert _loaded(us, _span(9, 9)).not_done == {}
    assert _at_target(us)[entry["id"]] == "again"
