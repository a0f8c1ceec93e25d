"""What reports are made of is the source itself, whatever the mapping delivers of it and whatever becomes of a record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, null, select, update

from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.store.schema import FACTS, records
from sync_pipeline_tests.harness import Team, day, instant, morning, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged, facts_are_right, facts_in
from sync_pipeline_tests.scenarios.mappings import write_mapping

SHORT_NAMES = "fields: {project_name: {source: name, max_length: 60}}"


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team with a few entries."""
    with team(tmp_path) as made:
        yield made


def test_facts_are_those_of_the_source_whatever_becomes_of_a_record(us: Team) -> None:
    """Of delivered, rejected and waiting entries; none of excluded and deleted ones; all of users and projects."""
    write_mapping(us, "projects.yaml", SHORT_NAMES)
    user, rejected_project = us.users()[0]["id"], us.clockify("POST", "/projects", {"name": "far too long " * 8})["id"]
    delivered, deleted, excluded = (us.add_entry(user, morning(days), billable=True) for days in (2, 3, 4))
    rejected = us.add_entry(user, morning(5), 0)
    waiting = us.add_entry(user, morning(6), projectId=rejected_project)
    done = us.sync()["time_entries"]
    assert (done.rejected, done.waiting) == (1, 1)
    assert {each["id"] for each in (delivered, deleted, excluded, rejected, waiting)} <= entry_facts(us)

    us.clockify("DELETE", f"/time-entries/{deleted['id']}")
    us.change_entry(excluded, end=None)
    us.change_entry(delivered, end=instant(morning(2) + timedelta(minutes=7)))
    us.sync()

    there = entry_facts(us)
    assert {delivered["id"], rejected["id"], waiting["id"]} <= there
    assert not {deleted["id"], excluded["id"]} & there
    with us.session() as session:
        facts_are_right(us, session)
        assert facts_in(session, "entry_facts")[delivered["id"]]["seconds"] == 420
        assert {facts["amount"] for facts in facts_in(session, "entry_facts").values()} > {None}
        assert facts_in(session, "person_facts") == {one["id"]: {"name": one["name"]} for one in us.users()}
        assert facts_in(session, "project_facts")[rejected_project]["name"] == "far too long " * 8
    changes_nothing(us)


def test_facts_of_projects_have_budget_and_estimate(us: Team) -> None:
    """In hundredths and seconds; what is not set is null, not 0."""
    client = us.clockify("POST", "/clients", {"name": "Ours alone"})["id"]
    bare, full = (
        us.clockify("POST", "/projects", {"name": name, "clientId": owner})["id"]
        for name, owner in (("Bare", None), ("Full", client))
    )
    for wanted in (
        {"timeEstimate": {"estimate": "PT10H30M", "type": "MANUAL", "active": True}},
        {"budgetEstimate": {"estimate": 250_000, "type": "MANUAL", "active": True}},
    ):
        us.clockify("PATCH", f"/projects/{full}/estimate", wanted)
    (project,) = [each for each in us.projects() if each["id"] == full]
    us.sync("projects")
    with us.session() as session:
        found = facts_in(session, "project_facts")
    nothing = dict.fromkeys(("client_id", "client_name", "budget", "estimate_seconds"))
    assert found[bare] == {"name": "Bare", **nothing}
    assert found[full]["client_id"] == client
    assert found[full]["client_name"] == "Ours alone"
    assert found[full]["budget"] == project["budgetEstimate"]["estimate"] == 250_000
    assert project["timeEstimate"]["estimate"] == "PT10H30M"
    assert found[full]["estimate_seconds"] == 37_800


