"""Locations that are tasks, and change project and name at the same time: in a row or in a cycle, interrupted or refused."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import count, cycle
from pathlib import Path

import pytest

from sync_pipeline.errors import AmbiguousWrite
from sync_pipeline_tests.harness import Json, Team, team
from sync_pipeline_tests.properties.killing import Killed, killing
from sync_pipeline_tests.scenarios.dying import refused_at
from sync_pipeline_tests.scenarios.mappings import write_mapping
from sync_pipeline_tests.scenarios.test_target_kinds import PROJECTS, TASKS, settled, synced
from sync_pipeline_tests.stages.clients import own, rejects
from sync_pipeline_tests.stages.planning import apply_plan, keep_lines, lines_in, write_plan

Places = dict[str, tuple[str, str]]
"""The project and the name of each location's task, or the client and the name of its project."""

START: Places = {"one": ("P", "Oak"), "two": ("Q", "Elm"), "three": ("R", "Fir"), "four": ("P", "Yew")}
MOVES: dict[str, Places] = {
    "two swap": {"one": ("Q", "Elm"), "two": ("P", "Oak")},
    "three rotate": {"one": ("Q", "Elm"), "two": ("R", "Fir"), "three": ("P", "Oak")},
    "other way": {"one": ("R", "Fir"), "two": ("P", "Oak"), "three": ("Q", "Elm")},
    "into what another leaves": {"one": ("R", "Ash"), "two": ("P", "Oak")},
    "in a row": {"one": ("R", "Ash"), "two": ("P", "Oak"), "three": ("Q", "Elm")},
    "new where another leaves": {"one": ("Q", "Oak"), "five": ("P", "Oak")},
    "into what another is renamed from": {"two": ("P", "Yew"), "four": ("P", "Ash")},
    "renamed to what another leaves": {"one": ("Q", "Oak"), "four": ("P", "Oak")},
    "renamed to what the next one leaves": {"four": ("P", "Oak"), "one": ("R", "Oak"), "two": ("P", "Yew")},
    "round with a rename": {"four": ("P", "Oak"), "one": ("Q", "Elm"), "two": ("P", "Yew")},
    "a swap, and one that follows": {"one": ("Q", "Elm"), "two": ("P", "Oak"), "three": ("Q", "Oak")},
}
CUT = ("three rotate", "in a row", "renamed to what the next one leaves")
SWAPS = ("two swap", "three rotate", "other way")


class Sites:
    """A team whose locations are tasks of three projects."""

    def __init__(self, us: Team, start: Places = START, project: str = "source: customer") -> None:
        self.us = us
        self.ids = {name: us.clockify("POST", "/projects", {"name": f"Project {name}"})["id"] for name in "PQR"}
        write_mapping(us, "locations.yaml", TASKS % project)
        self.move(start)
        assert synced(us).created == len(start)

    def move(self, places: Places, **fields: str) -> None:
        """Change these locations."""
        for key, (project, name) in places.items():
            us, customer = self.us, self.ids.get(project, project)
            us.put_location(key, location_name=name, customer=customer, **fields)

    def tasks(self) -> dict[str, Json]:
        """All tasks, by the id under which they are linked."""
        listed = (
            task
            for project in self.ids.values()
            for task in self.us.clockify("GET", f"/projects/{project}/tasks", **{"page-size": 5000})
        )
        return {f"{task['projectId']}/{task['id']}": task for task in listed}

    def places(self) -> Places:
        """Where each location's task is, all of which are active, each once."""
        found = self.tasks()
        assert all(found[target]["status"] == "ACTIVE" for target in own(self.us).values())
        return self.linked()

    def linked(self) -> Places:
        """The same, whether they are active or not."""
        names, found = {key: name for name, key in self.ids.items()}, self.tasks()
        linked = {key: found[target] for key, target in own(self.us).items()}
        return {key: (names[task["projectId"]], task["name"]) for key, task in linked.items()}

    def nothing_twice(self) -> None:
        """No task is active that no location has, or under a temporary name."""
        active = {key: task["name"] for key, task in self.tasks().items() if task["status"] == "ACTIVE"}
        assert active.keys() <= {*own(self.us).values()}
        assert not [name for name in active.values() if "~" in name]

    def is_as_mapped(self, places: Places) -> None:
        """Each location has one task, where the mapping wants it; a second sync writes nothing."""
        assert rejects(self.us) == {}
        assert self.places() == places
        self.nothing_twice()
        settled(self.us)


