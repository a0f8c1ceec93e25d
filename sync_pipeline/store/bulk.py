"""Many rows at once, past SQLAlchemy: its work for each row would cost more than the database's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from sync_pipeline.store.chunks import chunks
from sync_pipeline.store.schema import Instant


def insert_fast(own: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Add rows in the quickest way the database has."""
    if not rows:
        return
    names = ", ".join(columns)
    if own.dialect.name == "postgresql":
        cursor: Any = own.connection.cursor()
        with cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        marks = ", ".join("?" * len(columns))
        own.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(rows))  # noqa: S608  # our names


def execute_together(
    own: Connection, statement: str, rows: Sequence[tuple[str | None, ...]], fixed: Sequence[Any] = ()
) -> None:
    """Run ``statement`` for many rows of texts at once.

    It finds them as a subquery where it says ``{rows}``; the ``fixed`` parameters, question marks, come after that.
    """
    for some in chunks(rows):  # all but the last of one size: the drivers prepare the statement once
        source, parameters = _source(own, some)
        sql = _placeholders(own, statement.replace("{rows}", source))
        own.exec_driver_sql(sql, (*parameters, *fixed))


def _source(own: Connection, rows: Sequence[tuple[str | None, ...]]) -> tuple[str, Sequence[Any]]:
    """PostgreSQL gets one JSON text: thousands of parameters, or a statement for each row, take several times as long.

    SQLite gets a VALUES list: it would rather walk all records for each row than believe that a JSON text is short.
    """
    width = len(rows[0])
    if own.dialect.name == "postgresql":
        fields = ", ".join(f"value ->> {nr}" for nr in range(width))
        # Our own constants, with one parameter.
        return f"SELECT {fields} FROM json_array_elements(CAST(? AS json)) AS one (value)", [json.dumps(rows)]  # noqa: S608
    row = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([row] * len(rows))}", [*chain.from_iterable(rows)]


def driver_time(own: Connection, at: datetime) -> Any:
    """``at`` as the column type ``Instant`` would hand it to the driver."""
    # The dialect's own form of it: SQLAlchemy's text on SQLite, not that of sqlite3, which drops `.000000`.
    process = Instant().dialect_impl(own.dialect).bind_processor(own.dialect)
    return process(at) if process else at


def _placeholders(own: Connection, statement: str) -> str:
    return statement if own.dialect.paramstyle == "qmark" else statement.replace("?", "%s")
