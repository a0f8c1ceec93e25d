"""Secrets that people entered: for one address each, behind the environment, replaced without a gap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import (
    CLOCKIFY_KEY,
    CLOCKIFY_TOKEN,
    SLOTS,
    SNAPSHOTS_CLIENT,
    SNAPSHOTS_KEY,
    Slot,
    Vault,
    unlock,
)
from sync_pipeline.settings import Settings
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.tokens import Tokens

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Stored accounts."""
    return Settings(stored=True, home=tmp_path, clockify_workspace_id="w1", snapshots_base_url="https://s.example/v1")


@pytest.fixture
def vault(store: Store, settings: Settings) -> Vault:
    """Their secrets; none yet."""
    return Vault(store, settings)


def filled(vault: Vault, **values: str) -> Vault:
    """The vault with both sides' keys."""
    vault.enter(CLOCKIFY_KEY, values.get("clockify", "ck-1"), NOW)
    vault.enter(SNAPSHOTS_KEY, values.get("snapshots", "sk-1"), NOW)
    return vault


def test_what_is_entered_is_filled_in(vault: Vault, settings: Settings) -> None:
    """Both keys are in the settings then, and in no table in clear."""
    unlocked = unlock(settings, filled(vault))
    assert (unlocked.settings.clockify_api_key, unlocked.settings.snapshots_api_key) == ("ck-1", "sk-1")
    assert "ck-1" not in repr(unlocked) + repr(vault.get(CLOCKIFY_KEY))
    with vault.store.reading() as own:
        assert "ck-1" not in str(own.execute(text("SELECT * FROM credentials")).all())


