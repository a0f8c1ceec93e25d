"""Whole stories: rebuilt targets, other accounts, a fifth entity, changed mappings, both readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from operator import itemgetter
from pathlib import Path

import pytest
from sqlalchemy import select

from sync_pipeline.clock import utc_now
from sync_pipeline.defs.resources import sandbox_for
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.store.schema import FACTS, records
from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.registration import Registrar, Wishes
from sync_pipeline.webhooks.server import running
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, day, morning, rows, tables, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged, facts_in
from sync_pipeline_tests.scenarios.commands import wait_until
from sync_pipeline_tests.scenarios.mappings import write_mapping

pytestmark = pytest.mark.clock

TAGS = """
entity: tags
description: Labels of time entries.
source:
  system: clockify
  list: "/workspaces/{workspace}/tags"
  item: "/workspaces/{workspace}/tags/{id}"
  id: id
target: {system: snapshots, id: tag_id, delete: delete}
fields:
  tag_id: {source: id, type: id, required: true}
  label: {source: name, transform: upper, max_length: 100}
  archived: {source: archived, type: bool}
webhooks:
  subscribe: {TAG_UPDATED: 45, NEW_TAG: 46, TAG_DELETED: 47}
"""


def test_a_target_that_was_reset_behind_our_back_is_restored_by_a_repair(tmp_path: Path) -> None:
    """`verify` reports every record as missing, the repair delivers them, and a sync then has nothing to do."""
    with team(tmp_path) as us:
        us.sync()
        for entity in ("users", "projects", "time_entries"):
            for key in us.at_snapshots(entity):
                us.snapshots("DELETE", f"/{entity}/{key}")
        us.forget_stats()
        assert all(done.created == 0 for done in us.sync().values())  # a sync alone believes what was acknowledged
        lost = us.verify()
        assert lost["time_entries"].missing == lost["time_entries"].source > 0
        assert us.verify(repair=True)["users"].in_sync
        converged(us)
        changes_nothing(us)


def test_records_edited_at_the_target_are_drift_by_field_and_repaired(tmp_path: Path) -> None:
    """Each difference names record, field and both values; foreign rows are counted apart and left alone."""
    with team(tmp_path) as us:
        us.sync()
        project = us.projects()[0]
        us.snapshots("PUT", f"/projects/{project['id']}", {"project_name": "Changed by hand"})
        us.snapshots("PUT", "/projects/theirs", {"project_name": "Not ours"})
        verdict = us.verify("projects")["projects"]
        (difference,) = verdict.differences
        assert (difference.record, difference.field) == (project["id"], "project_name")
        assert (difference.source, difference.target) == (project["name"], "Changed by hand")
        assert (verdict.foreign, verdict.different, verdict.extra) == (1, 1, 0)
        repaired = us.verify("projects", repair=True)["projects"]
        assert (repaired.in_sync, repaired.repaired) == (True, 1)
        assert us.at_snapshots("projects")["theirs"]["project_name"] == "Not ours"


def test_the_sandbox_first_and_other_accounts_on_the_same_database_afterwards(tmp_path: Path) -> None:
    """Everything is delivered to the new accounts, nothing is deleted anywhere, and each connection is in step."""
    with team(tmp_path / "sandbox") as us, team(tmp_path / "real", seed=8) as others:
        shared = f"sqlite:///{tmp_path / 'shared.db'}"
        us.changes["SYNC_DATABASE_URL"] = others.changes["SYNC_DATABASE_URL"] = shared
        us.sync()
        done = others.sync()
        assert all(figures.created == figures.extracted - figures.excluded for figures in done.values())
        assert all(figures.deleted == figures.unconfirmed == figures.unchanged == 0 for figures in done.values())
        for side in (us, others):
            converged(side)
            changes_nothing(side)


def test_two_accounts_behind_one_url_share_nothing(tmp_path: Path) -> None:
    """Named apart, each has its own state: what is at one is not taken for delivered at the other."""
    with team(tmp_path, entries=0) as us:
        us.changes["SNAPSHOTS_ACCOUNT"] = "north"
        us.sync("users")
        for key in us.at_snapshots("users"):
            us.snapshots("DELETE", f"/users/{key}")  # the other account is empty
        us.changes["SNAPSHOTS_ACCOUNT"] = "south"
        assert us.sync("users")["users"].created == len(us.users())
        us.changes["SNAPSHOTS_ACCOUNT"] = "north"
        assert us.sync("users")["users"].unchanged == len(us.users())


@pytest.mark.parametrize("days_ago", [(12, -2), (5, 3)], ids=["all", "three days"])
def test_both_readers_of_time_entries_yield_identical_records(tmp_path: Path, days_ago: tuple[int, int]) -> None:
    """The report and the per-user lists lead to the same staged records, byte for byte, whatever the time zones."""
    span = Days(*map(day, days_ago))
    with team(tmp_path, entries=150, users=6) as us:
        for hour in (0, 23):  # at the edges of UTC days, for people in all sorts of zones
            for user in us.users():
                us.add_entry(user["id"], morning(4, hour), 0.5, description=f"edge {hour}")
        validated = {}
        for reader in ("report", "users"):
            with us.session(CLOCKIFY_READER=reader) as session:
                us.sync_one(session, "users")
                us.sync_one(session, "projects")
                batch = us.validated(session, "time_entries", span)
                staging = session.stagings["time_entries", batch.read_no]
                validated[reader] = sorted((row for rows in staging.rows() for row in rows), key=itemgetter(0))
        assert validated["report"] == validated["users"]
        assert len(validated["report"]) > 10


def test_a_fifth_entity_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One YAML in SYNC_MAPPINGS_DIR: created, updated, deleted, verified and received as events like the four.

    The embedded sandbox accepts its records without further settings.
    """
    with team(tmp_path, entries=0) as us, embedded_there(us, tmp_path, "tags", TAGS):
        us.sync()
        tags = us.clockify("GET", "/tags", **{"page-size": 1000})
        assert {key: row["label"] for key, row in us.at_snapshots("tags").items()} == {
            tag["id"]: tag["name"].upper() for tag in tags
        }
        us.clockify("DELETE", f"/tags/{tags[0]['id']}")
        us.clockify("PUT", f"/tags/{tags[1]['id']}", {"name": "renamed"})
        done = us.sync("tags")["tags"]
        assert (done.deleted, done.updated) == (1, 1)
        assert us.at_snapshots("tags")[tags[1]["id"]]["label"] == "RENAMED"
        with us.session() as session, session.store.reading() as tx:  # it names neither label nor facts
            assert set(tx.scalars(select(records.c.label).where(records.c.entity == "tags"))) == {None}
            assert not any(facts_in(session, name).keys() & {tag["id"] for tag in tags} for name in FACTS)
        assert us.verify("tags")["tags"].in_sync
        with hearing(us, tmp_path, "tags", monkeypatch) as on:
            us.clockify("PUT", f"/tags/{tags[2]['id']}", {"name": "heard of"})
            us.clockify("DELETE", f"/tags/{tags[3]['id']}")
            wait_until(lambda: us.control("GET", "webhooks")["queued"] == 0)
            assert on.inbox("tags").open == 2
            assert on.tick("tags").jobs == ["changes_tags"]
            assert on.inbox("tags").open == 0
        assert us.at_snapshots("tags")[tags[2]["id"]]["label"] == "HEARD OF"
        assert tags[3]["id"] not in us.at_snapshots("tags")
        assert us.verify("tags")["tags"].in_sync


