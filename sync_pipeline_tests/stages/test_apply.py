"""`preview --out` and `apply`: only what was looked at is written, and only while it is so still."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline_tests.harness import Team, morning, team
from sync_pipeline_tests.properties.judge import changes_nothing, converged
from sync_pipeline_tests.properties.killing import Killed, killing
from sync_pipeline_tests.scenarios.commands import run, run_json
from sync_pipeline_tests.stages.planning import apply_plan, differing, keep_lines, lines_in, write_plan


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


def test_what_a_line_says_is_never_sent(tmp_path: Path) -> None:
    """Values, labels and actions in the file are for people: what is written comes from the source."""
    with team(tmp_path, entries=0) as us:
        path = write_plan(us, "projects")
        name = us.projects()[0]["name"]
        path.write_text(path.read_text().replace(name, "FORGED"))
        apply_plan(us, path)
        assert "FORGED" not in str(us.at_snapshots("projects"))


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
        names = {key: record["project_name"] for key, record in us.at_snapshots("projects").items()}
        assert names[first] == f"New {first}"
        assert "New" not in names[second]


def test_what_differs_is_named(tmp_path: Path) -> None:
    """Another run wrote it (ledger), the mapping is another one, or somebody changed it at the target."""
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


def test_a_delete_is_proven_again(tmp_path: Path) -> None:
    """One that exists again is not deleted; one that is gone still is."""
    with team(tmp_path, entries=0) as us:
        user = us.users()[0]["id"]
        kept, gone = (us.add_entry(user, morning(2, hour)) for hour in (8, 10))
        us.sync()
        us.clockify("DELETE", f"/time-entries/{gone['id']}")
        path = write_plan(us, "time_entries")
        text = path.read_text()
        assert [line["action"] for line in lines_in(path)] == ["delete"]
        path.write_text(text + text.splitlines()[1].replace(gone["id"], kept["id"]) + "\n")
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


def test_a_killed_apply_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at every request and every write of the store, repeated to its end: all is written, nothing twice."""
    with team(tmp_path, locations=2, clients=1, projects=2, users=2, entries=2) as us:
        us.sync()
        first, second = us.at_snapshots("locations").values()
        _swap(us, first, second)
        us.put_location("new", location_name="New site")
        us.clockify("PUT", f"/projects/{us.projects()[0]['id']}", {"name": "Renamed"})
        gone = us.entries()[0]
        us.clockify("DELETE", f"/time-entries/{gone['id']}")
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


def _swap(us: Team, first: dict[str, str], second: dict[str, str]) -> None:
    """Two locations exchange their names."""
    us.put_location(first["location_id"], location_name=second["location_name"])
    us.put_location(second["location_id"], location_name=first["location_name"])


def test_the_file_is_private_and_has_no_personal_values(tmp_path: Path) -> None:
    """Mode 0600; names and addresses of people are in it on request only."""
    with team(tmp_path, entries=2) as us:
        path = write_plan(us)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        email, name = us.users()[0]["email"], us.users()[0]["name"]
        assert email not in path.read_text()
        assert name not in path.read_text()
        assert email in write_plan(us, with_personal=True).read_text()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no plan"),
        ("{}\n", "is no plan"),
        ('{"sync_pipeline_plan": 2}\n', "another version"),
        ('{"sync_pipeline_plan": 1, "pair": "elsewhere"}\n', "other accounts"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """Before anything is asked; the message says what to do."""
    path = tmp_path / "plan.jsonl"
    path.write_text(text)
    with team(tmp_path / "team") as us, pytest.raises(ConfigError, match=problem) as caught:
        apply_plan(us, path)
    assert "preview --out" in caught.value.fix


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"entity": "projects"}', '{"entity": 1, "id": 2, "action": 3}'])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    """By file and number."""
    with team(tmp_path, entries=0) as us:
        path = write_plan(us, "projects")
        path.write_text(f"{path.read_text().splitlines()[0]}\n{line}\n")
        with pytest.raises(ConfigError, match=r"plan\.jsonl:2"):
            apply_plan(us, path)


def test_the_commands(tmp_path: Path) -> None:
    """`preview --out`, `apply`, and again: what it costs comes first, and exit codes say how it ended."""
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
