"""The sensor of locations: clients are the target, so an event about one may be someone's edit - or our own echo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from sync_pipeline.clock import utc_now
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.liveness import alive
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.harness import Json, Team, team
from sync_pipeline_tests.properties.invariants import converged

pytestmark = pytest.mark.clock


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team that is in step."""
    with team(tmp_path / "team", entries=0) as opened:
        opened.sync()
        opened.forget_stats()
        yield opened


def ours(us: Team) -> Json:
    """The client of some location."""
    location = next(iter(us.at_snapshots("locations").values()))
    return us.client(str(location["location_name"]))


def event_body(client: Json) -> Json:
    """What Clockify's event holds about a client."""
    return {name: client[name] for name in ("id", "name", "workspaceId", "archived")}


def edit(us: Team, client: Json, **changes: object) -> Json:
    """Someone edits a client in Clockify."""
    kept = {name: client[name] for name in ("name", "address", "note", "email", "archived")}
    edited: Json = us.clockify("PUT", f"/clients/{client['id']}", {**kept, **changes})
    return edited


def test_our_own_echo_ends(us: Team, on: Live) -> None:
    """What we wrote comes back as events: the client is read once, nothing is written, no run is asked for."""
    location = next(iter(us.at_snapshots("locations").values()))
    us.put_location(location["location_id"], location_name="Renamed here")
    us.sync("locations")
    client = us.client("Renamed here")
    us.forget_stats()
    on.event("CLIENT_UPDATED", "locations", event_body(client))
    assert on.tick("locations").requests == []
    assert us.writes() == {}
    assert on.inbox("locations").open == 0


def test_a_run_that_was_killed_hides_no_edit(us: Team, on: Live) -> None:
    """It held the record when it ended: what a person has changed at the target since is seen and put back."""
    client = ours(us)
    with closing(open_store(us.settings().store_url)) as store, alive(store, "killed"), us.session() as session:
        ledger = session.ledger("locations")
        type(ledger)(store, ledger.pair, ledger.entity).claims.take([ledger.linked()[client["id"]]])
    on.event("CLIENT_UPDATED", "locations", event_body(edit(us, client, address="Somebody's idea")))
    on.drain("locations")
    assert us.client(client["name"])["address"] == client["address"]
    converged(us)


def test_an_edit_whose_comparison_failed_is_not_answered_by_a_full_sync(us: Team, on: Live) -> None:
    """Clients could not be read when the sensor looked; a sync that has nothing to deliver does not ask for them."""
    client = ours(us)
    on.event("CLIENT_UPDATED", "locations", event_body(edit(us, client, address="Somebody's idea")))
    us.fault("status", "GET */clients/*", status=503)
    assert on.tick("locations").requests == []
    us.sync("locations")
    us.no_faults()
    assert on.inbox("locations").open == 1
    on.drain("locations")
    assert us.client(client["name"])["address"] == client["address"]
    assert on.inbox("locations").open == 0
    converged(us)


def test_a_client_that_cannot_be_read_holds_up_no_other_edit(us: Team, on: Live) -> None:
    """It is compared when it can be read again; the other edit is corrected in the meantime."""
    with us.session() as session:
        linked = session.ledger("locations").linked()
    unread, other = [client for client in us.clients() if client["id"] in linked][:2]
    for client in (unread, other):
        on.event("CLIENT_UPDATED", "locations", event_body(edit(us, client, address="Someone's idea")))
    us.fault("status", f"GET */clients/{unread['id']}", status=500)
    for _ in range(3):
        on.retry_policy(0)
        on.tick("locations")
    assert us.client(other["name"])["address"] == other["address"]
    assert on.inbox("locations").open == 1
    us.no_faults()
    on.retry_policy(0)
    on.drain("locations")
    assert us.client(unread["name"])["address"] == unread["address"]
    converged(us)


def test_an_edit_of_a_client_that_another_run_is_writing_is_compared_once_more(us: Team, on: Live) -> None:
    """What is read meanwhile may be from before that write or after it: the look decides nothing."""
    client = ours(us)
    on.event("CLIENT_UPDATED", "locations", event_body(edit(us, client, address="Somebody's idea")))
    with closing(open_store(us.settings().store_url)) as store, alive(store, "writing"), us.session() as session:
        ledger = session.ledger("locations")
        claims = type(ledger)(store, ledger.pair, ledger.entity).claims
        claims.take([ledger.linked()[client["id"]]])
        assert on.tick("locations").requests == []
        claims.give_back()
    assert on.inbox("locations").open == 1
    on.drain("locations")
    assert us.client(client["name"])["address"] == client["address"]
    assert on.inbox("locations").open == 0
    converged(us)


