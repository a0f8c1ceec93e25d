"""Worked time arrives: of people who left and projects that are deleted, locked, approved, or behind a rejected reference."""

from __future__ import annotations

import gc
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import insert, select

from sync_pipeline.connectors.profile_files import BUILT_IN
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.stages.extract import PART_ROWS
from sync_pipeline.stages.preview import preview
from sync_pipeline.stages.references import References
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline.store.schema import records
from sync_pipeline_tests.connectors.test_answer_limits import peak
from sync_pipeline_tests.harness import Team, day, morning, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.scenarios.mappings import write_mapping


def leave(us: Team, user: str) -> None:
    """Someone is removed from the workspace permanently; their entries stay."""
    us.control("POST", "users", {"id": user, "remove": True})


def plain_user(us: Team) -> str:
    """A user who holds neither of the sandbox's keys."""
    return str(us.users()[1]["id"])


def previewed(us: Team, entity: str) -> set[tuple[str, str]]:
    """Action and record of each change that a preview shows."""
    with us.session() as session:
        shown = preview(session, session.specs[entity], us.days if entity == "time_entries" else None)
        return {(change.action, change.record) for change in shown.changes}


def test_the_last_entry_of_someone_who_left_arrives(tmp_path: Path) -> None:
    """A user adds an entry and leaves before it was read: it arrives, the user stays, and both sides are in sync."""
    with team(tmp_path) as us:
        us.sync()
        user = plain_user(us)
        entry = us.add_entry(user, morning(1), description="Handed over")["id"]
        leave(us, user)
        assert previewed(us, "users") == set()
        for _ in range(2):
            done = us.sync()
            assert (done["users"].deleted, done["time_entries"].rejected) == (0, 0)
        assert us.at_snapshots("time_entries")[entry]["user_id"] == user
        assert user in us.at_snapshots("users")
        verdicts = us.verify()
        assert all(verdict.in_sync for verdict in verdicts.values())
        assert (verdicts["users"].kept, verdicts["time_entries"].rejected) == (1, 0)
        changes_nothing(us)


def test_a_correction_of_an_older_entry_arrives_after_its_project_was_deleted(tmp_path: Path) -> None:
    """The project stays at the target as long as it is referred to; the corrected entry arrives."""
    with team(tmp_path) as us:
        project = us.clockify("POST", "/projects", {"name": "Short-lived"})["id"]
        entry = us.add_entry(us.users()[0]["id"], morning(3), projectId=project)
        us.sync()
        us.change_entry(entry, description="Corrected")
        us.delete_project(project)
        us.sync()
        assert us.at_snapshots("time_entries")[entry["id"]]["description"] == "Corrected"
        converged(us)
        changes_nothing(us)


def test_what_nothing_refers_to_any_more_is_deleted_in_the_same_sync(tmp_path: Path) -> None:
    """The last entry of a deleted project is deleted, or moved to another project: the project is deleted with it."""
    with team(tmp_path) as us:
        other = us.projects()[0]["id"]
        removed = [us.clockify("POST", "/projects", {"name": f"Short-lived {n}"})["id"] for n in range(2)]
        deleted, moved = (us.add_entry(us.users()[0]["id"], morning(3 + n), projectId=removed[n]) for n in range(2))
        us.sync()
        us.change_entry(moved, projectId=other)
        us.clockify("DELETE", f"/time-entries/{deleted['id']}")
        for project in removed:
            us.delete_project(project)
        us.sync()
        assert not us.at_snapshots("projects").keys() & set(removed)
        converged(us)
        changes_nothing(us)


