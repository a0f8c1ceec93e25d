"""Which rows are meant - those of a pair, of one of its entities, of some days - and the numbers by which reads are ordered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, and_, select, text, true

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import pairs, records

Scope = tuple[str, str] | None
"""First and last UTC day, both included; ``None`` is everything the entity has."""

KEY_LENGTH = 12
"""Enough for the few pairs of a store, and short: a record repeats it in its row and in each index."""


@dataclass(frozen=True)
class EntityRows:
    """The rows of one entity of a pair: a source and a target, each with its account."""

    store: Store
    pair: str
    entity: str

    def of(self, table: FromClause) -> list[ColumnElement[bool]]:
        """The rows of ``table`` that are meant."""
        return [table.c.connection == self.pair, table.c.entity == self.entity]


def pair_key(store: Store, accounts: str) -> str:
    """The key under which everything about the accounts of a pair is stored, which ``accounts`` names in full."""
    with store.reading() as tx:
        found: str | None = tx.scalar(select(pairs.c.key).where(pairs.c.accounts == accounts))
    return found or hashlib.sha256(accounts.encode()).hexdigest()[:KEY_LENGTH]


def noted_pair(store: Store, accounts: str) -> str:
    """The key of a pair that is about to be used; stores which accounts it belongs to."""
    key = pair_key(store, accounts)
    if accounts_of(store, key) != accounts:
        with store.writing() as tx:
            tx.execute(insert_into(store, pairs).values(key=key, accounts=accounts).on_conflict_do_nothing())
    return key


def accounts_of(store: Store, key: str) -> str:
    """The accounts that a key belongs to; the key itself when it is not stored."""
    with store.reading() as tx:
        return tx.scalar(select(pairs.c.accounts).where(pairs.c.key == key)) or key


def lock_in_order(tx: Connection, conditions: Sequence[ColumnElement[bool]]) -> None:
    """Lock these records before several of them are updated: two transactions that do so in one order never block each other.

    On SQLite a transaction that writes is the only one anyway.
    """
    if tx.dialect.name == "postgresql":
        rows = select(records.c.source_id).where(*conditions).order_by(records.c.source_id)
        tx.execute(rows.with_for_update())


def within(partition: ColumnElement[Any], scope: Scope) -> ColumnElement[bool]:
    """The rows whose partition lies in ``scope``."""
    if scope is None:
        return true()
    first, last = scope
    # Not BETWEEN: SQLAlchemy writes the column's collation after each bound, which PostgreSQL takes amiss there.
    return and_(partition >= first, partition <= last)


_NEXT = text(
    "INSERT INTO read_numbers (id, last) VALUES (1, 1) "
    "ON CONFLICT (id) DO UPDATE SET last = read_numbers.last + 1 RETURNING last"
)


def draw(store: Store) -> int:
    """The next number, higher than all that were drawn before on any machine that shares the store."""
    with store.writing() as tx:
        return draw_in(tx)


def draw_in(tx: Connection) -> int:
    """The next number, within the caller's transaction; keep that short, since others wait for its end."""
    return int(tx.execute(_NEXT).scalar_one())


LAST = text("(SELECT coalesce(max(last), 0) FROM read_numbers)")
"""SQL: the last number that was drawn; no read that has started so far has a higher one."""
