"""`preview --out` and `apply`: only what was looked at is written, and only while it is so still."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.store.approvals import Approval, decide, list_approvals
from sync_pipeline_tests.harness import Team, day, morning, team
from sync_pipeline_tests.highlevel import SANDBOX, HighLevelTeam
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.properties.killing import Killed, killing
from sync_pipeline_tests.scenarios.commands import kill_when, run, run_json, start
from sync_pipeline_tests.scenarios.dying import dies_at
from sync_pipeline_tests.scenarios.mappings import write_mapping
from sync_pipeline_tests.scenarios.test_locations import archive
from sync_pipeline_tests.stages.clients import names, own, places, rejects, rename, settled
from sync_pipeline_tests.stages.planning import announced, apply_plan, differing, keep_lines, lines_in, write_plan
from sync_pipeline_tests.stages.test_assigned import lose_the_answer


def test_a_whole_plan_is_written_and_then_nothing_is_left(tmp_path: Path) -> None:
    """All four entities, references included: what waits for a record of the same file is delivered after it."""
    with team(tmp_path, entries=8) as us:
        path = write_plan(us)
        us.forget_stats()
        found = apply_plan(us, path)
        assert (found.changed, found.left, found.held) == ([], [], {})
        assert found.written == len([line for line in lines_in(path) if line["action"] != "wait"]) > 10
        converged(us)
        again = apply_plan(us, path)
        assert (again.written, again.already) == (0, found.written)
        changes_nothing(us)


def test_only_the_lines_that_were_kept_are_written(tmp_path: Path) -> None:
    """The file is a filter."""
    with team(tmp_path, entries=0) as us:
        path = write_plan(us, "projects")
        one = us.projects()[0]["id"]
        keep_lines(path, one)
        assert apply_plan(us, path).written == 1
        assert list(us.at_snapshots("projects")) == [one]


@pytest.mark.parametrize("most", ["200", "1"])
def test_when_one_record_was_changed_since_nothing_is_written(tmp_path: Path, most: str) -> None:
    """By id and from one list: it is named with what differs; the others are written only on request."""
    with team(tmp_path, entries=0) as us:
        us.sync("projects")
        first, second, third = (project["id"] for project in us.projects()[:3])
        for key in (first, second, third):
            us.clockify("PUT", f"/projects/{key}", {"name": f"New {key}"})
        path = write_plan(us, "projects")
        us.clockify("PUT", f"/projects/{second}", {"name": "Newer"})
        us.forget_stats()
        found = apply_plan(us, path, SYNC_MAX_CONFIRMATIONS=most)
        assert (differing(found), found.written, us.writes()) == ({second: "source"}, 0, {})
        found = apply_plan(us, path, skip=True, SYNC_MAX_CONFIRMATIONS=most)
        assert (differing(found), found.written) == ({second: "source"}, 2)
        counts = found.counts["projects"]
        assert (counts.extracted, counts.updated, counts.lagging, counts.unchanged) == (2, 2, 0, 0)
        names = {key: record["project_name"] for key, record in us.at_snapshots("projects").items()}
        assert names[first] == f"New {first}"
        assert "New" not in names[second]


def test_what_was_read_by_id_as_deleted_is_not_created_from_a_list_that_lags(tmp_path: Path) -> None:
    """More records are named than a run may read by id, so one list is read: it still has a deleted project."""
    with team(tmp_path, entries=0) as us:
        us.sync("projects")
        deleted, *others = _new_projects(us, 3)
        path = write_plan(us, "projects")
        us.control("POST", "lag", {"freeze": "clockify"})
        us.delete_project(deleted)
        with us.session() as session:
            sync_ids(session, session.specs["projects"], [deleted], run_id="by id")
        found = apply_plan(us, path, skip=True, SYNC_MAX_CONFIRMATIONS="1")
        assert (differing(found), found.written) == ({deleted: "source"}, 2)
        assert us.at_snapshots("projects").keys() & {deleted, *others} == {*others}


def test_the_announced_cost_is_that_of_the_days_of_the_file(tmp_path: Path) -> None:
    """By id a request for each record, else the pages of these days: what was delivered on other days is not read."""
    with team(tmp_path, entries=0) as us:
        user = us.users()[0]["id"]
        for hour in range(9):
            us.add_entry(user, morning(5, 8 + hour))
        us.sync()
        for hour in range(2):
            us.add_entry(user, morning(2, 8 + hour))
        path = write_plan(us, "time_entries", days=Days(day(2), day(2)))
        pages = {"CLOCKIFY_PAGE_SIZE": "2"}
        assert announced(us, path, **pages) == 2 + 1
        assert announced(us, path, **pages, SYNC_MAX_CONFIRMATIONS="1") == 1 + 1


@pytest.mark.parametrize("kind", [Team, HighLevelTeam])
def test_the_announced_cost_counts_pages_of_the_source_itself(tmp_path: Path, kind: type[Team]) -> None:
    """Locations are read from another system: the page size that is set for Clockify says nothing about their list."""
    switches = SANDBOX if kind is HighLevelTeam else {}
    with team(tmp_path, entries=0, locations=6, kind=kind, **switches) as us:
        path = write_plan(us, "locations")
        creates = len(lines_in(path))
        assert creates > 3
        assert announced(us, path, CLOCKIFY_PAGE_SIZE="1", SYNC_MAX_CONFIRMATIONS="1") == 1 + 1 + creates


def test_what_differs_is_named(tmp_path: Path) -> None:
    """Another run wrote it (ledger), the mapping is another one, or someone changed it at the target."""
    with team(tmp_path, entries=0) as us:
        us.sync("projects")
        one, two = (project["id"] for project in us.projects()[:2])
        us.clockify("PUT", f"/projects/{one}", {"name": "One"})
        path = write_plan(us, "projects")
        us.snapshots("PUT", f"/projects/{one}", {"project_name": "Edited at the target"})
        us.forget_stats()
        found = apply_plan(us, path, read_target=True)
        assert (differing(found), us.writes()) == ({one: "target"}, {})
        us.clockify("PUT", f"/projects/{one}", {"name": "Two"})
        us.sync("projects")
        us.clockify("PUT", f"/projects/{one}", {"name": "One"})
        assert differing(apply_plan(us, path)) == {one: "ledger"}

        us.clockify("PUT", f"/projects/{two}", {"name": "Second"})
        path = write_plan(us, "projects")
        (us.home / "mappings").mkdir()
        mapping = "entity: projects\nfields:\n  project_name: {source: name, transform: upper}\n"
        (us.home / "mappings" / "projects.yaml").write_text(mapping)
        us.changes |= {"SYNC_MAPPINGS_DIR": str(us.home / "mappings"), "SYNC_MAX_REWRITE_SHARE": "1"}
        assert set(differing(apply_plan(us, path)).values()) == {"mapping"}


def test_what_waits_is_reported_with_its_reason(tmp_path: Path) -> None:
    """Its user and its project are not at the target, and the file does not name them; nothing differs."""
    with team(tmp_path, entries=0, projects=1, users=1) as us:
        user, project = us.users()[0]["id"], us.projects()[0]["id"]
        entry = us.add_entry(user, morning(2), projectId=project)["id"]
        path = write_plan(us)
        keep_lines(path, entry)
        (left,) = apply_plan(us, path).left
        assert (left.id, left.differs) == (entry, "reference")
        assert left.reason.startswith("it waits for ")
        assert {f"projects {project}", f"users {user}"} <= {*left.reason.removeprefix("it waits for ").split(", ")}
        write_mapping(us, "projects.yaml", "entity: projects\nfields:\n  project_name: {source: name, max_length: 1}\n")
        us.sync("users", "projects")
        (differs,) = apply_plan(us, path).changed
        assert (differs.id, differs.differs, differs.reason) == (entry, "reference", f"it waits for projects {project}")


def test_a_delete_is_proven_again(tmp_path: Path) -> None:
    """One that exists again is not deleted; one that is missing still is."""
    with team(tmp_path, entries=0) as us:
        user = us.users()[0]["id"]
        kept, deleted = (us.add_entry(user, morning(2, hour)) for hour in (8, 10))
        us.sync()
        us.clockify("DELETE", f"/time-entries/{deleted['id']}")
        path = write_plan(us, "time_entries")
        text = path.read_text()
        assert [line["action"] for line in lines_in(path)] == ["delete"]
        path.write_text(text + text.splitlines()[1].replace(deleted["id"], kept["id"]) + "\n")
        found = apply_plan(us, path, skip=True)
        assert (found.written, differing(found)) == (1, {kept["id"]: "source"})
        assert list(us.at_snapshots("time_entries")) == [kept["id"]]


def test_deletes_that_are_held_are_not_written(tmp_path: Path) -> None:
    """The guards hold as in a sync; the others of the file are written."""
    with team(tmp_path, entries=0) as us:
        made = [us.clockify("POST", "/projects", {"name": f"Project {n}"})["id"] for n in range(9)]
        us.sync("projects")
        for key in made:
            us.delete_project(key)
        stays = us.projects()[0]["id"]
        us.clockify("PUT", f"/projects/{stays}", {"name": "Changed"})
        path = write_plan(us, "projects")
        assert {line["held"] for line in lines_in(path) if line["action"] == "delete"} == {True}
        found = apply_plan(us, path)
        assert (found.written, len(found.held["projects"]), found.changed) == (1, 9, [])
        assert set(made) <= us.at_snapshots("projects").keys()


UPPER = "entity: projects\nfields:\n  project_name: {source: name, transform: upper}\n"


def _approvals(us: Team, entity: str) -> list[Approval]:
    """The requests about an entity, used ones included."""
    with us.session() as session:
        found = list_approvals(session.store, session.pair, session.now(), limit=100, every=True)
    return [each for each in found if each.entity == entity]


def _allow(us: Team, entity: str) -> None:
    (request,) = [each for each in _approvals(us, entity) if each.decision is None]
    with us.session() as session:
        decide(session.store, session.pair, request.id, "allowed", "Ana", session.now())


def _new_projects(us: Team, count: int) -> list[str]:
    return [us.clockify("POST", "/projects", {"name": f"New {n} of {count}"})["id"] for n in range(count)]


def test_approved_creates_are_used_up_by_what_is_applied(tmp_path: Path) -> None:
    """One yes counts once: half of them from a file, half by a sync, and the next ones are asked about again."""
    with team(tmp_path, entries=0, projects=2) as us:
        us.changes["SYNC_MAX_CREATES"] = "3"
        us.sync("projects")
        made = _new_projects(us, 10)
        assert us.sync("projects")["projects"].held == 10
        _allow(us, "projects")
        path = write_plan(us, "projects")
        keep_lines(path, *made[:4])
        assert apply_plan(us, path).written == 4
        assert [(each.shown, each.used) for each in _approvals(us, "projects")] == [(10, 4)]
        assert us.sync("projects")["projects"].created == 6
        assert [(each.shown, each.used) for each in _approvals(us, "projects")] == [(10, 10)]
        _new_projects(us, 9)
        assert us.sync("projects")["projects"].held == 9


@pytest.mark.parametrize("first", [2, 5])
def test_an_approved_rewrite_is_used_up_by_what_is_applied(tmp_path: Path, first: int) -> None:
    """Few or many: what a file rewrites on the strength of a yes counts, and the rest stays approved."""
    with team(tmp_path, entries=0, projects=6) as us:
        us.sync("projects")
        write_mapping(us, "projects.yaml", UPPER)
        assert us.sync("projects")["projects"].held == 6
        _allow(us, "projects")
        path = write_plan(us, "projects")
        keep_lines(path, *(project["id"] for project in us.projects()[:first]))
        assert apply_plan(us, path).written == first
        assert [each.used for each in _approvals(us, "projects")] == [first]
        assert us.sync("projects")["projects"].updated == 6 - first
        assert [each.used for each in _approvals(us, "projects")] == [6]


def test_an_approved_first_contact_is_used_up_by_what_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file can be the first thing that is written to real accounts, once that was allowed; a sync writes the rest."""
    monkeypatch.setattr(Settings, "is_remote", True)
    with team(tmp_path, entries=0) as us:
        path = write_plan(us, "projects")
        keep_lines(path, *(project["id"] for project in us.projects()[:2]))
        found = apply_plan(us, path)
        assert (found.written, len(found.held["projects"])) == (0, 2)
        assert all("approvals allow" in why for why in found.held["projects"].values())
        _allow(us, "projects")
        assert apply_plan(us, path).written == 2
        assert [(each.shown, each.used) for each in _approvals(us, "projects")] == [(5, 2)]
        assert apply_plan(us, path).already == 2
        counts = us.sync("projects")["projects"]
        assert (counts.created, counts.held) == (3, 0)
        assert [each.used for each in _approvals(us, "projects")] == [5]


