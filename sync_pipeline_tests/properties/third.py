"""A third vendor next to both systems: Clockify's tags go there, its notes to the Snapshots API; and what people do in all three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from sync_pipeline.stages.batch import Options
from sync_pipeline_tests.harness import Json, Team, tables, team
from sync_pipeline_tests.properties.drawing import drawn
from sync_pipeline_tests.properties.invariants import adds_up
from sync_pipeline_tests.properties.saved import Database, SavedFile
from sync_pipeline_tests.properties.tiny import Tiny, serving
from sync_pipeline_tests.scenarios.mappings import write_mapping

Action = tuple[str, int, str]
Actions = tuple[list[Action], list[Action]]

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
ACTIONS = st.lists(
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
    """The team's two systems, and the third vendor next to them."""
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


def live(us: Team, tiny: Tiny, actions: list[tuple[str, int, str]]) -> None:
    """What people do, in all three systems."""
    for action, number, name in actions:
        there, notes, things = tags(us), list(tiny.records.get("notes", {})), list(tiny.records.get("things", {}))
        if action == "add tag" and all(tag["name"] != name for tag in there):
            us.clockify("POST", "/tags", {"name": name})
        elif action == "rename tag" and there and all(tag["name"] != name for tag in there):
            us.clockify("PUT", f"/tags/{there[number % len(there)]['id']}", {"name": name})
        elif action == "delete tag" and there:
            us.clockify("DELETE", f"/tags/{there[number % len(there)]['id']}")
        elif action == "write note":
            tiny.put("notes", text=name)
        elif action == "edit note" and notes:
            tiny.put("notes", notes[number % len(notes)], text=name)
        elif action == "delete note" and notes:
            tiny.delete("notes", notes[number % len(notes)])
        elif action == "meddle" and things:
            tiny.put("things", things[number % len(things)], note=name)  # a field that is not mapped
        elif action == "list":
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
    """Law 2: a second sync sends no write and leaves records and deliveries unchanged."""
    us.forget_stats()
    tiny.writes.clear()
    with us.session() as session:
        before = tables(session, "records", "deliveries", "rejects")
        for entity in session.specs:
            adds_up(us.sync_one(session, entity))
        assert tables(session, "records", "deliveries", "rejects") == before
    assert (us.writes(), tiny.writes) == ({}, [])


def notes_of_people(tiny: Tiny) -> dict[str, Any]:
    """What is at the things that no one maps."""
    return {key: thing.get("note") for key, thing in tiny.records.get("things", {}).items()}


def drawn_actions(number: int) -> Actions:
    """What people do before a first and a second sync, for a seed."""
    return drawn(st.tuples(ACTIONS, ACTIONS), number)


def agrees(root: Path, actions: Actions, database: Database = SavedFile) -> None:
    """Laws 1, 2, 4 and 5 hold after each part, however far the list lags behind when it is read first."""
    with three(root) as (us, tiny):
        database(us)
        for some in actions:
            live(us, tiny, some)
            before = notes_of_people(tiny)
            for counts in us.sync(options=ALLOWED).values():  # the list may lag: what it shows late comes with the next
                adds_up(counts)
            tiny.settle()
            us.sync(options=ALLOWED)
            converged(us, tiny)
            assert {key: note for key, note in notes_of_people(tiny).items() if key in before}.items() <= before.items()
            changes_nothing(us, tiny)
