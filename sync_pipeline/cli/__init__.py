"""The command line: parse, call, format; no logic. A module for each noun, heavy imports only where they are used."""

from __future__ import annotations

from sync_pipeline.cli import compare, console, mapping, rejects, serving, state, sync, webhooks
from sync_pipeline.cli.group import cli

__all__ = ["cli", "main"]

COMMANDS = (
    sync.sync,
    sync.backfill,
    compare.preview,
    compare.verify,
    state.check,
    state.status,
    state.deliveries,
    rejects.rejects,
    mapping.mapping,
    webhooks.webhooks,
    serving.sandbox,
    serving.dev,
    console.console,
)

for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Entry point."""
    cli()