@pytest.mark.parametrize("guard", ["creates", "rewrite", "first_contact"])
def test_a_killed_apply_needs_no_second_approval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: str) -> None:
    """Killed anywhere, the rest stays approved, and all together use the approval once."""
    if guard == "first_contact":
        monkeypatch.setattr(Settings, "is_remote", True)
    with team(tmp_path, entries=0, projects=5) as us:
        if guard == "creates":
            us.changes["SYNC_MAX_CREATES"] = "3"
        if guard == "rewrite":
            us.sync("projects")
            write_mapping(us, "projects.yaml", UPPER)
        assert us.sync("projects")["projects"].held == 5
        _allow(us, "projects")
        path = write_plan(us, "projects")
        with killing(monkeypatch) as killer:
            for steps in range(1, 60):
                killer.arm(steps)
                try:
                    found = apply_plan(us, path)
                except Killed:
                    continue
                finally:
                    killer.arm(None)
                break
        assert (found.held, found.changed, found.left, found.written + found.already) == ({}, [], [], 5)
        assert [(each.shown, each.used) for each in _approvals(us, "projects")] == [(5, 5)]
        assert len(us.at_snapshots("projects")) == 5


def test_too_many_creates_of_a_file_are_held_as_in_a_sync(tmp_path: Path) -> None:
    """Also where no one was asked before: to apply a file is no approval of what is in it."""
    with team(tmp_path, entries=0, projects=2) as us:
        us.sync("projects")
        made = _new_projects(us, 5)
        us.clockify("PUT", f"/projects/{us.projects()[0]['id']}", {"name": "Renamed"})
        path = write_plan(us, "projects")
        us.changes["SYNC_MAX_CREATES"] = "3"
        found = apply_plan(us, path)
        assert (found.written, found.changed, sorted(found.held["projects"])) == (1, [], sorted(made))
        assert all("approvals allow" in why for why in found.held["projects"].values())
        assert sorted(us.held("projects")["creates"]) == sorted(made)
        assert run_json(us, "apply", str(path), code=3)["held"]["projects"].keys() == set(made)
        _allow(us, "projects")
        assert apply_plan(us, path).written == 5


