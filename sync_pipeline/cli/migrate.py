"""`migrate`: both databases at the schema of this version, before anything else of it starts."""

from __future__ import annotations

import sys

import click

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.cli.options import json_option
from sync_pipeline.settings import load_given
from sync_pipeline.store.schema import HEAD


@click.command()
@click.option("--check", is_flag=True, help="Only report whether there is anything to migrate; exits 5 when there is.")
@json_option
def migrate(*, check: bool, as_json: bool) -> None:
    """Migrate the databases, ours and Dagster's. Run it once before processes of a new version start."""
    from sync_pipeline.hosting.migrate import migrate as migrate_both
    from sync_pipeline.hosting.migrate import schemas

    if check:
        found = schemas(load_given())
        text = f"Schema {found.ours or 'none'}; this version has {HEAD}. Dagster's storage is {'' if found.is_dagsters_current else 'not '}up to date."
        terminal.emit(as_json, {"database": found.ours or "", "dagster": found.is_dagsters_current}, text)
        sys.exit(ExitCode.DONE if found.are_current else ExitCode.DRIFT)
    migrate_both(load_given())
    terminal.emit(as_json, {"database": HEAD, "dagster": True}, f"Schema {HEAD}; Dagster's storage is up to date.")
