"""`migrate`: both databases at the schema of this version, before anything else of it starts."""

from __future__ import annotations

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import json_option
from sync_pipeline.settings import load_given
from sync_pipeline.store.schema import HEAD


@click.command()
@json_option
def migrate(as_json: bool) -> None:
    """Migrate the databases, ours and Dagster's. Run it once before processes of a new version start."""
    from sync_pipeline.hosting.migrate import migrate as migrate_both

    migrate_both(load_given())
    terminal.emit(as_json, {"database": HEAD, "dagster": True}, f"Schema {HEAD}; Dagster's storage is up to date.")
