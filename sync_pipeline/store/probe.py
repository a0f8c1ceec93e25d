"""A join that looks up one row of the right side for each row of the left side, in that order."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Join
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class Probe(Join):
    """An inner join with a fixed order on SQLite.

    SQLite keeps no statistics here and would rather walk all records of an entity than the few that are
    staged. There, CROSS JOIN means "do not reorder"; PostgreSQL knows better and gets a plain join.
    """

    inherit_cache = True

    def __init__(self, left: FromClause, right: FromClause, onclause: ColumnElement[bool]) -> None:
        super().__init__(left, right, onclause)
        self.condition = onclause


@compiles(Probe, "sqlite")
def _fixed_order(join: Probe, compiler: SQLCompiler, **options: Any) -> str:
    options["asfrom"] = True
    left, right = (compiler.process(side, **options) for side in (join.left, join.right))
    options["asfrom"] = False
    condition = compiler.process(join.condition, **options)
    return f"{left} CROSS JOIN {right} ON {condition}"
