"""Every process that shares a database has the same encryption key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from sync_pipeline.clock import utc_now
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import require_key
from sync_pipeline.settings import Settings, load_settings
from sync_pipeline.store.credentials import (
    TOKENS,
    encrypt_again,
    get,
    keyring_of,
    listed,
    open_keyring,
    places,
    put,
)
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.locks import lock
from sync_pipeline.store.tokens import NAME, StoredVault, Tokens
from sync_pipeline_tests.store.conftest import Server, postgres

__all__ = ["postgres"]  # a fixture of the store's tests


def test_one_key_for_all_who_share_a_database(postgres: Server, tmp_path: Path) -> None:
    """The first process decides which; one with another key, or with none, does not start and states what to do."""
    ours, theirs = (Fernet.generate_key().decode() for _ in range(2))
    environ = {"SYNC_DATABASE_URL": postgres.create(), "SYNC_HOME": str(tmp_path / "home")}
    secret_file = tmp_path / "secret"
    secret_file.write_text(f"{ours}\n")

    def settings(**more: str) -> Settings:
        return load_settings({**environ, **more}, root=tmp_path)

    require_key(settings(SYNC_ENCRYPTION_KEY_FILE=str(secret_file)))
    require_key(settings(SYNC_ENCRYPTION_KEY=ours))
    require_key(settings(SYNC_ENCRYPTION_KEY=f"{theirs},{ours}"))
    with pytest.raises(ConfigError, match=r"encrypted with another key \(.*\): this process was given another key"):
        require_key(settings(SYNC_ENCRYPTION_KEY=theirs))
    with pytest.raises(ConfigError, match="this process has none"):
        require_key(settings())
    assert not (tmp_path / "home" / "encryption.key").exists()
    with pytest.raises(ConfigError, match="are both set"):
        settings(SYNC_ENCRYPTION_KEY=ours, SYNC_ENCRYPTION_KEY_FILE=str(secret_file))

    both = settings(SYNC_ENCRYPTION_KEY=f"{theirs},{ours}")
    with closing(open_store(both.store_url)) as store:
        assert (listed(store), places(store)) == ([], [])  # the check is no secret
        assert encrypt_again(store, open_keyring(both.encryption_key, tmp_path), None, utc_now()) == (0, [])
    require_key(settings(SYNC_ENCRYPTION_KEY=theirs))
    with pytest.raises(ConfigError, match="another key"):
        require_key(settings(SYNC_ENCRYPTION_KEY=ours))


def test_nothing_is_stored_under_the_old_key_any_more(postgres: Server, tmp_path: Path) -> None:
    """A process that was started with the old key alone, before the key was changed, stores no secret with it afterwards."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    with closing(open_store(postgres.create())) as store:
        before, both = (keyring_of(store, setting, tmp_path / "none") for setting in (old, f"{new},{old}"))
        put(store, before, "here", "name", "secret", utc_now())
        assert encrypt_again(store, both, None, utc_now()) == (1, [])
        with pytest.raises(ConfigError, match="encrypted with another key"):
            put(store, before, "here", "name", "later", utc_now())
        assert get(store, both, "here", "name") == "secret"


def test_a_token_that_is_being_renewed_is_waited_for(postgres: Server, tmp_path: Path) -> None:
    """It is stored under the old key, and then encrypted with the new one: no process is left with a token that it may not store."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    with closing(open_store(postgres.create())) as store, ThreadPoolExecutor(1) as pool:
        before, both = (keyring_of(store, setting, tmp_path / "none") for setting in (old, f"{new},{old}"))
        vault = StoredVault(store, before, "here")
        vault.keep(Tokens("first", expires_at=1.0))
        with lock(store, f"here\n{NAME}", TOKENS):  # as the renewal holds it
            changing = pool.submit(encrypt_again, store, both, None, utc_now())
            put(store, before, "here", NAME, Tokens("renewed").as_json(), utc_now(), expires_at=utc_now())
        assert changing.result() == (1, [])
        assert StoredVault(store, both, "here").read() == Tokens("renewed")
        assert {row.key_id for row in listed(store)} == {both.keys[0].id}


def test_a_key_that_a_home_has_made_counts_once_it_has_encrypted_a_secret(postgres: Server, tmp_path: Path) -> None:
    """Homes whose keys of the accounts are in the environment share a database, as they always could."""
    url = postgres.create()
    one, two = (
        load_settings({"SYNC_DATABASE_URL": url, "SYNC_HOME": str(tmp_path / name)}, root=tmp_path)
        for name in ("one", "two")
    )
    for settings in (one, two, one):
        require_key(settings)
    with closing(open_store(url)) as store:
        put(store, open_keyring("", one.encryption_key_file), "here", "name", "secret", utc_now())
    require_key(one)
    with pytest.raises(ConfigError, match="another key"):
        require_key(two)


def test_a_database_of_an_earlier_version_keeps_its_key(postgres: Server, tmp_path: Path) -> None:
    """It has secrets and no check yet: the key of those is its key."""
    ours, theirs = (Fernet.generate_key().decode() for _ in range(2))
    environ = {"SYNC_DATABASE_URL": postgres.create(), "SYNC_HOME": str(tmp_path)}
    with closing(open_store(environ["SYNC_DATABASE_URL"])) as store:
        put(store, open_keyring(ours, tmp_path), "here", "name", "secret", utc_now())
    with pytest.raises(ConfigError, match="another key"):
        require_key(load_settings({**environ, "SYNC_ENCRYPTION_KEY": theirs}, root=tmp_path))
    require_key(load_settings({**environ, "SYNC_ENCRYPTION_KEY": ours}, root=tmp_path))


def test_homes_that_shared_a_database_of_an_earlier_version_go_on(postgres: Server, tmp_path: Path) -> None:
    """Each had a key and secrets of its own: each is accepted, and a third key is not."""
    north, south, stranger = (Fernet.generate_key().decode() for _ in range(3))
    environ = {"SYNC_DATABASE_URL": postgres.create(), "SYNC_HOME": str(tmp_path)}
    with closing(open_store(environ["SYNC_DATABASE_URL"])) as store:
        for name, key in (("north", north), ("south", south)):
            put(store, open_keyring(key, tmp_path), f"clockify [{name}]", "api_key", "secret", utc_now())
    for key in (north, south, north):
        require_key(load_settings({**environ, "SYNC_ENCRYPTION_KEY": key}, root=tmp_path))
    with pytest.raises(ConfigError, match="another key"):
        require_key(load_settings({**environ, "SYNC_ENCRYPTION_KEY": stranger}, root=tmp_path))
