"""Live or not: allowed for the configuration that was tried, and for no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import CLOCKIFY_KEY, SNAPSHOTS_KEY
from sync_pipeline.setup import trial
from sync_pipeline.setup.connections import disconnect
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import pause_of, read_live_status, turn_off, turn_on
from sync_pipeline.store.audit import changes
from sync_pipeline.store.credentials import places
from sync_pipeline.store.switches import turn
from sync_pipeline_tests.harness import CLOCKIFY_KEY as OWNER
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.setup.services import environ_of, on_accounts, on_the_sandbox, setup_of


def tried(setup: SetupService) -> SetupService:
    """The service, after a trial that passed."""
    kind = trial.kind_for(setup.settings())
    assert trial.run(setup, trial.begin(setup, kind), kind).outcome == "passed"
    return setup


@pytest.mark.parametrize("set_up", [on_the_sandbox, on_accounts])
def test_on_and_off(us: Team, setup: SetupService, set_up: Callable[[SetupService, Team], SetupService]) -> None:
    """Untried it stays off; tried it can be turned on; off again at any time, and both are noted."""
    set_up(setup, us)
    with pytest.raises(ConfigError, match=r"Live syncing cannot be turned on: .*has not been previewed yet"):
        turn_on(setup)
    assert not read_live_status(setup).is_live
    assert turn_on(tried(setup)).is_live
    now = read_live_status(setup)
    assert now.is_live
    assert now.switch is not None
    assert now.switch.by == "ann (test)"
    assert not turn_off(setup).is_live
    with setup.store() as store:
        assert [change.what for change in changes(store, 2)] == ["live off", "live on"]


def test_another_set_up_of_the_database_stays_live(us: Team) -> None:
    """Two homes share it: neither turns the other one off, takes its switch for its own, or removes its secrets."""
    north, south = (on_accounts(setup_of(us, environ_of(us, SYNC_SETUP_NAME=name)), us) for name in ("", "south"))
    south.change({"snapshots.account": "south"}, "account", "")
    enter_key(south)
    assert not read_live_status(north).is_live
    with south.reading() as session:
        turn(session.store, session.pair, session.fingerprint, on=True, by="bob", at=session.now())
    assert read_live_status(south).is_live
    with north.reading() as session:
        assert "paused" not in session.mode.why
    assert pause_of(north) is None
    turn_off(north)
    assert read_live_status(south).is_live
    disconnect(north, "clockify", since=None)
    assert read_live_status(south).is_live
    disconnect(south, "clockify", since=None)
    with south.store() as store:
        assert not any(place.startswith("clockify ") for place in places(store))


def enter_key(setup: SetupService) -> None:
    """A person enters a key again."""
    with setup.vault() as vault:
        vault.enter(SNAPSHOTS_KEY, "sandbox-snapshots-key", setup.now())


def rotate_key(setup: SetupService) -> None:
    """An API key is rotated."""
    with setup.vault() as vault:
        vault.rotate(CLOCKIFY_KEY, "sandbox-clockify-key-2", setup.now())


CHANGES: list[tuple[Callable[[SetupService], object], bool]] = [
    (enter_key, False),
    (rotate_key, True),
    (lambda setup: setup.change({"clockify.plan": "free"}, "plan", ""), False),
    (lambda setup: setup.change({"snapshots.account": "north"}, "account", ""), False),
    (lambda setup: setup.change({"clockify.workspace_id": "another"}, "workspace", ""), False),
    (lambda setup: setup.change({"entities": ["locations", "users"]}, "entities", ""), False),
    (
        lambda setup: setup.change({"start_date": "2025-05-05"}, "start", ""),
        True,
    ),  # SYNC_START_DATE decides in these tests
    (lambda setup: setup.change({"mappings.users.fields.name.transform": ["trim", "upper"]}, "mapping", ""), False),
    (lambda setup: setup.note("nothing", "changed"), True),
]


@pytest.mark.parametrize(("change", "stays"), CHANGES)
def test_another_configuration_asks_for_a_new_trial(
    us: Team, setup: SetupService, change: Callable[[SetupService], object], stays: bool
) -> None:
    """Credentials, accounts, entities, mappings: whatever is changed turns it off; a rotation does not."""
    turn_on(tried(on_accounts(setup, us)))
    change(setup)
    assert read_live_status(setup).is_live is stays


@pytest.mark.parametrize("address", ["clockify.base_url", "clockify.reports_url"])
def test_another_address_asks_for_a_new_trial(us: Team, address: str) -> None:
    """Also when the key is the environment's, which is the same at every address."""
    on_accounts(setup_of(us), us)
    setup = tried(setup_of(us, environ_of(us, CLOCKIFY_API_KEY=OWNER)))
    turn_on(setup)
    now = us.sandbox.clockify if address == "clockify.base_url" else us.sandbox.reports
    setup.change({address: now.replace("127.0.0.1", "localhost")}, "address", "")
    assert not read_live_status(setup).is_live


