"""Names that may exist once only and change hands: in a row or in a cycle, interrupted or refused."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from sync_pipeline_tests.harness import team
from sync_pipeline_tests.properties.invariants import nothing_twice
from sync_pipeline_tests.scenarios.dying import dies_at, refuse
from sync_pipeline_tests.stages.clients import START, names, own, places, rejects, rename, settled, stands_still

CIRCLES = {
    "two": {"one": "B", "two": "A"},
    "three": {"one": "B", "two": "C", "three": "A"},
    "other way": {"one": "C", "two": "A", "three": "B"},
    "with a tail": {"four": "A", "one": "B", "two": "C", "three": "E"},
}


@pytest.mark.parametrize("circle", CIRCLES)
def test_names_change_hands_in_one_run(tmp_path: Path, circle: str) -> None:
    """In a circle or in a row, each location keeps its client."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        clients = places(us)
        rename(us, **CIRCLES[circle])
        assert us.sync("locations")["locations"].updated == len(CIRCLES[circle])
        assert own(us) == clients
        assert names(us) == START | CIRCLES[circle]
        settled(us)


@pytest.mark.parametrize(
    ("circle", "culprit"), [(circle, key) for circle in ("two", "three", "other way") for key in CIRCLES[circle]]
)
def test_a_circle_of_which_one_is_refused_leaves_all_names(tmp_path: Path, circle: str, culprit: str) -> None:
    """Whichever it is: no client keeps a temporary name, each location has its reason, and mended it goes through."""
    wanted = CIRCLES[circle]
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        clients = places(us)
        rename(us, **wanted)
        us.put_location(culprit, location_name=wanted[culprit], address="refused")
        refuse(us, f"PUT */clients/{clients[culprit]}")
        done = us.sync("locations")["locations"]
        assert (done.rejected, done.updated, done.unchanged) == (len(wanted), 0, 4 - len(wanted))
        assert (names(us), own(us)) == (START, clients)
        found = rejects(us)
        assert found.keys() == wanted.keys()
        assert "not this one" in found[culprit].reason
        assert all(clients[culprit] in found[key].reason for key in wanted if wanted[key] == START[culprit])
        us.no_faults()
        stands_still(us)
        us.put_location(culprit, location_name=wanted[culprit], address="mended")
        assert us.sync("locations")["locations"].updated == len(wanted)
        assert (names(us), own(us)) == (START | wanted, clients)
        settled(us)


def test_a_rename_behind_a_refused_one_rejects_no_other(tmp_path: Path) -> None:
    """The name stays in use: the record that wants it is rejected until the name is free."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        clients = places(us)
        rename(us, one="B", two="E")
        refuse(us, f"PUT */clients/{clients['two']}")
        assert us.sync("locations")["locations"].rejected == 2
        assert names(us) == START
        us.no_faults()
        rename(us, two="F")
        assert us.sync("locations")["locations"].updated == 2
        assert names(us) == START | {"one": "B", "two": "F"}
        settled(us)


@pytest.mark.parametrize("kind", ["cut_before", "cut_after"])
def test_a_circle_may_end_anywhere(tmp_path: Path, kind: str) -> None:
    """Whichever request is the last one of a run, the next one finishes the exchange."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        clients = places(us)
        turn = START
        for number in count(1):
            turn = turn | {"one": turn["two"], "two": turn["three"], "three": turn["one"]}
            rename(us, **turn)
            died = dies_at(us, number, kind, "locations")
            nothing_twice(us)
            us.sync("locations")
            assert (names(us), own(us)) == (turn, clients)
            if not died:
                break
        assert number > 6
        settled(us)


def test_a_name_that_an_interrupted_exchange_left_is_given_back(tmp_path: Path) -> None:
    """The run died with a client under its temporary name; its rename is refused by the next one."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        clients = places(us)
        rename(us, one="B", two="A")
        turns = (dies_at(us, 3, "cut_after", "locations") for _ in count())  # list, read, and the temporary name
        assert next(turns)
        assert [name for name in names(us).values() if "~" in name]
        refuse(us, "PUT */clients/*", count=2)
        us.sync("locations")
        assert not [name for name in names(us).values() if "~" in name]
        assert own(us) == clients


def test_a_temporary_name_is_given_back_though_its_location_became_invalid(tmp_path: Path) -> None:
    """Nothing is delivered for it any more, but a name that we made up may not stay."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        places(us)
        rename(us, one="B", two="A")
        turns = (dies_at(us, 3, "cut_after", "locations") for _ in count())
        assert next(turns)
        assert [name for name in names(us).values() if "~" in name]
        rename(us, one="same", two="same")
        us.sync("locations")
        assert not [name for name in names(us).values() if "~" in name]
        us.forget_stats()
        us.sync("locations")
        assert us.writes() == {}
