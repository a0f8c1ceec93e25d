"""Whose client is whose: creates that were not the first, clients left by deleted locations."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from sync_pipeline.errors import ApiError
from sync_pipeline.stages.batch import Options
from sync_pipeline.store.records import counts
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.scenarios.dying import dies_at, refuse, see_no_clients
from sync_pipeline_tests.scenarios.test_locations import archive
from sync_pipeline_tests.stages.clients import kinds, own, places, rejects, rename, settled, stands_still

# -- creating what exists by now ------------------------------------------------------------------------------------


def test_a_client_that_a_person_created_meanwhile_is_adopted(tmp_path: Path) -> None:
    """The create is refused, the client is found, linked and given what differs."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        theirs = us.clockify("POST", "/clients", {"name": "Oak", "note": "mine"})
        us.put_location("one", location_name="Oak", address="Street 1")
        see_no_clients(us, 1)
        done = us.sync("locations")["locations"]
        assert (done.adopted, done.created, done.rejected) == (1, 0, 0)
        now = us.client("Oak")
        assert (now["id"], now["address"], now["note"]) == (theirs["id"], "Street 1", "mine")
        assert kinds(us, "one") == [("create", "failed"), ("adopt", "delivered")]
        settled(us)


def test_a_client_of_our_own_earlier_request_is_adopted(tmp_path: Path) -> None:
    """The answer was cut off, the list did not have it yet, and the repetition is refused."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("one", location_name="Oak", address="Street 1")
        us.fault("cut_after", "POST */clients", count=1)
        see_no_clients(us, 2)
        us.sync("locations")
        assert len(us.clients()) == 1
        assert rejects(us) == {}
        settled(us)


def test_a_client_that_is_linked_meanwhile_is_refused_and_named(tmp_path: Path) -> None:
    """The reject says which client has the name, and whose it is; only then is it about the name."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("one", location_name="Oak")
        us.sync("locations")
        held = us.client("Oak")
        us.clockify("PUT", f"/clients/{held['id']}", {**held, "name": "Elm"})
        us.put_location("two", location_name="Elm")
        assert us.sync("locations")["locations"].rejected == 1
        reject = rejects(us)["two"]
        assert (reject.field, reject.rule, reject.value) == ("name", "name_taken", "Elm")
        assert held["id"] in reject.reason
        assert "linked to the location one" in reject.reason
        assert kinds(us, "two") == [("create", "failed"), ("create", "refused")]
        us.verify("locations")  # the rename by hand is drift
        assert us.sync("locations")["locations"].created == 1  # its name is given up in this very run
        assert rejects(us) == {}
        settled(us)


def test_an_unlinked_client_in_the_way_of_a_rename_is_named(tmp_path: Path) -> None:
    """A location that has a client does not take a second one; when the name is free, it gets it without being asked."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("one", location_name="Oak")
        us.sync("locations")
        theirs = us.clockify("POST", "/clients", {"name": "Elm"})
        rename(us, one="Elm")
        assert us.sync("locations")["locations"].rejected == 1
        reject = rejects(us)["one"]
        assert theirs["id"] in reject.reason
        assert "linked to no location" in reject.reason
        assert kinds(us, "one")[-1] == ("update", "refused")
        stands_still(us)
        us.clockify("PUT", f"/clients/{theirs['id']}", {**theirs, "name": "Ash"})
        done = us.sync("locations")["locations"]
        assert (done.updated, done.rejected) == (1, 0)
        settled(us)


def test_a_refusal_says_what_was_refused(tmp_path: Path) -> None:
    """Create, adopt or update; and no field is blamed when it is not the name."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.clockify("POST", "/clients", {"name": "Adopted"})
        us.put_location("updated", location_name="Updated")
        us.sync("locations")
        us.put_location("updated", location_name="Updated", address="new")
        us.put_location("adopted", location_name="Adopted")
        us.put_location("created", location_name="Created")
        refuse(us, "PUT */clients/*")
        refuse(us, "POST */clients")
        assert us.sync("locations")["locations"].rejected == 3
        for key, kind in (("created", "create"), ("adopted", "adopt"), ("updated", "update")):
            assert kinds(us, key)[-1] == (kind, "refused")
        assert {reject.field for reject in rejects(us).values()} == {None}
        us.no_faults()
        stands_still(us)
        for key in ("updated", "adopted", "created"):
            us.put_location(key, location_name=key.title(), address="mended")
        done = us.sync("locations")["locations"]
        assert (done.created, done.adopted + done.updated, rejects(us)) == (1, 2, {})
        settled(us)


