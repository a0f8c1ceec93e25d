"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import wraps
from typing import Any, NamedTuple

import click

OPTIONAL_COLUMNS = (
    "adopted",
    "rejected",
    "excluded",
    "waiting",
    "kept",
    "held",
    "held_deletes",
    "unconfirmed",
    "lagging",
    "repaired",
)
"""Shown only where one of them is not zero."""


class Day(click.ParamType[date]):
    """A UTC day like 2026-01-31."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The day, or a usage error that shows what a day looks like."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day like 2026-01-31", param, ctx)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json``, as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def days_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--from`` and ``--to``, as ``first`` and ``last``."""
    first = click.option("--from", "first", type=Day(), help="First UTC day of time entries.")
    last = click.option("--to", "last", type=Day(), help="Last UTC day of time entries.")
    return first(last(command))


class Permissions(NamedTuple):
    """What the user approves of what the guards hold."""

    accept_rewrite: bool
    allow_deletes: bool
    first_contact: bool


def permission_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--accept-rewrite``, ``--allow-deletes``, ``--yes``: approve what is held and use the approval; as ``permissions``."""

    @wraps(command)
    def with_permissions(*args: Any, accept_rewrite: bool, allow_deletes: bool, yes: bool, **more: Any) -> Any:
        return command(*args, permissions=Permissions(accept_rewrite, allow_deletes, yes), **more)

    rewrite = click.option(
        "--accept-rewrite", is_flag=True, help="Approve that a changed mapping rewrites most of the target."
    )
    deletes = click.option(
        "--allow-deletes", is_flag=True, help="Approve more deletes than the configured share of what is known."
    )
    yes = click.option("--yes", is_flag=True, help="Approve the first contact with real accounts.")
    return rewrite(deletes(yes(with_permissions)))


def entity_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--entity``."""
    return click.option("--entity", metavar="ENTITY", help="Only this entity.")(command)


def entities_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Entities as arguments, and the older ``--entity``, as ``entities``: each once, none for all."""

    @wraps(command)
    def with_entities(*args: Any, named: tuple[str, ...], entity: str | None, **more: Any) -> Any:
        return command(*args, entities=list(dict.fromkeys([*named, *([entity] if entity else [])])), **more)

    older = click.option("--entity", metavar="ENTITY", hidden=True, help="Only this entity.")
    return click.argument("named", metavar="[ENTITY...]", nargs=-1)(older(with_entities))
