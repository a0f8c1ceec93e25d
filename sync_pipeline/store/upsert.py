"""INSERT ... ON CONFLICT for both dialects."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

from sync_pipeline.store.engine import Store


def insert_into(store: Store, table: Table) -> sqlite.Insert:
    """An insert that can say what to do on a conflict.

    Both dialects offer the same methods without a shared type, so the one stands for the other here.
    """
    if store.dialect == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)  # type: ignore[return-value]  # same interface, see above
