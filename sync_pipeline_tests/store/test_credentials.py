"""Secrets are unreadable without their key, and bound to their place."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select, text, update

from sync_pipeline.errors import ConfigError, StoreError
from sync_pipeline.store import credentials
from sync_pipeline.store.credentials import Keyring, open_keyring
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.locks import lock_of, locks
from sync_pipeline.store.schema import metadata
from sync_pipeline_tests.store.batch import HERE, THERE, at
from sync_pipeline_tests.store.conftest import Server

TABLE = metadata.tables["credentials"]
FIRST, SECOND = (Fernet.generate_key().decode() for _ in range(2))


def ring(*keys: str) -> Keyring:
    """The keys, newest first."""
    return open_keyring(",".join(keys), Path("unused"))


def test_a_secret_comes_back_and_is_not_readable(store: Store) -> None:
    """The value round-trips; the table holds nothing of it."""
    credentials.put(store, ring(FIRST), HERE, "webhook:A", {"token": "s3cret"}, at(1))

    assert credentials.get(store, ring(FIRST), HERE, "webhook:A") == {"token": "s3cret"}
    with store.reading() as tx:
        assert b"s3cret" not in tx.execute(select(TABLE.c.ciphertext)).scalar_one()


def test_a_secret_is_replaced_and_removed(store: Store) -> None:
    """One value a name; other connections have their own."""
    for value in (1, 2):
        credentials.put(store, ring(FIRST), HERE, "webhook:A", value, at(value))
    credentials.put(store, ring(FIRST), THERE, "webhook:B", 3, at(1))

    assert credentials.get(store, ring(FIRST), HERE, "webhook:A") == 2
    assert credentials.names(store, HERE, "webhook:") == ["webhook:A"]
    credentials.remove(store, HERE, "webhook:A")
    assert credentials.get(store, ring(FIRST), HERE, "webhook:A") is None


def test_a_wrong_key_is_reported_in_one_sentence(store: Store) -> None:
    """It names the secret, the key's id and the setting; not the secret itself."""
    credentials.put(store, ring(FIRST), HERE, "webhook:A", "s3cret", at(1))

    with pytest.raises(
        ConfigError, match=r"The secret webhook:A was encrypted with another key .* SYNC_ENCRYPTION_KEY"
    ):
        credentials.get(store, ring(SECOND), HERE, "webhook:A")


def test_keys_are_rotated(store: Store) -> None:
    """The new key first, the old one behind it: everything stays readable, and then the old one can go."""
    credentials.put(store, ring(FIRST), HERE, "webhook:A", "s3cret", at(1))
    both = ring(SECOND, FIRST)

    assert credentials.get(store, both, HERE, "webhook:A") == "s3cret"
    assert credentials.encrypt_again(store, both, HERE, at(2)) == (1, [])
    assert credentials.encrypt_again(store, both, HERE, at(3)) == (0, [])
    assert credentials.get(store, ring(SECOND), HERE, "webhook:A") == "s3cret"


def test_one_lost_key_keeps_no_other_secret_on_its_old_key(store: Store) -> None:
    """What cannot be decrypted is named and stays; everything else gets the new key."""
    third = Fernet.generate_key().decode()
    for name, key in (("webhook:A", FIRST), ("webhook:B", third), ("webhook:C", FIRST)):
        credentials.put(store, ring(key), HERE, name, name, at(1))

    found = credentials.encrypt_again(store, ring(SECOND, FIRST), None, at(2))

    assert (found.changed, [name.split(" ")[0] for name in found.left]) == (2, ["webhook:B"])
    assert [credentials.get(store, ring(SECOND), HERE, name) for name in ("webhook:A", "webhook:C")] == [
        "webhook:A",
        "webhook:C",
    ]
    assert credentials.get(store, ring(third), HERE, "webhook:B") == "webhook:B"


def test_a_token_is_waited_for_before_the_one_it_is_made_of(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which its renewal takes both locks: otherwise each would wait for the other."""
    taken: list[str] = []

    @contextmanager
    def noted(store: Store, keys: Sequence[str], label: str) -> Iterator[None]:
        with locks(store, keys, label):
            taken.extend(keys)
            assert not any(lock_of(store, key, label).is_free() for key in keys)
            yield
        assert all(lock_of(store, key, label).is_free() for key in keys)

    monkeypatch.setattr(credentials, "locks", noted)
    for place in (HERE, THERE):
        for name in ("tokens", "tokens:location", "webhook:A"):
            ends = None if name == "webhook:A" else at(9)
            credentials.put(store, ring(FIRST), place, name, "s3cret", at(1), expires_at=ends)
    assert credentials.encrypt_again(store, ring(SECOND, FIRST), None, at(2)).changed == 6
    for place in (HERE, THERE):
        assert [key for key in taken if key.startswith(f"{place}\n")] == [
            f"{place}\ntokens:location",
            f"{place}\ntokens",
        ]


def test_many_locks_take_one_connection(postgres: Server) -> None:
    """However many tokens a database has, the server has connections left."""
    with (
        closing(open_store(postgres.create())) as store,
        locks(store, [str(number) for number in range(300)], "tokens"),
    ):
        holders = text(
            "SELECT count(*), count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with store.reading() as tx:
            assert tuple(tx.execute(holders).one()) == (300, 1)


def test_a_secret_is_good_in_its_own_place_only(store: Store) -> None:
    """A row copied over another one is damage, as is a changed byte."""
    credentials.put(store, ring(FIRST), HERE, "webhook:A", "a", at(1))
    credentials.put(store, ring(FIRST), HERE, "webhook:B", "b", at(1))
    with store.writing() as tx:
        stolen = tx.execute(select(TABLE.c.ciphertext).where(TABLE.c.name == "webhook:A")).scalar_one()
        tx.execute(update(TABLE).where(TABLE.c.name == "webhook:B").values(ciphertext=stolen))
        tx.execute(update(TABLE).where(TABLE.c.name == "webhook:A").values(ciphertext=b"x" + stolen[1:]))

    for name in ("webhook:A", "webhook:B"):
        with pytest.raises(StoreError, match=f"The secret {name} in our database is damaged"):
            credentials.get(store, ring(FIRST), HERE, name)


def test_the_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    """Mode 0600; processes that start together use one key, and no draft is left behind."""
    file = tmp_path / "home" / "encryption.key"
    with ThreadPoolExecutor(8) as pool:
        ids = {keyring.keys[0].id for keyring in pool.map(lambda _: open_keyring("", file), range(8))}

    assert len(ids) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["encryption.key"]


def test_a_key_file_others_can_read_is_refused(tmp_path: Path) -> None:
    """With the command that repairs it."""
    file = tmp_path / "encryption.key"
    open_keyring("", file)
    file.chmod(0o644)

    with pytest.raises(ConfigError, match=f"chmod 600 {file}"):
        open_keyring("", file)


def test_a_file_that_holds_no_key_is_reported(tmp_path: Path) -> None:
    """With the command that makes one; what is in it is not shown."""
    file = tmp_path / "encryption.key"
    file.write_text("not a key")
    file.chmod(0o600)

    with pytest.raises(ConfigError, match="does not hold a key") as caught:
        open_keyring("", file)
    assert "not a key" not in str(caught.value)


def test_a_file_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    """The directory's place is taken by a file."""
    (tmp_path / "home").write_text("")

    with pytest.raises(ConfigError, match=r"encryption\.key cannot be used"):
        open_keyring("", tmp_path / "home" / "encryption.key")
