"""Runs that overlap: what a newer read has loaded is covered, all else is loaded, and what is not done is reported."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import count, permutations
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipeline.definitions import build
from sync_pipeline.defs.assets import daily
from sync_pipeline.defs.changes import answer
from sync_pipeline.hosting.backfill import ask, look
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START, sync_job_name
from sync_pipeline.hosting.run_reports import LOADED_BY
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.sandbox.control.rules import FaultRule, read_rule
from sync_pipeline.session.session import Session
from sync_pipeline.settings import load_settings
from sync_pipeline.stages import absence, load, targeted
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.stages.claims import still_held
from sync_pipeline.stages.load import Loaded
from sync_pipeline.store import merge as store_merge
from sync_pipeline.store.claims import held_records
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline.store.merge import MergeCounts, MergedRows
from sync_pipeline_tests.harness import Json, Team, day, instant, morning, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.properties.killing import Killed, Killer, killing
from sync_pipeline_tests.scenarios.commands import run_json, start, wait_until
from sync_pipeline_tests.scenarios.dagster_runs import enter, instance_of

REPORT, WRITE = "POST */reports/detailed", "POST /snapshots/time_entries/batch"
BY_ID = "GET /clockify/api/v1/workspaces/{ws}/time-entries/{id}"
FEW = {"users": 2, "projects": 3, "clients": 1, "locations": 1, "entries": 0}


@pytest.fixture
def us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """A team of two whose users and projects are delivered; entries are read with one report."""
    with team(tmp_path, **FEW) as made:
        made.changes |= {"CLOCKIFY_READER": "report", "SYNC_MAX_ATTEMPTS": "1"}
        enter(made, monkeypatch)
        made.sync("users", "projects", "locations")
        yield made


@contextmanager
def _hold(us: Team, route: str, kind: str = "hold_after") -> Iterator[FaultRule]:
    """Hold up the next request of this kind for as long as this lasts."""
    faults = us.sandbox.world.faults
    rule = faults.add(read_rule({"kind": kind, "route": route, "count": 1}))
    try:
        yield rule
    finally:
        faults.remove(rule)


def _words(days: Days) -> list[str]:
    return ["sync", "--entity", "time_entries", "--from", days.keys[0], "--to", days.keys[1], "--json"]


def _start_held(us: Team, days: Days, rule: FaultRule) -> subprocess.Popen[str]:
    """A `sync` of these days that is held up."""
    process = start(us, *_words(days))
    wait_until(lambda: rule.holding > 0 or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


def _ended(process: subprocess.Popen[str], code: int) -> Json:
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, (out, err)

    document: Json = json.loads(out)
    return document


def _span(first: int, last: int) -> Days:
    """From so many days ago to so many days ago."""
    return Days(day(first), day(last))


def _entry(us: Team, days_ago: int, words: str) -> Json:
    return us.add_entry(us.users()[0]["id"], morning(days_ago), description=words)


def _at_target(us: Team) -> dict[str, str]:
    """Description by id."""
    return {key: row["description"] for key, row in us.at_snapshots("time_entries").items()}


def _materialized(instance: dg.DagsterInstance, run_id: str) -> dict[str, dict[str, Any]]:
    """The days a run turned green, with the metadata of each."""
    found = {}
    for record in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
        event = record.dagster_event
        assert event is not None
        made = event.step_materialization_data.materialization
        if made.asset_key == dg.AssetKey("time_entries"):
            found[str(made.partition)] = {name: value.value for name, value in made.metadata.items()}
    return found


def _answer(us: Team, *entries: Json) -> None:
    """What the run does that a sensor asks for after events about these: each is read by id."""
    with us.session() as session:
        answer(session, session.specs["time_entries"], [entry["id"] for entry in entries], "event")


def _move(us: Team, entry: Json, days_ago: int, words: str) -> None:
    start_at = morning(days_ago, 12)
    moved = {"start": instant(start_at), "end": instant(start_at + timedelta(hours=1))}
    us.change_entry(entry, description=words, **moved)


def test_a_day_that_a_newer_read_has_loaded_is_covered_and_the_others_are_loaded(us: Team) -> None:
    """Exit code 0 is true: all but the covered day is delivered by this run; that day names the run that loaded it."""
    span = _span(5, 0)
    entries = {days_ago: _entry(us, days_ago, f"{days_ago} days ago") for days_ago in range(6)}
    with _hold(us, REPORT) as rule:
        long = _start_held(us, span, rule)
        us.change_entry(entries[2], description="newer")
        (newer,) = run_json(us, *_words(_span(2, 2))[:-1])["run_ids"]
    document = _ended(long, 0)
    assert document["success"]
    assert newer in " ".join(document["warnings"])
    wanted = {entry["id"]: f"{days_ago} days ago" for days_ago, entry in entries.items()}
    assert _at_target(us) == wanted | {entries[2]["id"]: "newer"}
    with instance_of(us) as instance:
        (run,) = document["run_ids"]
        green = _materialized(instance, run)
        assert sorted(green) == list(span)
        assert {key: made.get(LOADED_BY) for key, made in green.items() if LOADED_BY in made} == {
            day(2).isoformat(): newer
        }
        again = us.sandbox.world.stats.writes["time_entries"]
        run_json(us, *_words(span)[:-1])
        assert us.sandbox.world.stats.writes["time_entries"] == again


def test_a_newer_load_killed_after_its_merge_leaves_its_day_to_do(us: Team) -> None:
    """The day is named and not materialized, the others are loaded, exit code 1; tried again, it is done."""
    span, killed_day = _span(5, 0), day(2).isoformat()
    entries = {days_ago: _entry(us, days_ago, f"{days_ago} days ago") for days_ago in range(6)}
    with _hold(us, REPORT) as rule:
        long = _start_held(us, span, rule)
        us.change_entry(entries[2], description="newer")
        with _hold(us, WRITE, "hold_before") as write:
            newer = _start_held(us, _span(2, 2), write)
            newer.send_signal(signal.SIGKILL)
            newer.communicate(timeout=60)
        us.sandbox.world.db.execute("DELETE FROM snapshots_records WHERE entity = 'time_entries'")
    document = _ended(long, 1)
    assert not document["success"]
    (error,) = document["errors"]
    assert killed_day in error
    at_target = _at_target(us)
    assert {key for key in at_target if key != entries[2]["id"]} == {
        entry["id"] for days_ago, entry in entries.items() if days_ago != 2
    }
    with instance_of(us) as instance:
        (run,) = document["run_ids"]
        assert sorted(_materialized(instance, run)) == [key for key in span if key != killed_day]
        again = run_json(us, *_words(span)[:-1])
        assert _at_target(us)[entries[2]["id"]] == "newer"
        assert sorted(_materialized(instance, again["run_ids"][0])) == list(span)


def test_a_load_killed_while_it_merges_leaves_no_day_done_with_something_pending(
    us: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge takes several transactions: of its own days, and of the one onto which a record has moved."""
    monkeypatch.setattr(store_merge, "MERGE_ROWS", 1)
    entries = [_entry(us, days_ago, "old") for days_ago in (4, 3, 2)]
    merge, kills = MergedRows.merge, count(1)
    for step in kills:
        moving = _entry(us, 3, "moves")
        us.sync("time_entries")
        for entry in entries:
            us.change_entry(entry, description=f"changed {step}")
        _move(us, moving, 6, "moved")
        with us.session() as session, monkeypatch.context() as patch, killing(patch) as killer:
            batch = us.validated(session, "time_entries", _span(4, 2))

            def merged(*args: Any, step: int = step, killer: Killer = killer) -> MergeCounts:
                killer.arm(step)
                counts = merge(*args)
                killer.arm(None)
                return counts

            patch.setattr(MergedRows, "merge", merged)
            with suppress(Killed):
                us.load(session, "time_entries", batch, _span(4, 2))
                break
            killer.arm(None)
        with us.session() as session:
            ledger = session.ledger("time_entries")
            rows = [known for page in ledger.scan() for known in page if known.fields_hash != known.delivered_hash]
            assert {known.partition for known in rows}.isdisjoint(ledger.loads.done_since(us.days.keys, 0)), step
    assert next(kills) > 2 * len(entries)
    us.sync()
    converged(us)


