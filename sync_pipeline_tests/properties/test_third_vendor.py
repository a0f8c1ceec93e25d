"""The laws on a vendor that the engine has never reported: Clockify's tags go there, and its notes to the Snapshots API."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from sqlalchemy import insert, select

from sync_pipeline.connectors.registry import VENDORS
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.json_types import LONGEST_ID
from sync_pipeline.session.session import Session
from sync_pipeline.stages.polling import has_room, poll_seconds
from sync_pipeline.stages.preview import preview
from sync_pipeline.stages.references import listed
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.stages.watch import watch
from sync_pipeline.store.rate import note_sent
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline.store.schema import records
from sync_pipeline_tests.harness import Blocked, Json, Team
from sync_pipeline_tests.properties.killing import Killed, killing
from sync_pipeline_tests.properties.test_convergence import PATIENT
from sync_pipeline_tests.properties.third import (
    ACTIONS,
    ALLOWED,
    TAGS,
    Action,
    agrees,
    changes_nothing,
    converged,
    tags,
    three,
)
from sync_pipeline_tests.properties.tiny import KEY, PAGE_SIZE, Tiny
from sync_pipeline_tests.scenarios.mappings import write_mapping

pytestmark = pytest.mark.clock


@PATIENT
@given(first=ACTIONS, second=ACTIONS)
def test_a_sync_makes_all_sides_agree(first: list[Action], second: list[Action]) -> None:
    """Whatever people do, and however far the list lags behind when it is read first."""
    with TemporaryDirectory() as directory:
        agrees(Path(directory), (first, second))


def test_killed_anywhere_the_next_sync_continues_and_nothing_exists_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after requests and commits of a sync that creates, updates and deletes: every fifth of these moments."""
    with three(tmp_path) as (us, tiny):
        for tag in tags(us):
            us.clockify("DELETE", f"/tags/{tag['id']}")
        for step in count(2, 5):
            for tag in tags(us)[:1]:
                us.clockify("DELETE", f"/tags/{tag['id']}")
            for tag in tags(us)[:1]:
                us.clockify("PUT", f"/tags/{tag['id']}", {"name": f"renamed at {step}"})
            us.clockify("POST", "/tags", {"name": f"made at {step}"})
            us.clockify("POST", "/tags", {"name": f"also made at {step}"})
            died = False
            with monkeypatch.context() as patch, killing(patch) as killer, us.session() as session:
                killer.arm(step)
                try:
                    us.sync_one(session, "tags", options=ALLOWED)
                except Killed:
                    died = True
                killer.arm(None)
            us.sync("tags", options=ALLOWED)
            tiny.settle()
            converged(us, tiny)
            if not died:
                break
        assert step > 20
        changes_nothing(us, tiny)


def test_an_answer_that_is_lost_leads_to_one_thing(tmp_path: Path) -> None:
    """Whether the create had arrived is looked up by its key, which the list would not show yet."""
    with three(tmp_path) as (us, tiny):
        asked: list[str] = []
        original = tiny.answer

        def losing(method: str, path: str, query: Any, body: Json) -> tuple[int, Any]:
            found = original(method, path, query, body)
            asked.append(method)
            return (503, {}) if method == "POST" and asked.count("POST") % 2 else found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tiny, "answer", lambda _, *args: losing(*args))
            us.sync("tags")
        assert asked.count("POST") == len(tags(us)) > 1
        tiny.settle()
        converged(us, tiny)
        changes_nothing(us, tiny)


def test_a_thing_that_is_there_is_adopted_and_a_refused_one_is_rejected(tmp_path: Path) -> None:
    """What a person made under the key is linked; what the vendor refuses has its reason, and the rest is delivered."""
    with three(tmp_path) as (us, tiny):
        first, *others = tags(us)
        theirs = tiny.put("things", ref=first["id"], name="by hand", note="mine")
        long = us.clockify("POST", "/tags", {"name": "x" * 61})
        with us.session() as session:
            shown = preview(session, session.spec("tags"), None)
            assert (shown.counts.adopted, shown.counts.created) == (1, len(others) + 1)
        done = us.sync("tags")["tags"]
        assert (done.adopted, done.created, done.rejected) == (1, len(others), 1)
        assert tiny.records["things"][theirs["id"]] == {**theirs, "name": first["name"]}
        with us.session() as session:
            (reject,) = list_rejects(session.store, session.pair, entity="tags")
        assert (reject.source_id, "the name is too long" in reject.reason) == (long["id"], True)
        us.clockify("PUT", f"/tags/{long['id']}", {"name": "short"})
        us.sync("tags")
        tiny.settle()
        converged(us, tiny)
        tiny.put("things", theirs["id"], name="changed by hand")
        tiny.settle()
        assert us.verify("tags")["tags"].different == 1
        us.sync("tags")
        converged(us, tiny)
        changes_nothing(us, tiny)


