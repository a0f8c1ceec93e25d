"""What a run asks the store for grows with what it looks at, page by page, and not with all that is stored."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, event

from sync_pipeline.stages.polling import targets_changed
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.harness import Team, morning, team
from sync_pipeline_tests.highlevel import highlevel_team
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.stages.clients import own
from sync_pipeline_tests.stages.planning import apply_plan, keep_lines, lines_in, write_plan
from sync_pipeline_tests.stages.test_assigned import recreate
from sync_pipeline_tests.stages.test_target_changes import edit, event_body, ours

LINKS = "SELECT records.target_id, records.source_id"
LOOK_UP = "SELECT records.source_id, records.target_id"
MISSING = "SELECT staged_missing.source_id"


@contextmanager
def reading(*words: str) -> Iterator[list[int]]:
    """How many rows each statement that begins with one of these words has found in a store."""
    found: list[int] = []

    def look(_: object, cursor: sqlite3.Cursor, statement: str, parameters: tuple[str, ...], *more: object) -> None:
        del more
        if statement.startswith(words):
            found.append(len(cursor.connection.cursor().execute(statement, parameters).fetchall()))

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", look)


def test_a_changed_record_asks_for_its_own_link_only(tmp_path: Path) -> None:
    """However many others are linked at a target whose names are not unique; where nothing is to be written, for none."""
    with highlevel_team(tmp_path, entries=30) as us:
        us.sync()
        (entry, *_) = us.entries()
        us.change_entry(entry, description="Other words")
        with us.session() as session, reading(LINKS) as links:
            session.ledger("time_entries").links([entry["id"]])
        assert len(links) == 1  # such a statement is noticed
        with reading(LINKS) as links:
            us.sync("time_entries")
        assert sum(links) <= 1
        with reading(LINKS) as links:
            us.sync("time_entries")
        assert links == []
        converged(us)


def test_an_event_asks_for_the_link_of_its_record_only(us: Team, on: Live) -> None:
    """However many others of the target are linked."""
    assert len(own(us)) > 2
    client = ours(us)
    on.event("CLIENT_UPDATED", "locations", event_body(edit(us, client, address="Someone's idea")))
    with reading(LINKS, LOOK_UP) as found:
        assert on.tick("locations").jobs
    assert found[0] == 1  # that of the sensor
    converged(us)


def test_a_poll_holds_one_page_of_the_target_at_a_time(tmp_path: Path) -> None:
    """When it has read the whole list it has kept nothing of that, however long it was."""
    held: list[int] = []

    def look(_: object, _cursor: object, statement: str, *more: object) -> None:
        del more
        if statement.startswith(LOOK_UP) and "ORDER BY records.source_id" in statement:
            held.append(tracemalloc.get_traced_memory()[0])

    with (
        team(tmp_path, locations=0, clients=1500, entries=0) as us,
        us.session(SYNC_CLOCKIFY_PAGE_SIZE="100") as session,
    ):
        any(targets_changed(session, session.specs["locations"]))  # what is loaded and cached once
        event.listen(session.store.engine, "before_cursor_execute", look)
        tracemalloc.start()
        try:
            assert not any(targets_changed(session, session.specs["locations"]))
        finally:
            tracemalloc.stop()
    assert held
    assert max(held) < 1_000_000


def planned(us: Team, some: range) -> int:
    """How many look-ups it takes to plan that so many locations get the clients of deleted ones."""
    for nr in some:
        us.put_location(f"old-{nr}", location_name=f"Oak {nr}")
    us.sync("locations")
    for nr in some:
        recreate(us, f"old-{nr}", f"new-{nr}", f"Oak {nr}")
    with reading(LOOK_UP, MISSING) as found:
        path = write_plan(us, "locations")
    assert found
    assert {line["action"] for line in lines_in(path)} == {"adopt"}
    us.sync("locations")
    assert own(us).keys() >= {f"new-{nr}" for nr in some}
    return len(found)


def test_former_owners_of_clients_are_looked_up_together(tmp_path: Path) -> None:
    """A plan takes as many statements for six handed-over clients as for two."""
    with team(tmp_path, locations=40, clients=0, entries=0) as us:
        assert planned(us, range(2)) == planned(us, range(2, 8))


def test_what_lines_wait_for_is_looked_up_together(tmp_path: Path) -> None:
    """An apply takes as many statements for six entries that wait for six projects as for two."""
    with team(tmp_path, entries=0, projects=6, users=1) as us:
        user, projects = us.users()[0]["id"], [project["id"] for project in us.projects()]
        us.sync("users")
        entries = [us.add_entry(user, morning(2), projectId=project)["id"] for project in projects]
        counted = []
        for some in (entries[:2], entries):
            path = write_plan(us, "time_entries")
            keep_lines(path, *some)
            with reading(LOOK_UP) as found:
                left = apply_plan(us, path).left
            assert {one.reason for one in left} >= {
                f"it waits for projects {project}" for project in projects[: len(some)]
            }
            counted.append(len(found))
        assert counted[0] == counted[1] > 0