def test_a_record_that_moved_there_and_back_is_read_again(us: Team) -> None:
    """The older batch met it there; a newer load found it where it had been, and changed nothing: it is back."""
    entry, other = _entry(us, 1, "here"), _entry(us, 5, "other")
    with us.session() as session:
        us.sync_one(session, "time_entries")
        _move(us, entry, 5, "there")
        older = us.validated(session, "time_entries", _span(6, 4))
        _move(us, entry, 1, "here")
        us.change_entry(entry, description="here")
        us.sync_one(session, "time_entries", _span(1, 1))
        us.forget_stats()
        assert us.load(session, "time_entries", older, _span(6, 4)).not_done == {}
        assert us.requests() == {BY_ID: 1}
        assert _at_target(us) == {entry["id"]: "here", other["id"]: "other"}
    converged(us)


def test_a_record_that_comes_back_while_it_is_loaded_elsewhere_is_found_by_the_next_read(us: Team) -> None:
    """The newer load stays, though the older batch has the day on which the record is by now; nothing older comes."""
    entry, other = _entry(us, 5, "first"), _entry(us, 5, "other")
    with us.session() as session:
        older = us.validated(session, "time_entries", _span(6, 4))
        _move(us, entry, 1, "there")
        us.sync_one(session, "time_entries", _span(1, 1))
        _move(us, entry, 5, "back")
        assert us.load(session, "time_entries", older, _span(6, 4)).not_done == {}
        assert _at_target(us) == {entry["id"]: "there", other["id"]: "other"}
        us.sync_one(session, "time_entries", _span(6, 4))
        assert _at_target(us) == {entry["id"]: "back", other["id"]: "other"}
    converged(us)