def every(moves: Mapping[str, Places]) -> Places:
    """All of these moves at the same time."""
    return {
        f"{nr}-{key}": (project, f"{name} {nr}")
        for nr, places in enumerate(moves.values())
        for key, (project, name) in places.items()
    }


def back(places: Places) -> Places:
    """Where these locations were before, or where no other one is."""
    return {key: START.get(key, ("R", "Elder")) for key in places}


def test_tasks_change_project_and_name_in_one_sync(tmp_path: Path) -> None:
    """In a row or in a cycle, and back again, each move with locations of its own: one sync does it, no task is made in vain."""
    with team(tmp_path, locations=0, projects=0, entries=0) as us:
        sites = Sites(us, every(dict.fromkeys(MOVES, START)))
        before = own(us)
        sites.move(every(MOVES))
        assert synced(us).rejected == 0
        sites.is_as_mapped(every({move: START | places for move, places in MOVES.items()}))
        swapped = every({move: MOVES[move] for move in SWAPS}).keys()
        assert {own(us)[key] for key in swapped} == {before[key] for key in swapped}
        sites.move(every({move: back(places) for move, places in MOVES.items()}))
        assert synced(us).rejected == 0
        sites.is_as_mapped(every({move: START | back(places) for move, places in MOVES.items()}))


