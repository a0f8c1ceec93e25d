"""Rejects: which records were rejected, why, and trying them again."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.setup.overview import overview as how_all_stands
from sync_pipeline.setup.rejects import SHOWN, offer_again, set_aside


def overview(context: RequestContext) -> Response:
    """GET /rejects."""
    context.settings()
    return context.page("rejects.html", "Rejects", entities=how_all_stands(context.setup).entities)


def show(context: RequestContext) -> Response:
    """GET /rejects/{entity}."""
    context.settings()
    entity = context.param("entity")
    found = set_aside(context.setup, entity)
    title = f"Rejects of {entity.replace('_', ' ')}"
    entities = how_all_stands(context.setup).entities
    return context.page("rejects_of.html", title, found=found, entities=entities, shown=SHOWN)


def retry(context: RequestContext) -> Response:
    """POST /rejects/{entity}."""
    entity, chosen = context.param("entity"), context.form.text("source_id")
    count = offer_again(context.setup, entity, (chosen,) if chosen else ())
    if not count:
        notice = "Nothing to send again: what a check rejects is looked at again at every sync."
    else:
        records = "record is" if count == 1 else "records are"
        notice = f"{count} {records} offered again by the next sync."
    return context.go(f"/rejects/{entity}", notice)
