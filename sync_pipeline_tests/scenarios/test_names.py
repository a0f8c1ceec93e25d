"""A mapping that reads names continues working when an entry is read by an answer without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline_tests.harness import Json, Team, morning, team
from sync_pipeline_tests.scenarios.mappings import write_mapping

NAMES = """
entity: time_entries
fields:
  user_name: {source: userName, required: true}
  project_name: {source: projectName}
  client_name: {source: clientName}
  task_name: {source: taskName}
  rate: {source: rate, type: int}
  cost_rate: {source: costRate, type: int}
  currency: {source: currency}
"""
NAMED = ("user_name", "project_name", "client_name", "task_name")


def named_entry(us: Team, **fields: Any) -> Json:
    """An entry that refers to one of everything."""
    project = next(project for project in us.projects() if project["clientId"] and not project["archived"])
    task = us.clockify("POST", f"/projects/{project['id']}/tasks", {"name": "Survey"})["id"]
    return us.add_entry(us.users()[0]["id"], morning(2), projectId=project["id"], taskId=task, billable=True, **fields)


def read_by_id(us: Team, *ids: str) -> int:
    """Sync these entries by id in a session of its own; returns the requests to Clockify for it."""
    with us.session() as session:
        before = session.clockify.requests.total()
        answer = sync_ids(session, session.specs["time_entries"], ids, run_id="by id")
        assert answer.left == {}
        return session.clockify.requests.total() - before


def test_an_event_leaves_the_names_of_an_entry_as_they_were(tmp_path: Path) -> None:
    """Its read by id gives no user, and costs one request as before; the next sync finds nothing to change."""
    with team(tmp_path) as us:
        write_mapping(us, "time_entries.yaml", NAMES)
        made = named_entry(us, description="old")
        us.sync()
        before = us.at_snapshots("time_entries")[made["id"]]
        assert all(before[name] for name in (*NAMED, "rate", "cost_rate", "currency"))
        us.change_entry(made, description="new")

        assert read_by_id(us, made["id"]) == 1
        after = us.at_snapshots("time_entries")[made["id"]]
        assert after | {"updated_at": ""} == before | {"description": "new", "updated_at": ""}
        assert us.sync()["time_entries"].updated == 0
        assert us.verify()["time_entries"].different == 0


def test_a_new_entry_gets_the_names_of_what_it_refers_to(tmp_path: Path) -> None:
    """Nothing was ever read of it: its user and project were, by their own lists."""
    with team(tmp_path, entries=0) as us:
        write_mapping(us, "time_entries.yaml", NAMES)
        us.sync()
        made = named_entry(us)
        assert read_by_id(us, made["id"]) == 1
        found = us.at_snapshots("time_entries")[made["id"]]
        assert all(found[name] for name in NAMED)
        assert us.sync()["time_entries"].updated == 0


def test_names_are_those_read_last(tmp_path: Path) -> None:
    """Renamed since: once its own list was read, the next read by id has the new name."""
    with team(tmp_path) as us:
        write_mapping(us, "time_entries.yaml", NAMES)
        made = named_entry(us)
        us.sync()
        us.control("POST", "users", {"id": made["userId"], "name": "Renamed Since"})
        us.sync("users")
        us.change_entry(made, description="touched")
        read_by_id(us, made["id"])
        assert us.at_snapshots("time_entries")[made["id"]]["user_name"] == "Renamed Since"


def test_new_fields_of_an_entry_change_nothing_that_is_not_mapped(tmp_path: Path) -> None:
    """A rate that changes is no change of an entry whose mapping does not read it."""
    with team(tmp_path) as us:
        us.sync()
        made = named_entry(us)
        us.sync()
        us.clockify("PUT", f"/users/{made['userId']}/cost-rate", {"amount": 12345})
        us.change_entry(made)
        us.forget_stats()
        us.sync()
        read_by_id(us, made["id"])
        assert us.writes() == {}
