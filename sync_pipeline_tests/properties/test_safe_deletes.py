"""Law 6: a delete is sent only after a second, independent read, and never too many of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sync_pipeline.errors import RetryableApiError
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.store.records import counts
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline_tests.harness import Team, day, instant, morning, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.scenarios.mappings import write_mapping

pytestmark = pytest.mark.clock

ENTRY = "GET /clockify/api/v1/workspaces/{ws}/time-entries/{id}"
USERS = "GET /clockify/api/v1/workspaces/{ws}/users"


def stopped(us: Team) -> list[dict[str, object]]:
    """The stopped entries."""
    return [entry for entry in us.entries() if entry["timeInterval"]["end"]]


def test_a_deleted_entry_is_deleted_after_it_was_looked_up_together_with_one_that_lives(tmp_path: Path) -> None:
    """Two reads by id are made for one delete: of the vanished entry and of a witness that must be found."""
    with team(tmp_path) as us:
        us.sync()
        removed = stopped(us)[0]["id"]
        us.clockify("DELETE", f"/time-entries/{removed}")
        us.forget_stats()
        assert us.sync("time_entries")["time_entries"].deleted == 1
        assert us.requests()[ENTRY] == 2
        assert removed not in us.at_snapshots("time_entries")
        converged(us)
        changes_nothing(us)


@pytest.mark.parametrize("entity", ["projects", "time_entries", "locations"])
def test_rows_that_only_the_list_lost_are_not_deleted(tmp_path: Path, entity: str) -> None:
    """A list that answers with nothing is not trusted; let through, it deletes nothing: each record is found by id."""
    with team(tmp_path) as us:
        us.clockify("POST", "/projects", {"name": "Nothing refers to this one"})
        us.sync()
        before = (us.at_snapshots("projects"), us.at_snapshots("time_entries"), us.clients())
        empty = {
            "projects": ("GET /clockify/*/projects", []),
            "time_entries": ("POST */reports/detailed", {"timeentries": []}),
            "locations": ("GET /snapshots/locations", {"data": [], "next_cursor": None}),
        }
        route, body = empty[entity]
        us.fault("status", route, status=200, body=body)
        us.changes["SYNC_MAX_DELETE_SHARE"] = "1"
        if entity != "time_entries":  # of which the running ones are still met, by a request of their own
            held = us.sync(entity)[entity]
            assert (held.deleted, held.held_deletes) == (0, len(us.held(entity)["deletes"]))
            assert held.held_deletes > 0
        done = us.sync(entity, options=Options(allow_deletes=True))[entity]
        assert done.deleted == 0
        assert (us.at_snapshots("projects"), us.at_snapshots("time_entries"), us.clients()) == before
        us.no_faults()
        converged(us)


def test_users_have_no_read_by_id_so_a_second_complete_list_confirms(tmp_path: Path) -> None:
    """A user that one list missed and the next one has is kept; one that two lists miss is deleted."""
    with team(tmp_path, users=3, entries=0) as us:
        us.sync()
        users = us.users()
        without = [user for user in users if user["id"] != users[-1]["id"]]
        us.fault("status", "GET */users", status=200, body=without, headers={"Last-Page": "true"}, count=1)
        assert us.sync("users")["users"].deleted == 0
        assert len(us.at_snapshots("users")) == 3
        us.fault("status", "GET */users", status=200, body=without, headers={"Last-Page": "true"}, count=3)
        us.forget_stats()
        assert us.sync("users")["users"].deleted == 1
        assert us.requests()[USERS] == 3  # the list, the proof that the key sees everyone, and the list again
        assert users[-1]["id"] not in us.at_snapshots("users")
        us.no_faults()
        us.sync("users")  # and it is back as soon as it is listed again
        converged(us)


def test_an_answer_that_a_foreign_workspace_would_give_too_is_no_confirmation(tmp_path: Path) -> None:
    """When even an existing entry reads as deleted, no answer is trusted and nothing is deleted."""
    with team(tmp_path) as us:
        us.sync()
        before = us.at_snapshots("time_entries")
        us.clockify("DELETE", f"/time-entries/{stopped(us)[0]['id']}")
        foreign = {"message": "Time entry doesn't belong to Workspace", "code": 501}
        us.fault("status", "GET */time-entries/[0-9a-f]*", status=400, body=foreign)
        with us.session() as session:
            done = us.sync_one(session, "time_entries")
            assert (done.deleted, done.unconfirmed) == (0, 1)
            assert counts(session.store, session.pair)["time_entries"].unconfirmed == 1
        assert us.at_snapshots("time_entries") == before
        us.no_faults()
        assert us.sync("time_entries")["time_entries"].deleted == 1
        converged(us)


def test_another_workspace_is_another_connection_and_deletes_nothing(tmp_path: Path) -> None:
    """Pointed at a workspace with other records - or at none - on the same database, nothing is deleted."""
    with team(tmp_path / "a") as us, team(tmp_path / "b", seed=8) as others:
        us.sync()
        before = us.at_snapshots("time_entries")
        us.changes |= {
            "CLOCKIFY_WORKSPACE_ID": others.sandbox.workspace,
            "CLOCKIFY_BASE_URL": others.sandbox.clockify,
            "CLOCKIFY_REPORTS_URL": others.sandbox.reports,
        }
        done = us.sync()
        assert all(figures.deleted == figures.unconfirmed == 0 for figures in done.values())
        assert before.keys() <= us.at_snapshots("time_entries").keys()


def test_more_deletes_than_a_run_may_send_are_held_until_someone_allows_them(tmp_path: Path) -> None:
    """None of them is sent, each is named, and the rest is loaded; allowed, they are deleted."""
    with team(tmp_path) as us:
        us.sync()
        before = us.at_snapshots("time_entries")
        removed = [str(entry["id"]) for entry in stopped(us)[:20]]
        for entry in removed:
            us.clockify("DELETE", f"/time-entries/{entry}")
        late = us.add_entry(us.users()[0]["id"], morning(1))
        us.forget_stats()
        done = us.sync("time_entries")["time_entries"]
        assert (done.deleted, done.held_deletes, done.created, done.unconfirmed) == (0, 20, 1, 0)
        assert us.held("time_entries") == {"deletes": sorted(removed)}
        assert us.writes() == {"time_entries": 1}
        now = us.at_snapshots("time_entries")
        assert {**before, late["id"]: now[late["id"]]} == now
        assert us.sync("time_entries", options=Options(allow_deletes=True))["time_entries"].deleted == 20
        converged(us)


def test_what_the_budget_cannot_confirm_waits_unconfirmed_and_is_deleted_by_later_runs(tmp_path: Path) -> None:
    """With two confirmations a run, five vanished entries take three runs; nothing is deleted unconfirmed."""
    with team(tmp_path, entries=60) as us:
        us.changes["SYNC_MAX_CONFIRMATIONS"] = "2"
        us.sync()
        for entry in stopped(us)[:5]:
            us.clockify("DELETE", f"/time-entries/{entry['id']}")
        done = [us.sync("time_entries")["time_entries"] for _ in range(3)]
        assert [(figures.deleted, figures.unconfirmed) for figures in done] == [(2, 3), (2, 1), (1, 0)]
        converged(us)


def test_a_moved_entry_is_moved_and_not_deleted(tmp_path: Path) -> None:
    """An entry that left the days of a run for another day is updated there, and keeps its row."""
    with team(tmp_path) as us:
        us.sync()
        entry = us.add_entry(us.users()[0]["id"], morning(3))
        us.sync("time_entries")
        start = morning(9)
        us.change_entry(entry, start=instant(start), end=instant(start + timedelta(hours=1)))
        done = us.sync("time_entries", days=Days(day(4), day(2)))["time_entries"]
        assert (done.deleted, done.unconfirmed, done.updated) == (0, 0, 1)
        assert us.at_snapshots("time_entries")[entry["id"]]["start_time"] == instant(start)
        converged(us)
        changes_nothing(us)


def test_what_leaves_the_scope_is_excluded_and_not_deleted(tmp_path: Path) -> None:
    """Running again, or moved before the start date: the target keeps its last state, and the rule is on record."""
    with team(tmp_path) as us:
        owner = us.users()[0]["id"]
        us.sync()
        again, early = us.add_entry(owner, morning(3)), us.add_entry(owner, morning(4))
        us.sync("time_entries")
        us.change_entry(again, end=None)
        start = morning(60)
        us.change_entry(early, start=instant(start), end=instant(start + timedelta(hours=1)))
        with us.session() as session:
            done = us.sync_one(session, "time_entries")
            assert (done.deleted, done.unconfirmed, done.updated) == (0, 0, 0)
            known = session.ledger("time_entries").lookup([again["id"], early["id"]])
            assert known[again["id"]].excluded_rule == "running"
            assert known[early["id"]].excluded_rule == "before_start_date"
        there = us.at_snapshots("time_entries")
        assert there[again["id"]]["end_time"] == again["timeInterval"]["end"]
        assert there[early["id"]]["start_time"] == early["timeInterval"]["start"]
        converged(us)
        changes_nothing(us)


def test_a_record_a_policy_keeps_is_never_deleted(tmp_path: Path) -> None:
    """``delete: keep``: deleted at the source, left alone at the target."""
    mappings = tmp_path / "mappings"
    mappings.mkdir()
    (mappings / "projects.yaml").write_text("entity: projects\ntarget: {delete: keep}\n")
    with team(tmp_path, entries=0) as us:
        us.changes["SYNC_MAPPINGS_DIR"] = str(mappings)
        us.sync("projects")
        project = us.projects()[0]["id"]
        us.delete_project(project)
        assert us.sync("projects")["projects"].deleted == 0
        assert project in us.at_snapshots("projects")
        with us.session() as session:
            (kept,) = session.ledger("projects").lookup([project]).values()
            assert kept.deleted_at is not None
        verdict = us.verify("projects")["projects"]
        assert (verdict.in_sync, verdict.source, verdict.target) == (True, 4, 4)


@pytest.mark.parametrize("left", [0, 1])
def test_the_last_records_of_a_small_entity_are_not_lost_silently(tmp_path: Path, left: int) -> None:
    """Few deletes are no suspicious share - but nothing left at all is, however few there were."""
    with team(tmp_path, projects=3, entries=0) as us:
        us.sync("projects")
        removed = us.projects()[left:]
        for project in removed:
            us.delete_project(project["id"])
        if not left:
            done = us.sync("projects")["projects"]
            assert (done.deleted, done.held_deletes) == (0, 3)
            assert us.held("projects") == {"deletes": sorted(project["id"] for project in removed)}
            assert len(us.at_snapshots("projects")) == 3
        options = Options(allow_deletes=not left)
        assert us.sync("projects", options=options)["projects"].deleted == len(removed)
        assert len(us.at_snapshots("projects")) == left


def test_a_delete_that_failed_needs_a_new_proof(tmp_path: Path) -> None:
    """What was proven deleted and could not be removed may have come back: a sync of other days does not delete it."""
    with team(tmp_path) as us:
        us.changes["SYNC_MAX_ATTEMPTS"] = "1"
        us.sync()
        entry = us.add_entry(us.users()[0]["id"], morning(3))
        us.sync("time_entries")
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
        us.fault("status", us.route("DELETE /snapshots/*"), status=503)
        with pytest.raises(RetryableApiError):
            us.sync("time_entries")
        us.no_faults()
        us.control("POST", "time_entries/restore", {"ids": [entry["id"]]})
        us.forget_stats()
        assert us.sync("time_entries", days=Days(day(9), day(8)))["time_entries"].deleted == 0
        assert us.sync("time_entries")["time_entries"].deleted == 0
        assert us.writes() == {"time_entries": 1}  # no one knows what became of the failed delete
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
        us.fault("status", us.route("DELETE /snapshots/*"), status=503)
        with pytest.raises(RetryableApiError):
            us.sync("time_entries")
        us.no_faults()
        assert us.sync("time_entries")["time_entries"].deleted == 1  # looked up again, and still deleted
        converged(us)
        changes_nothing(us)


def test_what_was_excluded_and_is_missing_is_deleted(tmp_path: Path) -> None:
    """A timer that was started again and then deleted has no last good state that anyone should keep."""
    with team(tmp_path) as us:
        us.sync()
        entry = us.add_entry(us.users()[0]["id"], morning(0, 0))
        us.sync("time_entries")
        us.change_entry(entry, end=None)
        assert us.sync("time_entries")["time_entries"].deleted == 0
        assert entry["id"] in us.at_snapshots("time_entries")
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
        assert us.sync("time_entries")["time_entries"].deleted == 1
        assert entry["id"] not in us.at_snapshots("time_entries")
        converged(us)
        changes_nothing(us)


def test_an_entry_that_moved_and_is_invalid_is_in_the_rejects(tmp_path: Path) -> None:
    """Found by id on another day, it is checked like any other."""
    with team(tmp_path) as us:
        us.sync()
        entry = us.add_entry(us.users()[0]["id"], morning(3))
        us.sync("time_entries")
        us.change_entry(entry, start=instant(morning(9)), end=instant(morning(9)))
        done = us.sync("time_entries", days=Days(day(4), day(2)))["time_entries"]
        assert (done.rejected, done.deleted) == (1, 0)
        with us.session() as session:
            (reject,) = session.ledger("time_entries").rejects.show(entry["id"])
            assert reject.partition == day(9).isoformat()
        us.sync()
        converged(us)


def test_entries_moved_before_the_start_are_neither_missed_nor_looked_up_again(tmp_path: Path) -> None:
    """Once it is known where they are, they are no part of the days any more: nothing is held or asked for them."""
    with team(tmp_path) as us:
        us.sync()
        start = morning(60)
        for entry in stopped(us)[:14]:
            us.change_entry(entry, start=instant(start), end=instant(start + timedelta(hours=1)))
        assert us.sync("time_entries")["time_entries"].held_deletes == 14
        done = us.sync("time_entries", options=Options(allow_deletes=True))["time_entries"]
        assert (done.deleted, done.excluded) == (0, 14 + sum(not e["timeInterval"]["end"] for e in us.entries()))
        us.forget_stats()
        us.sync("time_entries")
        assert ENTRY not in us.requests()
        assert us.held("time_entries") == {}
        changes_nothing(us)


def test_deletes_that_someone_allowed_are_each_proven_by_id(tmp_path: Path) -> None:
    """What is beyond the number of reads by id stays allowed and unconfirmed: later runs prove and delete it."""
    with team(tmp_path, entries=60) as us:
        us.changes["SYNC_MAX_CONFIRMATIONS"] = "10"
        us.sync()
        for entry in stopped(us)[:25]:
            us.clockify("DELETE", f"/time-entries/{entry['id']}")
        done = us.sync("time_entries", options=Options(allow_deletes=True))["time_entries"]
        assert (done.deleted, done.unconfirmed, done.held_deletes) == (10, 15, 0)
        for deleted, left in ((10, 5), (5, 0)):
            done = us.sync("time_entries")["time_entries"]
            assert (done.deleted, done.unconfirmed, done.held_deletes) == (deleted, left, 0)
        converged(us)
        changes_nothing(us)


def test_an_archive_that_is_refused_is_not_counted(tmp_path: Path) -> None:
    """The target refuses in the answer for the record, with status 200: it is a reject, and the record is not archived."""
    with team(tmp_path, entries=0) as us:
        write_mapping(us, "projects.yaml", "entity: projects\ntarget: {delete: archive}\n")
        us.sync()
        project = us.projects()[0]["id"]
        us.delete_project(project)
        refusal = {"project_id": project, "status": "refused", "error": {"code": "locked", "detail": "is locked"}}
        us.fault("status", "POST /snapshots/projects/batch", status=200, body={"results": [refusal]})
        done = us.sync("projects")["projects"]
        assert done.deleted == 0
        assert us.at_snapshots("projects")[project].get("archived") is not True
        with us.session() as session:
            (found,) = list_rejects(session.store, session.pair, entity="projects")
        assert found.source_id == project
        assert "is locked" in found.reason
