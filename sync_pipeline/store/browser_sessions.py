"""Browsers that are signed in, and tokens that are good once: kept here so that any instance of a server accepts them.

Cookies and tokens are stored as hashes only. What a session keeps is encrypted with its cookie, so a copy of the database
lets no one sign in and reveals no keys.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from cryptography.fernet import Fernet
from sqlalchemy import ColumnElement, delete, insert, select, update

from sync_pipeline.clock import has_passed
from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import browser_sessions, one_time_tokens

NOTED_EVERY = timedelta(minutes=1)
"""How exactly it is known when a session was last used: not each page is a write."""
MOST_SESSIONS = 10_000
"""The oldest is signed out when there are more."""

State = dict[str, Any]
"""What a session keeps, as JSON."""


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session that is signed in."""

    state: State
    seen_at: datetime


def open_session(store: Store, cookie: str, state: State, now: datetime, idle: timedelta) -> None:
    """Sign a browser in; those that were not used for ``idle`` are deleted."""
    seen, newest = browser_sessions.c.seen_at, select(browser_sessions.c.id)
    kept = newest.order_by(seen.desc()).limit(MOST_SESSIONS - 1)
    with store.writing() as tx:
        tx.execute(delete(browser_sessions).where((seen <= now - idle) | browser_sessions.c.id.not_in(kept)))
        row = {"id": _hash(cookie), "seen_at": now, "state": _seal(cookie, state)}
        tx.execute(insert(browser_sessions).values(row))


def find_session(store: Store, cookie: str, now: datetime, idle: timedelta) -> StoredSession | None:
    """The session of a cookie; None when there is none, or it was not used for ``idle``."""
    with store.reading() as tx:
        row = tx.execute(select(browser_sessions).where(browser_sessions.c.id == _hash(cookie))).one_or_none()
    if row is None or row.seen_at <= now - idle:
        return None
    return StoredSession(_open(cookie, row.state), row.seen_at)


def note_use(store: Store, cookie: str, seen_at: datetime, now: datetime) -> None:
    """Note that a session is used, when that was not noted just now."""
    if has_passed(seen_at, NOTED_EVERY, now):
        with store.writing() as tx:
            tx.execute(update(browser_sessions).where(browser_sessions.c.id == _hash(cookie)).values(seen_at=now))


def keep_changes(store: Store, cookie: str, changes: State) -> None:
    """Change what a session keeps, unless it was signed out; other requests may have changed the rest of it meanwhile."""
    its_row = browser_sessions.c.id == _hash(cookie)
    with store.writing() as tx:
        found = tx.scalar(select(browser_sessions.c.state).where(its_row).with_for_update())
        if found is not None:
            state = _seal(cookie, {**_open(cookie, found), **changes})
            tx.execute(update(browser_sessions).where(its_row).values(state=state))


def close_session(store: Store, cookie: str) -> None:
    """Sign a browser out."""
    with store.writing() as tx:
        tx.execute(delete(browser_sessions).where(browser_sessions.c.id == _hash(cookie)))


def issue(store: Store, purpose: str, token: str, now: datetime, until: datetime, content: bytes | None = None) -> None:
    """Make a token good once; those that are over are deleted."""
    with store.writing() as tx:
        tx.execute(delete(one_time_tokens).where(one_time_tokens.c.until <= now))
        row = {"id": _hash(token), "purpose": purpose, "content": content, "until": until}
        tx.execute(insert(one_time_tokens).values(row))


def redeem(store: Store, purpose: str, token: str, now: datetime) -> bytes | None:
    """The content of a token, which can be taken once; None if it is not valid, or has none yet."""
    its_row = one_time_tokens.c.id == _hash(token), one_time_tokens.c.purpose == purpose
    is_good = *its_row, one_time_tokens.c.until > now, one_time_tokens.c.content.is_not(None)
    if not _exists(store, is_good):
        return None
    with store.writing() as tx:
        found = tx.scalar(delete(one_time_tokens).where(*is_good).returning(one_time_tokens.c.content))
    return None if found is None else bytes(found)


def answer(store: Store, purpose: str, token: str, content: State, now: datetime) -> bool:
    """Give a token without content its content, encrypted with the token; the first one stays. Whether it is a good token."""
    its_row = one_time_tokens.c.id == _hash(token), one_time_tokens.c.purpose == purpose
    is_good = *its_row, one_time_tokens.c.until > now
    if not _exists(store, is_good):
        return False
    with store.writing() as tx:
        first = update(one_time_tokens).where(*is_good, one_time_tokens.c.content.is_(None))
        tx.execute(first.values(content=_seal(token, content)))
    return True


def answered(store: Store, purpose: str, token: str, now: datetime) -> State | None:
    """What ``answer`` stored; it can be taken once."""
    found = redeem(store, purpose, token, now)
    return None if found is None else _open(token, found)


def _exists(store: Store, is_good: Sequence[ColumnElement[bool]]) -> bool:
    """Looked up without a lock: anyone may send a token that is none."""
    with store.reading() as tx:
        return tx.scalar(select(one_time_tokens.c.id).where(*is_good)) is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(b"name\0" + secret.encode("utf-8", "replace")).hexdigest()


def _cipher(secret: str) -> Fernet:
    """A key of its own for each secret, which is random and long: it needs no stretching."""
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"key\0" + secret.encode("utf-8", "replace")).digest()))


def _seal(secret: str, state: State) -> bytes:
    return _cipher(secret).encrypt(orjson.dumps(state))


def _open(secret: str, sealed: bytes) -> State:
    found: State = orjson.loads(_cipher(secret).decrypt(bytes(sealed)))
    return found
