"""Preview against what the sync then does, where the two could differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.preview import PlannedWrite, Preview, preview
from sync_pipeline_tests.harness import Team, day, morning, team
from sync_pipeline_tests.scenarios.dying import refuse

FIGURES = ("extracted", "created", "adopted", "updated", "unchanged", "deleted", "rejected", "excluded", "unconfirmed")


def test_only_the_first_changes_are_kept(tmp_path: Path) -> None:
    """However many there are, each is reported and counted once, and memory holds only the requested number."""
    reported: list[PlannedWrite] = []
    with team(tmp_path) as us, us.session() as session:
        found = preview(session, session.specs["projects"], None, keep=2, on_change=reported.append)
    assert (found.total, found.counts.created, len(reported)) == (5, 5, 5)
    assert found.changes == reported[:2]


def look(us: Team, entity: str, **changes: Any) -> Preview:
    """A preview, during which nothing is sent."""
    us.forget_stats()
    with us.session(**changes) as session:
        spec = session.specs[entity]
        found = preview(session, spec, us.days if spec.partitioned else None)
    assert us.writes() == {}
    return found


def actions(found: Preview) -> dict[str, str]:
    """What would be done with each record."""
    return {change.record: change.action for change in found.changes}


def came_true(us: Team, found: Preview, **changes: Any) -> None:
    """The sync does exactly what was foreseen."""
    done = us.sync(found.entity, **changes)[found.entity]
    assert {name: getattr(found.counts, name) for name in FIGURES} == {name: getattr(done, name) for name in FIGURES}


def test_a_client_that_is_handed_over_is_adopted(tmp_path: Path) -> None:
    """Its new location takes it over, so that the deleted one's archiving is not due."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("old", location_name="Oak")
        us.put_location("gone", location_name="Elm")
        us.sync("locations")
        for key in ("old", "gone"):
            us.snapshots("DELETE", f"/locations/{key}")
        us.put_location("new", location_name="Oak")
        found = look(us, "locations")
        assert actions(found) == {"new": "adopt", "gone": "delete"}
        came_true(us, found)


def test_names_that_change_hands_are_updates_and_those_held_are_refused(tmp_path: Path) -> None:
    """A cycle is renamed; a name of a client that keeps it is refused, and so is every location that waits for it."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        for key in "ABCDE":
            us.put_location(key, location_name=f"Site {key}")
        us.clockify("POST", "/clients", {"name": "Free"})
        us.clockify("POST", "/clients", {"name": "Held"})
        us.sync("locations")
        for key, name in zip("ABCDE", ("Site B", "Site C", "Site A", "Site E", "Held"), strict=True):
            us.put_location(key, location_name=name)
        us.put_location("F", location_name="Free")
        us.put_location("G", location_name="Site D")
        found = look(us, "locations")
        assert actions(found) == {"A": "update", "B": "update", "C": "update", "F": "adopt"}
        assert found.counts.rejected == 3
        came_true(us, found)
        assert look(us, "locations").changes == []


def test_what_was_lost_at_the_target_is_created(tmp_path: Path) -> None:
    """`verify` found it missing: the next sync creates it again, in whole."""
    with team(tmp_path) as us:
        us.sync()
        user = us.users()[0]["id"]
        us.snapshots("DELETE", f"/users/{user}")
        location = next(iter(us.at_snapshots("locations").values()))
        client = us.client(location["location_name"])
        kept = ("name", "email", "address", "note", "ccEmails", "currencyId")
        us.clockify("PUT", f"/clients/{client['id']}", {**{key: client[key] for key in kept}, "archived": True})
        us.clockify("DELETE", f"/clients/{client['id']}")
        us.verify("users", "locations")
        for entity, record in (("users", user), ("locations", location["location_id"])):
            found = look(us, entity)
            assert actions(found) == {record: "create"}
            came_true(us, found)


def test_an_entry_that_was_moved_to_another_day_is_not_deleted(tmp_path: Path) -> None:
    """Missing from its day, it is looked up by its id: what exists is updated, only what is missing is deleted."""
    with team(tmp_path, entries=6) as us:
        user = us.users()[0]["id"]
        moved, removed = (us.add_entry(user, morning(2, hour)) for hour in (8, 10))
        us.sync()
        start, end = morning(9), morning(9, 9)
        us.change_entry(moved, start=f"{start:%Y-%m-%dT%H:%M:%SZ}", end=f"{end:%Y-%m-%dT%H:%M:%SZ}")
        us.clockify("DELETE", f"/time-entries/{removed['id']}")
        with us.session() as session:
            found = preview(session, session.specs["time_entries"], Days(day(3), day(1)))
            assert actions(found) == {moved["id"]: "update", removed["id"]: "delete"}
            done = us.sync_one(session, "time_entries", Days(day(3), day(1)))
        assert (done.updated, done.deleted) == (found.counts.updated, found.counts.deleted) == (1, 1)


def test_beyond_the_budget_an_absence_is_unconfirmed(tmp_path: Path) -> None:
    """What a sync may not look up any more it does not delete."""
    with team(tmp_path, entries=0) as us:
        user = us.users()[0]["id"]
        _, *entries = [us.add_entry(user, morning(2, hour)) for hour in (6, 8, 10, 12)]
        us.sync()
        for entry in entries:
            us.clockify("DELETE", f"/time-entries/{entry['id']}")
        found = look(us, "time_entries", SYNC_MAX_CONFIRMATIONS="1")
        assert sorted(actions(found).values()) == ["delete", "unconfirmed", "unconfirmed"]
        assert (found.counts.deleted, found.counts.unconfirmed) == (1, 2)
        came_true(us, found, SYNC_MAX_CONFIRMATIONS="1")


def test_a_location_that_is_back_is_not_deleted(tmp_path: Path) -> None:
    """Its archiving was refused, and is not wanted any more."""
    with team(tmp_path, locations=2, entries=0) as us:
        us.sync("locations")
        location = next(iter(us.at_snapshots("locations").values()))
        key = location["location_id"]
        us.snapshots("DELETE", f"/locations/{key}")
        refuse(us, "PUT */clients/*")
        us.sync("locations")
        us.no_faults()
        assert look(us, "locations").changes == []
        us.put_location(key, location_name=location["location_name"], address=location["address"])
        found = look(us, "locations")
        assert found.changes == []
        came_true(us, found)
