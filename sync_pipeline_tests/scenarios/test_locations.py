"""The life of locations and their clients: adoption, clashes, swaps, archiving and coming back."""

from __future__ import annotations

from pathlib import Path

from sync_pipeline.store.rejects import list_rejects
from sync_pipeline_tests.harness import Json, Team, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged, nothing_twice


def archive(us: Team, client: Json) -> None:
    """A person archives a client."""
    body = {name: client[name] for name in ("name", "email", "address", "note", "ccEmails", "currencyId")}
    us.clockify("PUT", f"/clients/{client['id']}", {**body, "archived": True})


def reasons(us: Team) -> dict[str, str]:
    """Why locations are rejected, by location."""
    with us.session() as session:
        rows = list_rejects(session.store, session.pair, entity="locations")
        return {str(row.source_id): row.reason for row in rows}


def test_an_existing_client_of_exactly_that_name_is_adopted(tmp_path: Path) -> None:
    """Active or archived: it is linked, un-archived and updated, keeps what is a person's, and none is added."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        active = us.clockify("POST", "/clients", {"name": "Löwen Apotheke", "email": "a@b.example", "note": "mine"})
        archived = us.clockify("POST", "/clients", {"name": "Café Zürich"})
        archive(us, archived)
        us.clockify("POST", "/clients", {"name": "löwen apotheke"})  # almost the same name is another client
        us.put_location("one", location_name="Löwen Apotheke", address="Street 1")
        us.put_location("two", location_name="Café Zürich")
        done = us.sync("locations")["locations"]
        assert (done.adopted, done.created) == (2, 0)
        now = us.client("Löwen Apotheke")
        assert (now["id"], now["email"], now["note"]) == (active["id"], "a@b.example", "mine")
        assert now["address"] == "Street 1"
        assert us.client("Café Zürich")["id"] == archived["id"]
        assert us.client("Café Zürich")["archived"] is False
        assert len(us.clients()) == 3
        us.sync()
        converged(us)
        changes_nothing(us)


def test_a_client_linked_to_another_location_is_never_adopted(tmp_path: Path) -> None:
    """A second location that wants the name of a linked client is rejected; corrected, it gets a client of its own."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("one", location_name="Oak & Sons")
        us.sync("locations")
        us.put_location("two", location_name="Oak & Sons", address="elsewhere")
        done = us.sync("locations")["locations"]
        assert (done.rejected, done.unchanged) == (1, 1)
        assert reasons(us).keys() == {"two"}
        assert [client["address"] for client in us.clients()] == [None]
        us.put_location("two", location_name="Oak & Sons 2")
        assert us.sync("locations")["locations"].created == 1
        assert reasons(us) == {}
        us.sync()
        converged(us)


def test_swapped_and_rotated_names_go_through_a_temporary_one(tmp_path: Path) -> None:
    """Clockify never allows two clients of one name; afterwards each location still has its own client."""
    with team(tmp_path, locations=5, entries=0) as us:
        us.sync()
        places = list(us.at_snapshots("locations").values())
        own = {place["location_id"]: us.client(place["location_name"])["id"] for place in places}
        names = [place["location_name"] for place in places]
        swapped = [names[1], names[0], names[3], names[4], names[2]]
        for place, name in zip(places, swapped, strict=True):
            us.put_location(place["location_id"], location_name=name)
        assert us.sync("locations")["locations"].updated == 5
        for place, name in zip(places, swapped, strict=True):
            assert us.client(name)["id"] == own[place["location_id"]]
        converged(us)
        changes_nothing(us)


def test_a_client_that_a_person_deleted_is_created_again(tmp_path: Path) -> None:
    """`verify` reports it, the repair creates it, and the location is linked to the new one."""
    with team(tmp_path, entries=0) as us:
        us.sync()
        location = next(iter(us.at_snapshots("locations").values()))
        deleted = us.client(location["location_name"])
        archive(us, deleted)
        us.clockify("DELETE", f"/clients/{deleted['id']}")
        verdict = us.verify("locations")["locations"]
        assert (verdict.missing, verdict.in_sync) == (1, False)
        assert us.sync("locations")["locations"].created == 1  # verify made it pending, so any sync delivers it
        new = us.client(location["location_name"])
        assert new["id"] != deleted["id"]
        assert location["location_id"] in new["note"]
        converged(us)
        changes_nothing(us)


def test_a_deleted_location_is_archived_and_comes_back_to_its_old_client(tmp_path: Path) -> None:
    """Its client is archived, not deleted; when it is there again, under another name, the same client is restored."""
    with team(tmp_path, entries=0) as us:
        us.sync()
        location = next(iter(us.at_snapshots("locations").values()))
        client = us.client(location["location_name"])
        us.snapshots("DELETE", f"/locations/{location['location_id']}")
        assert us.sync("locations")["locations"].deleted == 1
        assert us.client(location["location_name"])["archived"] is True
        converged(us)
        changes_nothing(us)
        us.put_location(location["location_id"], location_name="Under new management")
        assert us.sync("locations")["locations"].updated == 1
        back = us.client("Under new management")
        assert (back["id"], back["archived"]) == (client["id"], False)
        converged(us)
        changes_nothing(us)


def test_a_client_that_a_person_archived_or_renamed_is_drift_and_is_repaired(tmp_path: Path) -> None:
    """Both are reported by field, and repaired on the same client."""
    with team(tmp_path, entries=0) as us:
        us.sync()
        one, two, *_ = us.at_snapshots("locations").values()
        first, second = us.client(one["location_name"]), us.client(two["location_name"])
        archive(us, first)
        us.clockify("PUT", f"/clients/{second['id']}", {**second, "name": "Renamed by hand"})
        found = {(d.record, d.field) for d in us.verify("locations")["locations"].differences}
        assert found == {(one["location_id"], "archived"), (two["location_id"], "name")}
        repaired = us.verify("locations", repair=True)["locations"]
        assert (repaired.in_sync, repaired.repaired) == (True, 2)
        assert us.client(two["location_name"])["id"] == second["id"]
        nothing_twice(us)
        changes_nothing(us)