def test_fewer_creates_of_a_file_are_not_held(tmp_path: Path) -> None:
    """What counts is what would be written: neither the lines that were removed, nor those that differ now."""
    with team(tmp_path, entries=0, projects=0) as us:
        us.sync("projects")
        made = _new_projects(us, 5)
        path = write_plan(us, "projects")
        us.changes["SYNC_MAX_CREATES"] = "3"
        keep_lines(path, *made[:4])
        us.clockify("PUT", f"/projects/{made[0]}", {"name": "Changed since"})
        found = apply_plan(us, path, skip=True)
        assert (found.written, found.held, differing(found)) == (3, {}, {made[0]: "source"})


def test_too_many_rewrites_of_a_file_are_held_as_in_a_sync(tmp_path: Path) -> None:
    """A mapping that changed, under a setting that allowed more when the file was made."""
    with team(tmp_path, entries=0, projects=6) as us:
        us.sync("projects")
        write_mapping(us, "projects.yaml", UPPER)
        path = write_plan(us, "projects", SYNC_MAX_REWRITE_SHARE="1")
        found = apply_plan(us, path)
        assert (found.written, found.changed, len(found.held["projects"])) == (0, [], 6)
        assert len(us.held("projects")["rewrite"]) == 6
        _allow(us, "projects")
        assert apply_plan(us, path).written == 6


