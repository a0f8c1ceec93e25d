"""Someone is forgotten while runs are under way: neither waits for the other permanently, and nothing comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync_pipeline.hosting.forget import find_person, forget
from sync_pipeline.setup.automations import switch_off, switch_on
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.store.ledger import Ledger
from sync_pipeline_tests.harness import Json, Team, morning, team
from sync_pipeline_tests.scenarios.dagster_runs import enter, instance_of
from sync_pipeline_tests.scenarios.mappings import write_mapping
from sync_pipeline_tests.scenarios.test_forget import a_person

FEW = {"users": 4, "projects": 2, "clients": 1, "locations": 1, "entries": 0}
WORDS = "Inspected the Quillfeather residence"


@pytest.fixture
def us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """A team whose entries are read with one report."""
    with team(tmp_path, **FEW) as made:
        made.changes["CLOCKIFY_READER"] = "report"
        enter(made, monkeypatch)
        yield made


def _leaver(us: Team) -> tuple[str, Json]:
    """Someone who is removed from the workspace, and an entry of theirs that stays."""
    person = a_person(us)["id"]
    entry = us.add_entry(person, morning(2), description=WORDS)
    us.sync()
    us.control("POST", "users", {"id": person, "remove": True})
    return person, entry


def _forget(us: Team, person: str) -> None:
    with us.session() as session, instance_of(us) as instance:
        forget(session, instance, find_person(session, person))


def test_locks_are_taken_in_the_order_of_loads(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load takes the locks of what its records refer to after its own: in another order both would wait forever."""
    taken: list[str] = []
    lock = Ledger.lock

    @contextmanager
    def noted(ledger: Ledger) -> Iterator[None]:
        taken.append(ledger.entity)
        with lock(ledger):
            yield

    person, _ = _leaver(us)
    monkeypatch.setattr(Ledger, "lock", noted)
    _forget(us, person)
    with us.session() as session:
        assert set(taken) == set(session.specs)
        for spec in session.specs.values():
            assert all(taken.index(spec.entity) < taken.index(other) for other in spec.references.values())


def test_a_run_that_began_before_brings_nothing_back(us: Team) -> None:
    """Its session was opened before the person was forgotten; what it reads afterwards is as if it had been opened then."""
    person, entry = _leaver(us)
    with us.session() as session:
        _forget(us, person)
        us.sync_one(session, "time_entries")
        sync_ids(session, session.specs["time_entries"], [entry["id"]], run_id="by id")
    assert us.at_snapshots("time_entries")[entry["id"]]["description"] is None


def test_what_an_automation_knows_of_them_is_forgotten_too(us: Team) -> None:
    """Also when it is switched off by now; the tag that it made is a person's to delete."""
    write_mapping(
        us,
        "tags_of_users.yaml",
        'source: {system: clockify, list: "/workspaces/{workspace}/users", id: id}\n'
        "target: {system: clockify, operation: tags.create, once: true}\n"
        "fields: {name: {source: name, required: true, personal: true}}\n",
    )
    setup, name = SetupService("a person", us.home, us.environ), "tags_of_users"
    switch_on(setup, name, backfill=True)
    assert us.sync(name)[name].created == 4
    person, _ = _leaver(us)
    switch_off(setup, name)
    _forget(us, person)
    with us.session() as session:
        ledger = session.ledger(name)
        assert ledger.lookup([person])[person].fields == "{}"
        assert ledger.attempts(person) == []
