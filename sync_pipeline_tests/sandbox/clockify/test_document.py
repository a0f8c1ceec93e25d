"""The whole sandbox against Clockify's document: every endpoint with valid and with arbitrary input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_pipeline.sandbox.clockify.routes import core_endpoints, report_endpoints
from sync_pipeline_tests.clockify_contract import CORE, REPORTS, Contract, Exchange, watching
from sync_pipeline_tests.sandbox.clockify.conftest import Api
from sync_pipeline_tests.sandbox.running import running_sandbox

KEY = "sandbox-clockify-key"
HOUR = {"start": "2025-03-03T08:00:00Z", "end": "2025-03-03T09:00:00Z"}
HOOK: dict[str, Any] = {
    "name": "checked",
    "url": "http://127.0.0.1:9/",  # nothing listens there
    "webhookEvent": "NEW_CLIENT",
    "triggerSourceType": "WORKSPACE_ID",
    "triggerSource": [],
}
ENDPOINTS = [(CORE, each) for each in core_endpoints()] + [(REPORTS, each) for each in report_endpoints()]


@pytest.fixture(scope="module")
def contract() -> Iterator[Contract]:
    """The document for this module alone; the one of the session is not asked here."""
    with watching() as contract:
        yield contract


@pytest.fixture(scope="module")
def watched(contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A client of a sandbox whose exchanges go to the contract of this module."""
    assert not contract.exchanges
    with running_sandbox(tmp_path_factory.mktemp("watched")) as started:
        client = Api(started)
        yield client
        client.http.close()


def test_every_endpoint_is_in_the_document(contract: Contract) -> None:
    """The sandbox serves nothing that Clockify does not have."""
    served = [Exchange(host, each.method, f"/v1{each.path}") for host, each in ENDPOINTS]
    assert [exchange for exchange in served if contract.operation(exchange) is None] == []


def test_every_endpoint_is_as_documented(contract: Contract, watched: Api) -> None:
    """Status, body or its absence, names, types and enums, after a request that each of them accepts."""
    watched.send("POST", "time-entries", {"description": "running"}, expect=201)
    refused = [answer for part in (reads, writes) for answer in part(watched) if answer.status_code >= 400]
    assert [(answer.request.url, answer.text) for answer in refused] == []
    assert contract.take() == []
    served = {contract.operation(Exchange(host, each.method, f"/v1{each.path}")) for host, each in ENDPOINTS}
    assert served - contract.accepted == set()


def reads(api: Api) -> Iterator[httpx.Response]:
    """Every GET, and what is read by POST."""
    project = next(p["id"] for p in api.get("projects", page_size=100) if api.get(f"projects/{p['id']}/tasks"))
    task, client, tag = (api.get(path)[0]["id"] for path in (f"projects/{project}/tasks", "clients", "tags"))
    entries = f"user/{api.me}/time-entries"
    entry = api.get(entries)[0]["id"]
    for path in (
        "/user?include-memberships=true",
        "/workspaces?roles=OWNER&roles=WORKSPACE_ADMIN",
        f"/workspaces/{api.sandbox.workspace}",
        "users?memberships=ALL&include-roles=true&status=ALL",
        "user-groups",
        "projects?page-size=100",
        "projects?hydrated=true",
        f"projects/{project}",
        f"projects/{project}/tasks",
        f"projects/{project}/tasks/{task}",
        f"projects/{project}/custom-fields",
        "clients",
        f"clients/{client}",
        "tags",
        f"tags/{tag}",
        "custom-fields",
        f"{entries}?page-size=200",
        f"{entries}?hydrated=true",
        f"time-entries/{entry}",
        f"time-entries/{entry}?hydrated=true",
        "time-entries/status/in-progress",
        "webhooks",
        "entities/created?type=CLIENTS&type=TIME_ENTRY",
        "entities/updated?type=PROJECTS",
        "entities/deleted?type=TAGS",
    ):
        yield api.call("GET", path)
    yield api.call("POST", "users/info", json={"memberships": "ALL", "includeRoles": True})
    yield api.call("POST", "time-entries/batch", json={"timeEntryIds": [entry]})
    yield api.report()
    yield api.report("summary", summaryFilter={"groups": ["CLIENT", "PROJECT"]})