@pytest.mark.parametrize("move", CUT)
def test_a_move_may_be_killed_anywhere(tmp_path: Path, move: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before every request and every write of the store; the next sync finishes it, and no task is active twice."""
    with team(tmp_path, locations=0, projects=0, entries=0) as us:
        sites = Sites(us)
        turns = cycle([MOVES[move], back(MOVES[move])])
        with killing(monkeypatch) as killer:
            for step, turn in zip(count(1, 2), turns, strict=False):
                sites.move(turn)
                killer.arm(step)
                with suppress(Killed):
                    synced(us)
                    break
                killer.arm(None)
                assert synced(us).rejected == 0
                assert sites.places() == START | turn
                sites.nothing_twice()
            killer.arm(None)
        assert step > 20
        sites.is_as_mapped(START | turn)


def test_a_move_that_is_taken_back_after_it_was_cut_off_makes_no_task(tmp_path: Path) -> None:
    """No create of it arrived: the location wants the task that it has, and nothing is made in the other project."""
    with team(tmp_path, locations=0, projects=0, entries=0) as us:
        sites = Sites(us)
        before = sites.tasks()
        sites.move({"one": ("Q", "Ash")})
        us.fault("cut_before", "POST */tasks*")
        with pytest.raises(AmbiguousWrite):
            synced(us)
        us.no_faults()
        sites.move({"one": START["one"]})
        synced(us)
        assert sites.tasks() == before
        sites.is_as_mapped(START)
        sites.move({"one": ("Q", "Ash")})
        assert synced(us).created == 1
        sites.is_as_mapped(START | {"one": ("Q", "Ash")})


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("move", CUT)
def test_whichever_write_is_refused_no_task_is_doubled_or_lost(tmp_path: Path, move: str, method: str) -> None:
    """The location has the reason, and still a task; all others are as mapped, or wait for a name. Tried again, it goes through."""
    with team(tmp_path, locations=0, projects=0, entries=0) as us:
        sites = Sites(us)
        turns = cycle([MOVES[move], back(MOVES[move])])
        for number, turn in zip(count(1), turns, strict=False):
            before = sites.linked()
            sites.move(turn)
            if not refused_at(us, number, f"{method} */tasks*", "locations"):
                break
            now, refused = sites.linked(), rejects(us)
            assert refused
            assert now.keys() == before.keys()
            assert {key: place for key, place in now.items() if key not in refused} == {
                key: place for key, place in (START | turn).items() if key not in refused
            }
            sites.nothing_twice()
            us.forget_stats()
            synced(us)
            assert us.writes() == {}
            with us.session() as session:
                session.ledger("locations").clear_refused()
            synced(us)
            assert rejects(us) == {}
            assert sites.places() == START | turn
            sites.nothing_twice()
        assert number > 1 or (move, method) == ("three rotate", "POST")
        sites.is_as_mapped(START | turn)


def test_a_plan_of_a_swap_is_applied_as_a_whole(tmp_path: Path) -> None:
    """With one line of it, nothing is written: the other task still has the name."""
    with team(tmp_path, locations=0, projects=0, entries=0) as us:
        sites = Sites(us)
        before = sites.tasks()
        sites.move(MOVES["two swap"])
        path = write_plan(us, "locations")
        assert {line["id"]: line["action"] for line in lines_in(path)} == {"one": "adopt", "two": "adopt"}
        whole = path.read_bytes()
        keep_lines(path, "one")
        found = apply_plan(us, path)
        assert (found.written, [one.id for one in found.changed]) == (0, ["one"])
        assert sites.tasks() == before
        path.write_bytes(whole)
        found = apply_plan(us, path)
        assert (found.written, found.left, found.changed) == (2, [], [])
        sites.is_as_mapped(START | MOVES["two swap"])


def test_a_project_that_belongs_to_the_target_moves_no_task(tmp_path: Path) -> None:
    """It is written once; a location that names another one later is renamed where it is."""
    with team(tmp_path, locations=0, projects=0, entries=0) as us:
        sites = Sites(us, project="source: customer, owner: target")
        sites.move({"one": ("Q", "Ash")})
        assert synced(us).updated == 1
        sites.is_as_mapped(START | {"one": ("P", "Ash")})


def test_a_task_that_cannot_move_stays_active(tmp_path: Path) -> None:
    """Its location names a project that does not exist: the task is as before, and moves once there is one."""
    with team(tmp_path, locations=0, projects=0, entries=0) as us:
        sites = Sites(us)
        before = sites.tasks()
        sites.move({"one": ("64a687e29ae1f428e7ebe399", "Oak"), "two": ("P", "Oak")})
        assert synced(us).rejected == 2
        assert sites.tasks() == before
        assert "belongs to task" in rejects(us)["two"].reason
        sites.move({"one": ("Q", "Oak")})
        synced(us)
        sites.is_as_mapped(START | {"one": ("Q", "Oak"), "two": ("P", "Oak")})


def test_a_name_is_free_in_another_project(tmp_path: Path) -> None:
    """Two locations of one name are two tasks, unless they name the same project."""
    with team(tmp_path, locations=0, projects=0, entries=0) as us:
        sites = Sites(us)
        sites.move({"five": ("Q", "Oak")})
        assert synced(us).created == 1
        sites.is_as_mapped(START | {"five": ("Q", "Oak")})
        sites.move({"six": ("Q", "Oak")})
        assert synced(us).rejected == 1
        assert "another record has the same name, 'Oak', and the same projectId" in rejects(us)["six"].reason


def test_projects_that_swap_names_and_clients(tmp_path: Path) -> None:
    """Whichever write is refused, both are as they were, each of its client; tried again, each location keeps its project."""
    with team(tmp_path, locations=0, clients=0, projects=0, entries=0) as us:
        write_mapping(us, "locations.yaml", PROJECTS)
        north, south = (us.clockify("POST", "/clients", {"name": name})["id"] for name in ("North", "South"))
        now, then = {"one": (north, "Oak"), "two": (south, "Elm")}, {"one": (south, "Elm"), "two": (north, "Oak")}

        def put(places: Places) -> None:
            for key, (client, name) in places.items():
                us.put_location(key, location_name=name, customer=client)

        def places() -> Places:
            found = {project["id"]: (project["clientId"], project["name"]) for project in us.projects()}
            return {key: found[project] for key, project in own(us).items()}

        put(now)
        synced(us)
        linked = own(us)
        for number in count(1):
            put(then)
            if not refused_at(us, number, "PUT */projects/*", "locations"):
                break
            assert places() == now
            assert rejects(us).keys() == now.keys()
            with us.session() as session:
                session.ledger("locations").clear_refused()
            synced(us)
            assert places() == then
            now, then = then, now
        assert number == 4
        assert (places(), own(us)) == (then, linked)
        settled(us)