def test_a_record_that_moved_to_a_day_loaded_since_stays_there(us: Team) -> None:
    """The older batch has it on a day of its own, which is loaded; the record stays as the newer load has it."""
    entry, other = _entry(us, 5, "first"), _entry(us, 5, "other")
    with us.session() as session:
        us.sync_one(session, "time_entries")
        older = us.validated(session, "time_entries", _span(6, 4))
        _move(us, entry, 1, "there")
        us.change_entry(other, description="edited")
        us.sync_one(session, "time_entries", _span(1, 1))
        assert us.load(session, "time_entries", older, _span(6, 4)).not_done == {}
        assert _at_target(us) == {entry["id"]: "there", other["id"]: "other"}
        us.sync()
    converged(us)


def test_created_and_deleted_during_the_read_with_its_event_it_stays_deleted(us: Team) -> None:
    """The event's read finds nothing and leaves a tombstone, which the older batch respects though it has the record."""
    entry = _entry(us, 2, "for a moment")
    with us.session() as session:
        older = us.validated(session, "time_entries", _span(5, 0))
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
        answer(session, session.specs["time_entries"], [entry["id"]], "event")
        loaded = us.load(session, "time_entries", older, _span(5, 0))
        assert loaded.not_done == {}
    assert _at_target(us) == {}
    converged(us)


def test_created_and_deleted_during_the_read_on_a_day_loaded_since_it_stays_away(us: Team) -> None:
    """Without an event, but with a newer load of its day: the day is cut from the batch, and the record with it."""
    entry, kept = _entry(us, 2, "for a moment"), _entry(us, 3, "kept")
    with us.session() as session:
        older = us.validated(session, "time_entries", _span(5, 0))
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
        us.sync_one(session, "time_entries", _span(2, 2))
        loaded = us.load(session, "time_entries", older, _span(5, 0))
        assert list(loaded.covered) == [day(2).isoformat()]
        assert loaded.counts.extracted == 1
    assert _at_target(us) == {kept["id"]: "kept"}
    converged(us)


