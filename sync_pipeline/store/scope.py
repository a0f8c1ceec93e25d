"""Which partitions a sync is about."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, true

Scope = tuple[str, str] | None
"""First and last UTC day, both included; ``None`` is everything the entity has."""


def within(partition: ColumnElement[Any], scope: Scope) -> ColumnElement[bool]:
    """The rows whose partition lies in ``scope``."""
    if scope is None:
        return true()
    first, last = scope
    # Not BETWEEN: SQLAlchemy writes the column's collation after each bound, which PostgreSQL takes amiss there.
    return and_(partition >= first, partition <= last)