def test_a_rejected_entry_that_is_deleted_leaves_no_facts(us: Team) -> None:
    """Nothing is stored of it whose absence could be proven: a read by id decides, or one of its day; no other."""
    user = us.users()[0]["id"]
    heard, read = (us.add_entry(user, morning(days), 0)["id"] for days in (2, 3))
    us.sync()
    for entry in (heard, read):
        us.clockify("DELETE", f"/time-entries/{entry}")
    with us.session() as session:
        sync_ids(session, session.specs["time_entries"], [heard], run_id="run")
    assert entry_facts(us) & {heard, read} == {read}
    us.sync("time_entries", days=Days(day(9), day(5)))
    assert entry_facts(us) & {heard, read} == {read}
    us.sync("time_entries")
    assert entry_facts(us) & {heard, read} == set()
    converged(us)


def test_an_install_without_facts_has_them_after_the_next_sync(us: Team) -> None:
    """As after an upgrade: every record is read in full once, and nothing is written to the targets."""
    us.sync()
    with us.session() as session, session.store.writing() as tx:
        before = labels(session)
        tx.execute(update(records).values(source_hash=null(), decided_by=null(), label=null()))
        for table in FACTS.values():
            tx.execute(delete(table))
    us.forget_stats()
    us.sync()
    assert us.writes() == {}
    with us.session() as session:
        facts_are_right(us, session)
        assert labels(session) == before
        assert len(facts_in(session, "project_facts")) == len(us.projects())


def test_other_columns_are_filled_by_the_next_sync_and_the_fingerprint_stays(us: Team) -> None:
    """Facts are the user's to map, too; what no column is filled from any more is null."""
    us.sync()
    with us.session() as session:
        before = session.specs["time_entries"].fingerprint
    own = "facts: {table: entry_facts, columns: {user_id: userId, currency: type}}\nlabel: {source: userName}"
    write_mapping(us, "time_entries.yaml", own)
    us.forget_stats()
    us.sync("time_entries")
    assert us.writes() == {}
    with us.session() as session:
        assert session.specs["time_entries"].fingerprint == before
        found = facts_in(session, "entry_facts").values()
        assert {facts["currency"] for facts in found} >= {"REGULAR"}
        assert {(facts["seconds"], facts["start_time"], facts["tags"]) for facts in found} == {(None, None, None)}
        names = {one["name"] for one in us.users()}
        assert set(labels(session)["time_entries"].values()) <= names
    us.sync()
    changes_nothing(us)


def test_labels_name_records_and_personal_ones_only_if_they_may(us: Team) -> None:
    """Without personal labels those of users and entries are emptied when they are next read; nothing is sent."""
    us.add_entry(us.users()[0]["id"], morning(2), description=" Kick-off  meeting ")
    us.sync()
    with us.session() as session:
        found = labels(session)
    assert found["users"] == {one["id"]: one["name"] for one in us.users()}
    assert found["projects"] == {one["id"]: one["name"] for one in us.projects()}
    assert set(found["locations"].values()) == {
        row["location_name"].strip() for row in us.at_snapshots("locations").values()
    }
    assert "Kick-off  meeting" in found["time_entries"].values()
    us.forget_stats()
    us.changes["SYNC_PERSONAL_LABELS"] = "false"
    us.sync()
    assert us.writes() == {}
    with us.session() as session:
        without = labels(session)
    assert set(without["users"].values()) == set(without["time_entries"].values()) == {None}
    assert (without["projects"], without["locations"]) == (found["projects"], found["locations"])
    changes_nothing(us)


def entry_facts(us: Team) -> set[str]:
    """The ids of the entries that have facts."""
    with us.session() as session:
        return set(facts_in(session, "entry_facts"))


def labels(session: Session) -> dict[str, dict[str, str | None]]:
    """The label of each live record, by entity and id."""
    found: dict[str, dict[str, str | None]] = {entity: {} for entity in session.specs}
    live = [records.c.deleted_at.is_(None), records.c.excluded_rule.is_(None)]
    with session.store.reading() as tx:
        for entity, key, label in tx.execute(
            select(records.c.entity, records.c.source_id, records.c.label).where(*live)
        ):
            found[entity][key] = label
    return found
