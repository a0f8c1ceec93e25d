"""Records: the search with states as filters, rejects by reason with retry and ignore, as CSV; and one record in full."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import Response

from sync_pipeline.console.request_context import CSV, RequestContext, download
from sync_pipeline.console.requests import panel
from sync_pipeline.errors import ConfigError, NotFound, SyncError
from sync_pipeline.mapping.load import load_automations, no_such_entity, specs_of
from sync_pipeline.reporting.export import csv_text
from sync_pipeline.session.session import Session
from sync_pipeline.setup.records import RecordNow, compare_now, find_records, pages_of, record_details
from sync_pipeline.setup.rejects import ignore as ignore_rejects
from sync_pipeline.setup.rejects import offer_again, stop_ignoring
from sync_pipeline.store.record_search import ACTIONS, COUNTED, LONGEST, PAGE, STATES, RecordRow, RecordsFound
from sync_pipeline.store.rejects import RejectGroup, group_rejects

FILTERS = ("q", "entity", "state", "reason", "run", "action")
EXPORTED = 10_000
"""Records in a CSV file."""
COLUMNS = ("entity", "id", "name", "state", "reason", "id at the target", "when", "run")
OF_A_REASON = 10_000
"""At most so many records of one reason are retried or ignored together."""


def show(context: RequestContext) -> Response:
    """GET /records."""
    context.settings()
    values, offset = _values(context), _offset(context)
    with context.reading() as session:
        entities = list(session.specs) if session is not None else []
        found = RecordsFound([], 0) if session is None else _found(session, values, offset=offset)
        groups = [] if session is None else _groups(session, values)
        pages = {(row.entity, row.source_id): _pages(session, row) for row in found.rows}
    asked = {name: value for name, value in values.items() if value}
    return context.page(
        "records.html",
        "Records",
        rows=found.rows,
        total=found.total,
        counted=COUNTED,
        first=offset + 1,
        pages=pages,
        groups=groups,
        values=values,
        back=f"/records?{urlencode(asked)}",
        is_filtered=bool(asked),
        work=None if found.rows else panel(context),
        newer=_address(asked, offset - PAGE) if offset else "",
        older=_address(asked, offset + PAGE) if found.total > offset + PAGE and offset + PAGE < COUNTED else "",
        export=f"/records/csv?{urlencode(asked)}",
        options={
            "entity": [("", "All"), *((name, name.replace("_", " ")) for name in entities)],
            "state": [("", "Any"), *((name, name.replace("_", " ")) for name in STATES)],
        },
    )


def export(context: RequestContext) -> Response:
    """GET /records/csv: the records with these filters."""
    context.settings()
    with context.setup.reading() as session:
        found = _found(session, _values(context), limit=EXPORTED, most=EXPORTED)
    return download("records.csv", csv_text(COLUMNS, map(_exported, found.rows)), CSV)


def record(context: RequestContext) -> Response:
    """GET /records/{entity}/{id}."""
    context.settings()
    return _record(context, _entity(context), context.param("source_id"))


def _record(context: RequestContext, entity: str, source_id: str, now: RecordNow | None = None) -> Response:
    with context.setup.reading() as session:
        session.spec(entity)
        found = record_details(session, entity, source_id)
    if found is None:
        raise NotFound(
            f"Nothing is known about {entity} {source_id}.",
            fix="The id is that of the record at its source; search for its name.",
        )
    lines = [(line, _changed(line.changes)) for line in reversed(found.history.happenings)]
    title = found.row.label or f"{entity.replace('_', ' ').capitalize()} {source_id}"
    return context.page("record.html", title, found=found, lines=lines, entity=entity, source_id=source_id, live=now)


def compare(context: RequestContext) -> Response:
    """POST /records/{entity}/compare: the record as both systems have it now."""
    entity, source_id = _entity(context), context.form.text("source_id")
    try:
        return _record(context, entity, source_id, compare_now(context.setup, entity, source_id))
    except SyncError as error:
        context.went_wrong(error)
        return _record(context, entity, source_id)


def retry(context: RequestContext) -> Response:
    """POST /records/{entity}/retry: the chosen records, those of a reason, or all that the target refused."""
    entity = _entity(context)
    count = offer_again(context.setup, entity, _chosen(context, entity))
    if not count:
        notice = "There is nothing to send again: what a check rejects is checked again on every sync."
    else:
        notice = f"{count:,} {'record is' if count == 1 else 'records are'} offered again by the next sync."
    return context.go(_back(context, entity), notice)


def ignore(context: RequestContext) -> Response:
    """POST /records/{entity}/ignore: until they change, with a note; or no more."""
    entity = _entity(context)
    chosen, back = _chosen(context, entity), _back(context, entity)
    if context.form.flag("stop"):
        count = stop_ignoring(context.setup, entity, chosen)
        return context.go(back, f"{count:,} {'reject counts' if count == 1 else 'rejects count'} again.")
    try:
        count = ignore_rejects(context.setup, entity, chosen, context.form.text("note"))
    except ConfigError as error:
        return context.go(back, str(error))
    some = "reject is" if count == 1 else "rejects are"
    return context.go(back, f"{count:,} {some} ignored until the record or the reason changes.")


def _found(session: Session, values: dict[str, str], **paging: int) -> RecordsFound:
    if values["entity"]:
        session.spec(values["entity"])
    wanted = {name: value[:LONGEST] if name != "reason" else value for name, value in values.items()}
    if wanted["action"] not in ACTIONS and wanted["action"] != "rejected":
        wanted["action"] = ""
    return find_records(session, **paging, **wanted)  # type: ignore[arg-type]  # texts and numbers


def _pages(session: Session | None, row: RecordRow) -> dict[str, str]:
    return {} if session is None else pages_of(session, session.specs.get(row.entity), row)


def _groups(session: Session, values: dict[str, str]) -> list[RejectGroup]:
    """The rejects by reason, where rejects are looked at and no reason is chosen."""
    if values["state"] not in ("rejected", "ignored", "waiting") or values["reason"] or values["q"]:
        return []
    entities = [values["entity"]] if values["entity"] else list(session.specs)
    return group_rejects(session.store, session.pair, entities=entities, state=values["state"])


def _values(context: RequestContext) -> dict[str, str]:
    return {name: context.query(name) for name in FILTERS}


def _entity(context: RequestContext) -> str:
    """The entity of the address, also one that is switched off; NotFound when there is none of that name."""
    name, settings = context.param("entity"), context.setup.settings()
    known = {**specs_of(settings), **load_automations(settings)}
    if name not in known:
        raise no_such_entity(name, known)
    return name


def _offset(context: RequestContext) -> int:
    number = context.query("page")
    page = int(number) if number.isdecimal() and len(number) < 6 else 1
    return max(0, min(page - 1, COUNTED // PAGE)) * PAGE


def _address(asked: dict[str, str], offset: int) -> str:
    return f"/records?{urlencode({**asked, 'page': str(offset // PAGE + 1)})}"


def _chosen(context: RequestContext, entity: str) -> tuple[str, ...]:
    reason = context.form.text("reason")
    if not reason:
        return tuple(filter(None, context.form.all("source_id")))
    with context.setup.reading() as session:
        return tuple(session.ledger(entity).rejects.ids_of(reason)[:OF_A_REASON]) or ("",)


def _back(context: RequestContext, entity: str) -> str:
    """The page the form was on: a search, or a record."""
    if record := context.form.text("record"):
        return f"/records/{quote(entity, safe='')}/{quote(record, safe='')}"
    return f"/records?{urlencode({'state': 'rejected', 'entity': entity})}"


def _changed(changes: str | None) -> list[tuple[str, Any]]:
    found = json.loads(changes) if changes else {}
    return list(found.items())


def _exported(row: RecordRow) -> list[Any]:
    at = f"{row.at:%Y-%m-%dT%H:%M:%SZ}" if row.at is not None else ""
    return [
        row.entity,
        row.source_id,
        row.label or "",
        row.state,
        row.reason,
        row.target_id or "",
        at,
        row.run_id or "",
    ]
