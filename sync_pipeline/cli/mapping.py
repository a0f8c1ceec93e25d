"""`mapping`: the field mappings, without touching either side."""

from __future__ import annotations

from pathlib import Path

import click

from sync_pipeline.cli.opening import must_exist
from sync_pipeline.cli.options import json_option
from sync_pipeline.settings import load_settings


@click.group()
def mapping() -> None:
    """Look at the mappings: which source field becomes which target field."""


@mapping.command("show")
@click.argument("entity", required=False)
@json_option
def mapping_show(entity: str | None, as_json: bool) -> None:
    """Show the fields of every entity, or of one, as they are in force."""
    from sync_pipeline import terminal
    from sync_pipeline.mapping.load import specs_of
    from sync_pipeline.mapping.spec import describe

    specs = specs_of(load_settings())
    chosen = [entity] if entity else list(specs)
    must_exist(specs, chosen)
    if as_json:
        terminal.as_json({name: describe(specs[name]) for name in chosen})
        return
    for name in chosen:
        source, target = specs[name].source.system, specs[name].target.system
        terminal.table(f"{name}: {source} -> {target}", describe(specs[name]))


@mapping.command("validate")
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def mapping_validate(directory: Path | None, as_json: bool) -> None:
    """Check the mapping files in DIRECTORY (default: SYNC_MAPPINGS_DIR and the set-up) without touching anything."""
    from sync_pipeline import terminal
    from sync_pipeline.mapping.load import load_specs, specs_of

    specs = load_specs(directory) if directory else specs_of(load_settings())
    if as_json:
        terminal.as_json({"valid": True, "entities": {name: len(spec.fields) for name, spec in specs.items()}})
    else:
        terminal.say(f"All mappings are valid: {', '.join(f'{n} ({len(s.fields)} fields)' for n, s in specs.items())}.")
