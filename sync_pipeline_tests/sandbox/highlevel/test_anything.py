"""The HighLevel side with anything at all, and with pages that go wrong: it answers as documented, never with a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_pipeline.sandbox.highlevel.contacts import OPERATIONS
from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME
from sync_pipeline.sandbox.highlevel.keys import AGENCY_TOKEN
from sync_pipeline_tests.sandbox.highlevel.agency import PROJECTS, Agency, Json

RECORDS = f"/objects/{PROJECTS}/records"
HERE = {"locationId": HOME}
OBJECT: Json = {
    **HERE,
    "key": "custom_objects.pet",
    "labels": {"singular": "Pet", "plural": "Pets"},
    "primaryDisplayPropertyDetails": {"key": "custom_objects.pet.title", "name": "Title", "dataType": "TEXT"},
}
FIELD: Json = {**HERE, "objectKey": "custom_object.clockify_projects", "fieldKey": "custom_object.clockify_projects.x"}
TASK: Json = {"title": "x", "dueDate": "2026-11-27T09:00:00Z", "completed": False}
SEARCH: Json = {
    **HERE,
    "page": 1,
    "pageLimit": 10,
    "query": "a",
    "searchAfter": [1, "a"],
    "filters": [{"group": "OR", "filters": [{"field": "properties.title", "operator": "eq", "value": "x"}]}],
    "sort": [{"field": "createdAt", "direction": "asc"}],
}
BODIES: list[tuple[str, str, Json, Json]] = [
    ("POST", "/objects/", {}, OBJECT),
    ("PUT", f"/objects/{PROJECTS}", {}, {**HERE, "searchableProperties": [f"{PROJECTS}.title"], "labels": {}}),
    ("POST", "/custom-fields/folder", {}, {**HERE, "objectKey": "custom_object.clockify_projects", "name": "More"}),
    ("POST", "/custom-fields/", {}, FIELD | {"parentId": "x", "dataType": "TEXT", "showInForms": True, "name": "X"}),
    ("POST", RECORDS, {}, {**HERE, "properties": {"title": "x", "note": "y"}, "owners": ["u"], "followers": ["u"]}),
    ("PUT", f"{RECORDS}/{{id}}", HERE, {"properties": {"note": None}, "owners": {"add": ["u"], "remove": []}}),
    ("POST", f"{RECORDS}/search", {}, SEARCH),
    ("POST", f"/contacts/{OPERATIONS}/tasks", {}, TASK | {"body": "y"}),
    ("POST", "/businesses/", {}, {**HERE, "name": "x", "email": "y"}),
]
LISTS: list[tuple[str, str, Json]] = [
    (
        AGENCY_TOKEN,
        "/locations/search",
        {"companyId": COMPANY, "skip": "1", "limit": "2", "order": "asc", "email": "x"},
    ),
    (AGENCY_TOKEN, "/users/search", {"companyId": COMPANY, "skip": "1", "limit": "2", "query": "a", "locationId": "x"}),
    (
        "pit-sandbox-home",
        "/opportunities/search",
        {"location_id": HOME, "limit": "5", "page": "1", "date": "01-01-2026"},
    ),
    (
        "pit-sandbox-home",
        "/opportunities/search",
        {"location_id": HOME, "startAfter": "1", "startAfterId": "x", "q": "x"},
    ),
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something is in a body, the body itself left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, each in inner for place in ((*path, key), *places(each, (*path, key)))]


def put(body: Json, place: tuple[Any, ...], value: Any) -> Json:
    """A copy of the body with something else at a place."""
    copy: Json = json.loads(json.dumps(body))
    target: Any = copy
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    return copy


@given(data=st.data(), request=st.sampled_from(BODIES), value=ANYTHING)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_body_with_anything_in_it_is_answered(agency: Agency, data: st.DataObject, request: Any, value: Any) -> None:
    """It is accepted, or refused with 400 or 422."""
    method, path, query, body = request
    (row,) = agency.control("highlevel/records/clockify_projects")["records"][:1] or [agency.create(1)]
    sent = put(body, data.draw(st.sampled_from(places(body))), value)
    answer = agency.send(method, path.replace("{id}", row["id"]), params=query, json=sent)
    assert answer.status_code in (200, 201, 400, 401, 422), (sent, answer.text)


@given(data=st.data(), request=st.sampled_from(LISTS), value=st.text(max_size=20) | st.integers().map(str))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_query_with_anything_in_it_is_answered(agency: Agency, data: st.DataObject, request: Any, value: str) -> None:
    """It is accepted, or refused with 400, 401 or 422."""
    token, path, query = request
    sent = query | {data.draw(st.sampled_from(list(query))): value}
    answer = agency.send("GET", path, token, params=sent)
    assert answer.status_code in (200, 400, 401, 422), (sent, answer.text)


@pytest.mark.parametrize("sent", [b"", b"[]", b"{", b"\xff", b"null"])
def test_a_body_that_is_no_object_is_refused(agency: Agency, sent: bytes) -> None:
    """With 422, whatever it is."""
    assert agency.refused("POST", RECORDS, content=sent) == (422, ["the body must be a JSON object"])


@pytest.mark.parametrize("kind", ["duplicate_page", "shifted_page"])
def test_a_page_can_be_repeated_or_shifted(agency: Agency, kind: str) -> None:
    """Also with the page in ``skip``; a shifted list hides nothing, since no page states that it is the last."""
    agency.control("faults", {"kind": kind, "route": "GET /highlevel/locations/search", "count": 1})
    pages = [
        agency.ask("GET", "/locations/search", AGENCY_TOKEN, params={"limit": "5", "skip": str(skip)})["locations"]
        for skip in (0, 5, 10)
    ]
    names = [[one["id"] for one in page] for page in pages]
    assert names[1] == names[0] if kind == "duplicate_page" else names[1][0] == names[0][-1]
    if kind == "shifted_page":
        assert len({each for page in names for each in page}) == 12