def test_created_and_deleted_silently_during_the_read_the_next_read_removes_it(us: Team) -> None:
    """No event can have reported it: it existed when the read started, so it is delivered, and deleted by the next sync."""
    entry, kept = _entry(us, 2, "for a moment"), _entry(us, 3, "kept")
    with us.session() as session:
        older = us.validated(session, "time_entries", _span(5, 0))
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
        us.load(session, "time_entries", older, _span(5, 0))
        assert _at_target(us) == {entry["id"]: "for a moment", kept["id"]: "kept"}
        us.sync_one(session, "time_entries", _span(5, 0), Options(allow_deletes=True))
    assert _at_target(us) == {kept["id"]: "kept"}
    converged(us)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_batches_that_cut_each_other_end_in_the_newest_state(us: Team, order: tuple[int, ...]) -> None:
    """Three reads of overlapping days, loaded in any order: every day is done by one of them, each record is current."""
    spans = [_span(8, 3), _span(5, 0), _span(7, 2)]
    entries = [_entry(us, days_ago, "0") for days_ago in range(9)]
    with us.session() as session:
        batches = []
        for number, span in enumerate(spans):
            batches.append(us.validated(session, "time_entries", span))
            for place in (number, 4 + number):
                us.change_entry(entries[place], description=f"after {number}")
        done: set[str] = set()
        for number in order:
            loaded = us.load(session, "time_entries", batches[number], spans[number])
            assert loaded.not_done == {}
            done |= {*loaded.done}
        assert done == {*_span(8, 0)}
        seen = {entries[place]["id"]: "0" for place in range(9)}
        # What each read can have seen of what was edited before it, on the days of which it is the newest read.
        seen |= {entries[0]["id"]: "after 0", entries[4]["id"]: "after 0", entries[5]["id"]: "after 1"}
        assert _at_target(us) == seen
        us.sync()
    converged(us)
    changes_nothing(us)


def test_two_runs_cover_days_of_each_other(us: Team) -> None:
    """Each has spans of which the other one has the newer read: both are done, and nothing is older than its read."""
    early, late = _span(8, 5), _span(4, 0)
    entries = [_entry(us, days_ago, "0") for days_ago in range(9)]
    with us.session() as session:
        first_early = us.validated(session, "time_entries", early)
        us.change_entry(entries[6], description="1")
        second_early = us.validated(session, "time_entries", early)
        second_late = us.validated(session, "time_entries", late)
        us.change_entry(entries[2], description="1")
        first_late = us.validated(session, "time_entries", late)
        us.load(session, "time_entries", second_early, early)
        us.load(session, "time_entries", first_late, late)
        assert {*us.load(session, "time_entries", first_early, early).covered} == {*early}
        assert {*us.load(session, "time_entries", second_late, late).covered} == {*late}
    words = _at_target(us)
    assert {number: words[entries[number]["id"]] for number in (2, 6)} == {2: "1", 6: "1"}
    converged(us)


def test_a_backfill_hit_by_a_sync_of_one_day_is_done_and_says_by_whom(us: Team, now: datetime) -> None:
    """Its run loads the other days; the day that was read again counts as done, because it is."""
    entries = {days_ago: _entry(us, days_ago, f"{days_ago} days ago") for days_ago in range(6)}
    span = _span(5, 0)
    defs = build(load_settings())
    with instance_of(us) as instance, us.session() as session, ThreadPoolExecutor(1) as pool:
        chain = ask(instance, session, daily(us.settings()), "time_entries", span, now, "Ana")
        tags = {"dagster/backfill": chain[0], RANGE_START: span.keys[0], RANGE_END: span.keys[1]}
        job = defs.resolve_job_def(sync_job_name("time_entries"))
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with _hold(us, REPORT) as rule:
            run = pool.submit(
                job.execute_in_process, instance=instance, tags=tags, run_config=quiet, raise_on_error=False
            )
            wait_until(lambda: rule.holding > 0 or run.done())
            us.change_entry(entries[2], description="newer")
            us.sync_one(session, "time_entries", _span(2, 2))
        assert run.result(60).success
        report = look(instance, session, chain, "time_entries", span, now)
        assert (report.done, report.failed, report.total) == (6, 0, 6)
    wanted = {entry["id"]: f"{days_ago} days ago" for days_ago, entry in entries.items()}
    assert _at_target(us) == wanted | {entries[2]["id"]: "newer"}
    converged(us)