def writes(api: Api) -> Iterator[httpx.Response]:
    """Every write, in an order in which all of them succeed."""
    yield (made := api.call("POST", "clients", json={"name": "Checked", "email": "c@c.example"}))
    client = f"clients/{made.json()['id']}"
    yield api.call("PUT", client, json={"name": "Checked", "archived": True})
    yield api.call("DELETE", client)
    yield (made := api.call("POST", "tags", json={"name": "checked"}))
    tag = f"tags/{made.json()['id']}"
    yield api.call("PUT", tag, json={"name": "checked"})
    yield from _project_writes(api)
    yield from _entry_writes(api)
    yield api.call("DELETE", tag)
    yield from _webhook_writes(api)
    yield from _user_writes(api)


def _project_writes(api: Api) -> Iterator[httpx.Response]:
    estimate = {"estimate": "PT5H", "type": "MANUAL"}
    yield (made := api.call("POST", "projects", json={"name": "Checked", "estimate": estimate}))
    project = f"projects/{made.json()['id']}"
    yield (made := api.call("POST", f"{project}/tasks", json={"name": "t"}))
    task = f"{project}/tasks/{made.json()['id']}"
    yield api.call("PUT", task, json={"name": "t", "status": "DONE"})
    yield api.call("DELETE", task)
    yield api.call("PATCH", f"{project}/estimate", json={"timeEstimate": estimate | {"active": True}})
    yield api.call("POST", f"{project}/memberships", json={"userIds": [api.me]})
    yield api.call("PATCH", f"{project}/memberships", json={"memberships": [{"userId": api.me}]})
    yield api.call("PATCH", f"{project}/template", json={"isTemplate": True})
    wanted = {"name": "Made", "templateProjectId": project.removeprefix("projects/")}
    yield api.call("POST", "projects/from-template", json=wanted)
    yield from _custom_field_writes(api, project)
    yield api.call("PUT", project, json={"name": "Checked", "archived": True})
    yield api.call("DELETE", project)


def _custom_field_writes(api: Api, project: str) -> Iterator[httpx.Response]:
    yield (made := api.call("POST", "custom-fields", json={"name": "checked", "type": "TXT"}))
    field = f"custom-fields/{made.json()['id']}"
    yield api.call("PATCH", f"{project}/{field}", json={"defaultValue": "x", "status": "VISIBLE"})
    yield api.call("DELETE", f"{project}/{field}")
    yield api.call("PUT", field, json={"name": "checked", "type": "NUMBER"})
    yield api.call("DELETE", field)
    yield (made := api.call("POST", "custom-fields", json={"name": "of users", "type": "TXT", "entityType": "USER"}))
    yield api.call("PUT", f"users/{api.me}/custom-field/{made.json()['id']}/value", json={"value": "x"})


def _entry_writes(api: Api) -> Iterator[httpx.Response]:
    entries = f"user/{api.me}/time-entries"
    yield (made := api.call("POST", "time-entries", json=HOUR))
    entry = made.json()["id"]
    yield api.call("PUT", f"time-entries/{entry}", json=HOUR)
    yield (timer := api.call("POST", entries, json={}))
    yield api.call("PATCH", entries, json={"end": timer.json()["timeInterval"]["start"]})
    yield api.call("PUT", entries, json=[{"id": entry, **HOUR}])
    yield api.call("POST", f"{entries}/{entry}/duplicate")
    yield api.call("PATCH", "time-entries/invoiced", json={"timeEntryIds": [entry], "invoiced": True})
    yield api.call("DELETE", f"time-entries/{entry}")
    yield api.call("DELETE", f"{entries}?time-entry-ids={timer.json()['id']}")


