"""The laws on a vendor that the engine has never heard of: Clockify's tags go there, and its notes to the Snapshots API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipeline.stages.check import Options
from sync_pipeline.stages.preview import preview
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.stages.watch import watch
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline_tests.harness import Blocked, Json, Team, tables, team
from sync_pipeline_tests.properties.judge import adds_up
from sync_pipeline_tests.properties.killing import Killed, killing
from sync_pipeline_tests.properties.test_convergence import PATIENT
from sync_pipeline_tests.properties.tiny import Tiny, serving
from sync_pipeline_tests.scenarios.mappings import write_mapping

TAGS = """
entity: tags
source: {system: clockify, list: "/workspaces/{workspace}/tags", item: "/workspaces/{workspace}/tags/{id}", id: id}
target: {system: tiny, kind: things, id: id, delete: delete}
fields:
  ref: {source: id, type: id, required: true}
  name: {source: name, required: true}
"""
NOTES = """
entity: notes
source: {system: tiny, id: id}
target: {system: snapshots, id: note_id, delete: delete}
fields:
  note_id: {source: id, type: id, required: true}
  text: {source: text, required: true}
"""
ALLOWED = Options(allow_deletes=True, accept_rewrite=True)
NAMES = st.text("abü ", min_size=1, max_size=4).map(lambda name: f"n{name}n")
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["add tag", "rename tag", "delete tag", "write note", "edit note", "delete note", "meddle", "list"]
        ),
        st.integers(0, 5),
        NAMES,
    ),
    max_size=12,
)


@contextmanager
def three(root: Path) -> Iterator[tuple[Team, Tiny]]:
    """The team's two systems, and the third vendor beside them."""
    with serving() as tiny, team(root, entries=0, users=1, projects=0, clients=0, locations=0) as us:
        us.control("POST", "entities", {"entity": "notes", "id_field": "note_id"})
        write_mapping(us, "tags.yaml", TAGS)
        write_mapping(us, "notes.yaml", NOTES)
        us.changes["SYNC_ENTITIES"] = "tags,notes"
        yield us, tiny


def tags(us: Team) -> list[Json]:
    """Clockify's tags."""
    found: list[Json] = us.clockify("GET", "/tags", **{"page-size": 1000})
    return found


def live(us: Team, tiny: Tiny, deeds: list[tuple[str, int, str]]) -> None:
    """What people do, in all three systems."""
    for deed, number, name in deeds:
        there, notes, things = tags(us), list(tiny.records.get("notes", {})), list(tiny.records.get("things", {}))
        if deed == "add tag" and all(tag["name"] != name for tag in there):
            us.clockify("POST", "/tags", {"name": name})
        elif deed == "rename tag" and there and all(tag["name"] != name for tag in there):
            us.clockify("PUT", f"/tags/{there[number % len(there)]['id']}", {"name": name})
        elif deed == "delete tag" and there:
            us.clockify("DELETE", f"/tags/{there[number % len(there)]['id']}")
        elif deed == "write note":
            tiny.put("notes", text=name)
        elif deed == "edit note" and notes:
            tiny.put("notes", notes[number % len(notes)], text=name)
        elif deed == "delete note" and notes:
            tiny.delete("notes", notes[number % len(notes)])
        elif deed == "meddle" and things:
            tiny.put("things", things[number % len(things)], note=name)  # a field that is not mapped
        elif deed == "list":
            tiny.settle()


def converged(us: Team, tiny: Tiny) -> None:
    """Laws 1, 3, 4 and 5: each tag is one thing with its name, each note one record, and nothing else is there."""
    things = list(tiny.records.get("things", {}).values())
    assert sorted((thing["ref"], thing["name"]) for thing in things) == sorted(
        (tag["id"], tag["name"]) for tag in tags(us)
    )
    notes = {key: note["text"] for key, note in tiny.records.get("notes", {}).items()}
    assert {key: row["text"] for key, row in us.at_snapshots("notes").items()} == notes
    for entity, verdict in us.verify().items():
        assert verdict.in_sync, f"{entity}: {verdict.differences}"


def changes_nothing(us: Team, tiny: Tiny) -> None:
    """Law 2: a second sync sends no write and leaves records and deliveries as they are."""
    us.forget_stats()
    tiny.writes.clear()
    with us.session() as session:
        before = tables(session, "records", "deliveries", "rejects")
        for entity in session.specs:
            adds_up(us.sync_one(session, entity))
        assert tables(session, "records", "deliveries", "rejects") == before
    assert (us.writes(), tiny.writes) == ({}, [])


def notes_of_people(tiny: Tiny) -> dict[str, Any]:
    """What is at the things that nobody maps."""
    return {key: thing.get("note") for key, thing in tiny.records.get("things", {}).items()}


@PATIENT
@given(first=DEEDS, second=DEEDS)
def test_a_sync_makes_all_sides_agree(first: list[tuple[str, int, str]], second: list[tuple[str, int, str]]) -> None:
    """Whatever people do, and however far the list lags behind when it is read first."""
    with TemporaryDirectory() as directory, three(Path(directory)) as (us, tiny):
        for deeds in (first, second):
            live(us, tiny, deeds)
            before = notes_of_people(tiny)
            for counts in us.sync(options=ALLOWED).values():  # the list may lag: what it shows late comes with the next
                adds_up(counts)
            tiny.settle()
            us.sync(options=ALLOWED)
            converged(us, tiny)
            assert {key: note for key, note in notes_of_people(tiny).items() if key in before}.items() <= before.items()
            changes_nothing(us, tiny)


def test_killed_anywhere_the_next_sync_goes_on_and_nothing_exists_twice(
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
    """Law 6: what a list lacks by mistake is read by id; and most of what there is waits until somebody allows it."""
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
