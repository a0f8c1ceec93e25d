"""What was deleted at the source and comes back is the same record again: its row, its link, its place at the target."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.store.records import Known
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged

Sync = Callable[[Team, str, str], Any]


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team that is in step."""
    with team(tmp_path) as opened:
        opened.sync()
        yield opened


def in_full(us: Team, entity: str, _source_id: str) -> None:
    """The whole entity is read."""
    us.sync(entity, options=Options(allow_deletes=True))


def by_id(us: Team, entity: str, source_id: str) -> None:
    """The record alone is read, as after an event."""
    with us.session() as session:
        sync_ids(session, session.specs[entity], [source_id], run_id="targeted")


def known(us: Team, entity: str, source_id: str) -> Known:
    """The record's row."""
    with us.session() as session:
        return session.ledger(entity).lookup([source_id])[source_id]


@contextmanager
def as_it_was(db: sqlite3.Connection, source_id: str) -> Iterator[None]:
    """Deleted within the block, there again after it: Clockify offers no way back for all of its records."""
    kept = {
        table: db.execute(f"SELECT * FROM {table} WHERE {key} = ?", (source_id,)).fetchall()
        for table, key in (("projects", "id"), ("users", "id"), ("roles", "user_id"))
    }
    yield
    for table, found in kept.items():
        db.execute(f"DELETE FROM {table} WHERE {'user_id' if table == 'roles' else 'id'} = ?", (source_id,))
        db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(found[0]))})", found) if found else None
    db.execute("DELETE FROM deleted WHERE id = ?", (source_id,))


def unused_project(us: Team) -> str:
    """A project no one has worked on."""
    made = us.clockify("POST", "/projects", {"name": "Comes back"})
    us.sync("projects")
    return str(made["id"])


def idle_user(us: Team) -> str:
    """Someone who has never worked."""
    us.clockify("POST", "/users", {"email": "back@polaris.example"})
    us.sync("users")
    return str(next(user["id"] for user in us.users() if user["email"] == "back@polaris.example"))


@pytest.mark.parametrize("sync", [in_full, by_id])
@pytest.mark.parametrize("entity", ["projects", "users"])
def test_a_record_that_comes_back_is_linked_as_before(us: Team, entity: str, sync: Sync) -> None:
    """Missing at the target while it is deleted, there under its old id afterwards; one row all the time."""
    source_id = unused_project(us) if entity == "projects" else idle_user(us)
    before = known(us, entity, source_id)
    with as_it_was(us.sandbox.world.db, source_id):
        if entity == "projects":
            us.delete_project(source_id)
        else:
            us.control("POST", "users", {"id": source_id, "remove": True})
        sync(us, entity, source_id)
        assert source_id not in us.at_snapshots(entity)
        assert known(us, entity, source_id).deleted_at is not None

    sync(us, entity, source_id)

    after = known(us, entity, source_id)
    assert (after.target_id, after.deleted_at) == (before.target_id, None)
    assert source_id in us.at_snapshots(entity)
    converged(us)
    changes_nothing(us)


@pytest.mark.parametrize("sync", [in_full, by_id])
def test_an_entry_whose_deletion_is_undone_is_linked_as_before(us: Team, sync: Sync) -> None:
    """The same for an entry, which Clockify itself brings back."""
    source_id = str(next(entry["id"] for entry in us.entries() if entry["timeInterval"]["end"]))
    before = known(us, "time_entries", source_id)
    us.clockify("DELETE", f"/time-entries/{source_id}")
    sync(us, "time_entries", source_id)
    assert source_id not in us.at_snapshots("time_entries")

    us.control("POST", "time_entries/restore", {"ids": [source_id]})
    sync(us, "time_entries", source_id)

    after = known(us, "time_entries", source_id)
    assert (after.target_id, after.deleted_at, after.partition) == (before.target_id, None, before.partition)
    assert source_id in us.at_snapshots("time_entries")
    converged(us)
    changes_nothing(us)
