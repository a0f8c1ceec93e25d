"""The set-up service: everything read again each time, one writer a change, nothing that is not valid."""

from __future__ import annotations

import os
import platform
import pwd
from concurrent.futures import ThreadPoolExecutor

import pytest

from sync_pipeline.errors import ChangedMeanwhile, ConfigError
from sync_pipeline.session.secrets import CLOCKIFY_KEY
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.store.audit import changes
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.setup.services import (
    document_of,
    environ_of,
    on_accounts,
    on_the_sandbox,
    setup_of,
    write_document,
)


def logged(setup: SetupService) -> list[tuple[str, str]]:
    """Who did what, newest first."""
    with setup.store() as store:
        return [(change.by, change.what) for change in changes(store)]


def test_a_change_is_seen_by_every_service(us: Team, setup: SetupService) -> None:
    """Nothing is remembered between two looks: another window, or another program."""
    other = setup_of(us, by="bob (test)")
    assert setup.revision() == ""
    now = setup.change({"clockify.plan": "paid"}, "plan", "paid")
    assert other.settings().clockify_plan == "paid"
    assert other.revision() == now == setup.revision()
    write_document(setup.settings(), document_of(setup.settings()).replace("paid", "free"))
    assert setup.settings().clockify_plan == "free"
    assert setup.revision() != now


def test_who_did_it_is_noted(setup: SetupService) -> None:
    """With the hand it was; and a change that was refused is not noted."""
    setup.change({"clockify.plan": "paid"}, "plan", "paid")
    setup.acting_as("bob (test)").change({"clockify.plan": "free"}, "plan", "free")
    with pytest.raises(ConfigError):
        setup.change({"clockify.plan": "gold"}, "plan", "gold")
    assert logged(setup) == [("bob (test)", "plan"), ("ann (test)", "plan")]


def test_of_two_windows_one_is_reported(setup: SetupService) -> None:
    """Eight changes started on one state in parallel: one is made, the others are refused because it was changed meanwhile."""
    since = setup.change({"clockify.plan": "paid"}, "plan", "paid")

    def change(number: int) -> bool:
        try:
            setup.change({"snapshots.account": f"a{number}"}, "account", str(number), since=since)
        except ChangedMeanwhile:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(change, range(8))) == [False] * 7 + [True]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"entities": ["users", "nothing"]}, "The entity 'nothing' was switched on, but does not exist."),
        ({"entities": ["time_entries"]}, "time_entries needs users and projects, which are switched off."),
        (
            {"mappings.users.fields.name.transform": ["nope"]},
            "fields.name.transform: there is no transform 'nope'",
        ),
        ({"mappings.ghosts.fields.name.source": "x"}, "ghosts"),
        ({"snapshots.base_url": "ftp://x"}, "snapshots.base_url: is not a URL"),
        ({"clockify.api_key": "s3cret"}, "clockify.api_key: is not a key of the set-up."),
    ],
)
def test_a_set_up_that_is_not_valid_is_not_stored(setup: SetupService, values: dict[str, object], message: str) -> None:
    """The sentence names the thing; the set-up stays unchanged."""
    before = setup.change({"clockify.plan": "paid"}, "plan", "paid")
    with pytest.raises(ConfigError) as caught:
        setup.change(values, "change", "refused")
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert setup.revision() == before


def test_what_the_environment_decides(us: Team) -> None:
    """It is known by name, an empty variable is none, and what is given here comes over it."""
    setup = setup_of(us, environ_of(us, CLOCKIFY_PLAN="free", SNAPSHOTS_ACCOUNT=" "))
    assert setup.is_given("CLOCKIFY_PLAN")
    assert not setup.is_given("SNAPSHOTS_ACCOUNT")
    assert not setup.is_given("CLOCKIFY_API_KEY")
    assert setup.settings(SYNC_MODE="sandbox").mode == "sandbox"


def test_a_session_on_the_sandbox(us: Team, setup: SetupService) -> None:
    """A set-up on the sandbox opens with its stored keys; one that is not finished reports what it lacks."""
    setup.change({"clockify.base_url": "sandbox", "clockify.workspace_id": us.sandbox.workspace}, "half", "")
    with (
        pytest.raises(ConfigError, match=r"the base URL of the Snapshots API is missing\. .*sync-pipeline init"),
        setup.session(),
    ):
        pass
    with on_the_sandbox(setup, us).session() as session:
        assert session.settings.sandbox
        assert session.mode.name == "sandbox"
        assert not session.mode.automatic
        assert session.call(session.clockify.workspace)["id"] == us.sandbox.workspace


def test_a_vault_is_for_the_addresses_of_its_settings(us: Team, setup: SetupService) -> None:
    """Another address, and the key has to be entered again."""
    on_accounts(setup, us)
    with setup.vault() as vault:
        assert vault.has(CLOCKIFY_KEY)
    setup.change({"clockify.base_url": "http://127.0.0.2:9/api"}, "moved", "")
    with setup.vault() as vault:
        assert not vault.has(CLOCKIFY_KEY)
    with (
        pytest.raises(ConfigError, match=r"No key for Clockify at http://127\.0\.0\.2:9/api is stored"),
        setup.session(),
    ):
        pass


def test_the_trail_names_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user the process runs as, whatever the environment claims; of the console nothing but its session."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody-else")
    user = pwd.getpwuid(os.getuid()).pw_name
    assert actor("terminal") == f"{user}@{platform.node()} (terminal)"
    assert actor("console", "1a2b3c4d") == f"session 1a2b3c4d@{platform.node()} (console)"


def test_a_change_is_noted_after_all_of_it_happened(setup: SetupService) -> None:
    """What follows a change of the set-up is part of it: when that fails, the trail does not record it as done."""

    def fail() -> None:
        with setup.store() as store:
            assert changes(store) == []
        raise ConfigError("No.")

    with pytest.raises(ConfigError, match=r"No\."):
        setup.change({"clockify.plan": "free"}, "plan", "free", then=fail)
    with setup.store() as store:
        assert [change.what for change in changes(store)] == ["plan, incomplete"]