def test_the_last_reference_may_go_later(tmp_path: Path) -> None:
    """A kept user costs no more proofs and trips no guard; when the last of their entries is deleted, they are, too."""
    with team(tmp_path, entries=0, users=8) as us:
        leavers = [str(user["id"]) for user in us.users()[2:5]]
        entries = [us.add_entry(user, morning(2 + n))["id"] for n, user in enumerate(leavers)]
        us.sync()
        for user in leavers:
            leave(us, user)
        us.sync("users", options=Options(allow_deletes=True))
        us.forget_stats()
        done = us.sync("users")["users"]
        assert (done.deleted, done.unconfirmed) == (0, 0)
        assert sum(us.requests().values()) == 1
        for entry in entries:
            us.sandbox.world.db.execute("DELETE FROM time_entries WHERE id = ?", (entry,))
        us.sync("time_entries", options=Options(allow_deletes=True))
        assert not us.at_snapshots("users").keys() & set(leavers)
        assert us.verify("users")["users"].in_sync


def test_preview_shows_that_an_unreferenced_user_is_deleted(tmp_path: Path) -> None:
    """No one's entries refer to them: preview and sync delete the user."""
    with team(tmp_path, entries=0) as us:
        us.sync()
        user = plain_user(us)
        leave(us, user)
        assert previewed(us, "users") == {("delete", user)}
        assert us.sync("users")["users"].deleted == 1
        assert us.verify("users")["users"].in_sync


def test_with_delete_the_record_is_deleted_and_its_entries_arrive(tmp_path: Path) -> None:
    """Where someone wrote ``delete: delete``: the user is deleted, the entries keep the bare id, with a warning."""
    with team(tmp_path) as us:
        write_mapping(us, "users.yaml", "entity: users\ntarget: {delete: delete}\n")
        us.sync()
        user = plain_user(us)
        entry = us.add_entry(user, morning(1))["id"]
        leave(us, user)
        assert previewed(us, "users") == {("delete", user)}
        done = us.sync()
        assert (done["users"].deleted, done["time_entries"].rejected, done["time_entries"].deleted) == (1, 0, 0)
        assert user not in us.at_snapshots("users")
        assert us.at_snapshots("time_entries")[entry]["user_id"] == user
        assert all(verdict.in_sync for verdict in us.verify().values())
        with us.session() as session:
            assert list_rejects(session.store, session.pair) == []
            shown = preview(session, session.specs["time_entries"], us.days)
            (check,) = [check for check in shown.checks if check.name == "references"]
            assert (check.passed, check.severity, check.blocks) == (False, "warn", False)
            assert {row["value"] for row in check.rows} == {user}
        changes_nothing(us)


def test_time_of_a_user_who_was_never_known_arrives(tmp_path: Path) -> None:
    """The user and the project were deleted before the first sync: what they worked arrives with the bare ids."""
    with team(tmp_path) as us:
        user = plain_user(us)
        project = us.clockify("POST", "/projects", {"name": "Short-lived"})["id"]
        entry = us.add_entry(user, morning(1), projectId=project)["id"]
        us.delete_project(project)
        leave(us, user)
        us.sync()
        found = us.at_snapshots("time_entries")[entry]
        assert (found["user_id"], found["project_id"]) == (user, project)
        assert all(verdict.in_sync for verdict in us.verify().values())


def test_where_the_target_takes_no_unknown_id_the_entry_waits_with_its_reason(tmp_path: Path) -> None:
    """It is named by verify, which does not report "in sync", and arrives when the project is there again."""
    with team(tmp_path) as us:
        profile = tmp_path / "strict.yaml"
        shipped = (resources.files(BUILT_IN) / "generic.yaml").read_text()
        profile.write_text(shipped.replace("checks_references: false", "checks_references: true"))
        us.changes["SNAPSHOTS_PROFILE"] = str(profile)
        us.control("POST", "snapshots", {"check_references": True})
        project = us.clockify("POST", "/projects", {"name": "Short-lived"})
        entry = us.add_entry(us.users()[0]["id"], morning(1), projectId=project["id"])["id"]
        us.delete_project(project["id"])
        done = us.sync()["time_entries"]
        assert (done.waiting, done.rejected) == (1, 0)
        verdict = us.verify("time_entries")["time_entries"]
        assert (verdict.in_sync, verdict.waiting, verdict.missing) == (False, 1, 0)
        (waiting,) = [d for d in verdict.differences if d.kind == "waiting"]
        assert (waiting.record, waiting.field, waiting.source) == (entry, "project_id", project["id"])
        assert "the source does not have this one of the projects" in waiting.target
        assert entry not in us.at_snapshots("time_entries")


