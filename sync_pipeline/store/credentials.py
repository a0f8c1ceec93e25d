"""Secrets at rest: encrypted with keys that are not in the database, bound to their place in it.

The first key encrypts, every key decrypts: to change the key, put the new one first and run ``encrypt_again``.
"""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import ColumnElement, delete, select

from sync_pipeline.clock import utc_now
from sync_pipeline.errors import ConfigError, StoreError, SyncError
from sync_pipeline.private_files import written_once
from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.locks import locks
from sync_pipeline.store.schema import credentials

SETTING = "SYNC_ENCRYPTION_KEY"
WEBHOOK = "webhook:"
"""What the names of the webhooks' secrets begin with."""
SIGNED = "SIGNED"
"""The hook of the other system's app: its vendor signs each body, and the hook has a secret path alone."""
TOKENS = "tokens"
"""Names the lock of a pair of tokens that is being renewed."""
CHECK = ("sync_pipeline", "key check")
"""Place of a value that is no secret: the key that encrypts it is the database's, which every process has to have."""
NEW_KEY = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


_IS_SECRET = credentials.c.connection != CHECK[0]


@dataclass(frozen=True, slots=True)
class Key:
    """One key; ``id`` says which one without revealing it."""

    id: str
    cipher: Fernet

    @classmethod
    def of(cls, text: str, source: str) -> Key:
        """The key that was written as text in ``source``."""
        try:
            return cls(hashlib.sha256(text.encode()).hexdigest()[:12], Fernet(text))
        except ValueError:
            raise ConfigError(f"{source} does not hold a key.", fix=f"Make one with: {NEW_KEY}") from None


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys in use: the first one encrypts."""

    keys: tuple[Key, ...]

    @property
    def ids(self) -> set[str]:
        """Which keys these are."""
        return {key.id for key in self.keys}

    def seal(self, place: tuple[str, str], value: Any) -> tuple[str, bytes]:
        """The id of the key that was used, and what to store."""
        key = self.keys[0]
        return key.id, key.cipher.encrypt(orjson.dumps([*place, value]))

    def open(self, place: tuple[str, str], key_id: str, ciphertext: bytes) -> Any:
        """The value; ConfigError when its key is missing, StoreError when it was tampered with."""
        key = next((key for key in self.keys if key.id == key_id), None)
        if key is None:
            raise ConfigError(
                f"The secret {place[1]} was encrypted with another key ({key_id}).",
                fix=f"Add that key to {SETTING}, after the new one and a comma, or bring back its key file; "
                "if it is lost, remove what the secret is for (`sync-pipeline webhooks remove ID`) and set it up again.",
            )
        try:
            *found, value = orjson.loads(key.cipher.decrypt(ciphertext))
        except (InvalidToken, ValueError):
            raise _damaged(place) from None
        if tuple(found) != place:  # a row copied over another one
            raise _damaged(place)
        return value


@dataclass(frozen=True, slots=True)
class Listed:
    """A secret without the secret: its place, its name, and which key encrypts it."""

    connection: str
    name: str
    key_id: str
    updated_at: datetime


def open_keyring(setting: str, file: Path) -> Keyring:
    """The keys of the setting, or else the one in ``file``, which is made on first use."""
    texts = [text.strip() for text in setting.split(",") if text.strip()]
    if texts:
        return Keyring(tuple(Key.of(text, SETTING) for text in texts))
    return Keyring((Key.of(_key_in(file), f"The key file {file}"),))


def keyring_of(store: Store, setting: str, file: Path) -> Keyring:
    """The same, where they are the keys of this database: the first that was given one decides, else the first secret that is stored.

    A key that a home has made for itself decides nothing before: homes that store no secrets may share a database. Raises ConfigError where this process was given another key, or none: two servers would encrypt what the other cannot read.
    """
    known = keys_of(store)
    if known and not setting.strip() and not file.exists():
        raise _other_key(known[0], "this process has none")
    keyring = open_keyring(setting, file)
    if setting.strip() and not known:
        key_id, ciphertext = keyring.seal(CHECK, "")
        row = dict(zip(("connection", "name"), CHECK, strict=True)) | {"ciphertext": ciphertext, "key_id": key_id}
        first = insert_into(store, credentials).values(**row, updated_at=utc_now()).on_conflict_do_nothing()
        with store.writing() as tx:
            tx.execute(first)
        known = keys_of(store)
    if known and keyring.ids.isdisjoint(known):
        raise _other_key(known[0], f"this process was given another key ({keyring.keys[0].id})")
    return keyring


def keys_of(store: Store) -> list[str]:
    """The ids of the keys of this database: that of its check or, before it has one, those of its secrets, newest first.

    In a database of an earlier version each of several homes may have secrets under a key of its own.
    """
    columns = (credentials.c.key_id, credentials.c.connection)
    with store.reading() as tx:
        rows = tx.execute(select(*columns).order_by(credentials.c.updated_at.desc())).all()
    check = [row.key_id for row in rows if row.connection == CHECK[0]]
    return check or list(dict.fromkeys(row.key_id for row in rows))


def put(
    store: Store,
    keyring: Keyring,
    pair: str,
    name: str,
    value: Any,
    at: datetime,
    *,
    expires_at: datetime | None = None,
) -> None:
    """Store a secret (anything JSON can hold) under a name, replacing the former one.

    Raises ConfigError where this process was started before the key of the database was changed, and has only the old one.
    """
    key_id, ciphertext = keyring.seal((pair, name), value)
    row = {"ciphertext": ciphertext, "key_id": key_id, "expires_at": expires_at, "updated_at": at}
    statement = insert_into(store, credentials).values(connection=pair, name=name, **row)
    with store.writing(durable=True) as tx:  # the token before a renewed one is no longer valid
        known = tx.scalar(select(credentials.c.key_id).where(*_one(*CHECK)).with_for_update(read=True))
        if known is not None and known not in keyring.ids:
            raise _other_key(known, f"this process was given another key ({keyring.keys[0].id})")
        tx.execute(statement.on_conflict_do_update(index_elements=["connection", "name"], set_=row))


def get(store: Store, keyring: Keyring, pair: str, name: str) -> Any:
    """The secret; None when there is none of that name."""
    statement = select(credentials.c.key_id, credentials.c.ciphertext).where(*_one(pair, name))
    with store.reading() as tx:
        row = tx.execute(statement).one_or_none()
    return None if row is None else keyring.open((pair, name), row.key_id, row.ciphertext)


def get_all(store: Store, keyring: Keyring, pair: str, prefix: str) -> dict[str, Any]:
    """The secrets whose names start with the prefix, in one read; for one that cannot be decrypted, the SyncError."""
    columns = (credentials.c.name, credentials.c.key_id, credentials.c.ciphertext)
    with store.reading() as tx:
        rows = tx.execute(select(*columns).where(*_below(pair, prefix))).all()
    found: dict[str, Any] = {}
    for row in rows:
        try:
            found[row.name] = keyring.open((pair, row.name), row.key_id, row.ciphertext)
        except SyncError as error:
            found[row.name] = error
    return found


def names(store: Store, pair: str, prefix: str = "") -> list[str]:
    """The names in use, in order; no key is needed for that."""
    statement = select(credentials.c.name).where(*_below(pair, prefix)).order_by(credentials.c.name)
    with store.reading() as tx:
        return list(tx.scalars(statement))


def hook_names(store: Store, pair: str) -> list[str]:
    """The names of the registered webhooks; needs no key."""
    found = (name.removeprefix(WEBHOOK) for name in names(store, pair, WEBHOOK))
    return [name for name in found if name != SIGNED]


def places(store: Store) -> list[str]:
    """The connections that have secrets, in order; no key is needed for that."""
    with store.reading() as tx:
        rows = select(credentials.c.connection).where(_IS_SECRET).distinct()
        return list(tx.scalars(rows.order_by(credentials.c.connection)))


def listed(store: Store) -> list[Listed]:
    """Every secret there is, without the secrets; no key is needed for that."""
    columns = (credentials.c.connection, credentials.c.name, credentials.c.key_id, credentials.c.updated_at)
    with store.reading() as tx:
        return [Listed(*row) for row in tx.execute(select(*columns).where(_IS_SECRET).order_by(*columns[:2]))]


def remove(store: Store, pair: str, name: str) -> None:
    """Forget a secret; no key is needed for that."""
    with store.writing() as tx:
        tx.execute(delete(credentials).where(*_one(pair, name)))


class Encrypted(NamedTuple):
    """The result for the secrets that older keys encrypted."""

    changed: int
    left: list[str]
    """The names of those that cannot be decrypted: their key is missing, or they are damaged."""


def encrypt_again(store: Store, keyring: Keyring, connection: str | None, at: datetime) -> Encrypted:
    """Encrypt a connection's secrets - None: all there are - with the first key, so that the others can be taken out.

    Each on its own: one that cannot be decrypted is left unchanged, and the others are still encrypted again. A token that is
    being renewed is waited for, so that no process is left with a new one that it may not store.
    """
    with locks(store, [f"{place}\n{name}" for place, name in _tokens(store)], TOKENS):
        return _encrypt_again(store, keyring, connection, at)


def _tokens(store: Store) -> list[tuple[str, str]]:
    """All of them, each before the one it is made of: in that order its renewal takes both locks."""
    with store.reading() as tx:
        rows = tx.execute(
            select(credentials.c.connection, credentials.c.name).where(credentials.c.expires_at.is_not(None))
        )
        return sorted(((row.connection, row.name) for row in rows), reverse=True)  # `tokens:here` before `tokens`


def _encrypt_again(store: Store, keyring: Keyring, connection: str | None, at: datetime) -> Encrypted:
    is_old = [credentials.c.key_id != keyring.keys[0].id, _IS_SECRET]
    is_old += [] if connection is None else [credentials.c.connection == connection]
    old = select(credentials).where(*is_old).with_for_update()
    found = Encrypted(0, [])
    with store.writing() as tx:
        tx.execute(select(credentials.c.key_id).where(*_one(*CHECK)).with_for_update())  # before what is stored now
        for row in tx.execute(old).all():
            place = (row.connection, row.name)
            try:
                value = keyring.open(place, row.key_id, row.ciphertext)
            except (ConfigError, StoreError):
                found.left.append(f"{row.name} (key {row.key_id})")
                continue
            key_id, ciphertext = keyring.seal(place, value)
            fresh = credentials.update().where(*_one(*place))
            tx.execute(fresh.values(key_id=key_id, ciphertext=ciphertext, updated_at=at))
            found = found._replace(changed=found.changed + 1)
        others = select(credentials.c.name).where(credentials.c.key_id != keyring.keys[0].id, _IS_SECRET).limit(1)
        # From now on this is the database's: what still needs another key could not be decrypted here.
        if connection is None or tx.scalar(others) is None:
            key_id, ciphertext = keyring.seal(CHECK, "")
            check = credentials.update().where(*_one(*CHECK))
            tx.execute(check.values(key_id=key_id, ciphertext=ciphertext, updated_at=at))
    return found


def _other_key(known: str, found: str) -> ConfigError:
    return ConfigError(
        f"The secrets in the database are encrypted with another key ({known}): {found}.",
        fix=f"Give every process the same {SETTING} (or {SETTING}_FILE, or encryption.key in SYNC_HOME). To change the key, put the "
        "new one first and the old one after a comma, and run `sync-pipeline credentials encrypt-again`; if the old one is lost, "
        "that command says which secrets have to be removed.",
    )


def _key_in(file: Path) -> str:
    try:
        key = written_once(file, lambda: f"{Fernet.generate_key().decode()}\n").strip()
        if os.name == "posix" and file.stat().st_mode & 0o077:
            raise ConfigError(f"The key file {file} can be read by others.", fix=f"Run: chmod 600 {file}")
        return key
    except OSError as error:
        raise ConfigError(
            f"The key file {file} cannot be used: {error.strerror}.",
            fix=f"Free some disk space, or set {SETTING}."
            if error.errno == errno.ENOSPC
            else f"Make it readable for this user, or set {SETTING}.",
        ) from error


def _damaged(place: tuple[str, str]) -> StoreError:
    return StoreError(f"The secret {place[1]} in our database is damaged.", fix="Remove it and set it up again.")


def _below(pair: str, prefix: str) -> tuple[ColumnElement[bool], ...]:
    return (credentials.c.connection == pair, credentials.c.name.startswith(prefix, autoescape=True))


def _one(pair: str, name: str) -> tuple[ColumnElement[bool], ...]:
    return (credentials.c.connection == pair, credentials.c.name == name)