def test_a_repair_hit_by_a_sync_of_one_day_repairs_the_rest(us: Team) -> None:
    """`verify --repair` delivers what differs on all other days, and ends with exit code 0."""
    entries = {days_ago: _entry(us, days_ago, f"{days_ago} days ago") for days_ago in range(6)}
    us.sync()
    for entry in entries.values():
        us.snapshots("PUT", f"/time_entries/{entry['id']}", {"description": "changed by somebody else"})
    span = _span(5, 0)
    with _hold(us, REPORT) as rule:
        words = ("--entity", "time_entries", "--from", span.keys[0], "--to", span.keys[1], "--json")
        repair = start(us, "verify", "--repair", *words)
        wait_until(lambda: rule.holding > 0 or repair.poll() is not None)
        us.change_entry(entries[2], description="newer")
        us.sync("time_entries", days=_span(2, 2))
    _ended(repair, 0)
    wanted = {entry["id"]: f"{days_ago} days ago" for days_ago, entry in entries.items()}
    assert _at_target(us) == wanted | {entries[2]["id"]: "newer"}


def test_a_list_that_lags_undoes_nothing_that_was_read_by_id(us: Team) -> None:
    """Edited and created records keep what their events' reads found; released, the lists agree."""
    edited = _entry(us, 1, "old")
    us.sync("time_entries")
    us.control("POST", "lag", {"freeze": "clockify"})
    us.change_entry(edited, description="new")
    made = us.add_entry(edited["userId"], morning(2), description="made")
    _answer(us, edited, made)
    now = {edited["id"]: "new", made["id"]: "made"}
    assert _at_target(us) == now
    us.sync("time_entries", days=_span(5, 0))
    assert _at_target(us) == now
    us.control("DELETE", "lag")
    us.sync()
    assert _at_target(us) == now
    converged(us)


def test_a_list_that_lags_does_not_bring_back_what_a_read_by_id_found_deleted(us: Team) -> None:
    """Its event's read proved it deleted minutes ago: the list that still has it is not trusted."""
    deleted, kept = _entry(us, 1, "deleted"), _entry(us, 2, "kept")
    us.sync("time_entries")
    us.control("POST", "lag", {"freeze": "clockify"})
    us.clockify("DELETE", f"/time-entries/{deleted['id']}")
    _answer(us, deleted)
    us.sync("time_entries", days=_span(5, 0))
    assert _at_target(us) == {kept["id"]: "kept"}


def test_a_record_that_slips_to_a_page_that_was_read_is_found(us: Team) -> None:
    """Between two pages an entry before the boundary is deleted and one is added: what moves up is not missed."""
    us.changes["CLOCKIFY_PAGE_SIZE"] = "2"
    made = [_entry(us, days_ago, f"{days_ago} days ago") for days_ago in range(4)]
    entries = sorted(made, key=lambda entry: str(entry["id"]))  # as the report does
    with ThreadPoolExecutor(1) as pool, us.session() as session, _hold(us, REPORT) as rule:
        read = pool.submit(us.validated, session, "time_entries", _span(3, 0))
        wait_until(lambda: rule.holding > 0 or read.done())
        us.clockify("DELETE", f"/time-entries/{entries[0]['id']}")
        us.sandbox.world.faults.remove(rule)
        loaded = us.load(session, "time_entries", read.result(60), _span(3, 0))
    slipped = entries[2]
    assert slipped["id"] in _at_target(us) or slipped["timeInterval"]["start"][:10] in loaded.not_done


@contextmanager
def _writing(us: Team, span: Days) -> Iterator[tuple[FaultRule, Future[Loaded]]]:
    """A run in another thread whose write of these days is held up."""

    def work() -> Loaded:
        with us.session() as session:
            return us.load(session, "time_entries", us.validated(session, "time_entries", span), span)

    with ThreadPoolExecutor(1) as pool, _hold(us, WRITE, "hold_before") as rule:
        run = pool.submit(work)
        wait_until(lambda: rule.holding > 0 or run.done())
        try:
            yield rule, run
        finally:
            us.sandbox.world.faults.remove(rule)