def test_what_is_changed_back_is_the_same_configuration(us: Team, setup: SetupService) -> None:
    """The trial of it still counts."""
    turn_on(tried(on_accounts(setup, us)))
    setup.change({"clockify.plan": "free"}, "plan", "")
    assert "has not been previewed yet" in read_live_status(setup).obstacle
    setup.change({"clockify.plan": "paid"}, "plan", "")
    assert read_live_status(setup).is_live


def test_the_environment_decides_where_it_speaks(us: Team, setup: SetupService) -> None:
    """SYNC_MODE keeps it on or off, and the sentence states that."""
    tried(on_accounts(setup, us))
    live = setup_of(us, environ_of(us, SYNC_MODE="live"))
    assert read_live_status(live).is_live
    with pytest.raises(ConfigError, match=r"SYNC_MODE=live is set in the environment"):
        turn_on(live)
    with pytest.raises(ConfigError, match=r"stays on: SYNC_MODE is live"):
        turn_off(live)
    dry = setup_of(us, environ_of(us, SYNC_MODE="dry_run"))
    with pytest.raises(ConfigError, match=r"SYNC_MODE=dry_run is set in the environment"):
        turn_on(dry)


def test_nothing_is_set_up(setup: SetupService) -> None:
    """There is nothing to turn on, and the untouched sandbox acts by itself: the sentences state that."""
    with pytest.raises(ConfigError, match="nothing is set up yet"):
        turn_on(setup)
    with pytest.raises(ConfigError, match=r"stays on: .*Nothing is set up yet.*SYNC_MODE=dry_run"):
        turn_off(setup)
    found = read_live_status(setup)
    assert found.is_live
    assert found.mode is not None
    assert found.mode.why == "on the sandbox changes are synced automatically while `sync-pipeline dev` runs"
    with setup.store() as store:
        assert [change.what for change in changes(store)] == ["live off refused"]


def test_what_is_off_is_not_turned_off_again(us: Team, setup: SetupService) -> None:
    """The trail records effects."""
    on_accounts(setup, us)
    assert not turn_off(setup).is_live
    with setup.store() as store:
        assert "live off" not in {change.what for change in changes(store)}


def test_accounts_of_the_environment(us: Team) -> None:
    """There SYNC_MODE is the switch."""
    setup = setup_of(us, us.environ | {"SYNC_HOME": str(us.home)})
    with pytest.raises(ConfigError, match=r"Set SYNC_MODE=live"):
        turn_on(setup)


def test_half_a_set_up_is_stored_nowhere(us: Team, setup: SetupService) -> None:
    """No mode, and what is missing in place of an obstacle; it can still be looked at."""
    setup.change({"clockify.workspace_id": us.sandbox.workspace}, "half", "")
    now = read_live_status(setup)
    assert (now.mode, now.is_live) == (None, False)
    assert "the base URL of the Snapshots API is missing" in now.obstacle


def test_off_works_whatever_is_broken(us: Team, setup: SetupService) -> None:
    """A missing key, an address that answers no more: the switch is turned off anyway."""
    turn_on(tried(on_accounts(setup, us)))
    setup.change({"snapshots.base_url": "http://127.0.0.1:9"}, "moved", "")
    assert not turn_off(setup).is_live
    setup.change({"snapshots.base_url": us.sandbox.snapshots}, "moved back", "")
    assert read_live_status(setup).obstacle == ""
    assert not read_live_status(setup).is_live
