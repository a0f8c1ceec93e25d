"""Live or not: allowed for the configuration that was tried, and for no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.setup import trial
from sync_pipeline.setup.desk import Desk
from sync_pipeline.setup.switching import standing, turn_off, turn_on
from sync_pipeline.stages.vault import CLOCKIFY_KEY, SNAPSHOTS_KEY
from sync_pipeline.store.audit import changes
from sync_pipeline_tests.harness import CLOCKIFY_KEY as OWNER
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.setup.desks import desk_of, environ_of, on_accounts, on_the_sandbox


def tried(desk: Desk) -> Desk:
    """The desk, after a trial that passed."""
    kind = trial.kind_for(desk.settings())
    assert trial.run(desk, trial.begin(desk, kind), kind).outcome == "passed"
    return desk


@pytest.mark.parametrize("set_up", [on_the_sandbox, on_accounts])
def test_on_and_off(us: Team, desk: Desk, set_up: Callable[[Desk, Team], Desk]) -> None:
    """Untried it stays off; tried it goes on; off again at any time, and both are noted."""
    set_up(desk, us)
    with pytest.raises(ConfigError, match=r"Live syncing cannot be turned on: .*has not been tried yet"):
        turn_on(desk)
    assert not standing(desk).is_live
    assert turn_on(tried(desk)).is_live
    now = standing(desk)
    assert now.is_live
    assert now.switch is not None
    assert now.switch.by == "ann (test)"
    assert not turn_off(desk).is_live
    with desk.store() as store:
        assert [change.what for change in changes(store, 2)] == ["live off", "live on"]


def enter_key(desk: Desk) -> None:
    """A person enters a key again."""
    with desk.vault() as vault:
        vault.enter(SNAPSHOTS_KEY, "sandbox-snapshots-key", desk.now())


def rotate_key(desk: Desk) -> None:
    """An API key is rotated."""
    with desk.vault() as vault:
        vault.rotate(CLOCKIFY_KEY, "sandbox-clockify-key-2", desk.now())


CHANGES: list[tuple[Callable[[Desk], object], bool]] = [
    (enter_key, False),
    (rotate_key, True),
    (lambda desk: desk.change({"clockify.plan": "free"}, "plan", ""), False),
    (lambda desk: desk.change({"snapshots.account": "north"}, "account", ""), False),
    (lambda desk: desk.change({"clockify.workspace_id": "another"}, "workspace", ""), False),
    (lambda desk: desk.change({"entities": ["locations", "users"]}, "entities", ""), False),
    (
        lambda desk: desk.change({"start_date": "2025-05-05"}, "start", ""),
        True,
    ),  # SYNC_START_DATE decides in these tests
    (lambda desk: desk.change({"mappings.users.fields.name.transform": ["trim", "upper"]}, "mapping", ""), False),
    (lambda desk: desk.note("nothing", "changed"), True),
]


@pytest.mark.parametrize(("change", "stays"), CHANGES)
def test_another_configuration_asks_for_a_new_trial(
    us: Team, desk: Desk, change: Callable[[Desk], object], stays: bool
) -> None:
    """Credentials, accounts, entities, mappings: whatever is changed turns it off; a rotation does not."""
    turn_on(tried(on_accounts(desk, us)))
    change(desk)
    assert standing(desk).is_live is stays


@pytest.mark.parametrize("address", ["clockify.base_url", "clockify.reports_url"])
def test_another_address_asks_for_a_new_trial(us: Team, address: str) -> None:
    """Also when the key is the environment's, which is the same at every address."""
    on_accounts(desk_of(us), us)
    desk = tried(desk_of(us, environ_of(us, CLOCKIFY_API_KEY=OWNER)))
    turn_on(desk)
    now = us.sandbox.clockify if address == "clockify.base_url" else us.sandbox.reports
    desk.change({address: now.replace("127.0.0.1", "localhost")}, "address", "")
    assert not standing(desk).is_live


def test_what_is_changed_back_is_the_same_configuration(us: Team, desk: Desk) -> None:
    """The trial of it still counts."""
    turn_on(tried(on_accounts(desk, us)))
    desk.change({"clockify.plan": "free"}, "plan", "")
    assert "has not been tried yet" in standing(desk).obstacle
    desk.change({"clockify.plan": "paid"}, "plan", "")
    assert standing(desk).is_live


def test_the_environment_decides_where_it_speaks(us: Team, desk: Desk) -> None:
    """SYNC_MODE keeps it on or off, and the sentence says so."""
    tried(on_accounts(desk, us))
    live = desk_of(us, environ_of(us, SYNC_MODE="live"))
    assert standing(live).is_live
    with pytest.raises(ConfigError, match=r"SYNC_MODE=live is set in the environment"):
        turn_on(live)
    with pytest.raises(ConfigError, match=r"stays on: SYNC_MODE is live"):
        turn_off(live)
    dry = desk_of(us, environ_of(us, SYNC_MODE="dry_run"))
    with pytest.raises(ConfigError, match=r"SYNC_MODE=dry_run is set in the environment"):
        turn_on(dry)


def test_nothing_is_set_up(desk: Desk) -> None:
    """There is nothing to turn on, and the untouched sandbox acts by itself: the sentences say so."""
    with pytest.raises(ConfigError, match="nothing is set up yet"):
        turn_on(desk)
    with pytest.raises(ConfigError, match=r"stays on: .*Nothing is set up yet.*SYNC_MODE=dry_run"):
        turn_off(desk)
    assert standing(desk).is_live


def test_accounts_of_the_environment(us: Team) -> None:
    """There SYNC_MODE is the switch."""
    desk = desk_of(us, us.environ | {"SYNC_HOME": str(us.home)})
    with pytest.raises(ConfigError, match=r"Set SYNC_MODE=live"):
        turn_on(desk)


def test_half_a_set_up_stands_nowhere(us: Team, desk: Desk) -> None:
    """No mode, and what is missing in place of an obstacle; it can still be looked at."""
    desk.change({"clockify.workspace_id": us.sandbox.workspace}, "half", "")
    now = standing(desk)
    assert (now.mode, now.is_live) == (None, False)
    assert "the base URL of the Snapshots API is missing" in now.obstacle


def test_off_works_whatever_is_broken(us: Team, desk: Desk) -> None:
    """A key that is gone, an address that answers no more: the switch is turned off all the same."""
    turn_on(tried(on_accounts(desk, us)))
    desk.change({"snapshots.base_url": "http://127.0.0.1:9"}, "moved", "")
    assert not turn_off(desk).is_live
    desk.change({"snapshots.base_url": us.sandbox.snapshots}, "moved back", "")
    assert standing(desk).obstacle == ""
    assert not standing(desk).is_live
