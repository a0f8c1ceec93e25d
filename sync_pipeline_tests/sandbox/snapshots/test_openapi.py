"""The served OpenAPI document is the truth: every route in it answers, every answer fits it."""

from __future__ import annotations

import re
from typing import Any

import httpx
import jsonschema_rs
import pytest

from sync_pipeline.sandbox.snapshots.problems import REFUSED_CREDENTIALS
from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox, entry

SAMPLES: dict[str, dict[str, Any]] = {
    "locations": {"location_name": "Löwen Apotheke", "address": None},
    "users": {"email": "ada@example.org", "role": "ADMIN"},
    "projects": {"project_name": "Apollo", "archived": True},
    "time_entries": {**entry(1, tags=["a"], billable=True)},
    "tags": {"label": "anything"},
}
TOKEN = {"grant_type": "client_credentials", "client_id": "sandbox-client", "client_secret": "sandbox-secret"}


@pytest.fixture
def document(sandbox: Sandbox) -> dict[str, Any]:
    """The document, with an invented entity in it."""
    sandbox.control.post("entities", json={"entity": "tags", "id_field": "tag_id"})
    document: dict[str, Any] = httpx.get(f"{sandbox.running.snapshots}/openapi.json").json()
    return document


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    verbs = ("get", "put", "post", "delete")
    # Deleting comes last, so that reading finds what writing left.
    found = [(verb, path, item[verb]) for path, item in document["paths"].items() for verb in verbs if verb in item]
    return sorted(found, key=lambda operation: ("put", "post", "get", "delete").index(operation[0]))


def _check(document: dict[str, Any], operation: dict[str, Any], answer: httpx.Response) -> None:
    responses = operation["responses"]
    described = responses.get(str(answer.status_code), responses["default"])
    if "$ref" in described:
        described = document["components"]["responses"]["Problem"]
    if "content" not in described:
        assert answer.content == b""
        return
    content = described["content"][answer.headers["content-type"]]
    schema = {**content["schema"], "components": document["components"]}
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(answer.json())


def _send(sandbox: Sandbox, verb: str, path: str) -> httpx.Response:
    entity = path.split("/")[1]
    url = sandbox.running.snapshots + path.replace("{id}", "t00001")
    key = f"{entity.rstrip('s') if entity != 'time_entries' else 'time_entry'}_id"
    if path == "/oauth/token":
        return httpx.post(url, data=TOKEN)
    if verb == "put":
        return sandbox.api.put(url, json=SAMPLES[entity])
    if verb == "post":
        return sandbox.api.post(url, json={"items": [{**SAMPLES[entity], key: "b1"}, {key: None}]})
    return sandbox.api.request(verb, url)


def test_document_is_valid_openapi(document: dict[str, Any]) -> None:
    """Its references lead somewhere, its ids are unique, and it covers every entity."""
    names = [operation["operationId"] for _, _, operation in _operations(document)]
    assert document["openapi"].startswith("3.1.")
    assert len(names) == len(set(names))
    for reference in re.findall(r"'\$ref': '#/([^']+)'", repr(document)):
        node: Any = document
        for part in reference.split("/"):
            node = node[part]
    for name, schema in document["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema)
        assert name.removesuffix("_write") in {*SAMPLES, "Problem", "BatchResults", "ProjectFigures", "Token"}


def test_every_route_answers_as_documented(sandbox: Sandbox, document: dict[str, Any]) -> None:
    """Each operation, called well, gives a success that its schema describes."""
    for verb, path, operation in _operations(document):
        answer = _send(sandbox, verb, path)
        assert str(answer.status_code) in operation["responses"], (verb, path, answer.text)
        _check(document, operation, answer)


def test_problems_fit_the_document(sandbox: Sandbox, document: dict[str, Any]) -> None:
    """Without a key and for a missing record, the answer is the documented problem."""
    for verb, path, operation in _operations(document):
        if path != "/oauth/token":
            refused = sandbox.client(None).request(verb, path.removeprefix("/").replace("{id}", "x"))
            assert refused.status_code == 401
            _check(document, operation, refused)
    missing = sandbox.api.get("users/none")
    _check(document, document["paths"]["/users/{id}"]["get"], missing)


def test_security_names_the_scope_that_is_enforced(sandbox: Sandbox, document: dict[str, Any]) -> None:
    """The scope in the document is the one a 403 asks for."""
    for verb, path, operation in _operations(document):
        if path == "/oauth/token":
            continue
        scope = next(way["oauth"][0] for way in operation["security"] if "oauth" in way)
        other = "sandbox-snapshots-users-read-key" if scope != "users.read" else "sandbox-snapshots-users-write-key"
        refused = sandbox.client(other).request(verb, path.removeprefix("/").replace("{id}", "x"))
        assert refused.json()["required_scope"] == scope


def test_every_way_to_be_refused_is_documented(sandbox: Sandbox, document: dict[str, Any]) -> None:
    """The codes that distinguish refused credentials are in the document, and the server gives each of them."""
    key, other = "sandbox-snapshots-read-only-key", "sandbox-snapshots-users-read-key"
    ended, withdrawn = (
        httpx.post(f"{sandbox.running.snapshots}/oauth/token", data=TOKEN).json()["access_token"] for _ in range(2)
    )
    found = {
        sandbox.client(None).get("users").json()["code"],
        sandbox.client("wrong").get("users").json()["code"],
        sandbox.client(key).delete("users/x").json()["code"],
    }
    sandbox.control.post("snapshots", json={"keys": {key: "revoked", other: "expired"}})
    found |= {sandbox.client(each).get("users").json()["code"] for each in (key, other)}
    sandbox.control.post("clock", json={"advance": 4000})
    found.add(sandbox.client(ended).get("users").json()["code"])
    sandbox.control.post("snapshots", json={"revoke_consents": True})
    found.add(sandbox.client(withdrawn).get("users").json()["code"])

    assert found == set(REFUSED_CREDENTIALS)
    assert not [code for code in found if f"`{code}`" not in document["info"]["description"]]
