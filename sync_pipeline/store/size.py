"""How large the database is."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select

from sync_pipeline.store.engine import Store


def size_of(store: Store) -> int:
    """Bytes: of the SQLite file with its log, or of the whole PostgreSQL database."""
    if store.path is not None:
        files = (store.path, Path(f"{store.path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())
    with store.reading() as tx:
        return int(tx.execute(select(func.pg_database_size(func.current_database()))).scalar_one())
