"""Step 3: which source field becomes which target field, per entity; what is synced at all, and from when on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from starlette.responses import JSONResponse, Response

from sync_pipeline.console.forms import Form
from sync_pipeline.console.request_context import TEMPLATES, RequestContext
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.mapping.spec import FIELD_TYPES
from sync_pipeline.setup.connections import switch_entities
from sync_pipeline.setup.field_preview import BeforeAfter, preview_records
from sync_pipeline.setup.fields import (
    FieldForm,
    change_field,
    check_field,
    drop_field,
    entity_fields,
    field_form,
    mapping_of,
    restore_field,
    target_fields,
)

SHOWN_RECORDS = 5


def overview(visit: RequestContext) -> Response:
    """GET /fields: which entities are synced, and from when on."""
    settings = visit.settings()
    chosen = list(switched_on(specs_of(settings), settings.entities))
    return _overview(visit, chosen, settings.start_date.isoformat())


def choose(visit: RequestContext) -> Response:
    """POST /fields."""
    chosen, start = visit.form.all("entities"), visit.form.text("start_date")
    since = visit.since
    try:
        since = _switch(visit, chosen)
    except SyncError as error:
        visit.went_wrong(error, "entities")
    try:
        if not visit.problems:
            _begin_at(visit, start, since)
    except SyncError as error:
        visit.went_wrong(error, "start_date")
    if visit.problems:
        return _overview(visit, list(chosen), start)
    return visit.saved("/fields", "Saved.")


def _switch(visit: RequestContext, chosen: tuple[str, ...]) -> str:
    """Sync these entities, unless they are already; returns the revision that is to be changed next."""
    settings = visit.settings()
    now = switched_on(specs_of(settings), settings.entities)
    if visit.setup.is_given("SYNC_ENTITIES") or set(chosen) == set(now):
        return visit.since
    switch_entities(visit.setup, chosen, since=visit.since)
    return visit.setup.revision()


def _begin_at(visit: RequestContext, start: str, since: str) -> None:
    """Leave time entries before this day alone from now on."""
    if not visit.setup.is_given("SYNC_START_DATE") and start != visit.settings().start_date.isoformat():
        visit.setup.change({"start_date": start or None}, "start date", start or "the default", since=since)


def show(visit: RequestContext) -> Response:
    """GET /fields/{entity}."""
    entity = _entity(visit)
    return visit.page(
        "fields_of.html",
        f"Step 3: Fields of {entity.replace('_', ' ')}",
        step="fields",
        found=entity_fields(visit.setup, entity),
        tabs=_tabs(visit),
        previews=_previews(visit, entity, None),
        would_pause=visit.would_pause(entity),
    )


def new(visit: RequestContext) -> Response:
    """GET /fields/{entity}/new."""
    source = visit.query("source")
    return _edit(visit, FieldForm(name=_name_of(source), source=source), is_new=True)


def edit(visit: RequestContext) -> Response:
    """GET /fields/{entity}/edit/{name}."""
    entity, name = _entity(visit), visit.param("name")
    if name not in {field.name for field in target_fields(visit.setup, entity)}:
        return visit.go(f"/fields/{entity}", f"There is no field {name} any more.")
    return _edit(visit, field_form(visit.setup, entity, name), is_new=False)


def save(visit: RequestContext) -> Response:
    """POST /fields/{entity}: store a field, or only look what it would do."""
    entity, entered, is_new = _entity(visit), _entered(visit.form), visit.form.flag("is_new")
    if problem := _problem(visit, entity, entered, is_new=is_new):
        visit.problems.add(_place(problem), _bare(problem))
    elif visit.form.text("action") != "look":
        try:
            change_field(visit.setup, entity, entered, since=visit.since)
        except SyncError as error:
            visit.went_wrong(error, _place(str(error)))
        else:
            return visit.saved(f"/fields/{entity}", f"The field {entered.name} is saved.")
    return _edit(visit, entered, is_new=is_new)


def check(visit: RequestContext) -> Response:
    """POST /fields/{entity}/check: is it valid, and what would it do; for the page, while somebody types."""
    entity, entered = _entity(visit), _entered(visit.form)
    problem = _problem(visit, entity, entered, is_new=visit.form.flag("is_new"))
    previews = [] if problem else _previews(visit, entity, entered)
    shown = TEMPLATES.get_template("_preview.html").render(previews=previews)
    return JSONResponse({"problem": _bare(problem), "place": _place(problem) if problem else "", "preview": shown})


def drop(visit: RequestContext) -> Response:
    """POST /fields/{entity}/drop."""
    return _do(visit, drop_field, "is not delivered any more; it stays as it is at the target")


def restore(visit: RequestContext) -> Response:
    """POST /fields/{entity}/restore."""
    return _do(visit, restore_field, "is as shipped again")


def _problem(visit: RequestContext, entity: str, entered: FieldForm, *, is_new: bool) -> str:
    """What is wrong with a field; a new one must not take the place of another."""
    if is_new and any(field.name == entered.name and not field.dropped for field in target_fields(visit.setup, entity)):
        return f"name: {entered.name} is there already; change that one, or choose another name."
    return check_field(visit.setup, entity, entered)


def _do(visit: RequestContext, act: Callable[..., object], done: str) -> Response:
    entity, name = _entity(visit), visit.form.text("name")
    try:
        act(visit.setup, entity, name, since=visit.since)
    except SyncError as error:
        visit.went_wrong(error)
        return show(visit)
    return visit.saved(f"/fields/{entity}", f"The field {name} {done}.")


def _edit(visit: RequestContext, entered: FieldForm, *, is_new: bool) -> Response:
    entity = _entity(visit)
    found, tabs = entity_fields(visit.setup, entity), _tabs(visit)
    title = (
        f"Add a field to {entity.replace('_', ' ')}"
        if is_new
        else f"Field {entered.name} of {entity.replace('_', ' ')}"
    )
    return visit.page(
        "field.html",
        title,
        step="fields",
        entered=asdict(entered),
        is_new=is_new,
        found=found,
        type_options=[(name, name) for name in FIELD_TYPES],
        reference_options=[(name, name.replace("_", " ")) for name, _, _ in tabs if name != entity],
        tabs=tabs,
        previews=[] if visit.problems else _previews(visit, entity, entered if entered.name else None),
        would_pause=visit.would_pause(entity),
    )


def _entity(visit: RequestContext) -> str:
    """The entity of the address; a SyncError when there is none of that name."""
    entity = visit.param("entity")
    mapping_of(visit.setup, entity)
    return entity


def _tabs(visit: RequestContext) -> list[tuple[str, str, bool]]:
    settings = visit.settings()
    specs = specs_of(settings)
    chosen = switched_on(specs, settings.entities)
    return [(name, f"{spec.source.system} to {spec.target.system}", name in chosen) for name, spec in specs.items()]


def _overview(visit: RequestContext, chosen: list[str], start_date: str) -> Response:
    settings = visit.settings()
    return visit.page(
        "fields.html",
        "Step 3: Fields",
        step="fields",
        specs=specs_of(settings),
        tabs=_tabs(visit),
        chosen=chosen,
        start_date=start_date,
        given=visit.given("SYNC_ENTITIES", "SYNC_START_DATE"),
        would_pause=visit.would_pause(),
    )


def _previews(visit: RequestContext, entity: str, entered: FieldForm | None) -> list[BeforeAfter]:
    """Real records before and after; none while the field is not valid."""
    try:
        return preview_records(visit.setup, entity, entered, limit=SHOWN_RECORDS)
    except SyncError:
        return []


def _entered(form: Form) -> FieldForm:
    kinds = {field.name: field.type for field in fields(FieldForm)}
    values: dict[str, Any] = {
        name: form.flag(name) if kind == "bool" else form.text(name) for name, kind in kinds.items()
    }
    return FieldForm(**{**values, "type": values["type"] or "text", "owner": values["owner"] or "source"})


def _name_of(source: str) -> str:
    """A name for what a source field is delivered as: customFields.0.value becomes value."""
    last = source.rpartition(".")[2]
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in last).strip("_")


PLACES = tuple(field.name for field in fields(FieldForm))


def _place(problem: str) -> str:
    """The input a sentence is about: it begins with its key, or speaks of the field as a whole."""
    key = problem.partition(":")[0].partition(".")[0].strip()
    return key if key in PLACES else "source" if "source" in problem else "name"


def _bare(problem: str) -> str:
    """The sentence as it reads beside its input, whose name it need not repeat."""
    key, colon, rest = problem.partition(": ")
    return f"{rest[:1].upper()}{rest[1:]}" if colon and key in PLACES else problem