def test_a_client_that_is_deleted_before_it_is_adopted_is_created(tmp_path: Path) -> None:
    """The list still has it, its update says that it is missing: the location gets a client of its own."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("one", location_name="Oak")
        ghost = {"id": "0" * 24, "name": "Oak", "archived": False, "address": None, "note": None}
        us.fault("status", "GET */clients", status=200, body=[ghost], count=1)
        done = us.sync("locations")["locations"]
        assert (done.created, done.adopted) == (1, 0)
        assert own(us) == {"one": us.client("Oak")["id"]}
        settled(us)


# -- creates that were interrupted ----------------------------------------------------------------------------------


def lose_the_answer(us: Team, *, arrives: bool) -> None:
    """A sync whose create is cut off, and which ends before it can look the client up."""
    us.fault("cut_after" if arrives else "cut_before", "POST */clients")
    see_no_clients(us, 1)
    us.fault("status", "GET */clients", status=403)
    with pytest.raises(ApiError):
        us.sync("locations")
    us.no_faults()


def test_two_interrupted_creates_under_two_names_leave_one_client(tmp_path: Path) -> None:
    """The first never arrived, the second did; the location has a third name when a run goes through."""
    for arriving in ((False, True), (True, False), (True, True), (False, False)):
        with team(tmp_path / str(arriving), locations=0, clients=0, entries=0) as us:
            for name, arrives in zip(("First", "Second"), arriving, strict=True):
                us.put_location("one", location_name=name)
                lose_the_answer(us, arrives=arrives)
            us.put_location("one", location_name="Third", address="there")
            us.sync("locations")
            (client,) = us.clients()
            assert (client["name"], client["address"]) == ("Third", "there")
            settled(us)


def test_a_create_that_arrives_late_is_not_doubled(tmp_path: Path) -> None:
    """One list without its name proves nothing: under the name it was sent with, there can be only one."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("one", location_name="First")
        lose_the_answer(us, arrives=True)
        us.put_location("one", location_name="Second")
        see_no_clients(us, 1)  # as if the request were still on its way
        us.sync("locations")
        assert [client["name"] for client in us.clients()] == ["Second"]
        settled(us)


def test_every_name_ever_attempted_is_looked_up(tmp_path: Path) -> None:
    """A client from an attempt that was given up is found by its name, as long as it says that it is ours."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.sync("locations")
        us.put_location("one", location_name="Now")
        us.put_location("two", location_name="Today")
        ours = us.clockify("POST", "/clients", {"name": "Once", "note": "location_id: one"})
        theirs = us.clockify("POST", "/clients", {"name": "Before", "note": "a person's"})
        archive(us, ours)
        with us.session() as session:
            ledger, at = session.ledger("locations"), session.now()
            for location, past, now in (("one", "Once", "Never"), ("two", "Before", "Neither")):
                note = f"location_id: {location}"
                old = ledger.intend(location, "create", {"name": past, "note": note}, at)
                ledger.conclude(old, "failed", at, reason="not in the list")
                ledger.intend(location, "create", {"name": now, "note": note}, at)
        us.sync("locations")
        us.sync("locations")
        linked_to = own(us)
        assert linked_to["one"] == ours["id"]
        assert us.client("Now")["archived"] is False
        assert linked_to["two"] != theirs["id"]
        assert us.client("Before")["note"] == "a person's"
        assert len(us.clients()) == 3
        settled(us)


# -- clients of deleted locations -----------------------------------------------------------------------------------


def recreate(us: Team, old: str, new: str, name: str) -> None:
    """A location is deleted and made anew under another id."""
    us.snapshots("DELETE", f"/locations/{old}")
    us.put_location(new, location_name=name, address=f"of {new}")


@pytest.mark.parametrize("archived", [False, True], ids=["in the same run", "after it was archived"])
def test_a_recreated_location_gets_the_client_of_its_predecessor(tmp_path: Path, archived: bool) -> None:
    """The link is handed over, the client restored and updated; what a person typed stays."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("old", location_name="Oak")
        us.sync("locations")
        before = us.client("Oak")
        us.clockify("PUT", f"/clients/{before['id']}", {**before, "email": "a@b.example"})
        if archived:
            us.snapshots("DELETE", "/locations/old")
            assert us.sync("locations", options=Options(allow_deletes=True))["locations"].deleted == 1
            us.put_location("new", location_name="Oak", address="of new")
        else:
            recreate(us, "old", "new", "Oak")
        done = us.sync("locations")["locations"]
        assert (done.adopted, done.created, done.deleted) == (1, 0, 0)
        (now,) = us.clients()
        assert (now["id"], now["archived"], now["address"]) == (before["id"], False, "of new")
        assert (now["email"], now["note"]) == ("a@b.example", "location_id: new")
        assert own(us) == {"new": before["id"]}
        settled(us)