def _webhook_writes(api: Api) -> Iterator[httpx.Response]:
    yield (made := api.call("POST", "webhooks", json=HOOK))
    hook = f"webhooks/{made.json()['id']}"
    yield api.call("GET", hook)
    yield api.call("PUT", hook, json=HOOK)
    yield api.call("PATCH", f"{hook}/token")
    yield api.call("POST", f"{hook}/logs", json={})
    yield api.call("DELETE", hook)


def _user_writes(api: Api) -> Iterator[httpx.Response]:
    user = next(user["id"] for user in api.get("users", status="ACTIVE") if user["id"] != api.me)
    role = {"entityId": api.sandbox.workspace, "role": "WORKSPACE_ADMIN"}
    yield api.call("POST", "users?send-email=false", json={"email": "checked@c.example"})
    yield api.call("PUT", f"users/{user}", json={"status": "ACTIVE"})
    yield api.call("PUT", f"users/{user}/hourly-rate", json={"amount": 100})
    yield api.call("PUT", f"users/{user}/cost-rate", json={"amount": 100})
    yield api.call("POST", f"users/{user}/roles", json=role)
    yield api.call("DELETE", f"users/{user}/roles", json=role)
    yield (made := api.call("POST", "user-groups", json={"name": "checked"}))
    group = f"user-groups/{made.json()['id']}"
    yield api.call("PUT", group, json={"name": "checked too"})
    yield api.call("POST", f"{group}/users", json={"userId": user})
    yield api.call("DELETE", f"{group}/users/{user}")
    yield api.call("DELETE", group)


# -- anything at all ----------------------------------------------------------------------------------------------------

MOMENTS = ["2025-03-03T08:00:00Z", "2026-11-20T23:59:59.999Z"]
KNOWN: dict[str, list[str]] = {
    "url": [HOOK["url"]],  # deliveries go nowhere else
    "type": ["CLIENTS", "TIME_ENTRY", "TXT", "MANUAL"],
    "color": ["#00AAFF"],
    "estimate": ["PT5H"],
    "email": ["a@b.example"],
    "name": ["One name", "Another"],
    **dict.fromkeys(("start", "end", "dateRangeStart", "dateRangeEnd", "since", "expense-date"), MOMENTS),
}
"""Texts that make sense, by the name of their field."""
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
OWNERS = {"user": "users", "assignee": "users", "customField": "custom-fields", "userGroup": "user-groups"}