@pytest.mark.parametrize("slot", SLOTS, ids=lambda slot: slot.setting)
@pytest.mark.parametrize(
    "change",
    [
        {"clockify_base_url": "https://evil.example/api/v1"},
        {"clockify_reports_url": "https://evil.example/v1"},
        {"snapshots_base_url": "https://evil.example/v1"},
        {"snapshots_account": "another"},
        {"snapshots_profile": "evil.yaml"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_address_has_no_secret(vault: Vault, slot: Slot, change: dict[str, str]) -> None:
    """A secret is for every address it is sent to: one of them changed, and it has to be entered again."""
    vault.enter(slot, "s3cret", NOW)
    elsewhere = Vault(vault.store, replace(vault.settings, **change))  # type: ignore[arg-type]
    concerned = next(iter(change)).startswith(slot.system)
    assert elsewhere.has(slot) is not concerned
    assert (elsewhere.get(slot) is None) is concerned
    assert vault.has(slot)


def test_set_ups_with_names_do_not_overwrite_each_other(vault: Vault, settings: Settings) -> None:
    """Two set-ups of one database on the same address: each keeps its own key; one without its own has the shared one."""
    vault.enter(CLOCKIFY_KEY, "the key of both before", NOW)
    north, south = (Vault(vault.store, replace(settings, setup_name=name)) for name in ("north", "south"))
    assert value_of(north) == value_of(south) == "the key of both before"
    for one, key in ((north, "north's"), (south, "south's")):
        one.enter(CLOCKIFY_KEY, key, NOW)
    south.rotate(CLOCKIFY_KEY, "south's next", NOW)
    assert [value_of(one) for one in (north, south, vault)] == ["north's", "south's next", "the key of both before"]
    north.new_tokens.keep(Tokens("a"))
    assert south.tokens.read() is None
    south.remove(CLOCKIFY_KEY)
    assert [value_of(one) for one in (north, south)] == ["north's", "the key of both before"]


def value_of(vault: Vault) -> str:
    """The Clockify key of a set-up."""
    found = vault.get(CLOCKIFY_KEY)
    assert found is not None
    return found.value


def test_the_environment_comes_first(vault: Vault, settings: Settings) -> None:
    """A key of the environment is used instead of the stored one, and is another credential."""
    stored = unlock(settings, filled(vault))
    given = unlock(replace(settings, clockify_api_key="from-env"), vault)
    assert given.settings.clockify_api_key == "from-env"
    assert given.marks["clockify_api_key"] != stored.marks["clockify_api_key"]
    assert "from-env" not in str(given.marks)


def test_accounts_of_the_environment_use_no_stored_secret(vault: Vault, settings: Settings) -> None:
    """Without a set-up nothing is looked up: no key that encrypts is made."""
    filled(vault)
    key_file = settings.encryption_key_file
    key_file.unlink()
    found = unlock(replace(settings, stored=False, clockify_api_key="a", snapshots_api_key="b"), vault)
    assert (found.settings.clockify_api_key, found.previous) == ("a", {})
    assert not key_file.exists()


def test_entering_is_another_credential_rotating_is_the_same(vault: Vault, settings: Settings) -> None:
    """A rotated key keeps its mark, so that live syncing continues; one that is entered again has a new one."""
    first = unlock(settings, filled(vault))
    vault.rotate(CLOCKIFY_KEY, "ck-2", NOW)
    rotated = unlock(settings, vault)
    assert rotated.settings.clockify_api_key == "ck-2"
    assert rotated.previous["clockify_api_key"] == "ck-1"
    assert rotated.marks == first.marks
    vault.enter(CLOCKIFY_KEY, "ck-2", NOW)
    entered = unlock(settings, vault)
    assert entered.marks["clockify_api_key"] != first.marks["clockify_api_key"]
    assert entered.previous["clockify_api_key"] == ""


def test_a_fallback_is_retired_once(vault: Vault) -> None:
    """Then only the new key is left; rotating to the key in use changes nothing."""
    filled(vault)
    assert vault.retire(CLOCKIFY_KEY, NOW) is False
    vault.rotate(CLOCKIFY_KEY, "ck-1", NOW)
    assert vault.retire(CLOCKIFY_KEY, NOW) is False
    vault.rotate(CLOCKIFY_KEY, "ck-2", NOW)
    assert vault.retire(CLOCKIFY_KEY, NOW) is True
    found = vault.get(CLOCKIFY_KEY)
    assert found is not None
    assert (found.value, found.previous) == ("ck-2", "")


def test_rotating_nothing_enters(vault: Vault) -> None:
    """There is no fallback to keep."""
    vault.rotate(SNAPSHOTS_CLIENT, "cs-1", NOW)
    found = vault.get(SNAPSHOTS_CLIENT)
    assert found is not None
    assert (found.value, found.previous) == ("cs-1", "")


def test_what_is_removed_no_longer_exists(vault: Vault) -> None:
    """Only that one."""
    filled(vault).remove(CLOCKIFY_KEY)
    assert (vault.has(CLOCKIFY_KEY), vault.has(SNAPSHOTS_KEY)) == (False, True)


def test_an_addon_token_replaces_the_key(vault: Vault, settings: Settings) -> None:
    """When there is no key."""
    filled(vault).remove(CLOCKIFY_KEY)
    vault.enter(CLOCKIFY_TOKEN, "token-1", NOW)
    found = unlock(settings, vault).settings
    assert (found.clockify_api_key, found.clockify_addon_token) == ("", "token-1")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "No key for Clockify at https://api.clockify.me/api/v1 is stored."),
        ({"clockify_api_key": "k"}, "No key for the Snapshots API at https://s.example/v1 is stored."),
        (
            {"clockify_api_key": "k", "snapshots_auth": "authorization_code"},
            "No OAuth client for the Snapshots API at https://s.example/v1 is set up.",
        ),
    ],
)
def test_a_missing_secret_is_reported(vault: Vault, settings: Settings, change: dict[str, str], expected: str) -> None:
    """Which system, at which address, and where it is entered."""
    with pytest.raises(ConfigError) as caught:
        unlock(replace(settings, **change), vault)  # type: ignore[arg-type]
    assert str(caught.value) == f"{expected} Enter it in the console or with `sync-pipeline init`."


def test_a_client_of_one_way_needs_its_secret(vault: Vault, settings: Settings) -> None:
    """Client credentials without the client's secret cannot sign in."""
    change = {"clockify_api_key": "k", "snapshots_client_id": "me"}
    with pytest.raises(ConfigError, match="No secret of the OAuth client me for the Snapshots API"):
        unlock(replace(settings, **change), vault)  # type: ignore[arg-type]
    vault.enter(SNAPSHOTS_CLIENT, "cs-1", NOW)
    assert unlock(replace(settings, **change), vault).settings.snapshots_client_secret == "cs-1"  # type: ignore[arg-type]
