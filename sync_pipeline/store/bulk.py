"""Many rows at once, past SQLAlchemy: its work for each row would cost more than the database's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from sync_pipeline.store.schema import Instant


def execute_many(own: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run ``statement`` for each row; its parameters are question marks on either dialect."""
    if rows:
        own.exec_driver_sql(_placeholders(own, statement), list(rows))


def execute_together(
    own: Connection, statement: str, width: int, rows: Sequence[tuple[str | None, ...]], fixed: Sequence[Any] = ()
) -> int:
    """Run ``statement`` once for many rows of ``width`` texts; returns how many it touched.

    It finds them as a SELECT where it says ``{rows}``; its own parameters, question marks, come after that. The rows
    travel as one JSON text: for PostgreSQL a statement for each row takes four times as long, even when none waits
    for the one before, and a VALUES list with thousands of parameters twice as long.
    """
    if not rows:
        return 0
    if own.dialect.name == "postgresql":
        fields, source = "value ->> {}", "json_array_elements(CAST(? AS json)) AS sent (value)"
    else:
        fields, source = "json_extract(value, '$[{}]')", "json_each(?)"
    columns = ", ".join(fields.format(nr) for nr in range(width))
    sql = statement.replace("{rows}", f"SELECT {columns} FROM {source}")  # noqa: S608  # our own constants
    return own.exec_driver_sql(_placeholders(own, sql), (json.dumps(rows), *fixed)).rowcount


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


def _placeholders(own: Connection, statement: str) -> str:
    return statement if own.dialect.paramstyle == "qmark" else statement.replace("?", "%s")