def test_held_lines_can_be_applied_once_they_are_approved(tmp_path: Path) -> None:
    """At a target that gives out the ids, too, where a record of that name exists already, or names are exchanged."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.changes["SYNC_MAX_CREATES"] = "2"
        rename(us, one="A", two="B")
        us.sync("locations")
        theirs = us.clockify("POST", "/clients", {"name": "C"})
        rename(us, three="C", four="D", five="E")
        path = write_plan(us, "locations")
        assert {line["held"] for line in lines_in(path)} == {True}
        assert sorted(apply_plan(us, path).held["locations"]) == ["five", "four", "three"]
        _allow(us, "locations")
        found = apply_plan(us, path)
        assert (found.changed, found.left, found.held, found.written) == ([], [], {}, 3)
        assert own(us)["three"] == theirs["id"]
        write_mapping(
            us, "locations.yaml", "entity: locations\nfields:\n  name: {source: location_name, transform: lower}\n"
        )
        path = write_plan(us, "locations")
        assert len(apply_plan(us, path).held["locations"]) == 5
        _allow(us, "locations")
        found = apply_plan(us, path)
        assert (found.changed, found.left, found.held, found.written) == ([], [], {}, 5)
        assert names(us) == {"one": "a", "two": "b", "three": "c", "four": "d", "five": "e"}


def _intents(us: Team) -> list[str]:
    with us.session() as session:
        return [intent.source_id for intent in session.ledger("locations").open_intents()]


def test_an_interrupted_create_that_is_not_named_is_left_open(tmp_path: Path) -> None:
    """Its client is linked by a sync; a named one is looked up before anything is created."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("one", location_name="First")
        lose_the_answer(us, arrives=True)
        us.put_location("two", location_name="Second")
        path = write_plan(us, "locations")
        whole = path.read_bytes()
        keep_lines(path, "two")
        assert apply_plan(us, path).written == 1
        assert (_intents(us), own(us)) == (["one"], {"two": us.client("Second")["id"]})
        path.write_bytes(whole)
        keep_lines(path, "one")
        assert apply_plan(us, path).changed == []
        assert (_intents(us), own(us)["one"], len(us.clients())) == ([], us.client("First")["id"], 2)
        settled(us)