def test_a_record_that_another_run_is_writing_is_written_after_it(us: Team) -> None:
    """Both merge in parallel, and the newer run waits with the one record only: the older state cannot arrive last."""
    shared, other = _entry(us, 2, "old"), _entry(us, 3, "other")
    with _writing(us, _span(2, 2)) as (rule, older), us.session() as session:
        us.change_entry(shared, description="new")
        seen: list[dict[str, str]] = []

        async def let_go(_seconds: float) -> None:
            if not seen:
                seen.append(await asyncio.to_thread(_at_target, us))
            us.sandbox.world.faults.remove(rule)
            await asyncio.to_thread(older.result, 60)

        session.sleep = let_go
        newer = us.load(session, "time_entries", us.validated(session, "time_entries", _span(5, 0)), _span(5, 0))
        assert seen == [{other["id"]: "other"}]
        assert (newer.not_done, newer.counts.created, newer.counts.updated) == ({}, 1, 1)
        assert older.result(60).not_done == {}
    assert _at_target(us) == {shared["id"]: "new", other["id"]: "other"}
    converged(us)
    changes_nothing(us)


def test_a_record_that_another_run_keeps_writing_is_named_and_its_day_not_done(us: Team) -> None:
    """After a minute, by the session's own clock; the next run delivers what is left."""
    shared, other = _entry(us, 2, "old"), _entry(us, 3, "other")
    waited: list[float] = []

    async def tick(seconds: float) -> None:
        waited.append(seconds)

    with _writing(us, _span(2, 2)) as (_, older), us.session() as session:
        us.change_entry(shared, description="new")
        session.sleep = tick
        newer = us.load(session, "time_entries", us.validated(session, "time_entries", _span(5, 0)), _span(5, 0))
        assert newer.not_done == {day(2).isoformat(): still_held([shared["id"]])}
        assert shared["id"] in newer.problem
        assert sum(waited) == 60
        assert _at_target(us) == {other["id"]: "other"}
        assert not older.done()
    us.sync("time_entries")
    assert _at_target(us) == {shared["id"]: "new", other["id"]: "other"}
    converged(us)


def test_what_a_run_had_claimed_when_it_was_killed_is_delivered_by_the_next(us: Team) -> None:
    """Killed between the claim and the answer: the claim is free, and the record is sent again."""
    entry = _entry(us, 2, "first")
    with _hold(us, WRITE, "hold_after") as write:
        killed = _start_held(us, _span(2, 2), write)
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=60)
    with us.session() as session:
        assert list(held_records(session.store, session.pair)) == ["time_entries"]
        counts = us.sync_one(session, "time_entries", _span(2, 2))
        assert (counts.created, held_records(session.store, session.pair)) == (1, {})
    assert _at_target(us) == {entry["id"]: "first"}
    converged(us)
    changes_nothing(us)


def test_two_runs_that_create_the_same_location_make_one_client(us: Team) -> None:
    """Where names are unique one run writes at a time; the other one finds what it made."""
    us.put_location("new", location_name="One of a kind")
    runs = [start(us, "sync", "--entity", "locations", "--json") for _ in range(2)]
    made = [_ended(process, 0)["entities"]["locations"]["created"] for process in runs]
    assert sorted(made) == [0, 1]
    assert us.client("One of a kind")["name"] == "One of a kind"


@contextmanager
def _meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Iterator[None]:
    """Something happens once while a load looks up what is missing, between two times that it holds the entity's lock."""
    look_up, happened = absence.look_up_absent, list[object]()

    def looked_up(*args: Any) -> Any:
        found = look_up(*args)
        if not happened:
            happened.append(None)
            act()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(load, "look_up_absent", looked_up)
        yield
    assert happened


