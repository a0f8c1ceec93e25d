"""Options that several commands take."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import click

from sync_pipeline.cli.global_options import JSON, schema_of

OPTIONAL_COLUMNS = (
    "adopted",
    "rejected",
    "excluded",
    "waiting",
    "kept",
    "former",
    "removed",
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


class OutFile(click.Path):
    """A file to be written, in a directory that exists."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or a usage error that names the directory."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"{str(path.parent)!r} is not a directory", param, ctx)
        return path


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--json``, before or after the command, as ``as_json``."""

    def given(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
        asked = bool(value or ctx.meta.get(JSON))
        if asked:
            describe_document(ctx)
        return asked

    return click.option("--json", "as_json", is_flag=True, callback=given, help="Print one JSON document.")(command)


def describe_document(ctx: click.Context) -> None:
    """The JSON document of this command has the name of its schema."""
    from sync_pipeline import terminal

    terminal.describes(schema_of(ctx))
    ctx.find_root().call_on_close(terminal.restore)


def days_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--from`` and ``--to``, as ``first`` and ``last``."""
    first = click.option("--from", "first", type=Day(), help="First UTC day of time entries.")
    last = click.option("--to", "last", type=Day(), help="Last UTC day of time entries.")
    return first(last(command))


class ServingGroup(click.Group):
    """A group of which the command `serve` is meant where none is named, as with the older form of the command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, with the name of the command."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


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


def entity_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """One entity or none as an argument, and the older ``--entity``, as ``entity``."""

    @wraps(command)
    def with_entity(*args: Any, named: str | None, entity: str | None, **more: Any) -> Any:
        return command(*args, entity=named or entity, **more)

    return click.argument("named", metavar="[ENTITY]", required=False)(_older(with_entity))


def entities_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Entities as arguments, and the older ``--entity``, as ``entities``: each once, none for all."""

    @wraps(command)
    def with_entities(*args: Any, named: tuple[str, ...], entity: str | None, **more: Any) -> Any:
        return command(*args, entities=list(dict.fromkeys([*named, *([entity] if entity else [])])), **more)

    return click.argument("named", metavar="[ENTITY...]", nargs=-1)(_older(with_entities))


_older = click.option("--entity", metavar="ENTITY", hidden=True, help="Only this entity.")
