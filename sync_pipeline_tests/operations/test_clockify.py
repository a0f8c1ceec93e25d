"""The facts of Clockify's document: what is taken from it, what is known to be wrong, and that the checks find it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from sync_pipeline_tests.clockify_contract import CORE, REPORTS, Contract, Exchange, corrected, errata, facts, some_rows
from sync_pipeline_tests.clockify_document import FACTS, facts_of, text

DOCUMENT = """
openapi: 3.0.1
info: {title: Sights, description: A long story about sights}
paths:
  /v1/sights/{id}:
    servers: [{url: https://api.example/base}]
    get:
      operationId: getSight
      summary: Get a sight
      parameters:
        - {in: path, name: id, required: true, schema: {type: string}}
        - {in: query, name: kind, required: true, description: Which kind, schema: {type: string, enum: [HILL, LAKE]}}
        - {in: query, name: page, schema: {type: integer, format: int32, default: 1, example: 7}}
      responses:
        "200": {description: OK, content: {"*/*": {schema: {$ref: "#/components/schemas/Sight"}}}}
        "204": {description: Nothing}
    put:
      requestBody: {content: {application/json: {schema: {type: array, items: {$ref: "#/components/schemas/Sight"}}}}}
      responses: {"200": {description: OK}}
components:
  schemas:
    Sight:
      type: object
      description: Something to look at
      required: [name]
      properties:
        name: {type: string, description: Its name, example: Old Mill, maxLength: 100}
        seen: {type: string, format: date-time, nullable: true}
        state: {$ref: "#/components/schemas/State"}
        near: {type: array, items: {$ref: "#/components/schemas/Sight"}}
        words: {type: object, additionalProperties: {type: number, format: double}}
        more: {type: object}
    State:
      type: object
      oneOf: [{type: string, enum: [OPEN, SHUT]}]
      properties: {OPEN: {type: string}, SHUT: {type: string}, open: {type: boolean}}
    Unused:
      type: object
      properties: {x: {type: string}}
"""


def test_only_facts_are_taken() -> None:
    """Names, types, enums and what may be null: no sentence, no example, no id of an operation, no limit."""
    found = facts_of(DOCUMENT.encode())
    assert found["document"]["operations"] == 2
    assert found["operations"] == {
        "GET /v1/sights/{id}": {
            "name": "clockify.sights.get",
            "host": "api.example",
            "query": {"fields": {"kind": ["HILL", "LAKE"], "page": "integer"}, "required": ["kind"]},
            "answers": {"200": "Sight", "204": None},
        },
        "PUT /v1/sights/{id}": {
            "name": "clockify.sights.update",
            "host": "api.example",
            "body": {"list": "Sight"},
            "answers": {"200": None},
        },
    }
    assert found["shapes"] == {
        "Sight": {
            "fields": {
                "name": "string",
                "seen": "date-time",
                "state": "State",
                "near": {"list": "Sight"},
                "words": {"map": "number"},
                "more": "object",
            },
            "required": ["name"],
            "nullable": ["seen"],
        },
        "State": ["OPEN", "SHUT"],
    }


def test_the_file_is_what_the_program_writes() -> None:
    """It names its document by checksum, was not edited by hand, and holds words only: no sentence has come along."""
    found = facts()
    assert FACTS.read_text("utf-8") == text(found)
    assert re.fullmatch("[0-9a-f]{64}", found["document"]["sha256"])
    assert found["document"]["operations"] == len(found["operations"])
    assert [
        word for word in words([found["shapes"], list(found["operations"].values())]) if not WORD.fullmatch(word)
    ] == []


WORD = re.compile(r"[\w./{}()-]{1,70}")


def words(tree: Any) -> Iterator[str]:
    """Every word in a tree, names of fields included."""
    if isinstance(tree, dict):
        yield from tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for each in tree:
            yield from words(each)
    elif isinstance(tree, str):
        yield tree


def test_every_erratum_has_evidence_and_is_needed() -> None:
    """Each names where it was seen; one that the document has corrected meanwhile is refused."""
    known = errata()
    for erratum in known["errata"]:
        assert erratum["evidence"].endswith(".")
        assert erratum["sources"]
        assert set(erratum["sources"]) <= set(known["sources"])
    assert {source for erratum in known["errata"] for source in erratum["sources"]} == set(known["sources"])
    corrected(facts(), known["errata"])
    needless = {"at": ["TagDtoV1"], "fields": {"name": "string"}}
    with pytest.raises(ValueError, match="the erratum at TagDtoV1 changes nothing"):
        corrected(facts(), [needless])
    with pytest.raises(ValueError, match="no such fields: \\['nothing'\\]"):
        corrected(facts(), [{"at": ["TagDtoV1"], "nullable": ["nothing"]}])


@pytest.fixture(scope="module")
def contract() -> Contract:
    """The document, corrected."""
    return Contract(corrected(facts(), errata()["errata"]))


WS = "/v1/workspaces/w"
TAG = {"id": "t", "name": "n", "workspaceId": "w", "archived": False}
WRONG: dict[str, tuple[Exchange, str]] = {
    "path": (Exchange(CORE, "GET", f"{WS}/sights"), "no such operation"),
    "host": (Exchange(REPORTS, "GET", f"{WS}/tags"), "no such operation"),
    "method": (Exchange(CORE, "PATCH", f"{WS}/tags"), "no such operation"),
    "parameter": (Exchange(CORE, "GET", f"{WS}/time-entries/status/in-progress", b"hydrated=true"), "hydrated"),
    "number": (Exchange(CORE, "GET", f"{WS}/tags", b"page=first"), "page"),
    "flag": (Exchange(CORE, "GET", f"{WS}/tags", b"archived=yes"), "archived"),
    "choice": (Exchange(CORE, "GET", f"{WS}/tags", b"sort-column=SIZE"), "sort-column"),
    "twice": (Exchange(CORE, "GET", f"{WS}/tags", b"sort-column=ID&sort-column=NAME"), "more than once"),
    "field": (Exchange(CORE, "POST", f"{WS}/tags", sent=b'{"name": "n", "colour": "red"}'), "colour"),
    "type of a field": (Exchange(CORE, "POST", f"{WS}/tags", sent=b'{"name": 7}'), "name"),
    "missing field": (Exchange(CORE, "POST", f"{WS}/users/u/roles", sent=b'{"role": "TEAM_MANAGER"}'), "entityId"),
    "status": (Exchange(CORE, "POST", f"{WS}/tags", status=200, got=json.dumps(TAG).encode()), "only 201"),
    "no body": (Exchange(CORE, "GET", f"{WS}/tags", status=200), "there is none"),
    "a body": (Exchange(CORE, "DELETE", f"{WS}/time-entries/e", status=204, got=b"{}"), "has no body"),
    "answered field": (
        Exchange(CORE, "GET", f"{WS}/tags", status=200, got=json.dumps([TAG | {"colour": "red"}]).encode()),
        "colour",
    ),
    "answered without": (
        Exchange(CORE, "GET", f"{WS}/tags", status=200, got=b'[{"id": "t", "name": "n"}]'),
        "archived",
    ),
    "answered null": (
        Exchange(CORE, "GET", f"{WS}/tags", status=200, got=json.dumps([TAG | {"name": None}]).encode()),
        "name",
    ),
    "refusal": (Exchange(CORE, "GET", f"{WS}/tags", status=400, got=b'{"error": "no"}'), "error"),
}


@pytest.mark.parametrize("name", WRONG)
def test_whatever_is_not_as_documented_is_found(contract: Contract, name: str) -> None:
    """Each kind of mistake is found, and named with the operation and the place."""
    exchange, said = WRONG[name]
    exchange.ours = True
    exchange.status = exchange.status or 404
    exchange.got = exchange.got or (b"" if exchange.status < 400 else b'{"message": "no"}')
    problems = list(contract.check(exchange))
    assert problems
    assert any(said in problem for problem in problems), problems
    assert all(exchange.method in problem for problem in problems)


def test_what_is_as_documented_passes(contract: Contract) -> None:
    """A request and answers that are right; and what a stranger sends is not looked at."""
    rows = json.dumps([TAG] * 3).encode()
    query = b"archived=false&page=1&page-size=200&sort-column=ID"
    assert list(contract.check(Exchange(CORE, "GET", f"{WS}/tags", query, status=200, got=rows, ours=True))) == []
    made = json.dumps(TAG).encode()
    tag = Exchange(CORE, "POST", f"{WS}/tags", sent=b'{"name": "n"}', status=201, got=made, ours=True)
    assert list(contract.check(tag)) == []
    stranger = Exchange(CORE, "GET", f"{WS}/tags", b"page=first", status=400, got=b'{"message": "no", "code": 3000}')
    assert list(contract.check(stranger)) == []


def test_twenty_rows_are_looked_at() -> None:
    """From the first to near the last; the envelope stays, whatever its size."""
    assert some_rows(list(range(200))) == list(range(0, 200, 10))
    assert some_rows({"timeentries": list(range(41)), "totals": [1]}) == {
        "timeentries": list(range(0, 40, 2)),
        "totals": [1],
    }
    assert some_rows([7]) == [7]