def test_what_an_interrupted_create_has_made_is_not_adopted_for_another(tmp_path: Path) -> None:
    """Its name is wanted by a named location now; whose client it is, the next sync finds out."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("zwei", location_name="First")
        lose_the_answer(us, arrives=True)
        client = us.client("First")["id"]
        rename(us, zwei="Third", eins="First")
        path = write_plan(us, "locations")
        assert {line["id"]: line["action"] for line in lines_in(path)}["eins"] == "adopt"
        keep_lines(path, "eins")
        found = apply_plan(us, path)
        assert (found.written, [one.id for one in found.left], own(us), _intents(us)) == (0, ["eins"], {}, ["zwei"])
        assert "interrupted" in rejects(us)["eins"].reason
        us.sync("locations")
        assert (own(us)["zwei"], names(us)) == (client, {"zwei": "Third", "eins": "First"})
        settled(us)


def test_names_of_records_that_are_not_named_are_left_as_they_are(tmp_path: Path) -> None:
    """One has a temporary name from an interrupted exchange, one was refused for a name that is free by now."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        places(us)
        theirs = us.clockify("POST", "/clients", {"name": "Elm"})
        rename(us, three="Elm")
        assert us.sync("locations")["locations"].rejected == 1
        rename(us, one="B", two="A")
        turns = (dies_at(us, 3, "cut_after", "locations") for _ in count())
        assert next(turns)
        archive(us, theirs)
        us.clockify("DELETE", f"/clients/{theirs['id']}")
        rename(us, four="Four")
        path = write_plan(us, "locations")
        keep_lines(path, "four")
        before = {client["id"]: client["name"] for client in us.clients()}
        assert apply_plan(us, path).written == 1
        now = {client["id"]: client["name"] for client in us.clients()}
        assert {now[key] for key in now if now[key] != before[key]} == {"Four"}
        assert rejects(us).keys() == {"three"}
        us.sync("locations")
        assert names(us) == {"one": "B", "two": "A", "three": "Elm", "four": "Four"}
        settled(us)


