"""Which partitions a sync is about."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, true

Scope = tuple[str, str] | None
"""First and last UTC day, both included; ``None`` is everything the entity has."""


def within(partition: ColumnElement[Any], scope: Scope) -> ColumnElement[bool]:
    """The rows whose partition lies in ``scope``."""
    return true() if scope is None else partition.between(*scope)