def test_only_what_is_proven_to_be_deleted_is_deleted(tmp_path: Path) -> None:
    """Law 6: what a list lacks by mistake is read by id; and most of what there is waits until someone allows it."""
    with three(tmp_path) as (us, tiny):
        ids = [str(tiny.put("notes", text=f"note {number}")["id"]) for number in range(20)]
        tiny.settle()
        us.sync("notes")
        for key in ids[:3]:
            del tiny.listed["notes"][key]
        us.sync("notes")
        assert us.at_snapshots("notes").keys() == set(ids)
        for key in ids[:15]:
            tiny.delete("notes", key)
        tiny.settle()
        assert us.sync("notes")["notes"].held_deletes == 15
        assert us.at_snapshots("notes").keys() == set(ids)
        us.sync(options=ALLOWED)
        tiny.settle()
        converged(us, tiny)


def test_a_record_whose_id_is_too_long_by_now_is_not_taken_for_deleted(tmp_path: Path) -> None:
    """It was delivered before ids had a limit: its changes are rejected, and a list that has it proves that it exists."""
    long = "x" * (LONGEST_ID + 1)
    with three(tmp_path) as (us, tiny):
        for key in ("short", long):
            tiny.put("notes", key, text="a note")
        tiny.settle()
        assert us.sync("notes")["notes"].rejected == 1
        with us.session() as session:
            spec = session.spec("notes")
            with session.store.writing() as tx:
                short = tx.execute(select(records).where(*session.ledger(spec).of(records))).mappings().one()
                tx.execute(insert(records), [{**short, "source_id": long, "target_id": long}])
            assert listed(session, spec, ["short", long]).keys() == {"short", long}
        done = us.sync("notes", options=ALLOWED)["notes"]
        assert (done.deleted, done.unconfirmed, done.rejected) == (0, 0, 1)
        verdict = us.verify("notes")["notes"]
        assert (verdict.extra, verdict.missing) == (0, 0)

        tiny.delete("notes", "short")
        tiny.settle()
        held = us.sync("notes")["notes"]
        assert (held.deleted, held.held_deletes) == (0, 1)


def test_when_a_check_blocks_nothing_is_written(tmp_path: Path) -> None:
    """Law 7: most tags lack what the mapping wants, so none of them is sent."""
    with three(tmp_path) as (us, tiny):
        write_mapping(us, "tags.yaml", TAGS.replace("source: name", "source: nowhere"))
        with pytest.raises(Blocked):
            us.sync("tags")
        assert tiny.writes == []
        write_mapping(us, "tags.yaml", TAGS)
        us.sync("tags")
        tiny.settle()
        converged(us, tiny)


def test_a_change_is_noticed_and_one_note_is_enough_to_answer_it(tmp_path: Path) -> None:
    """Its list is compared with what is stored, and what differs is read by id, where nothing lags."""
    with three(tmp_path) as (us, tiny):
        ids = [str(tiny.put("notes", text=f"note {number}")["id"]) for number in range(4)]
        tiny.settle()
        us.sync()
        tiny.put("notes", ids[1], text="edited")
        tiny.settle()
        tiny.put("notes", ids[1], text="edited again")  # the list does not show it yet
        with us.session() as session:
            watched = watch(session, session.spec("notes"), None)
            assert [run.ids for run in watched.runs] == [(ids[1],)]
            tiny.asked.clear()
            answer = sync_ids(session, session.spec("notes"), [ids[1]], run_id="by id")
        assert (answer.counts.updated, answer.left) == (1, {})
        assert tiny.asked == [f"GET /notes/{ids[1]}"]
        us.sync("notes")  # its list is behind: what was read by id stays
        assert us.at_snapshots("notes")[ids[1]]["text"] == "edited again"
        tiny.settle()
        us.sync("notes")
        converged(us, tiny)
        changes_nothing(us, tiny)


def test_the_used_up_hour_of_one_system_holds_back_no_other(tmp_path: Path) -> None:
    """A note is delivered while Clockify's hour is used up: no request to Clockify is needed for it."""
    with three(tmp_path) as (us, tiny):
        tiny.put("notes", text="a note")
        tiny.settle()
        us.sync()
        note = tiny.put("notes", text="another note")
        tiny.settle()
        us.changes["CLOCKIFY_PLAN"] = "free"
        with us.session() as session:
            use_up(session, "clockify")
            watched = watch(session, session.spec("notes"), None)
        assert [run.ids for run in watched.runs] == [(note["id"],)]


def test_a_system_with_an_hourly_budget_of_its_own_is_spared_when_it_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever system it is: its budget is known by its name, and no other system's counts for it."""
    with three(tmp_path) as (us, tiny):
        tiny.put("notes", text="a note")
        tiny.settle()
        us.sync()
        monkeypatch.setitem(VENDORS, "tiny", replace(VENDORS["tiny"], windows=((20, 3600.0),)))
        with us.session() as session:
            assert [*session.budgets] == ["tiny"]
            use_up(session, "tiny")
            assert (session.budgets["tiny"].left, session.budgets["tiny"].limit) == (0, 20)
            assert not has_room(session, "tiny", 1)
            assert has_room(session, "clockify", 1)


