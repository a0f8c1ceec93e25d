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


def execute_many(own: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run ``statement`` for each row; its parameters are question marks on either dialect."""
    if rows:
        own.exec_driver_sql(_placeholders(own, statement), list(rows))


def execute_together(
    own: Connection, statement: str, rows: Sequence[tuple[str | None, ...]], fixed: Sequence[Any] = ()
) -> int:
    """Run ``statement`` for many rows of texts at once; returns how many rows it touched.

    It finds them as a subquery where it says ``{rows}``; the ``fixed`` parameters, question marks, come after that.
    """
    touched = 0
    for some in chunks(rows):  # all but the last of one size: the drivers prepare the statement once
        source, parameters = _source(own, some)
        sql = _placeholders(own, statement.replace("{rows}", source))
        touched += own.exec_driver_sql(sql, (*parameters, *fixed)).rowcount
    return touched


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
