"""`mapping`: show which source field becomes which target field, preview a change, and make it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.cli.live import previewed, tables
from sync_pipeline.cli.opening import must_exist
from sync_pipeline.cli.options import json_option
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import load_specs, specs_of
from sync_pipeline.mapping.spec import describe
from sync_pipeline.settings import load_settings
from sync_pipeline.setup.drafts import Draft, discard, mapping_setup, publish, read_draft, read_publication
from sync_pipeline.setup.examples import unknown_source
from sync_pipeline.setup.fields import (
    BeforeAfter,
    EntityFields,
    TargetField,
    change_field,
    drop_field,
    entity_fields,
    field_form,
    field_warning,
    preview_records,
    restore_field,
    target_fields,
)
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.setup.switching import is_paused

GO_ON = "Run `sync-pipeline preview`, then `sync-pipeline live on`."
ORIGINS = ("source", "function", "transform", "default")


@click.group()
def mapping() -> None:
    """Look at the mappings, and change them. They say which source field becomes which target field."""


@mapping.command("show")
@click.argument("entity", required=False)
@json_option
def mapping_show(entity: str | None, as_json: bool) -> None:
    """Show the fields of every entity, or of one."""
    specs = specs_of(load_settings())
    chosen = [entity] if entity else list(specs)
    must_exist(specs, chosen)
    found = {name: describe(specs[name]) for name in chosen}

    def show() -> None:
        for name, rows in found.items():
            terminal.table(f"{name}: {specs[name].source.system} -> {specs[name].target.system}", rows)

    terminal.emit(as_json, found, show)


@mapping.command("validate")
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def mapping_validate(directory: Path | None, as_json: bool) -> None:
    """Check the mappings, or files in DIRECTORY. Nothing is changed.

    Warns of a source that neither the samples nor some records, read for this, have.
    """
    specs = load_specs(directory) if directory else specs_of(load_settings())
    terminal.emit(
        as_json,
        {"valid": True, "entities": {name: len(spec.fields) for name, spec in specs.items()}},
        f"All mappings are valid: {', '.join(f'{n} ({len(s.fields)} fields)' for n, s in specs.items())}.",
    )
    setup = SetupService(actor("terminal"))
    for spec in specs.values():
        for field in spec.fields:
            if warning := unknown_source(setup, spec, field, directory):
                terminal.warning(warning)


@mapping.command("test")
@click.argument("entity", required=False)
@json_option
def mapping_test(entity: str | None, as_json: bool) -> None:
    """Map the samples, and compare the results. Exits 1 when one is different."""
    from sync_pipeline.mapping.samples import load_samples, mismatches

    settings = load_settings()
    specs = specs_of(settings)
    chosen = [entity] if entity else list(specs)
    must_exist(specs, chosen)
    samples = {name: load_samples(name, settings.mappings_dir) for name in chosen}
    rows = [
        {"entity": name, "sample": number, "difference": text}
        for name in chosen
        for number, text in mismatches(specs[name], samples[name])
    ]
    counts = {name: len(found) for name, found in samples.items()}
    passed = f"All samples pass: {', '.join(f'{name} ({count})' for name, count in counts.items())}."
    document = {"passed": not rows, "samples": counts, "differences": rows}
    terminal.emit(as_json, document, (lambda: _show_failed(rows)) if rows else passed)
    sys.exit(ExitCode.FAILED if rows else ExitCode.DONE)


def _show_failed(rows: list[dict[str, Any]]) -> None:
    terminal.table("Samples with another result", rows)
    terminal.hint("Correct the mapping, or the samples in `samples/` of SYNC_MAPPINGS_DIR (docs/mapping.md).")


def form_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each key of a field; those that are not given change nothing."""
    options = (
        click.option("--source", metavar="PATH", help="Where the value is in the source record: timeInterval.start"),
        click.option("--constant", metavar="VALUE", help="A fixed value instead of a source."),
        click.option(
            "--transform", metavar="TEXT", help="What is done to it: \"trim | prefix: 'id: '\"; '' for nothing."
        ),
        click.option("--function", metavar="MODULE.NAME", help="A Python function in SYNC_MAPPINGS_DIR."),
        click.option("--default", metavar="VALUE", help="The value where the source has none."),
        click.option("--type", metavar="TYPE", help="text, id, email, instant, date, bool, int, number, list or json."),
        click.option("--required/--optional", default=None, help="Whether a record without it is rejected."),
        click.option("--unique/--not-unique", default=None, help="Whether no two records may share a value."),
        click.option("--personal/--not-personal", default=None, help="Whether its values are kept out of the UI."),
        click.option("--references", metavar="ENTITY", help="The entity that it is an id of; '' for none."),
        click.option("--link", metavar="ENTITY", help="Look the value up in the links of this entity; '' for no."),
        click.option("--owner", metavar="WHO", help="source: kept equal permanently; target: written once."),
        click.option("--one-of", metavar="LIST", help="The only values it may have: \"REGULAR, BREAK\"; '' for any."),
        click.option("--max-length", metavar="NUMBER", help="The most characters it may have; '' for the usual bound."),
        click.option("--description", metavar="TEXT", help="What it is."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@mapping.command("fields")
@click.argument("entity")
@json_option
def mapping_fields(entity: str, as_json: bool) -> None:
    """Show the fields of the source and the target. With an example of each."""
    found = entity_fields(SetupService(actor("terminal")).on_draft(), entity)
    terminal.emit(as_json, asdict(found), lambda: _show_fields(entity, found))


def _show_fields(entity: str, found: EntityFields) -> None:
    if found.note:
        terminal.warning(found.note)
    terminal.table(f"{entity}: at the source", [_row(asdict(field)) for field in found.source_fields])
    columns = ("name", "source", "constant", "transforms", "type", "required", "is_own", "dropped")
    terminal.table(f"{entity}: at the target", [_row(asdict(field)) for field in found.target_fields], columns)


@mapping.command("set")
@click.argument("entity")
@click.argument("field")
@form_options
@json_option
def mapping_set(entity: str, field: str, as_json: bool, **given: Any) -> None:
    """Change a FIELD that the target gets, or add one. Options that are not given change nothing."""
    setup = mapping_setup(SetupService(actor("terminal")), entity)
    since, form = setup.revision(), _form(setup, entity, field, given)
    _report_change(setup, entity, field, change_field(setup, entity, form, since=since), as_json)
    if warning := field_warning(setup, entity, form):
        terminal.warning(warning)


@mapping.command("drop")
@click.argument("entity")
@click.argument("field")
@json_option
def mapping_drop(entity: str, field: str, as_json: bool) -> None:
    """Stop delivering a FIELD. Its value at the target is not changed."""
    setup = mapping_setup(SetupService(actor("terminal")), entity)
    _report_change(setup, entity, field, drop_field(setup, entity, field, since=setup.revision()), as_json)


@mapping.command("restore")
@click.argument("entity")
@click.argument("field")
@json_option
def mapping_restore(entity: str, field: str, as_json: bool) -> None:
    """Bring a FIELD back to what the mapping files say."""
    setup = mapping_setup(SetupService(actor("terminal")), entity)
    _report_change(setup, entity, field, restore_field(setup, entity, field, since=setup.revision()), as_json)


@mapping.command("try")
@click.argument("entity")
@click.option("--field", metavar="FIELD", help="The field to change, as in `set`; without it: as the mapping is now.")
@click.option("--drop", metavar="FIELD", help="The field to drop.")
@form_options
@json_option
def mapping_try(entity: str, field: str | None, drop: str | None, as_json: bool, **given: Any) -> None:
    """Show five records before and after a change. They are real ones; nothing is changed."""
    if (field and drop) or (not field and any(value is not None for value in given.values())):
        raise click.UsageError("Name the field to change with --field, or the one to drop with --drop.")
    setup = SetupService(actor("terminal")).on_draft()
    form = _form(setup, entity, field, given) if field else None
    found = preview_records(setup, entity, form, drop=drop or "")
    changes = bool(field or drop)
    terminal.emit(as_json, [asdict(record) for record in found], lambda: _show_records(found, changes=changes))


def _show_records(found: Sequence[BeforeAfter], *, changes: bool) -> None:
    if any(not record.is_real for record in found):
        terminal.warning("No records could be read from the source: these are samples.")
    for record in found:
        shown = record.changed or tuple(record.after)
        rows = [{"field": n, "before": _cell(record.before.get(n)), "after": _cell(record.after.get(n))} for n in shown]
        terminal.table(_title(record, changing=changes), rows)


@mapping.command("draft")
@json_option
def mapping_draft(as_json: bool) -> None:
    """Show the changes that are not published. They gather while live syncing is on."""
    draft = read_draft(SetupService(actor("terminal")))
    found = [asdict(one) for one in draft.changes] if draft else []
    document = {"draft": draft and {"id": draft.id, "by": draft.by, "at": draft.at}, "changes": found}
    terminal.emit(as_json, document, (lambda: _show_draft(draft)) if draft else "Nothing waits to be published.")


def _show_draft(draft: Draft) -> None:
    rows = [{"key": one.key, "published": _cell(one.stored), "draft": _cell(one.file)} for one in draft.changes]
    terminal.table("Unpublished changes", rows)
    terminal.hint("`sync-pipeline mapping publish` publishes them, `mapping discard` forgets them.")


@mapping.command("publish")
@click.option("--accept-rewrite", is_flag=True, help="Rewrite delivered records that the changes affect.")
@click.option("--only-changed", is_flag=True, help="Leave delivered records unchanged until they change at the source.")
@json_option
def mapping_publish(accept_rewrite: bool, only_changed: bool, as_json: bool) -> None:
    """Publish the changes, all together. Where live syncing is on, it previews them first."""
    if accept_rewrite and only_changed:
        raise click.UsageError("--accept-rewrite writes what --only-changed leaves: give one of them.")
    setup = SetupService(actor("terminal"))
    draft, since = read_draft(setup), setup.on_draft().revision()
    if draft is None:
        raise ConfigError(
            "Nothing waits to be published.", fix="`sync-pipeline mapping set --help` shows how to make a change."
        )
    way = read_publication(setup)
    if way.is_live and (way.trial is None or way.trial.outcome not in ("passed", "held")):
        found = previewed(setup.on_draft())
        if not as_json:
            tables(found.report)
        way = read_publication(setup)
    if way.rewrites and not way.obstacle and not (accept_rewrite or only_changed):
        some = " and ".join(f"{count:,} {name}" for name, count in way.rewrites.items())
        terminal.problem(
            f"Publishing rewrites {some}.",
            "Add --accept-rewrite or --only-changed, or run: sync-pipeline mapping discard",
        )
        sys.exit(ExitCode.HELD)
    number = publish(setup, since=since, accept_rewrite=accept_rewrite, only_changed=only_changed).number
    done = {"version": number, "changes": [asdict(one) for one in draft.changes]}
    terminal.emit(as_json, done, f"Published as version {number}; `sync-pipeline setup versions` lists them.")


@mapping.command("discard")
@json_option
def mapping_discard(as_json: bool) -> None:
    """Forget the changes that are not published."""
    setup = SetupService(actor("terminal"))
    draft, since = read_draft(setup), setup.on_draft().revision()
    if draft is not None:
        discard(setup, since=since)
    count = len(draft.changes) if draft else 0
    terminal.emit(as_json, {"discarded": count}, f"{count} changes were discarded." if count else "There were none.")


def _form(setup: Any, entity: str, field: str, given: dict[str, Any]) -> Any:
    """The current field with the given changes; a constant and a source replace each other."""
    changes = {key: value for key, value in given.items() if value is not None}
    if changes.get("constant"):
        changes = {**dict.fromkeys(ORIGINS, ""), **changes}
    elif changes.get("source") or changes.get("function"):
        changes = {"constant": "", **changes}
    return replace(field_form(setup, entity, field), **changes)


def _report_change(setup: Any, entity: str, field: str, revision: str, as_json: bool) -> None:
    found = next((f for f in target_fields(setup, entity) if f.name == field), None)
    paused = not setup.drafting and is_paused(setup)
    where = {"live_paused": paused, "draft": setup.drafting}
    document = {"entity": entity, "revision": revision, "field": asdict(found) if found else None, **where}
    terminal.emit(as_json, document, f"{entity}.{field} {_change(found)}.")
    if setup.drafting:
        terminal.hint(
            "It is in the draft, and live syncing continues as before. `sync-pipeline mapping publish` publishes it."
        )
    if paused:
        terminal.warning(f"Live syncing is paused: nothing is synced automatically. {GO_ON}")


def _change(found: TargetField | None) -> str:
    if found is None or found.dropped:
        return "is not delivered any more; what is at the target is not changed"
    value = " | ".join((found.source or found.constant or "record", *found.transforms, found.function)).strip(" |")
    own = "as changed in the set-up" if found.is_own else "as the mapping files say"
    return f"is now {value} ({found.type}), {own}"


def _row(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _cell(value) for key, value in values.items()}


def _cell(value: Any) -> str:
    """A value in one line of a table."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else terminal.compact(value)


def _title(record: Any, *, changing: bool) -> str:
    parts = [f"{record.record}"]
    if changing and not record.changed:
        parts.append("nothing is different")
    if record.left_out:
        parts.append(f"left out by the rule {record.left_out}")
    return "; ".join([*parts, *record.problems])
