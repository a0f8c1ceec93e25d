"""Options that every command takes, before or after its name, and what is added to each command when it is imported."""

from __future__ import annotations

from copy import copy

import click

from sync_pipeline.cli.examples import EXAMPLES

JSON = "sync_pipeline.json"
NO_INPUT = "sync_pipeline.no_input"


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


RENAMED = {"trail": "audit list", "disconnect": "connections disconnect"}
"""Older names of commands, and the newer ones."""


def schema_of(ctx: click.Context) -> str:
    """The name of the JSON document of a command, with its version."""
    words: list[str] = []
    at: click.Context | None = ctx
    while at is not None and at.parent is not None:
        words.insert(0, at.info_name or "")
        at = at.parent
    path = " ".join(words)
    return f"{RENAMED.get(path, path).replace(' ', '-')}/1"