@pytest.mark.parametrize("budget", [100, 1])
def test_what_changed_while_missing_records_were_read_is_read_again(
    us: Team, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    """An older batch stores another form of what was read as unchanged; the days of those beyond the budget are not done."""
    deleted, *edited = [_entry(us, days_ago, "old") for days_ago in (1, 2, 3)]
    us.sync()
    us.changes["SYNC_MAX_CONFIRMATIONS"] = str(budget)
    with us.session() as other, us.session() as session:
        for entry in edited:
            us.change_entry(entry, description="for a moment")
        older = us.validated(other, "time_entries", _span(3, 2))
        for entry in edited:
            us.change_entry(entry, description="old")
        us.clockify("DELETE", f"/time-entries/{deleted['id']}")
        newer = us.validated(session, "time_entries", _span(5, 0))
        with _meanwhile(monkeypatch, lambda: us.load(other, "time_entries", older, _span(3, 2))):
            loaded = us.load(session, "time_entries", newer, _span(5, 0))
    words = _at_target(us)
    left = {
        day(days_ago).isoformat() for days_ago, entry in zip((2, 3), edited, strict=True) if words[entry["id"]] != "old"
    }
    assert len(left) == 2 - min(budget, 2)
    assert loaded.not_done == dict.fromkeys(left, load.HAS_CHANGED)
    assert deleted["id"] not in words
    us.sync()
    converged(us)


def test_what_an_older_batch_adds_meanwhile_is_missed_and_deleted(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer read shows that it was deleted before; the older batch could not know."""
    missing, kept = _entry(us, 1, "missing"), _entry(us, 4, "kept")
    us.sync()
    short_lived = _entry(us, 2, "for a moment")
    with us.session() as other, us.session() as session:
        older = us.validated(other, "time_entries", _span(3, 2))
        for entry in (missing, short_lived):
            us.clockify("DELETE", f"/time-entries/{entry['id']}")
        newer = us.validated(session, "time_entries", _span(5, 0))
        with _meanwhile(monkeypatch, lambda: us.load(other, "time_entries", older, _span(3, 2))):
            loaded = us.load(session, "time_entries", newer, _span(5, 0))
    assert loaded.not_done == {}
    assert _at_target(us) == {kept["id"]: "kept"}
    converged(us)


def test_what_an_older_batch_adds_while_a_deletion_is_proven_is_read_once_more(
    us: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two entries read by id as deleted; one was unknown then, and is delivered by that batch before this is noted."""
    known, *kept = [_entry(us, 1, "known") for _ in range(4)]
    us.sync()
    short_lived, look, happened = _entry(us, 2, "for a moment"), absence.people, list[Loaded]()
    with us.session() as other:
        older = us.validated(other, "time_entries", _span(3, 2))

        def looked(session: Session, spec: EntitySpec) -> absence.People:
            if not happened:
                happened.append(us.load(other, "time_entries", older, _span(3, 2)))
            return look(session, spec)

        monkeypatch.setattr(targeted, "people", looked)
        with us.session() as session:
            now = session.now()
            for entry in (known, short_lived):
                us.clockify("DELETE", f"/time-entries/{entry['id']}")
                content = content_id("TIME_ENTRY_DELETED", entry["id"], {})
                event = Received(content, "TIME_ENTRY_DELETED", "time_entries", entry["id"], "{}", now)
                receive_many(session.store, session.pair, "clockify", [event])
        _answer(us, known, short_lived)
        with us.session() as session:
            open_events = session.ledger("time_entries").events.open_events(10)
    assert [loaded.counts.created for loaded in happened] == [1]
    assert [(event.source_id, event.reason) for event in open_events] == [(short_lived["id"], targeted.STORED_SINCE)]
    _answer(us, short_lived)
    assert _at_target(us).keys() == {entry["id"] for entry in kept}
    converged(us)


def test_what_an_older_batch_adds_while_events_are_answered_is_deleted(
    us: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load reads by id what an event names and its list lacks; another one adds that record meanwhile."""
    kept = _entry(us, 4, "kept")
    us.sync()
    short_lived, again, happened = _entry(us, 2, "for a moment"), load.read_again, list[Loaded]()
    with us.session() as other:
        older = us.validated(other, "time_entries", _span(3, 2))
        with us.session() as session:
            body = {"id": short_lived["id"], "timeInterval": short_lived["timeInterval"]}
            content = content_id("TIME_ENTRY_UPDATED", short_lived["id"], body)
            payload = json.dumps(body)
            event = Received(content, "TIME_ENTRY_UPDATED", "time_entries", short_lived["id"], payload, session.now())
            receive_many(session.store, session.pair, "clockify", [event])
            us.clockify("DELETE", f"/time-entries/{short_lived['id']}")
            newer = us.validated(session, "time_entries", _span(5, 0))

            def read(*args: Any) -> load.ReadAgain:
                found = again(*args)
                happened.append(us.load(other, "time_entries", older, _span(3, 2)))
                return found

            monkeypatch.setattr(load, "read_again", read)
            loaded = us.load(session, "time_entries", newer, _span(5, 0))
    assert [added.counts.created for added in happened] == [1]
    assert loaded.not_done == {}
    assert _at_target(us) == {kept["id"]: "kept"}
    converged(us)