class Anything:
    """Requests out of the document's facts: known names, values and ids that mostly make sense, and some that do not."""

    def __init__(self, facts: dict[str, Any], workspace: str, ids: dict[str, list[str]]) -> None:
        self.facts, self.shapes, self.workspace, self.ids = facts, facts["shapes"], workspace, ids
        self.simple: dict[str, st.SearchStrategy[Any]] = {
            "boolean": st.booleans(),
            "integer": st.integers(0, 300),
            "number": st.integers(0, 300) | st.floats(0, 1e6),
            "date-time": st.sampled_from(MOMENTS),
            "email": st.sampled_from(KNOWN["email"]),
            "any": st.none() | st.booleans() | TEXTS,
            "object": st.dictionaries(TEXTS, TEXTS, max_size=2),
        }
        wrong: list[Any] = [None, "", "INVENTED", "<b>🙂", -1, 2**40, True, [], {}, ["x"]]
        self.wrong = st.sampled_from(wrong)
        self.value = cache(self._value)

    def requests(self, name: str, base: str) -> st.SearchStrategy[httpx.Request]:
        """Requests for one operation."""
        operation, (method, _, path) = self.facts["operations"][name], name.partition(" ")
        parts = path.split("/")[2:]
        values = [self._id(parts[at - 1], part) if "{" in part else st.just(part) for at, part in enumerate(parts)]
        body = self._of(operation["body"], "") if operation.get("body") else st.none()
        return st.builds(
            lambda parts, query, body: httpx.Request(
                method, f"{base}/{'/'.join(parts)}", params=_as_text(query), json=body, headers={"X-Api-Key": KEY}
            ),
            st.tuples(*values),
            self._fields(operation.get("query", {"fields": {}})),
            body,
        )

    def _id(self, parent: str, part: str) -> st.SearchStrategy[str]:
        if part == "{workspaceId}":
            return st.just(self.workspace)
        table = {"user": "users", "custom-field": "custom-fields"}.get(parent, parent)
        return st.sampled_from([*self.ids.get(table, []), "000000000000000000000000"])

    def _of(self, kind: Any, name: str) -> st.SearchStrategy[Any]:
        if isinstance(kind, dict) and "fields" in kind:
            return self._fields(kind)
        if isinstance(kind, str) and kind in self.shapes:
            return st.deferred(lambda: self._of(self.shapes[kind], name))
        return self.value(json.dumps(kind), name)

    def _value(self, kind: str, name: str) -> st.SearchStrategy[Any]:
        """One value, in one of ten cases of another type or with no meaning."""
        return st.integers(0, 9).flatmap(lambda chance: self._right(json.loads(kind), name) if chance else self.wrong)

    def _right(self, kind: Any, name: str) -> st.SearchStrategy[Any]:
        if isinstance(kind, list):
            return st.sampled_from(list[Any](kind))
        if isinstance(kind, dict):
            return st.lists(self._of(kind["list"], name.removesuffix("s")), min_size=1, max_size=2)
        if kind in self.simple:
            return self.simple[kind]
        if name in KNOWN:
            return st.sampled_from(KNOWN[name])
        owner = name.removesuffix("Id").removesuffix("s")
        ids = self.ids.get(OWNERS.get(owner, f"{owner}s"), [])
        return st.sampled_from(ids) if ids else TEXTS

    def _fields(self, kind: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
        """Objects: what is required, and up to three other fields."""
        found = {name: self._of(each, name) for name, each in kind["fields"].items()}
        required = {name: found[name] for name in kind.get("required", ())}
        others = sorted(set(found) - set(required))
        chosen = st.lists(st.sampled_from(others), unique=True, max_size=3) if others else st.just([])
        return chosen.flatmap(
            lambda names: st.fixed_dictionaries({**required, **{name: found[name] for name in names}})
        )


def _as_text(query: dict[str, Any]) -> str:
    """A query string, lists as repeated parameters."""
    pairs = [(name, each) for name, value in query.items() for each in (value if isinstance(value, list) else [value])]
    return urlencode([(name, str(each).lower() if isinstance(each, bool) else each) for name, each in pairs])


@pytest.fixture(scope="module")
def requests(contract: Contract, watched: Api) -> st.SearchStrategy[httpx.Request]:
    """Requests for every endpoint."""
    watched.control("reset", {})
    project = next(p["id"] for p in watched.get("projects", page_size=100) if watched.get(f"projects/{p['id']}/tasks"))
    paths = {name: name for name in ("users", "clients", "tags", "custom-fields", "user-groups")}
    paths |= {"tasks": f"projects/{project}/tasks", "time-entries": f"user/{watched.me}/time-entries"}
    ids = {name: [row["id"] for row in watched.get(path)[:3]] for name, path in paths.items()}
    anything = Anything(contract.facts, watched.sandbox.workspace, ids | {"projects": [project]})
    bases = {CORE: watched.sandbox.clockify, REPORTS: watched.sandbox.reports}
    served = [(contract.operation(Exchange(host, each.method, f"/v1{each.path}")), host) for host, each in ENDPOINTS]
    return st.one_of([anything.requests(name, bases[host]) for name, host in served if name is not None])


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_asked_the_answer_is_documented(
    data: st.DataObject, contract: Contract, watched: Api, requests: st.SearchStrategy[httpx.Request]
) -> None:
    """No request makes the sandbox fail, and whether it accepts or refuses, the answer has the documented form."""
    request = data.draw(requests)
    answer = watched.http.send(request)
    if request.method != "GET" and answer.status_code < 400:
        watched.control("reset", {})
    assert answer.status_code < 500, answer.text
    assert contract.take() == []
