"""Many rows in one statement, without SQLAlchemy: its work for each row would cost more than the database's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import Any, TypeVar

from sqlalchemy import BindParameter, Connection, bindparam

from sync_pipeline.store.schema import Instant

T = TypeVar("T")
SOME_IDS: BindParameter[list[str]] = bindparam("some_ids", expanding=True)
"""Ids that are bound when a statement is run: as part of the statement they would stay in memory until the garbage collector runs."""


def chunks(items: Iterable[T], size: int = 500) -> Iterator[list[T]]:
    """Lists of at most ``size`` items, so that each fits into one statement."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def insert_fast(tx: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Add rows in the quickest way the database has."""
    if not rows:
        return
    names = ", ".join(columns)
    if tx.dialect.name == "postgresql":
        cursor: Any = tx.connection.cursor()
        with cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        marks = ", ".join("?" * len(columns))
        plain = list(map(tuple, rows))  # sqlite3 reads tuples faster than named ones
        tx.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", plain)  # noqa: S608  # our names


def execute_together(
    tx: Connection, statement: str, rows: Sequence[tuple[str | None, ...]], fixed: Sequence[Any] = ()
) -> int:
    """Run ``statement`` once for many rows of texts; returns how many rows of a table it wrote.

    It finds them as a subquery where it says ``{rows}``; the ``fixed`` parameters, question marks, come after that.
    """
    driver: Any = tx.connection.driver_connection if tx.dialect.name == "sqlite" else None
    before, written = driver.total_changes if driver else 0, 0
    for some in chunks(rows):  # all but the last of one size: the drivers prepare the statement once
        source, parameters = _source(tx, some)
        sql = _placeholders(tx, statement.replace("{rows}", source))
        written += tx.exec_driver_sql(sql, (*parameters, *fixed)).rowcount
    # A cursor of sqlite3 counts -1 for a statement that begins with WITH.
    return driver.total_changes - before if driver else written


def select_together(
    tx: Connection, statement: str, rows: Sequence[tuple[str | None, ...]], fixed: Sequence[Any] = ()
) -> list[Any]:
    """The first column of what ``statement`` finds for many rows of texts."""
    found: list[Any] = []
    for some in chunks(rows):
        source, parameters = _source(tx, some)
        sql = _placeholders(tx, statement.replace("{rows}", source))
        found += tx.exec_driver_sql(sql, (*parameters, *fixed)).scalars().all()
    return found


def _source(tx: Connection, rows: Sequence[tuple[str | None, ...]]) -> tuple[str, Sequence[Any]]:
    """PostgreSQL gets one JSON text: thousands of parameters, or a statement for each row, take several times as long.

    SQLite gets a VALUES list: it would scan all records for each row, since it does not know that a JSON text is short.
    """
    width = len(rows[0])
    if tx.dialect.name == "postgresql":
        fields = ", ".join(f"value ->> {nr}" for nr in range(width))
        # Our own constants, with one parameter.
        return f"SELECT {fields} FROM json_array_elements(CAST(? AS json)) AS one (value)", [json.dumps(rows)]  # noqa: S608
    row = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([row] * len(rows))}", [*chain.from_iterable(rows)]


def driver_time(tx: Connection, at: datetime) -> Any:
    """``at`` as the column type ``Instant`` would hand it to the driver."""
    # The dialect's own form of it: SQLAlchemy's text on SQLite, not that of sqlite3, which drops `.000000`.
    process = Instant().dialect_impl(tx.dialect).bind_processor(tx.dialect)
    return process(at) if process else at


def _placeholders(tx: Connection, statement: str) -> str:
    return statement if tx.dialect.paramstyle == "qmark" else statement.replace("?", "%s")
