"""The contract as an OpenAPI 3.1 document, written from the same facts the server checks records with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sync_pipeline.sandbox.snapshots.entities import Entity, KnownField
from sync_pipeline.sandbox.snapshots.handlers import MAX_ITEMS
from sync_pipeline.sandbox.snapshots.lists import DEFAULT_LIMIT
from sync_pipeline.sandbox.snapshots.problems import PROBLEM_JSON, REFUSED_CREDENTIALS
from sync_pipeline.sandbox.snapshots.validation import MAX_ID

Node = dict[str, Any]
DESCRIPTION = """\
The generic Snapshots contract. Writes are idempotent upserts that **merge**: a field that is absent is kept, null
clears it. Fields that are not listed here are kept as they are sent. Instants are accepted with any offset and
returned in UTC. A deleted record answers 404 `not_found`; deleting it again succeeds. Errors are RFC 9457 problem
details with a stable `code`. A credential that is refused is told why:

""" + "\n".join(f"- `{code}`: {meaning}" for code, meaning in REFUSED_CREDENTIALS.items())

STRING: Node = {"type": "string"}
NUMBER: Node = {"type": "number"}
INSTANT: Node = {"type": "string", "format": "date-time"}
CURSOR: Node = {"type": ["string", "null"], "description": "Where the next page starts; null on the last page."}


def document(entities: Iterable[Entity], base_url: str) -> Node:
    """The whole contract for these entities, served at ``base_url``."""
    known = list(entities)
    paths: Node = {}
    for entity in known:
        paths |= _entity_paths(entity)
    paths["/analytics/projects"] = {"get": _analytics()}
    paths["/oauth/token"] = {"post": _token()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Snapshots API, generic contract", "version": "1.0.0", "description": DESCRIPTION},
        "servers": [{"url": base_url}],
        "paths": paths,
        "components": {
            "schemas": _schemas(known),
            "responses": _responses(),
            "securitySchemes": _security(known),
        },
    }


def _entity_paths(entity: Entity) -> Node:
    one = {"$ref": f"#/components/schemas/{entity.name}"}
    key = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "maxLength": MAX_ID}}
    read, write = entity.read_scope, entity.write_scope
    return {
        f"/{entity.name}": {"get": _operation(f"list_{entity.name}", read, _list_parameters(entity), _page(one))},
        f"/{entity.name}/{{id}}": {
            "parameters": [key],
            "get": _operation(f"read_{entity.name}", read, [], {"200": _json(one)}, missing=True),
            "put": {
                **_operation(f"put_{entity.name}", write, [], {"200": _json(one), "201": _json(one)}),
                "requestBody": _body({"$ref": f"#/components/schemas/{entity.name}_write"}),
            },
            "delete": _operation(f"delete_{entity.name}", write, [], {"204": {"description": "It is gone."}}),
        },
        f"/{entity.name}/batch": {
            "post": {
                **_operation(
                    f"batch_{entity.name}", write, [], {"200": _json({"$ref": "#/components/schemas/BatchResults"})}
                ),
                "requestBody": _body(_batch(entity)),
            }
        },
    }


def _operation(name: str, scope: str, parameters: list[Node], answers: Node, *, missing: bool = False) -> Node:
    problem = {"$ref": "#/components/responses/Problem"}
    return {
        "operationId": name,
        "parameters": parameters,
        "security": [{"apiKey": []}, {"bearer": []}, {"oauth": [scope]}],
        "responses": {**answers, **({"404": problem} if missing else {}), "default": problem},
    }


def _list_parameters(entity: Entity) -> list[Node]:
    parameters = [
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": DEFAULT_LIMIT}),
        _query("cursor", STRING),
        _query("updated_since", INSTANT, "Only records changed at or after this instant."),
    ]
    if entity.window_field:
        parameters += [
            _query("start_from", INSTANT, f"Only records whose {entity.window_field} is at or after this instant."),
            _query("start_before", INSTANT, f"Only records whose {entity.window_field} is before this instant."),
        ]
    return parameters


def _query(name: str, schema: Node, description: str = "") -> Node:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _json(schema: Node, description: str = "OK") -> Node:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _body(schema: Node) -> Node:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _page(item: Node) -> Node:
    envelope = {
        "type": "object",
        "required": ["data", "next_cursor"],
        "properties": {"data": {"type": "array", "items": item}, "next_cursor": CURSOR},
        "additionalProperties": False,
    }
    return {"200": _json(envelope)}


def _batch(entity: Entity) -> Node:
    item = {"$ref": f"#/components/schemas/{entity.name}_write"}
    items = {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": item}
    return {"type": "object", "required": ["items"], "properties": {"items": items}}


def _schemas(entities: Iterable[Entity]) -> Node:
    shared = {"Problem": _PROBLEM, "BatchResults": _RESULTS, "ProjectFigures": _FIGURES, "Token": _TOKEN}
    return {**{name: schema for entity in entities for name, schema in _record_schemas(entity).items()}, **shared}


def _record_schemas(entity: Entity) -> Node:
    key: Node = {"type": "string", "minLength": 1, "maxLength": MAX_ID}
    sent = {name: _field(field) for name, field in entity.fields.items()}
    required = [name for name, field in entity.fields.items() if field.required]
    read = {name: _field(field, stored=True) for name, field in entity.fields.items()}
    stamps = {"created_at": {**INSTANT, "readOnly": True}, "updated_at": {**INSTANT, "readOnly": True}}
    return {
        entity.name: {
            "type": "object",
            "required": [entity.id_field, *entity.fields, *stamps],
            "properties": {entity.id_field: key, **read, **stamps},
        },
        f"{entity.name}_write": {
            "type": "object",
            "description": f"To be created it needs: {', '.join(required) or 'its id alone'}.",
            "properties": {entity.id_field: key, **sent},
        },
    }


_TYPES: dict[str, Node] = {
    "id": {"type": "string", "minLength": 1, "maxLength": MAX_ID},
    "text": {"type": "string"},
    "email": {"type": "string", "format": "email"},
    "instant": {"type": "string", "format": "date-time"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "number": {"type": "number"},
    "list": {"type": "array", "items": {"type": "string"}},
}


def _field(field: KnownField, *, stored: bool = False) -> Node:
    schema = dict(_TYPES[field.kind])
    if field.kind in {"text", "email"}:
        schema["maxLength"] = field.max_length
    if field.kind == "list":
        schema["maxItems"] = field.max_length
    if not (stored and field.required):
        schema["type"] = [schema["type"], "null"]
    return schema


def _analytics() -> Node:
    month = {"type": "string", "pattern": r"^\d{4}-(0[1-9]|1[0-2])$"}
    parameters = [
        _query("from", month, "First month."),
        _query("to", month, "Last month."),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": DEFAULT_LIMIT}),
        _query("cursor", STRING),
    ]
    return _operation(
        "project_figures", "analytics.read", parameters, _page({"$ref": "#/components/schemas/ProjectFigures"})
    )


def _token() -> Node:
    grants = ["client_credentials", "authorization_code", "refresh_token"]
    names = ("client_id", "client_secret", "scope", "code", "redirect_uri", "code_verifier", "refresh_token")
    form = {
        "type": "object",
        "required": ["grant_type"],
        "properties": {"grant_type": {"enum": grants}, **dict.fromkeys(names, STRING)},
    }
    error = {"type": "object", "required": ["error"], "properties": {"error": STRING, "error_description": STRING}}
    return {
        "operationId": "token",
        "description": "RFC 6749; the client may send its credentials with HTTP Basic instead. A refresh token works"
        " once: its answer holds the next one. `invalid_client` is a wrong id or secret, `invalid_grant` a code or"
        " refresh token that is unknown, expired, used before or withdrawn (`error_description` says which).",
        "security": [],
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}},
        "responses": {"200": _json({"$ref": "#/components/schemas/Token"}), "default": _json(error, "Refused")},
    }


def _responses() -> Node:
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"Problem": {"description": "What went wrong and what to do.", "content": content}}


def _security(entities: Iterable[Entity]) -> Node:
    scopes = {scope: "" for entity in entities for scope in (entity.read_scope, entity.write_scope)}
    scopes["analytics.read"] = ""
    flows = {
        "clientCredentials": {"tokenUrl": "/oauth/token", "scopes": scopes},
        "authorizationCode": {
            "authorizationUrl": "/oauth/authorize",
            "tokenUrl": "/oauth/token",
            "refreshUrl": "/oauth/token",
            "scopes": scopes,
        },
    }
    return {
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
        "oauth": {"type": "oauth2", "flows": flows},
    }


_PROBLEM: Node = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "instance", "request_id"],
    "properties": {
        "type": STRING,
        "title": STRING,
        "status": {"type": "integer"},
        "detail": STRING,
        "code": {**STRING, "examples": [*REFUSED_CREDENTIALS, "not_found", "rate_limited"]},
        "instance": STRING,
        "request_id": STRING,
        "required_scope": STRING,
        "parameter": STRING,
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/BatchResults/$defs/Refusal"}},
    },
}
_RESULTS: Node = {
    "type": "object",
    "required": ["results"],
    "properties": {"results": {"type": "array", "items": {"$ref": "#/components/schemas/BatchResults/$defs/Result"}}},
    "$defs": {
        "Refusal": {
            "type": "object",
            "required": ["code", "field", "detail"],
            "properties": {"code": STRING, "field": {"type": ["string", "null"]}, "detail": STRING},
        },
        "Result": {
            "type": "object",
            "required": ["id", "status"],
            "properties": {
                "id": {"type": ["string", "null"]},
                "status": {"enum": ["created", "updated", "unchanged", "refused"]},
                "error": {"$ref": "#/components/schemas/BatchResults/$defs/Refusal"},
            },
            "additionalProperties": False,
        },
    },
}
_FIGURES: Node = {
    "type": "object",
    "required": ["project_id", "project_name", "month", "currency", "revenue", "cost", "budget", "margin"],
    "properties": {
        **dict.fromkeys(("project_id", "project_name", "month", "currency"), STRING),
        **dict.fromkeys(("revenue", "cost", "budget"), NUMBER),
        "margin": {**NUMBER, "description": "revenue - cost"},
    },
}
_TOKEN: Node = {
    "type": "object",
    "required": ["access_token", "token_type", "expires_in", "scope"],
    "properties": {
        "access_token": STRING,
        "token_type": {"const": "Bearer"},
        "expires_in": {"type": "integer"},
        "scope": STRING,
        "refresh_token": STRING,
    },
}