def test_a_killed_apply_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at every request and every write of the store, repeated to its end: all is written, nothing twice."""
    with team(tmp_path, locations=2, clients=1, projects=2, users=2, entries=6) as us:
        us.sync()
        first, second = us.at_snapshots("locations").values()
        _swap(us, first, second)
        us.put_location("new", location_name="New site")
        us.clockify("PUT", f"/projects/{us.projects()[0]['id']}", {"name": "Renamed"})
        deleted = us.entries()[0]
        us.clockify("DELETE", f"/time-entries/{deleted['id']}")
        path = write_plan(us)
        clients = len(us.clients())
        steps, was_killed = 0, True
        with killing(monkeypatch) as killer:
            while was_killed:
                steps += 1
                killer.arm(steps)
                try:
                    found = apply_plan(us, path)
                    was_killed = False
                except Killed:
                    was_killed = True
                finally:
                    killer.arm(None)
        assert steps > 5
        assert (found.changed, found.left, found.held) == ([], [], {})
        assert len(us.clients()) == clients + 1
        assert {client["name"] for client in us.clients()} >= {"New site", first["location_name"]}
        converged(us)
        changes_nothing(us)


@pytest.mark.parametrize("after", [3, 6, 9])
def test_a_process_that_was_killed_is_started_again(tmp_path: Path, after: int) -> None:
    """``kill -9`` at some request; the same command finishes what is left."""
    with team(tmp_path, locations=6, clients=2, entries=0) as us:
        run(us, "preview", "locations", "projects", "--out", "plan.jsonl")
        us.forget_stats()
        kill_when(start(us, "apply", "plan.jsonl"), lambda: sum(us.sandbox.world.stats.requests.values()) >= after)
        document = run_json(us, "apply", "plan.jsonl")
        assert (document["success"], document["written"] + document["already"]) == (True, 11)
        names = [client["name"] for client in us.clients()]
        assert len(names) == len(set(names))
        assert us.verify("locations", "projects")["locations"].in_sync


def _swap(us: Team, first: dict[str, str], second: dict[str, str]) -> None:
    """Two locations exchange their names."""
    us.put_location(first["location_id"], location_name=second["location_name"])
    us.put_location(second["location_id"], location_name=first["location_name"])


def test_the_commands(tmp_path: Path) -> None:
    """`preview --out`, `apply`, and again: what it costs comes first, and exit codes state how it ended."""
    with team(tmp_path, entries=0) as us:
        run(us, "preview", "projects", "--out", "plan.jsonl")
        _, err = run(us, "apply", "plan.jsonl")
        assert err.startswith("About ")
        assert " requests, done at " in err
        document = run_json(us, "apply", "plan.jsonl")
        assert (document["success"], document["written"], document["already"]) == (True, 0, 5)
        for project in us.projects():
            us.clockify("PUT", f"/projects/{project['id']}", {"name": f"More {project['id']}"})
        run(us, "preview", "projects", "--out", "plan.jsonl")
        us.clockify("PUT", f"/projects/{us.projects()[0]['id']}", {"name": "Once more"})
        document = run_json(us, "apply", "plan.jsonl", code=1)
        assert [one["differs"] for one in document["changed"]] == ["source"]
        assert run_json(us, "apply", "plan.jsonl", "--skip-changed", code=1)["written"] == 4


def test_a_file_of_which_every_line_differs_is_no_success_with_any_option(tmp_path: Path) -> None:
    """With `--skip-changed`, too, the records are named, and the fix is named."""
    with team(tmp_path, entries=0, projects=2) as us:
        run(us, "preview", "projects", "--out", "plan.jsonl")
        for project in us.projects():
            us.clockify("PUT", f"/projects/{project['id']}", {"name": f"More {project['id']}"})
        for words in ([], ["--skip-changed"]):
            out, err = run(us, "apply", "plan.jsonl", *words, code=1)
            assert "Nothing was written, because records differ from the file: 2" in " ".join(err.split())
            for project in us.projects():
                assert project["id"] in out
                assert f"projects {project['id']}" in " ".join(err.split())
            assert ("--skip-changed" in err) == (not words)