@contextmanager
def embedded_there(us: Team, root: Path, entity: str, mapping: str) -> Iterator[None]:
    """The team has one mapping file and no credentials: its sandbox is the embedded one, as for each command."""
    ours = ("CLOCKIFY_API_KEY", "CLOCKIFY_WORKSPACE_ID", "CLOCKIFY_BASE_URL", "CLOCKIFY_REPORTS_URL")
    theirs = ("SNAPSHOTS_BASE_URL", "SNAPSHOTS_API_KEY")
    us.changes.update(dict.fromkeys((*ours, *theirs), ""))
    us.changes.update(SYNC_HOME=str(root), SYNC_SANDBOX_PORT=us.sandbox.url.rpartition(":")[2])
    write_mapping(us, f"{entity}.yaml", mapping)
    assert us.settings().sandbox
    with sandbox_for(us.settings()):
        yield


@contextmanager
def hearing(us: Team, root: Path, entity: str, patch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its sensors, and a receiver that every webhook of its entities reaches."""
    with live(us, root / "live", patch, SYNC_MODE="") as on, us.session() as session:
        on.cursors[entity] = on.cursors["users"]  # changes are received, not looked for
        hooks = open_hooks(session)
        with running(hooks, ReceiverOptions(workspace=us.sandbox.workspace)) as receiver:
            Registrar.of(session, hooks, receiver.url).register(Wishes())
            yield on


def test_a_mapping_change_that_would_rewrite_most_of_the_target_is_held(tmp_path: Path) -> None:
    """Until someone accepts it; then every record is rewritten once. A new record is loaded meanwhile."""
    with team(tmp_path) as us:
        us.sync()
        write_mapping(
            us, "time_entries.yaml", "entity: time_entries\nfields:\n  origin: {constant: clockify, type: text}\n"
        )
        before = us.at_snapshots("time_entries")
        late = us.add_entry(us.users()[0]["id"], morning(2))["id"]
        for _ in range(2):  # what was held once is not let through by the next run
            done = us.sync("time_entries")["time_entries"]
            assert (done.held, done.updated) == (len(before), 0)
            assert us.held("time_entries") == {"rewrite": sorted(before)}
        now = us.at_snapshots("time_entries")
        assert now == {**before, late: now[late]}
        assert now[late]["origin"] == "clockify"
        done = us.sync("time_entries", options=Options(accept_rewrite=True))["time_entries"]
        assert done.updated == len(before)
        assert {row["origin"] for row in us.at_snapshots("time_entries").values()} == {"clockify"}
        assert us.sync("time_entries")["time_entries"].updated == 0


def test_a_day_without_records_does_not_let_a_new_mapping_through(tmp_path: Path) -> None:
    """What was loaded under the old mapping still needs an approval, whatever else was loaded under the new one."""
    with team(tmp_path) as us:
        us.sync()
        write_mapping(
            us, "time_entries.yaml", "entity: time_entries\nfields:\n  origin: {constant: clockify, type: text}\n"
        )
        empty = Days(day(-5), day(-6))
        assert us.sync("time_entries", days=empty)["time_entries"].extracted == 0
        before = us.at_snapshots("time_entries")
        assert us.sync("time_entries")["time_entries"].held == len(before)
        assert us.at_snapshots("time_entries") == before


def test_a_field_dropped_from_the_mapping_is_left_unchanged(tmp_path: Path) -> None:
    """It is neither cleared at the target nor reported as drift."""
    with team(tmp_path, entries=0) as us:
        us.sync()
        before = us.at_snapshots("projects")
        write_mapping(us, "projects.yaml", "entity: projects\nfields:\n  color: drop\n")
        us.sync("projects", options=Options(accept_rewrite=True))
        assert {key: row["color"] for key, row in us.at_snapshots("projects").items()} == {
            key: row["color"] for key, row in before.items()
        }
        us.snapshots("PUT", f"/projects/{next(iter(before))}", {"color": "#000000"})
        assert us.verify("projects")["projects"].in_sync


def test_an_older_batch_never_replaces_a_newer_one(tmp_path: Path) -> None:
    """Two overlapping syncs, the older read loaded last: it is covered by the newer one, whose values stay."""
    with team(tmp_path) as us:
        us.sync()
        project = us.projects()[0]["id"]
        with us.session() as session:
            us.clockify("PUT", f"/projects/{project}", {"name": "Older", "archived": False})
            older = us.validated(session, "projects")
            us.clockify("PUT", f"/projects/{project}", {"name": "Newer", "archived": False})
            us.sync_one(session, "projects")
            before = tables(session, "records", "deliveries", "loads")
            loaded = us.load(session, "projects", older)
            assert (list(loaded.covered), loaded.days, loaded.not_done) == ([""], (), {})
            assert loaded.counts.extracted == 0
            assert tables(session, "records", "deliveries", "loads") == before
        assert us.at_snapshots("projects")[project]["project_name"] == "Newer"


def test_a_record_the_target_refuses_waits_for_a_change_or_a_retry(tmp_path: Path) -> None:
    """It is rejected with the target's words, not sent again and again, and no drift; corrected, it is delivered."""
    with team(tmp_path, entries=0) as us:
        project = us.projects()[0]["id"]
        refusal = {"results": [{"id": project, "status": "refused", "error": {"code": "too_long", "detail": "no"}}]}
        us.fault("status", "POST /snapshots/projects/batch", status=200, body=refusal, count=1)
        _only(us, project)
        assert us.sync("projects")["projects"].rejected == 1
        us.no_faults()
        _only(us, project)
        us.forget_stats()
        done = us.sync("projects")["projects"]
        assert (done.rejected, us.writes()) == (1, {})
        verdict = us.verify("projects")["projects"]
        assert (verdict.rejected, verdict.missing) == (1, 0)
        with us.session() as session:
            assert len(rows(session, "rejects")) == 1
            session.ledger("projects").clear_refused()
            assert rows(session, "rejects") == []
            assert us.sync_one(session, "projects").created == 1


def _only(us: Team, project: str) -> None:
    """Clockify lists this one project and no other."""
    listed = [row for row in us.projects() if row["id"] == project]
    us.fault("status", "GET /clockify/*/projects", status=200, body=listed, headers={"Last-Page": "true"})


def test_a_clock_that_ran_ahead_stops_nothing_once_it_is_right(tmp_path: Path) -> None:
    """What a machine with a clock a year ahead has synced is changed and deleted like anything else."""
    with team(tmp_path, entries=0) as us:
        with us.session() as session:
            session.now = lambda: utc_now() + timedelta(days=365)
            for entity in session.specs:
                us.sync_one(session, entity)
        first, second, *_ = us.projects()
        us.clockify("PUT", f"/projects/{first['id']}", {"name": "Renamed", "archived": False})
        us.delete_project(second["id"])
        done = us.sync()["projects"]
        assert (done.updated, done.deleted) == (1, 1)
        converged(us)
        changes_nothing(us)


TASKS = """
entity: tasks
description: The tasks of projects.
source:
  system: clockify
  parent: projects
  list: "/workspaces/{workspace}/projects/{parent}/tasks"
  item: "/workspaces/{workspace}/projects/{parent}/tasks/{id}"
  id: id
target: {system: snapshots, id: task_id, delete: delete}
fields:
  task_id: {source: id, type: id, required: true}
  task_name: {source: name, required: true}
  project_id: {source: projectId, type: id, required: true, references: projects}
webhooks:
  subscribe: {TASK_UPDATED: 45, NEW_TASK: 46, TASK_DELETED: 47}
"""


def test_a_nested_entity_is_one_file_that_names_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are read project by project: created, updated, deleted with or without their project, verified, and received."""
    with team(tmp_path, entries=0) as us, embedded_there(us, tmp_path, "tasks", TASKS):
        projects = [project["id"] for project in us.projects()]
        for number, project in enumerate(projects[:3]):
            for name in ("one", "two"):
                us.clockify("POST", f"/projects/{project}/tasks", {"name": f"{name} of {number}"})

        def tasks() -> dict[str, tuple[str, str]]:
            found = [task for p in us.projects() for task in us.clockify("GET", f"/projects/{p['id']}/tasks")]
            return {task["id"]: (task["name"], task["projectId"]) for task in found}

        def delivered() -> dict[str, tuple[str, str]]:
            rows = us.at_snapshots("tasks")
            return {key: (row["task_name"], row["project_id"]) for key, row in rows.items()}

        us.sync()
        assert delivered() == tasks()
        assert len(delivered()) >= 6
        (first, (name, project)), (second, (_, other)), *_ = sorted(delivered().items(), key=lambda item: item[1])
        us.clockify("PUT", f"/projects/{project}/tasks/{first}", {"name": f"{name}, renamed"})
        us.clockify("PUT", f"/projects/{other}/tasks/{second}", {"name": "done", "status": "DONE"})
        us.clockify("DELETE", f"/projects/{other}/tasks/{second}")
        us.forget_stats()
        done = us.sync("tasks")["tasks"]
        assert (done.updated, done.deleted, done.created) == (1, 1, 0)
        assert any(route.endswith("/tasks/{id}") for route in us.requests()), us.requests()
        assert delivered() == tasks()
        assert us.verify("tasks")["tasks"].in_sync
        with us.session() as session:
            answer = sync_ids(session, session.spec("tasks"), [first], run_id="by id")
            assert (answer.left, answer.counts.unchanged) == ({}, 1)
            made = us.clockify("POST", f"/projects/{projects[-1]}/tasks", {"name": "unknown so far"})["id"]
            assert sync_ids(session, session.spec("tasks"), [made], run_id="new").counts.created == 1
        us.delete_project(next(project for _, project in tasks().values() if project != projects[-1]))
        assert us.sync("tasks", options=Options(allow_deletes=True))["tasks"].deleted >= 1
        assert delivered() == tasks()
        assert us.verify("tasks")["tasks"].in_sync
        (renamed, (_, project)), (deleted, (_, other)), *_ = sorted(delivered().items())
        with hearing(us, tmp_path, "tasks", monkeypatch) as on:
            us.clockify("PUT", f"/projects/{project}/tasks/{renamed}", {"name": "heard of"})
            us.clockify("PUT", f"/projects/{other}/tasks/{deleted}", {"name": "done", "status": "DONE"})
            us.clockify("DELETE", f"/projects/{other}/tasks/{deleted}")
            us.clockify("POST", f"/projects/{project}/tasks", {"name": "new"})
            wait_until(lambda: us.control("GET", "webhooks")["queued"] == 0)
            assert on.inbox("tasks").open == 4
            assert on.tick("tasks").jobs == ["changes_tasks"]
            assert on.inbox("tasks").open == 0
        assert delivered()[renamed] == ("heard of", project)
        assert deleted not in delivered()
        assert delivered() == tasks()
        assert us.verify("tasks")["tasks"].in_sync
