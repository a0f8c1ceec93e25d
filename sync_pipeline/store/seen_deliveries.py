"""The ids that a vendor gives its deliveries: one that is sent again is known by it, whichever receiver gets it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import delete, select

from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import one_time_tokens

PURPOSE = "delivery"
REMEMBERED = timedelta(days=7)
"""Longer than vendors go on sending a delivery again."""


def seen(store: Store, pair: str, ids: Iterable[str], now: datetime) -> set[str]:
    """Those that were noted."""
    named = {_key(pair, one): one for one in ids}
    found: set[str] = set()
    for some in chunks(list(named)):
        statement = select(one_time_tokens.c.id).where(one_time_tokens.c.id.in_(some), one_time_tokens.c.until > now)
        with store.reading() as tx:
            found |= {named[key] for key in tx.scalars(statement)}
    return found


def note(store: Store, pair: str, ids: Iterable[str], now: datetime) -> None:
    """Note deliveries that are kept; those noted long ago are deleted."""
    rows = [{"id": _key(pair, one), "purpose": PURPOSE, "until": now + REMEMBERED} for one in ids]
    if rows:
        with store.writing() as tx:
            tx.execute(delete(one_time_tokens).where(one_time_tokens.c.until <= now))
            tx.execute(insert_into(store, one_time_tokens).on_conflict_do_nothing(), rows)


def _key(pair: str, delivery: str) -> str:
    return hashlib.sha256(f"{PURPOSE}\n{pair}\n{delivery}".encode()).hexdigest()
