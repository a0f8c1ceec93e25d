"""The inputs of operations: every one can be formed and is as the vendor's document has it; faults are named with their place."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.operations.catalogue import Operation, operation, operations
from sync_pipeline.operations.inputs import OperationCall, formed
from sync_pipeline_tests.clockify_contract import Contract, Exchange, corrected, errata, facts
from sync_pipeline_tests.highlevel_contract import FORM, HOST, HighLevelContract, corrections
from sync_pipeline_tests.highlevel_contract import corrected as corrected_documents
from sync_pipeline_tests.operation_samples import KNOWN, sample_of


@pytest.fixture(scope="module")
def contracts() -> dict[str, Contract]:
    """The vendors' documents, corrected."""
    return {
        "clockify": Contract(corrected(facts(), errata()["errata"])),
        "highlevel": HighLevelContract(corrected_documents(corrections()["corrections"])),
    }


def exchange_of(form: OperationCall) -> Exchange:
    """The request as a vendor would see it."""
    one = form.operation
    path, _, query = form.path.partition("?")
    sent = b"" if form.body is None else orjson.dumps(form.body)
    if one.media == FORM:
        sent = urlencode(form.body).encode()
    prefix = "/v1" if one.system == "clockify" else ""
    return Exchange(
        one.host or HOST,
        one.method,
        prefix + path,
        query.encode(),
        sent,
        599,
        headers={"version": one.version, "authorization": "Bearer key"},
        ours=True,
    )


@pytest.mark.parametrize("every", [False, True], ids=["required", "all"])
def test_every_operation_can_be_formed(contracts: dict[str, Contract], every: bool) -> None:
    """With what has to be given, and with everything: path, query and body are as the document wants them."""
    problems = []
    for one in operations().values():
        form = formed(one, sample_of(one, every=every), KNOWN)
        assert "{" not in form.path
        problems += [each for each in contracts[one.system].check(exchange_of(form)) if "answer" not in each]
    assert [each for each in problems if "the document has only" not in each] == []


def test_texts_are_read_by_their_types() -> None:
    """As they are typed into a terminal: numbers, yes and no, lists, JSON, and fields of fields with dots."""
    form = formed(operation("clockify.projects.list"), {"page": "2", "archived": "yes", "clients": ["a", "b"]}, KNOWN)
    assert form.path == "/workspaces/w1/projects?archived=true&clients=a&clients=b&page=2"
    assert form.query == {"page": 2, "archived": True, "clients": ["a", "b"]}
    nested = {"projectId": "p1", "timeEstimate.estimate": "PT5H", "timeEstimate.active": "true"}
    assert formed(operation("clockify.projects.estimate.update"), nested, KNOWN).body == {
        "timeEstimate": {"estimate": "PT5H", "active": True}
    }
    search = formed(operation("highlevel.objects.records.search"), {"schemaKey": "custom_objects.pet"}, KNOWN)
    assert search.body == {"locationId": "l1", "page": 1, "pageLimit": 20, "query": "", "searchAfter": []}


@pytest.mark.parametrize(
    ("name", "given", "fault"),
    [
        ("clockify.clients.create", {"nam": "A"}, "nam: there is no such input, did you mean name"),
        ("clockify.clients.create", {}, "name: is required, string"),
        ("clockify.clients.create", {"name": "A", "email": "x"}, "email: 'x' is not an e-mail address"),
        ("clockify.clients.create", {"name": ["A", "B"]}, "name: ['A', 'B'] is not text"),
        ("clockify.clients.create", {"name": "A", "workspaceId": "w2"}, "workspaceId: is set by the connection"),
        ("clockify.clients.get", {"id": "../users"}, "id: '../users' cannot be an id"),
        ("clockify.clients.get", {"id": ".."}, "id: '..' cannot be an id"),
        ("clockify.clients.get", {"id": "a%2Fb"}, "id: 'a%2Fb' cannot be an id"),
        ("clockify.clients.list", {"page": "two"}, "page: 'two' is not a whole number"),
        ("clockify.projects.list", {"archived": "maybe"}, "archived: 'maybe' is not true or false"),
        ("clockify.tags.create", {"name": "\udcff"}, "name: cannot be written as JSON"),
        ("clockify.user.time-entries.list", {"userId": "u", "page": f"{2**70}"}, "page: cannot be written as JSON"),
        ("highlevel.opportunities.search", {"limit": "nan"}, "limit: nan is not a number"),
        ("highlevel.opportunities.search", {"limit": "inf"}, "limit: inf is not a number"),
        ("clockify.users.list", {"status": "GONE"}, "status: 'GONE' is none of PENDING, ACTIVE"),
        ("clockify.projects.estimate.update", {"projectId": "p", "timeEstimate": "{"}, "timeEstimate: is not JSON"),
        (
            "clockify.projects.estimate.update",
            {"projectId": "p", "timeEstimate.wrong": "1"},
            "wrong is not known there",
        ),
        (
            "clockify.reports.summary",
            {"dateRangeStart": "a", "dateRangeEnd": "b", "summaryFilter": '{"groups": ["CLIENT", "X"]}'},
            "summaryFilter.groups[1]: 'X' is none of CLIENT",
        ),
        (
            "clockify.reports.detailed",
            {"dateRangeStart": "a", "dateRangeEnd": "b", "detailedFilter": "{}", "tags": '{"ids": "x", "more": 1}'},
            "tags.more: there is no such field; tags.ids: 'x' is not a list",
        ),
    ],
)
def test_a_fault_is_named_with_its_place(name: str, given: dict[str, Any], fault: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError) as error:
        formed(operation(name), given, KNOWN)
    assert fault in str(error.value)
    assert f"operations show {name}" in error.value.fix


def test_the_size_of_a_message_is_bounded() -> None:
    """However many inputs are wrong."""
    many = {f"{'x' * 1000}{number}": "1" for number in range(100)}
    one: Operation = operation("clockify.clients.list")
    with pytest.raises(ConfigError, match="and 90 more") as error:
        formed(one, many, KNOWN)
    assert len(str(error.value)) < 1500
