"""The mapping: which source field becomes which target field, per entity; what is synced at all, and from when on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

from starlette.responses import JSONResponse, Response

from sync_pipeline.console.forms import Form
from sync_pipeline.console.request_context import TEMPLATES, RequestContext
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.load import linkable, specs_of, switched_on
from sync_pipeline.mapping.spec import FIELD_TYPES, EntitySpec
from sync_pipeline.settings import Settings
from sync_pipeline.setup.connections import switch_entities
from sync_pipeline.setup.drafts import mapping_setup
from sync_pipeline.setup.examples import LIMIT
from sync_pipeline.setup.field_form import StepRow, rearranged, rows_of, text_of
from sync_pipeline.setup.fields import (
    BeforeAfter,
    FieldForm,
    change_field,
    check_field,
    drop_field,
    entity_fields,
    field_form,
    field_warning,
    mapping_of,
    preview_records,
    restore_field,
    target_fields,
)
from sync_pipeline.setup.mapping_table import chosen_of, file_of, mapping_table, name_of, patch_of, titles
from sync_pipeline.setup.service import SetupService


def overview(context: RequestContext) -> Response:
    """GET /mapping: which entities are synced, and from when on."""
    settings = context.settings()
    chosen = list(switched_on(_kept_in_sync(settings), settings.entities))
    return _overview(context, chosen, settings.start_date.isoformat())


def choose(context: RequestContext) -> Response:
    """POST /mapping."""
    chosen, start = context.form.all("entities"), context.form.text("start_date")
    since = context.since
    try:
        since = _switch(context, chosen)
    except SyncError as error:
        context.went_wrong(error, "entities")
    try:
        if not context.problems:
            _begin_at(context, start, since)
    except SyncError as error:
        context.went_wrong(error, "start_date")
    if context.problems:
        return _overview(context, list(chosen), start)
    return context.saved("/mapping", "Saved.")


def _switch(context: RequestContext, chosen: tuple[str, ...]) -> str:
    """Sync these entities, unless they are already; returns the revision that is to be changed next."""
    settings = context.settings()
    now = switched_on(_kept_in_sync(settings), settings.entities)
    if context.setup.is_given("SYNC_ENTITIES") or set(chosen) == set(now):
        return context.since
    switch_entities(context.setup, chosen, since=context.since)
    return context.setup.revision()


def _begin_at(context: RequestContext, start: str, since: str) -> None:
    """Leave time entries before this day alone from now on."""
    if not context.setup.is_given("SYNC_START_DATE") and start != context.settings().start_date.isoformat():
        context.setup.change({"start_date": start or None}, "start date", start or "the default", since=since)


def show(context: RequestContext) -> Response:
    """GET /mapping/{entity}."""
    entity = _entity(context)
    setup = mapping_setup(context.setup, entity)
    return context.page(
        "mapping_of.html",
        f"Mapping of {entity.replace('_', ' ')}",
        step="mapping",
        table_of=mapping_table(setup, entity, _number(context.query("record"))),
        record=_number(context.query("record")),
        tabs=tabs_of(context),
        gathers=setup.drafting,
        revision=setup.revision(),
    )


def new(context: RequestContext) -> Response:
    """GET /mapping/new/{entity}."""
    source = context.query("source")
    return _edit(context, FieldForm(name=name_of(source), source=source), is_new=True)


def edit(context: RequestContext) -> Response:
    """GET /mapping/{entity}/{name}."""
    entity, name = _entity(context), context.param("name")
    setup = mapping_setup(context.setup, entity)
    if name not in {field.name for field in target_fields(setup, entity)}:
        return context.go(f"/mapping/{entity}", f"There is no field {name} any more.")
    return _edit(context, field_form(setup, entity, name), is_new=False)


def save(context: RequestContext) -> Response:
    """POST /mapping/{entity}: store a field, or only look what it would do."""
    entity, entered, is_new = _entity(context), _entered(context.form), context.form.flag("is_new")
    setup = mapping_setup(context.setup, entity)
    if (action := context.form.text("action")).startswith("pick:"):
        entered = replace(entered, source=action.removeprefix("pick:"))
    if action.startswith(FORM_ONLY):
        return _edit(context, entered, is_new=is_new)
    if problem := _problem(setup, entity, entered, is_new=is_new):
        context.problems.add(_place(problem), _bare(problem))
    elif action != "look" and file_of(setup, entity) is None:
        try:
            change_field(setup, entity, entered, since=context.since)
        except SyncError as error:
            context.went_wrong(error, _place(str(error)))
        else:
            return _saved(context, setup, f"The field {entered.name} is saved")
    return _edit(context, entered, is_new=is_new)


def check(context: RequestContext) -> Response:
    """POST /mapping/check/{entity}: is it valid, and what would it do; for the page, while a person types."""
    entity, entered = _entity(context), _entered(context.form)
    setup = mapping_setup(context.setup, entity)
    problem = _problem(setup, entity, entered, is_new=context.form.flag("is_new"))
    seen = [] if problem else _previews(setup, entity, entered)
    preview = chosen_of(seen, _number(context.form.text("record")))
    shown = TEMPLATES.get_template("_preview.html").render(preview=preview, name=entered.name)
    found = {"problem": _bare(problem), "place": _place(problem) if problem else "", "preview": shown}
    return JSONResponse({**found, "warning": "" if problem else field_warning(setup, entity, entered)})


def drop(context: RequestContext) -> Response:
    """POST /mapping/drop/{entity}."""
    return _do(context, drop_field, "is no longer delivered; its value at the target stays unchanged")


def restore(context: RequestContext) -> Response:
    """POST /mapping/restore/{entity}."""
    return _do(context, restore_field, "has its default again")


def _problem(setup: SetupService, entity: str, entered: FieldForm, *, is_new: bool) -> str:
    """What is wrong with a field; a new one must not take the place of another."""
    if is_new and any(field.name == entered.name and not field.dropped for field in target_fields(setup, entity)):
        return f"name: {entered.name} already exists; change that field, or choose another name."
    return check_field(setup, entity, entered)


def _do(context: RequestContext, act: Callable[..., object], done: str) -> Response:
    entity, name = _entity(context), context.form.text("name")
    setup = mapping_setup(context.setup, entity)
    try:
        act(setup, entity, name, since=context.since)
    except SyncError as error:
        context.went_wrong(error)
        return show(context)
    return _saved(context, setup, f"The field {name} {done}")


def _saved(context: RequestContext, setup: SetupService, done: str) -> Response:
    address = f"/mapping/{_entity(context)}"
    if setup.drafting:
        return context.go(address, f"{done}, in the draft: it takes effect when you publish it.")
    return context.saved(address, f"{done}.")


def _edit(context: RequestContext, entered: FieldForm, *, is_new: bool) -> Response:
    entity = _entity(context)
    setup = mapping_setup(context.setup, entity)
    title = f"Add a field to {entity.replace('_', ' ')}" if is_new else f"{entered.name} of {entity.replace('_', ' ')}"
    seen = [] if context.problems else _previews(setup, entity, entered if entered.name else None)
    record = _number(context.form.text("record") or context.query("record"))
    file, tabs = file_of(setup, entity), tabs_of(context)
    action = context.form.text("action")
    wants_patch = file is not None and not context.problems and action == "save"
    steps, current = _steps(context, entered, action)
    return context.page(
        "field.html",
        title,
        step="mapping",
        entered=asdict(entered),
        is_new=is_new,
        name=entered.name,
        steps=steps,
        current=current,
        find=context.form.text("find"),
        is_finding=action == "find",
        found=entity_fields(setup, entity),
        type_options=[(name, name) for name in FIELD_TYPES],
        reference_options=[(name, name.replace("_", " ")) for name, _, _ in tabs if name != entity],
        link_options=[(name, name.replace("_", " ")) for name in linkable(specs_of(setup.settings()).values(), entity)],
        tabs=tabs,
        record_options=list(enumerate(titles(setup, entity, seen))),
        record=record,
        preview=chosen_of(seen, record),
        file=file,
        patch=patch_of(setup, entity, entered, file) if wants_patch and file is not None else None,
        gathers=setup.drafting,
        revision=setup.revision(),
    )


def _entity(context: RequestContext) -> str:
    """The entity of the address; a SyncError when there is none of that name."""
    entity = context.param("entity")
    mapping_of(context.setup, entity)
    return entity


def tabs_of(context: RequestContext) -> list[tuple[str, str, bool]]:
    """The entities by name, each with its direction and whether it is synced."""
    settings = context.settings()
    specs = _kept_in_sync(settings)
    chosen = switched_on(specs, settings.entities)
    return [(name, f"{spec.source.system} to {spec.target.system}", name in chosen) for name, spec in specs.items()]


def _kept_in_sync(settings: Settings) -> dict[str, EntitySpec]:
    """The entities without the automations, which are on a page of their own."""
    return {name: spec for name, spec in specs_of(settings).items() if not spec.target.once}


def _overview(context: RequestContext, chosen: list[str], start_date: str) -> Response:
    settings = context.settings()
    return context.page(
        "mapping.html",
        "Mapping",
        step="mapping",
        specs=_kept_in_sync(settings),
        tabs=tabs_of(context),
        chosen=chosen,
        start_date=start_date,
        given=context.given("SYNC_ENTITIES", "SYNC_START_DATE"),
        would_pause=context.would_pause(),
    )


def _previews(setup: SetupService, entity: str, entered: FieldForm | None) -> list[BeforeAfter]:
    """Real records before and after; none while the field is not valid."""
    try:
        return preview_records(setup, entity, entered, limit=LIMIT)
    except SyncError:
        return []


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0


def _rows(form: Form) -> list[StepRow]:
    """The transforms as they were filled in, row by row."""
    arguments = [*form.all("argument"), *("" for _ in form.all("step"))]
    return [StepRow(name, argument) for name, argument in zip(form.all("step"), arguments, strict=False)]


def _steps(context: RequestContext, entered: FieldForm, action: str) -> tuple[list[StepRow] | None, int]:
    """The rows to show, an empty one last, and the one that a button was about, else -1; no rows for what cannot be read."""
    rows = _rows(context.form) if "step" in context.form.values else rows_of(entered.transform)
    if rows is None:
        return None, -1
    kept, current = rearranged(rows, action) or ([row for row in rows if row != StepRow()], -1)
    return [*kept, StepRow()], current


def _entered(form: Form) -> FieldForm:
    kinds = {field.name: field.type for field in fields(FieldForm)}
    values: dict[str, Any] = {
        name: form.flag(name) if kind == "bool" else form.text(name) for name, kind in kinds.items()
    }
    if "step" in form.values:
        values["transform"] = text_of(_rows(form))
    return FieldForm(**{**values, "type": values["type"] or "text", "owner": values["owner"] or "source"})


FORM_ONLY = ("add", "up:", "down:", "remove:", "find", "pick:")
"""What buttons of the form begin with that only change the form."""
PLACES = tuple(field.name for field in fields(FieldForm))


def _place(problem: str) -> str:
    """The input that a sentence is about: it starts with the input's key, or is about the whole field."""
    key = problem.partition(":")[0].partition(".")[0].strip()
    return key if key in PLACES else "source" if "source" in problem else "name"


def _bare(problem: str) -> str:
    """The sentence without the name of the input that it is shown beside."""
    key, colon, rest = problem.partition(": ")
    return f"{rest[:1].upper()}{rest[1:]}" if colon and key in PLACES else problem
