"""Pages as Clockify's core host serves them: 1-based, ``page-size``, a ``Last-Page`` header, seldom a total."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sync_pipeline.sandbox.clockify.http import Call, Reply, invalid

DIRECTIONS = {"ASCENDING": "ASC", "DESCENDING": "DESC"}


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows are asked for."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        """Rows before this page."""
        return (self.number - 1) * self.size

    @classmethod
    def of(cls, number: int, size: int, cap: int) -> Page:
        """A page as asked for; more than ``cap`` rows are never given, less than one is refused."""
        if number < 1 or size < 1:
            raise invalid("Page and page size must be greater than 0")
        return cls(number, min(size, cap))

    @classmethod
    def asked(cls, call: Call, *, default: int = 50, cap: int | None = None) -> Page:
        """The page the query names."""
        return cls.of(
            call.number("page", 1), call.number("page-size", default), cap or call.world.options.list_page_cap
        )


@dataclass(slots=True)
class Where:
    """Conditions of a query, collected one by one."""

    clauses: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, clause: str, *values: Any) -> None:
        """Demand ``clause`` too."""
        self.clauses.append(clause)
        self.values.extend(values)

    def any_of(self, column: str, options: list[str], *, contains: bool = True) -> None:
        """Demand that ``column`` is one of (or none of) ``options``."""
        marks = ",".join("?" * len(options))
        self.add(f"{column} {'IN' if contains else 'NOT IN'} ({marks})", *options)

    def contains(self, column: str, text: str) -> None:
        """Demand that ``column`` contains ``text``, whatever the case."""
        self.add(f"instr(lower({column}), lower(?)) > 0", text)

    def sql(self) -> str:
        """The WHERE clause, empty when nothing was demanded."""
        return f" WHERE {' AND '.join(self.clauses)}" if self.clauses else ""


def select_page(
    call: Call, query: str, where: Where, order: str, page: Page, render: Callable[[list[sqlite3.Row]], Any]
) -> Reply:
    """One page of ``query``; one row more than asked for shows whether it is the last."""
    sql = f"{query}{where.sql()} ORDER BY {order} LIMIT ? OFFSET ?"
    rows = call.db.execute(sql, (*where.values, page.size + 1, page.offset)).fetchall()
    last = len(rows) <= page.size
    return Reply(render(rows[: page.size]), headers=last_page(last))


def select_counted_page(call: Call, table: str, where: Where, order: str) -> Reply:
    """One page of a table's documents with the number of all of them in ``Total-Count``, as clients and tags have it."""
    reply = select_page(call, f"SELECT body FROM {table}", where, order, Page.asked(call), bodies)
    count = call.db.execute(f"SELECT count(*) FROM {table}{where.sql()}", where.values).fetchone()[0]
    return Reply(reply.data, headers={**reply.headers, "Total-Count": str(count)})


def bodies(rows: list[sqlite3.Row]) -> bytes:
    """The stored documents as one JSON array, without parsing any of them."""
    return f"[{','.join([row['body'] for row in rows])}]".encode()


def last_page(last: bool) -> dict[str, str]:
    """The header that ends a walk."""
    return {"Last-Page": "true" if last else "false"}