def test_a_note_that_a_person_wrote_is_not_handed_over(tmp_path: Path) -> None:
    """It is theirs, also when the client gets another location."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("old", location_name="Oak")
        us.sync("locations")
        before = us.client("Oak")
        us.clockify("PUT", f"/clients/{before['id']}", {**before, "note": "call Ann"})
        recreate(us, "old", "new", "Oak")
        us.sync("locations")
        assert us.client("Oak")["note"] == "call Ann"
        settled(us)


def test_a_predecessor_that_comes_back_does_not_get_its_client_back(tmp_path: Path) -> None:
    """Under its old name it clashes, under another one it gets a client of its own."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("old", location_name="Oak")
        us.sync("locations")
        recreate(us, "old", "new", "Oak")
        us.sync("locations")
        kept = own(us)["new"]
        us.put_location("old", location_name="Oak")
        us.sync("locations")
        assert rejects(us).keys() == {"old"}
        assert own(us) == {"new": kept}
        us.put_location("old", location_name="Old oak")
        assert us.sync("locations")["locations"].created == 1
        assert own(us)["new"] == kept != own(us)["old"]
        settled(us)


@pytest.mark.parametrize("kind", ["cut_before", "cut_after"])
def test_a_handing_over_may_end_anywhere(tmp_path: Path, kind: str) -> None:
    """Whichever request is the last one of a run, the next run goes on from there and nothing is doubled."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("location-0", location_name="Oak")
        us.sync("locations")
        client = us.client("Oak")["id"]
        for number in count(1):
            recreate(us, f"location-{number - 1}", f"location-{number}", "Oak")
            died = dies_at(us, number, kind, "locations")
            us.sync("locations")
            (now,) = us.clients()
            assert (now["id"], now["archived"], now["address"]) == (client, False, f"of location-{number}")
            assert own(us) == {f"location-{number}": client}
            if not died:
                break
        assert number > 2
        settled(us)


def test_a_client_that_a_person_made_is_not_taken_for_a_deleted_location(tmp_path: Path) -> None:
    """A create that was never carried out, its location deleted since: a client of that name is someone else's."""
    with team(tmp_path, locations=1, clients=0, entries=0) as us:
        us.sync("locations")
        us.put_location("new", location_name="Depot")
        us.fault("cut_before", "POST */clients")
        with pytest.raises(ApiError):
            us.sync("locations")
        us.no_faults()
        us.snapshots("DELETE", "/locations/new")
        us.clockify("POST", "/clients", {"name": "Depot", "note": "call Ann"})
        for _ in range(2):
            us.sync("locations")
            assert (us.client("Depot")["archived"], us.client("Depot")["note"]) == (False, "call Ann")


# -- what Clockify will not archive ---------------------------------------------------------------------------------


def test_an_archiving_that_is_refused_waits_for_a_retry(tmp_path: Path) -> None:
    """It is shown and not sent again and again; a location that is back needs none."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        clients = places(us)
        us.snapshots("DELETE", "/locations/one")
        refuse(us, f"PUT */clients/{clients['one']}")
        us.sync("locations")
        assert (rejects(us)["one"].origin, kinds(us, "one")[-1]) == ("target", ("archive", "refused"))
        us.no_faults()
        stands_still(us)
        assert rejects(us).keys() == {"one"}
        verdict = us.verify("locations")["locations"]
        assert (verdict.in_sync, verdict.rejected) == (True, 1)
        us.put_location("one", location_name="A")
        us.sync("locations")
        assert rejects(us) == {}
        settled(us)


def test_a_retry_archives_what_was_refused(tmp_path: Path) -> None:
    """Like any other refusal it is offered again when someone says so, and counted until then."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        clients = places(us)
        us.snapshots("DELETE", "/locations/one")
        refuse(us, f"PUT */clients/{clients['one']}")
        us.sync("locations")
        us.no_faults()
        with us.session() as session:
            state = counts(session.store, session.pair)["locations"]
            assert (state.refused, state.pending_deletes) == (1, 0)
            assert session.ledger("locations").clear_refused() == 1
        assert us.sync("locations")["locations"].deleted == 1
        assert us.client("A")["archived"] is True
        assert rejects(us) == {}
        settled(us)


def test_a_reject_goes_with_its_location(tmp_path: Path) -> None:
    """No one has to correct what is deleted."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        clients = places(us)
        us.put_location("one", location_name="A", address="refused")
        refuse(us, f"PUT */clients/{clients['one']}")
        us.sync("locations")
        assert rejects(us).keys() == {"one"}
        us.no_faults()
        us.snapshots("DELETE", "/locations/one")
        us.sync("locations")
        assert rejects(us) == {}
        settled(us)


def test_a_repair_gives_back_what_the_owner_of_a_shared_name_had(tmp_path: Path) -> None:
    """Another location with its name is rejected; the owner keeps the name, also where someone changed its client."""
    with team(tmp_path, locations=0, clients=0) as us:
        us.put_location("one", location_name="Oak", address="1 Main St")
        us.sync("locations")
        us.put_location("two", location_name="Oak")
        us.sync("locations")
        (client,) = us.clients()
        us.clockify("PUT", f"/clients/{client['id']}", {"name": "Oak", "address": "elsewhere"})
        us.verify("locations")  # what is at the target is known from here on
        assert us.verify("locations", repair=True)["locations"].in_sync
        (client,) = us.clients()
        assert (client["name"], client["address"]) == ("Oak", "1 Main St")
