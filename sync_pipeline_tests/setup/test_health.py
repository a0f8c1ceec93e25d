"""What is on and what is well: facts that the console, `status` and `live on` show alike."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

import pytest

from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.errors import SyncError
from sync_pipeline.session.health import SCRIPTED, SILENT, beat
from sync_pipeline.session.secrets import SNAPSHOTS_KEY
from sync_pipeline.session.session import Session
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import read_live_status, turn_off, turn_on
from sync_pipeline_tests.harness import SNAPSHOTS_KEY as GOOD_KEY
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.setup.services import on_accounts
from sync_pipeline_tests.setup.test_switching import tried


@pytest.fixture
def live(us: Team, setup: SetupService) -> SetupService:
    """Set up, tried, and live; no daemon has ever run."""
    turn_on(tried(on_accounts(setup, us)))
    return setup


def problem(setup: SetupService, after: timedelta = timedelta()) -> str:
    """What is reported about nothing being synced, so much later."""
    with clock_from(utc_now() + after):
        return read_live_status(setup).problem


def test_live_without_a_daemon(live: SetupService) -> None:
    """It is reported, with how to start it - and nothing is reported once live syncing is off."""
    assert "nothing is syncing: no Dagster daemon has reported yet. Start it with `sync-pipeline dev`" in problem(live)
    turn_off(live)
    assert problem(live) == ""


def test_a_daemon_that_reports_and_then_stops(live: SetupService) -> None:
    """While it reports there is no notice; when it falls silent, a notice states since when."""
    with live.reading() as session:
        beat(session)
        silence = SILENT + 2 * timedelta(seconds=session.settings.sensor_seconds)
        began = session.now()
    assert problem(live) == ""
    assert problem(live, silence - timedelta(seconds=1)) == ""
    assert f"has reported since {began:%Y-%m-%d %H:%M} UTC" in problem(live, silence + timedelta(seconds=1))


def test_who_syncs_by_a_script_gets_no_notice(live: SetupService) -> None:
    """Two syncs of everything since live was turned on, and never a daemon: cron does it. When they end, that is reported."""
    with live.reading() as session:
        for ago in (timedelta(days=1), timedelta(days=1), timedelta()):  # two before the switch
            assert problem(live)
            note_sync_at(session, session.now() - ago)
        assert problem(live)  # one was run by hand
        note_sync_at(session, session.now())
    assert problem(live) == ""
    assert problem(live, SCRIPTED + timedelta(hours=1))


def test_syncs_of_some_entities_by_hand_are_no_script(live: SetupService) -> None:
    """However often they are run: what they leave out, no one syncs."""
    with live.reading() as session:
        for _ in range(5):
            note_sync_at(session, session.now(), "locations")
    assert problem(live)


def test_a_beat_of_a_clock_that_was_ahead_is_no_sign_of_life(live: SetupService) -> None:
    """The daemon that noted it is dead; one that lives notes another one immediately."""
    with live.reading() as session:
        with clock_from(utc_now() + timedelta(hours=2)):
            beat(session)
        assert problem(live)
        beat(session)
    assert problem(live) == ""


def note_sync_at(session: Session, at: datetime, *entities: str) -> None:
    """Syncs that began then, of everything unless given otherwise."""
    for entity in entities or session.specs:
        session.ledger(entity).syncs.begin(observed_at=at, at=at, run_id="r")


def test_a_refused_key_is_shown_until_it_is_replaced(us: Team, live: SetupService) -> None:
    """Since when and what to do, however green the set-up is; a new key ends it, and so does a good answer."""
    assert [side.state for side in connections(live)] == ["connected", "connected"]
    us.control("POST", "snapshots", {"keys": {GOOD_KEY: "revoked"}})
    probe(live)
    clockify, snapshots = connections(live)
    assert (clockify.state, snapshots.state) == ("connected", "key refused")
    assert "this key was revoked" in snapshots.detail
    assert "`sync-pipeline credentials rotate snapshots.api_key`" in snapshots.detail
    assert snapshots.detail.startswith("since ")
    us.control("POST", "snapshots", {"keys": {GOOD_KEY: "valid"}})
    probe(live)
    assert connections(live)[1].state == "connected"
    us.control("POST", "snapshots", {"keys": {GOOD_KEY: "revoked"}})
    probe(live)
    with live.vault() as vault:
        vault.rotate(SNAPSHOTS_KEY, "another-key", live.now())
    assert connections(live)[1].state == "connected"


@pytest.mark.parametrize(
    ("fault", "state"), [({"kind": "status", "status": 503}, "not reachable"), ({"kind": "html"}, "wrong address")]
)
def test_other_failures_have_their_own_names(us: Team, live: SetupService, fault: dict[str, str], state: str) -> None:
    """An outage is no refused key, and another server at the address is no outage."""
    us.fault(route="GET /snapshots/*", **fault)
    probe(live)
    assert connections(live)[1].state == state


@pytest.mark.parametrize("status", [403, 429])
def test_what_is_no_failure_of_the_connection(us: Team, live: SetupService, status: int) -> None:
    """A permission that is missing, or too many requests: the system knows us."""
    us.fault("status", "GET /snapshots/*", status=status)
    probe(live)
    assert connections(live)[1].state == "connected"


def probe(setup: SetupService) -> None:
    """One request to the Snapshots API, as any run sends it."""
    with setup.session() as session, suppress(SyncError):
        session.call(session.snapshots.probe, "locations")
