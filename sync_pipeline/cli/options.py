"""Options that every command takes, before or after its name, and those that several commands take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from copy import copy
from datetime import date
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import click

from sync_pipeline.cli.examples import EXAMPLES

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
JSON = "sync_pipeline.json"
NO_INPUT = "sync_pipeline.no_input"
RENAMED = {"trail": "audit list", "disconnect": "connections disconnect"}
"""Older names of commands, and the newer ones."""


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest of these words, after a space; "" where none is near."""
    near = get_close_matches(word, sorted(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


class ServingGroup(click.Group):
    """A group that runs `serve` when no command is named, like the older form of the command."""

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


def may_ask() -> bool:
    """Whether a person can be asked: not with --no-input."""
    return not click.get_current_context().meta.get(NO_INPUT)


def _noted(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    """Keep a flag for the command, and for those that print."""
    key = f"sync_pipeline.{param.name}"
    ctx.meta[key] = value or ctx.meta.get(key, False)
    if value and param.name in ("quiet", "verbose", "no_color", "utc"):
        from sync_pipeline import terminal  # only now: it costs more than most commands need to start

        terminal.adjust(param.name)
        ctx.find_root().call_on_close(terminal.restore)
    return value


def _flag(*names: str, text: str, hidden: bool = False) -> click.Option:
    return click.Option(
        names, is_flag=True, expose_value=False, is_eager=True, callback=_noted, help=text, hidden=hidden
    )


GLOBAL_OPTIONS = (
    _flag("--json", text="Print one JSON document."),
    _flag("-q", "--quiet", text="Print results, warnings and errors only."),
    _flag("-v", "--verbose", text="Also print what the program logs."),
    _flag("--no-color", text="Print without colours, as with NO_COLOR."),
    _flag("--utc", text="Print times in UTC instead of the local zone."),
    _flag("--no-input", text="Never ask; fail where an answer is needed."),
)


def completed(command: click.Command, path: str) -> click.Command:
    """The command with the global options, which its own help does not repeat, and with its examples; the same for its commands."""
    taken = {name for param in command.params for name in param.opts}
    for option in GLOBAL_OPTIONS:
        if not taken & set(option.opts):
            hidden = copy(option)
            hidden.hidden = True
            command.params.append(hidden)
    lines = EXAMPLES.get(path, ())
    if lines:
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  sync-pipeline {line}" for line in lines)
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            completed(sub, f"{path} {name}")
    return command


def schema_of(ctx: click.Context) -> str:
    """The name of the JSON document of a command, with its version."""
    words: list[str] = []
    at: click.Context | None = ctx
    while at is not None and at.parent is not None:
        words.insert(0, at.info_name or "")
        at = at.parent
    path = " ".join(words)
    return f"{RENAMED.get(path, path).replace(' ', '-')}/1"