@pytest.mark.parametrize("how", ["locked", "approved"])
def test_an_entry_that_can_no_longer_be_changed_syncs_as_any_other(tmp_path: Path, how: str) -> None:
    """Locked and approved entries are read, delivered, and stay unchanged."""
    with team(tmp_path) as us:
        entry = us.add_entry(us.users()[0]["id"], morning(2), description="Final")["id"]
        if how == "locked":
            us.control("POST", "workspace", {"lockTimeEntries": f"{day(0)}T00:00:00Z"})
        else:
            us.control("POST", "time_entries/approval", {"ids": [entry], "approved": True})
        us.sync()
        assert us.at_snapshots("time_entries")[entry]["description"] == "Final"
        converged(us)
        changes_nothing(us)


def test_days_without_the_reference_leave_what_waits_alone(tmp_path: Path) -> None:
    """A sync of other days neither delivers nor forgets an entry that waits for a rejected project."""
    with team(tmp_path) as us:
        write_mapping(
            us, "projects.yaml", "entity: projects\nfields:\n  project_name: {source: name, max_length: 60}\n"
        )
        project = us.clockify("POST", "/projects", {"name": "far too long " * 8})["id"]
        entry = us.add_entry(us.users()[0]["id"], morning(1), projectId=project)["id"]
        us.sync()
        us.sync("time_entries", days=Days(day(5), day(4)))
        verdict = us.verify("time_entries")["time_entries"]
        assert (verdict.in_sync, verdict.waiting) == (False, 1)
        us.clockify("PUT", f"/projects/{project}", {"name": "Short", "archived": False})
        us.sync()
        assert entry in us.at_snapshots("time_entries")
        converged(us)


def test_a_few_references_are_looked_up_whatever_a_run_may_confirm(tmp_path: Path) -> None:
    """The limit is about deletions: an entry's project that exists is never taken for a missing one."""
    with team(tmp_path, entries=0) as us:
        us.sync("users")
        user = us.users()[0]["id"]
        made = [us.clockify("POST", "/projects", {"name": f"Project {number}"})["id"] for number in range(4)]
        for project in made:
            us.add_entry(user, morning(1), projectId=project)
        us.empty_target()
        us.sync("time_entries", days=Days(day(1), day(1)), SYNC_MAX_CONFIRMATIONS="1")
        assert set(made) <= us.at_snapshots("projects").keys()


def _referred_to(us: Team, some: range) -> int:
    """The most bytes that it takes to check references to so many delivered projects, part by part."""
    with us.session() as session:
        spec = session.specs["time_entries"]
        references, names = References(session, spec), [spec.field(name).column for name in spec.references]

        def run() -> None:
            for first in some[::PART_ROWS]:
                ids = [f"z{nr}" for nr in range(first, first + PART_ROWS)]
                frame = pd.DataFrame({"status": "accepted", **dict.fromkeys(names, ids)})
                assert references.mark(frame)["waiting_for"].isna().all()
                gc.collect()  # statements hold their parameters until then

        return peak(run)


def test_memory_does_not_grow_with_what_is_referred_to(tmp_path: Path) -> None:
    """Twice as many users and projects take as much memory: those that are delivered are looked up again."""
    with team(tmp_path, users=1, projects=1, clients=0, locations=0, entries=0) as us:
        us.sync()
        for entity in ("users", "projects"):
            with us.session() as session, session.store.writing() as tx:
                mine = session.ledger(entity).of(records)
                first = tx.execute(select(records).where(*mine).limit(1)).one()._mapping
                tx.execute(
                    insert(records), [{**first, "source_id": f"z{nr}", "target_id": None} for nr in range(40_000)]
                )
        few, many = _referred_to(us, range(20_000)), _referred_to(us, range(40_000))
        assert many < few + 1_500_000, f"{few:,} bytes for 20,000 of each, {many:,} for 40,000"