def test_every_write_of_ours_may_come_back_without_end(us: Team, on: Live) -> None:
    """Each client event is answered by an echo of whatever was written, as webhook and by polling: it comes to rest."""
    client = ours(us)
    edited = edit(us, client, address="Somebody's idea")
    us.forget_stats()
    on.event("CLIENT_UPDATED", "locations", event_body(edited))
    for number in range(3):
        tick = on.tick("locations")
        if number == 0:
            assert tick.jobs == ["sync_locations"]
        else:
            assert tick.requests == []
        on.event("CLIENT_UPDATED", "locations", {**event_body(us.client(client["name"])), "echo": number})
    on.drain("locations")
    assert us.writes() == {"clients": 1}
    assert us.client(client["name"])["address"] == client["address"]
    assert on.inbox("locations").open == 0
    converged(us)


def test_an_archived_client_is_taken_back(us: Team, on: Live) -> None:
    """Someone archives the client of a location that exists: the list is pulled and the client is active again."""
    client = ours(us)
    on.event("CLIENT_UPDATED", "locations", event_body(edit(us, client, archived=True)))
    on.drain("locations")
    assert us.client(client["name"])["archived"] is False
    converged(us)


def test_a_deleted_client_is_made_again(us: Team, on: Live) -> None:
    """A linked client that is missing is pending, created again and linked."""
    client = ours(us)
    us.clockify("PUT", f"/clients/{client['id']}", {"name": client["name"], "archived": True})
    us.clockify("DELETE", f"/clients/{client['id']}")
    on.event("CLIENT_DELETED", "locations", event_body(client))
    on.drain("locations")
    assert us.client(client["name"])["id"] != client["id"]
    converged(us)


def test_a_new_client_pulls_the_list(us: Team, on: Live) -> None:
    """No one's client may be what a new location waits for: the list is pulled, and the location adopts it."""
    us.put_location("loc-fresh", location_name="Fresh site")
    client = us.clockify("POST", "/clients", {"name": "Fresh site"})
    on.event("NEW_CLIENT", "locations", event_body(client))
    assert on.tick("locations").jobs == ["sync_locations"]
    assert us.client("Fresh site")["id"] == client["id"]
    assert on.inbox("locations").open == 0
    converged(us)


def test_the_archived_client_of_a_deleted_location_stays_unchanged(us: Team, on: Live) -> None:
    """The echo of an archiving ends; someone who takes such a client back finds it archived again."""
    location = next(iter(us.at_snapshots("locations").values()))
    us.snapshots("DELETE", f"/locations/{location['location_id']}")
    us.sync("locations")
    client = us.client(location["location_name"])
    assert client["archived"]
    on.event("CLIENT_UPDATED", "locations", event_body(client))
    assert on.tick("locations").requests == []
    on.event("CLIENT_UPDATED", "locations", event_body(edit(us, client, archived=False)))
    assert on.tick("locations").jobs == ["sync_locations"]
    assert us.client(client["name"])["archived"]
    us.put_location(location["location_id"], location_name=location["location_name"])
    us.sync("locations")
    assert us.client(client["name"])["id"] == client["id"]
    assert us.client(client["name"])["archived"] is False


def test_a_failed_pull_is_asked_for_again(us: Team, on: Live) -> None:
    """The run fails after the edit was noted: the event is still open and the next tick asks again."""
    client = ours(us)
    on.event("CLIENT_UPDATED", "locations", event_body(edit(us, client, address="Elsewhere")))
    us.fault("status", "GET */snapshots/locations", status=503)
    assert not on.tick("locations").runs[0].success
    assert on.inbox("locations").open == 1
    us.no_faults()
    on.retry_policy(0)
    on.drain("locations")
    assert us.client(client["name"])["address"] == client["address"]
    assert on.inbox("locations").open == 0


def test_a_client_that_never_becomes_what_we_send_is_left_alone(us: Team, on: Live) -> None:
    """A client that differs after each write of ours costs one write, not a write for each echo."""
    client = ours(us)
    bent = {**client, "address": "Bent by the other side"}
    us.fault("status", f"GET */clients/{client['id']}", status=200, body=bent)
    us.forget_stats()
    for number in range(4):
        on.event("CLIENT_UPDATED", "locations", {**event_body(client), "echo": number})
        on.tick("locations")
    assert us.writes() == {"clients": 1}
    assert on.inbox("locations").open == 0


def test_the_same_edit_later_is_believed(us: Team, on: Live) -> None:
    """Right after we wrote, the same again is left alone; a quarter of an hour later it is someone's doing."""
    client = ours(us)
    on.event("CLIENT_UPDATED", "locations", event_body(edit(us, client, address="Somebody's idea")))
    on.drain("locations")
    assert us.client(client["name"])["address"] == client["address"]
    again = edit(us, us.client(client["name"]), address="Somebody's idea")
    on.event("CLIENT_UPDATED", "locations", event_body(again))
    assert on.tick("locations").requests == []
    cursor = orjson.loads(str(on.cursors["locations"]))
    ago = (utc_now() - timedelta(minutes=15)).isoformat()
    cursor["stubborn"] = {key: [found, ago] for key, (found, _) in cursor["stubborn"].items()}
    on.cursors["locations"] = orjson.dumps(cursor).decode()
    on.event("CLIENT_UPDATED", "locations", event_body(again))
    assert on.tick("locations").jobs == ["sync_locations"]
    assert us.client(client["name"])["address"] == client["address"]
    converged(us)
