"""The verbs of an entity: list, read, upsert one, upsert many, delete."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from sync_pipeline.sandbox.snapshots.entities import Entity, find_entity
from sync_pipeline.sandbox.snapshots.lists import list_page, read_query
from sync_pipeline.sandbox.snapshots.problems import Problem, malformed_body, not_found
from sync_pipeline.sandbox.snapshots.records import Result, delete_record, get_record, upsert_records
from sync_pipeline.sandbox.snapshots.resource import JSON, Call
from sync_pipeline.sandbox.snapshots.settings import read_settings

MAX_ITEMS = 500


def json_response(content: bytes, status: int = 200) -> Response:
    """JSON that is ready to be sent."""
    return Response(content, status, media_type=JSON)


def list_records(call: Call) -> Response:
    """``GET /{entity}``: one page and the cursor of the next."""
    entity = _entity(call)
    call.caller.require(entity.read_scope)
    query = read_query(entity, call.request.query_params, call.world.options.snapshots_page_cap)
    return json_response(list_page(call.world.db, entity, query))


def read_record(call: Call) -> Response:
    """``GET /{entity}/{id}``: the record, or 404 when it does not exist."""
    entity = _entity(call)
    call.caller.require(entity.read_scope)
    body = get_record(call.world.db, entity, call.path["id"])
    if body is None:
        raise not_found(f"There is no record {call.path['id']!r} in {entity.name}.")
    return json_response(body)


def put_record(call: Call) -> Response:
    """``PUT /{entity}/{id}``: merges into the record, or creates it."""
    entity = _entity(call)
    call.caller.require(entity.write_scope)
    sent, key = call.json(), call.path["id"]
    if not isinstance(sent, dict):
        raise malformed_body("The body must be a JSON object.")
    if sent.get(entity.id_field, key) != key:
        raise _failed([{"code": "id_mismatch", "field": entity.id_field, "detail": "is not the id in the path"}])
    (result,) = _upsert(call, entity, [{**sent, entity.id_field: key}])
    if result.refusal is not None:
        raise _failed([result.refusal.as_json()])
    return json_response(result.body, 201 if result.status == "created" else 200)


def put_batch(call: Call) -> Response:
    """``POST /{entity}/batch``: merge up to 500 records, one result for each, in their order."""
    entity = _entity(call)
    call.caller.require(entity.write_scope)
    sent = call.json()
    items = sent.get("items") if isinstance(sent, dict) else None
    if not isinstance(items, list) or not items:
        raise malformed_body('The body must be {"items": [...]} with at least one item.')
    if len(items) > MAX_ITEMS:
        raise Problem(413, "too_many_items", f"A batch takes {MAX_ITEMS} items, not {len(items)}.")
    results = _upsert(call, entity, items)
    return json_response(orjson.dumps({"results": [result.as_json() for result in results]}))


def remove_record(call: Call) -> Response:
    """``DELETE /{entity}/{id}``: deletes the record; a missing one is no error."""
    entity = _entity(call)
    call.caller.require(entity.write_scope)
    call.world.wrote(entity.name)
    delete_record(call.world.db, entity, call.path["id"])
    return Response(status_code=204)


def _entity(call: Call) -> Entity:
    entity = find_entity(call.world.db, call.path["entity"])
    if entity is None:
        raise Problem(404, "unknown_entity", f"There is no entity {call.path['entity']!r}.")
    return entity


def _upsert(call: Call, entity: Entity, items: list[Any]) -> list[Result]:
    call.world.wrote(entity.name, len(items))
    strict = read_settings(call.world.db).check_references
    return upsert_records(call.world.db, entity, items, call.world.clock.now(), check_references=strict)


def _failed(errors: list[dict[str, str | None]]) -> Problem:
    detail = "; ".join(f"{error['field']}: {error['detail']}" for error in errors)
    return Problem(422, "validation_failed", detail, errors=errors)
