"""`completion`: the script that lets a shell complete our commands."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from sync_pipeline import terminal
from sync_pipeline.cli.options import json_option

VARIABLE = "_SYNC_PIPELINE_COMPLETE"
FILES = {
    "bash": 'Add this line to ~/.bashrc: eval "$(sync-pipeline completion bash)"',
    "zsh": 'Add this line to ~/.zshrc: eval "$(sync-pipeline completion zsh)"',
    "fish": "Save it as ~/.config/fish/completions/sync-pipeline.fish.",
}
"""Where each shell looks for it."""


@click.command()
@click.argument("shell", type=click.Choice(sorted(FILES)))
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the completion script of a shell. Evaluate it in the shell's start-up file."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  # the choices are those that click has
    found = kind(ctx.find_root().command, {}, "sync-pipeline", VARIABLE).source()

    def show() -> None:
        if sys.stdout.isatty():
            terminal.notice(FILES[shell])
        sys.stdout.write(found)

    terminal.emit(as_json, {"shell": shell, "script": found}, show)
