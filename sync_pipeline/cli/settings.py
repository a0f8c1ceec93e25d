"""`settings`: the value in force of each setting, and where it comes from."""

from __future__ import annotations

from difflib import get_close_matches

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import json_option
from sync_pipeline.errors import ConfigError
from sync_pipeline.settings import InForce, settings_in_force


@click.group()
def settings() -> None:
    """Show the settings, and where each comes from."""


@settings.command("list")
@click.option("--changed", is_flag=True, help="Only those that are not the default.")
@json_option
def settings_list(changed: bool, as_json: bool) -> None:
    """List the settings in force. Of secrets only whether they are set."""
    found = [one for one in settings_in_force() if not changed or one.source != "default"]
    document, rows = {"settings": [one._asdict() for one in found]}, [_row(one) for one in found]
    terminal.emit(as_json, document, lambda: terminal.table("Settings", rows, empty="Every setting has its default."))


@settings.command("get")
@click.argument("name")
@json_option
def settings_get(name: str, as_json: bool) -> None:
    """Show one setting. NAME is its variable."""
    known = {one.name: one for one in settings_in_force()}
    one = known.get(name.upper())
    if one is None:
        nearest = get_close_matches(name.upper(), known, n=1)
        fix = f"sync-pipeline settings get {nearest[0]}" if nearest else "sync-pipeline settings list"
        raise ConfigError(f"There is no setting {name}.", fix=f"Run `{fix}`.")
    terminal.emit(as_json, one._asdict(), lambda: terminal.table("", [_row(one)]))


def _row(one: InForce) -> dict[str, str]:
    return {"name": one.name, "value": one.value, "source": one.source}
