"""Many rows at once, past SQLAlchemy: its work for each row would cost more than the database's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from sync_pipeline.store.schema import Instant


def execute_many(own: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run ``statement`` for each row; its parameters are question marks on either dialect."""
    if rows:
        sql = statement if own.dialect.paramstyle == "qmark" else statement.replace("?", "%s")
        own.exec_driver_sql(sql, list(rows))


def driver_time(own: Connection, at: datetime) -> Any:
    """``at`` as the column type ``Instant`` would hand it to the driver."""
    process = Instant().bind_processor(own.dialect)
    return process(at) if process else at


def copy_in(own: Connection, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """PostgreSQL's fastest way in."""
    cursor: Any = own.connection.cursor()
    with cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
