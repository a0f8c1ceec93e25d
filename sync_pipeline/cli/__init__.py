"""The command line: parse, call, format; no logic. A module for each noun, heavy imports only where they are used."""

from __future__ import annotations

from sync_pipeline.cli import (
    compare,
    connections,
    console,
    credentials,
    init,
    live,
    mapping,
    rejects,
    serving,
    state,
    sync,
    trail,
    trial,
    webhooks,
)
from sync_pipeline.cli.collector import relax_collector
from sync_pipeline.cli.group import cli

__all__ = ["cli", "main"]

COMMANDS = (
    init.init,
    trial.trial,
    live.live,
    credentials.credentials,
    connections.disconnect,
    sync.sync,
    sync.backfill,
    compare.preview,
    compare.verify,
    state.check,
    state.status,
    state.deliveries,
    trail.trail,
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
    relax_collector()
    cli()
