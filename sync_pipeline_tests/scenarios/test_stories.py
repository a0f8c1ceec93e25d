"""Whole stories: rebuilt targets, other accounts, a fifth entity, changed mappings, both readers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.check import Options
from sync_pipeline.store.syncs import status
from sync_pipeline_tests.harness import Blocked, Team, day, morning, rows, tables, team
from sync_pipeline_tests.properties.judge import changes_nothing, converged
from sync_pipeline_tests.scenarios.mappings import write_mapping

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
    """Named apart, each has its own state: what stands at one is not taken for delivered at the other."""
    with team(tmp_path, entries=0) as us:
        us.changes["SNAPSHOTS_ACCOUNT"] = "north"
        us.sync("users")
        for key in us.at_snapshots("users"):
            us.snapshots("DELETE", f"/users/{key}")  # the other account is empty
        us.changes["SNAPSHOTS_ACCOUNT"] = "south"
        assert us.sync("users")["users"].created == len(us.users())
        us.changes["SNAPSHOTS_ACCOUNT"] = "north"
        assert us.sync("users")["users"].unchanged == len(us.users())


@pytest.mark.parametrize("span", [Days(day(12), day(-2)), Days(day(5), day(3))], ids=["all", "three days"])
def test_both_readers_of_time_entries_yield_identical_records(tmp_path: Path, span: Days) -> None:
    """The report and the per-user lists lead to the same sealed records, byte for byte, whatever the time zones."""
    with team(tmp_path, entries=150, users=6) as us:
        for hour in (0, 23):  # at the edges of UTC days, for people in all sorts of zones
            for user in us.users():
                us.add_entry(user["id"], morning(4, hour), 0.5, description=f"edge {hour}")
        sealed = {}
        for reader in ("report", "users"):
            with us.session(CLOCKIFY_READER=reader) as session:
                us.sync_one(session, "users")
                us.sync_one(session, "projects")
                parts = list(us.sealed(session, "time_entries", span).parts)
                fields = (zip(part["source_id"], part["fields"], part["status"], strict=True) for part in parts)
                sealed[reader] = sorted(row for part in fields for row in part)
        assert sealed["report"] == sealed["users"]
        assert len(sealed["report"]) > 10


def test_a_fifth_entity_is_one_file(tmp_path: Path) -> None:
    """One YAML in SYNC_MAPPINGS_DIR: created, updated, deleted and verified like the four."""
    with team(tmp_path, entries=0) as us:
        us.control("POST", "entities", {"entity": "tags", "id_field": "tag_id"})
        write_mapping(us, "tags.yaml", TAGS)
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
        assert us.verify("tags")["tags"].in_sync


def test_a_mapping_change_that_would_rewrite_most_of_the_target_needs_a_word(tmp_path: Path) -> None:
    """Blocked until somebody accepts it; then every record is rewritten once."""
    with team(tmp_path) as us:
        us.sync()
        write_mapping(
            us, "time_entries.yaml", "entity: time_entries\nfields:\n  origin: {constant: clockify, type: text}\n"
        )
        before = us.at_snapshots("time_entries")
        with pytest.raises(Blocked) as blocked:
            us.sync("time_entries")
        assert blocked.value.checks == ["volume"]
        assert us.at_snapshots("time_entries") == before
        done = us.sync("time_entries", options=Options(accept_rewrite=True))["time_entries"]
        assert done.updated == len(before)
        assert {row["origin"] for row in us.at_snapshots("time_entries").values()} == {"clockify"}
        assert us.sync("time_entries")["time_entries"].updated == 0


def test_a_day_without_records_does_not_let_a_new_mapping_through(tmp_path: Path) -> None:
    """What was loaded under the old mapping still needs a word, whatever else was loaded under the new one."""
    with team(tmp_path) as us:
        us.sync()
        write_mapping(
            us, "time_entries.yaml", "entity: time_entries\nfields:\n  origin: {constant: clockify, type: text}\n"
        )
        empty = Days(day(-5), day(-6))
        assert us.sync("time_entries", days=empty)["time_entries"].extracted == 0
        with pytest.raises(Blocked, match="mapping of time_entries changed"):
            us.sync("time_entries")


def test_a_field_dropped_from_the_mapping_is_left_as_it_is(tmp_path: Path) -> None:
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
    """Two overlapping syncs, the older read loaded last: refused, and the newer values stay."""
    from sync_pipeline.errors import StaleBatch

    with team(tmp_path) as us:
        us.sync()
        project = us.projects()[0]["id"]
        with us.session() as session:
            us.clockify("PUT", f"/projects/{project}", {"name": "Older", "archived": False})
            older = us.sealed(session, "projects")
            us.clockify("PUT", f"/projects/{project}", {"name": "Newer", "archived": False})
            us.sync_one(session, "projects")
            before = tables(session, "records", "deliveries")
            with pytest.raises(StaleBatch):
                us.load(session, "projects", older)
            assert status(session.store, session.connection)["projects"].last.outcome == "stale"
            assert tables(session, "records", "deliveries") == before
        assert us.at_snapshots("projects")[project]["project_name"] == "Newer"


def test_a_record_the_target_refuses_waits_for_a_change_or_a_retry(tmp_path: Path) -> None:
    """It is set aside with the target's words, not sent again and again, and no drift; mended, it is delivered."""
    from sync_pipeline.store.records import clear_refused

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
            clear_refused(session.store, session.connection, "projects")
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
            session.now = lambda: datetime.now(UTC) + timedelta(days=365)
            for entity in session.specs:
                us.sync_one(session, entity)
        first, second, *_ = us.projects()
        us.clockify("PUT", f"/projects/{first['id']}", {"name": "Renamed", "archived": False})
        us.delete_project(second["id"])
        done = us.sync()["projects"]
        assert (done.updated, done.deleted) == (1, 1)
        converged(us)
        changes_nothing(us)