def use_up(session: Session, system: str) -> None:
    """Send all requests that a system's hour allows."""
    limits = session.limits[system]
    assert limits.hourly is not None
    note_sent(session.store, limits.bucket, limits.windows, session.now().timestamp(), limits.hourly[0])


@pytest.mark.parametrize("status", [401, 422, 500])
def test_the_key_stays_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int) -> None:
    """Law 8: an answer that repeats it leaves it in no error, reject, log line, table or file."""
    caplog.set_level(logging.DEBUG)
    with three(tmp_path) as (us, tiny), pytest.MonkeyPatch.context() as patch:
        us.changes["SYNC_MAX_ATTEMPTS"] = "1"
        patch.setattr(Tiny, "answer", lambda *_: (status, {"message": f"not with {KEY}"}))
        patch.setattr(Tiny, "_list", lambda *_: [])
        text = ""
        try:
            us.sync("tags")
        except SyncError as error:
            text = f"{error!r} {error} {vars(error)} {error.__cause__!r}"
        with us.session() as session:
            text += repr([list_rejects(session.store, session.pair), session.systems])
        kept = b"".join(path.read_bytes() for path in us.home.rglob("*") if path.is_file())
        assert text
        assert KEY not in text
        assert KEY not in caplog.text
        assert KEY.encode() not in kept
        assert tiny.writes == []


def test_what_says_that_it_is_done_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 9: a run next to a newer one that is killed at every third moment reports "done" only for what is there."""
    with three(tmp_path) as (us, tiny):
        us.sync()
        said = set()
        for step in count(1, 3):
            names: dict[str, set[str]] = {tag["id"]: set() for tag in tags(us)[:2]}
            with us.session() as older:
                _rename(us, names, f"old {step}")
                batch = us.validated(older, "tags", options=ALLOWED)
                _rename(us, names, f"new {step}")
                died = False
                with monkeypatch.context() as patch, killing(patch) as killer, us.session() as newer:
                    killer.arm(step)
                    try:
                        us.sync_one(newer, "tags", options=ALLOWED)
                    except Killed:
                        died = True
                    killer.arm(None)
                loaded = us.load(older, "tags", batch, options=ALLOWED)
            things = {thing["ref"]: thing["name"] for thing in tiny.records["things"].values()}
            said.add((died, *loaded.days, *loaded.covered, *loaded.not_done.values()))
            if not loaded.not_done:
                assert [things[key] for key in names if things[key] not in names[key]] == []
            us.sync(options=ALLOWED)
            tiny.settle()
            converged(us, tiny)
            if not died:
                break
        assert (step > 10, len(said) > 1) == (True, True), said


def _rename(us: Team, names: dict[str, set[str]], name: str) -> None:
    for number, key in enumerate(names):
        us.clockify("PUT", f"/tags/{key}", {"name": f"{name} {number}"})
        names[key].add(f"{name} {number}")


def _rows(number: int, first: int = 0) -> list[Json]:
    return [{"id": f"n{one}", "text": "note"} for one in range(first, first + number)]


ENDLESS: dict[str, Callable[[int], Any]] = {
    "a text without end": lambda _: [{"id": "n1", "text": "x" * 2_000_000}],
    "rows without end": lambda _: _rows(20_000),
    "pages without end": lambda page: _rows(PAGE_SIZE, page * PAGE_SIZE),
    "the same pages again and again": lambda page: _rows(PAGE_SIZE, page % 5 * PAGE_SIZE),
}


@pytest.mark.parametrize("answer", ENDLESS)
def test_what_has_no_end_ends_the_run_and_writes_nothing(tmp_path: Path, answer: str) -> None:
    """Law 10: by the limits of the engine; the vendor's own code names none."""
    with three(tmp_path) as (us, _), pytest.MonkeyPatch.context() as patch:
        us.changes |= {"SYNC_MAX_ATTEMPTS": "1", "SYNC_MAX_ANSWER_MB": "1"}
        patch.setattr("sync_pipeline.connectors.paging.MOST_PAGES", 50)
        patch.setattr(Tiny, "answer", lambda _tiny, *asked: (200, ENDLESS[answer](int(asked[2]["page"]))))
        with pytest.raises(SyncError, match="Tiny") as refused:
            us.sync("notes")
        assert len(str(refused.value)) < 1_000
        assert us.writes() == {}


def test_it_is_asked_at_its_own_pace(tmp_path: Path) -> None:
    """Clockify's Free plan limits requests to Clockify: the vendor's list is asked for as often as on a paid plan."""
    with three(tmp_path) as (us, _):
        paces = []
        for plan in ("paid", "free"):
            with us.session(CLOCKIFY_PLAN=plan) as session:
                paces.append({entity: poll_seconds(session, spec) for entity, spec in session.specs.items()})
    paid, free = paces
    assert free["tags"] > paid["tags"]
    assert free["notes"] == paid["notes"]
