"""Every answer against Clockify's published OpenAPI document.

The document may not be shipped, so the test is skipped unless CLOCKIFY_OPENAPI names a copy of it. The document has
known errors, which ``Document`` puts right: enums exported as objects, no nullability, generated names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator

from sync_pipeline_tests.sandbox.clockify.conftest import Api

SOURCE = os.environ.get("CLOCKIFY_OPENAPI", "")
pytestmark = pytest.mark.skipif(not SOURCE, reason="CLOCKIFY_OPENAPI does not name Clockify's OpenAPI document")

# What live answers have shown to be null; everything else must have its documented type.
NULLABLE = {
    "name", "settings", "profilePicture", "hourlyRate", "costRate", "email", "address", "note", "ccEmails",
    "currencyId", "currencyCode", "clientId", "clientName", "budgetEstimate", "estimateReset", "resetOption",
    "assigneeId", "projectId", "taskId", "taskName", "tagIds", "end", "duration", "kioskId", "value", "description",
    "placeholder", "workspaceDefaultValue", "lockTimeEntries", "lockTimeZone", "automaticLock", "source",
    "projectName", "projectColor", "approvalRequestId", "userName",
}  # fmt: skip
# Generated names in the document; the wire says otherwise (and rows of GET /v1/user/... have no such field).
WIRE_NAMES = {"get_id": "_id", "locked": "isLocked", "isPublic": "public", "isTemplate": "template"}
# Documented, but not part of what this workspace returns.
OPTIONAL = {"client", "cost", "days", "children", "invoiceReminders"}
REPORT_IDS = ("TimeEntryReportTotals", "GroupOneDto", "ReportTagDto")


class Document:
    """The published document, as schemas a validator can use."""

    def __init__(self, source: Path) -> None:
        self.raw = yaml.load(source.read_text(), Loader=yaml.CSafeLoader)
        self.schemas = self.raw["components"]["schemas"]
        self.known = {name: self._clean(schema, name) for name, schema in self.schemas.items()}

    def answer(self, method: str, template: str, status: int) -> Any:
        """The schema of one answer; None when the document promises no body."""
        operation = self.raw["paths"][template][method.lower()]
        content = operation["responses"][str(status)].get("content", {})
        for media in content.values():
            return {**self._clean(media["schema"], ""), "$defs": self.known}
        return None

    def _clean(self, schema: Any, owner: str) -> Any:
        if "$ref" in schema:
            return {"$ref": f"#/$defs/{schema['$ref'].rsplit('/', 1)[1]}"}
        strings = [choice for choice in schema.get("oneOf", []) if "enum" in choice]
        if strings:
            values = strings[0]["enum"]
            # Enums come as objects; on the wire they are strings, and lists of features are lists.
            return {"anyOf": [{"enum": values}, {"type": "array", "items": {"enum": values}}]}
        if owner == "FeaturePlan":
            return {"type": "string"}
        cleaned = {key: schema[key] for key in ("type", "enum") if key in schema}
        if "items" in schema:
            cleaned["items"] = self._clean(schema["items"], owner)
        if "properties" in schema:
            cleaned |= self._object(schema, owner)
        if schema.get("type") == "object" and not schema.get("properties"):
            return {}
        return cleaned

    def _object(self, schema: Any, owner: str) -> Any:
        properties = {}
        for name, value in schema["properties"].items():
            wire = WIRE_NAMES.get(name, name)
            if owner in REPORT_IDS and name == "id":
                wire = "_id"
            cleaned = self._clean(value, "")
            if wire == "adminOnlyPages":
                cleaned = {"type": "array"}
            if (owner, wire) == ("UserDtoV1", "status"):
                # Typed as account status, but lists of users carry the membership's status.
                cleaned = {"type": "string"}
            properties[wire] = {"anyOf": [cleaned, {"type": "null"}]} if wire in NULLABLE else cleaned
        return {"type": "object", "properties": properties, "required": sorted(set(properties) - OPTIONAL)}


@pytest.fixture(scope="module")
def document() -> Document:
    """The document the environment names."""
    return Document(Path(SOURCE))


WS = "/v1/workspaces/{workspaceId}"
Call = tuple[str, str, httpx.Response]


def reads(api: Api) -> Iterator[Call]:
    """Every GET, and the two reports."""
    project = next(p["id"] for p in api.get("projects", page_size=100) if api.get(f"projects/{p['id']}/tasks"))
    task = api.get(f"projects/{project}/tasks")[0]["id"]
    client, tag = api.get("clients")[0]["id"], api.get("tags")[0]["id"]
    entry = api.get(f"user/{api.me}/time-entries")[0]["id"]
    for template, path in (
        ("/v1/user", "/user?include-memberships=true"),
        ("/v1/workspaces", "/workspaces"),
        (WS, ""),
        (f"{WS}/users", "users?memberships=ALL&include-roles=true"),
        (f"{WS}/projects", "projects?page-size=100"),
        (f"{WS}/projects/{{projectId}}", f"projects/{project}"),
        (f"{WS}/projects/{{projectId}}/tasks", f"projects/{project}/tasks"),
        (f"{WS}/projects/{{projectId}}/tasks/{{taskId}}", f"projects/{project}/tasks/{task}"),
        (f"{WS}/clients", "clients"),
        (f"{WS}/clients/{{id}}", f"clients/{client}"),
        (f"{WS}/tags", "tags"),
        (f"{WS}/tags/{{id}}", f"tags/{tag}"),
        (f"{WS}/custom-fields", "custom-fields"),
        (f"{WS}/user-groups", "user-groups"),
        (f"{WS}/user/{{userId}}/time-entries", f"user/{api.me}/time-entries?page-size=200"),
        (f"{WS}/time-entries/{{id}}", f"time-entries/{entry}"),
        (f"{WS}/time-entries/status/in-progress", "time-entries/status/in-progress"),
        (f"{WS}/webhooks", "webhooks"),
    ):
        yield "GET", template, api.call("GET", path)
    yield "POST", f"{WS}/users/info", api.call("POST", "users/info", json={"memberships": "ALL"})
    yield "POST", f"{WS}/reports/detailed", api.report()
    yield "POST", f"{WS}/reports/summary", api.report("summary", summaryFilter={"groups": ["CLIENT", "PROJECT"]})


def writes(api: Api) -> Iterator[Call]:
    """Every write, in an order in which all of them succeed."""

    def send(method: str, template: str, path: str, body: Any = None) -> Call:
        return method, f"{WS}/{template}", api.call(method, path, json=body)

    yield (made := send("POST", "clients", "clients", {"name": "Checked", "email": "c@c.example"}))
    client = made[2].json()["id"]
    yield send("PUT", "clients/{id}", f"clients/{client}", {"name": "Checked", "archived": True})
    yield send("DELETE", "clients/{id}", f"clients/{client}")
    yield (made := send("POST", "tags", "tags", {"name": "checked"}))
    tag = made[2].json()["id"]
    yield send("PUT", "tags/{id}", f"tags/{tag}", {"name": "checked"})
    yield from _project_writes(api, send)
    yield from _entry_writes(api, send)
    yield send("DELETE", "tags/{id}", f"tags/{tag}")
    yield from _webhook_writes(send)
    yield from _user_writes(api, send)
    yield from _custom_field_writes(send)


def _project_writes(api: Api, send: Any) -> Iterator[Call]:
    yield (
        made := send(
            "POST", "projects", "projects", {"name": "Checked", "estimate": {"estimate": "PT5H", "type": "MANUAL"}}
        )
    )
    project = made[2].json()["id"]
    base, path = "projects/{projectId}", f"projects/{project}"
    yield (task := send("POST", f"{base}/tasks", f"{path}/tasks", {"name": "t"}))
    task_path = f"{path}/tasks/{task[2].json()['id']}"
    yield send("PUT", f"{base}/tasks/{{taskId}}", task_path, {"name": "t", "status": "DONE"})
    yield send("DELETE", f"{base}/tasks/{{taskId}}", task_path)
    estimate = {"timeEstimate": {"estimate": "PT8H", "type": "MANUAL", "active": True}}
    yield send("PATCH", f"{base}/estimate", f"{path}/estimate", estimate)
    yield send("POST", f"{base}/memberships", f"{path}/memberships", {"userIds": [api.me]})
    yield send("PATCH", f"{base}/memberships", f"{path}/memberships", {"memberships": [{"userId": api.me}]})
    yield send("PATCH", f"{base}/template", f"{path}/template", {"isTemplate": True})
    yield send("PUT", base, path, {"name": "Checked", "archived": True})
    yield send("DELETE", base, path)


def _entry_writes(api: Api, send: Any) -> Iterator[Call]:
    hour = {"start": "2025-03-03T08:00:00Z", "end": "2025-03-03T09:00:00Z"}
    base, path = "user/{userId}/time-entries", f"user/{api.me}/time-entries"
    yield (made := send("POST", "time-entries", "time-entries", hour))
    entry = made[2].json()["id"]
    yield send("PUT", "time-entries/{id}", f"time-entries/{entry}", hour)
    yield (timer := send("POST", base, path, {}))
    yield send("PATCH", base, path, {"end": timer[2].json()["timeInterval"]["start"]})
    yield send("PUT", base, path, [{"id": entry, **hour}])
    yield send("POST", f"{base}/{{id}}/duplicate", f"{path}/{entry}/duplicate")
    yield send("PATCH", "time-entries/invoiced", "time-entries/invoiced", {"timeEntryIds": [entry], "invoiced": True})
    yield send("DELETE", "time-entries/{id}", f"time-entries/{entry}")
    yield send("DELETE", base, f"{path}?time-entry-ids={timer[2].json()['id']}")


def _webhook_writes(send: Any) -> Iterator[Call]:
    body = {
        "name": "checked",
        "url": "https://example.com",
        "webhookEvent": "NEW_CLIENT",
        "triggerSourceType": "WORKSPACE_ID",
        "triggerSource": [],
    }
    yield (made := send("POST", "webhooks", "webhooks", body))
    base, path = "webhooks/{webhookId}", f"webhooks/{made[2].json()['id']}"
    yield send("GET", base, path)
    yield send("PUT", base, path, body)
    yield send("PATCH", f"{base}/token", f"{path}/token")
    yield send("POST", f"{base}/logs", f"{path}/logs", {})
    yield send("DELETE", base, path)


def _user_writes(api: Api, send: Any) -> Iterator[Call]:
    user = next(user["id"] for user in api.get("users", status="ACTIVE") if user["id"] != api.me)
    role = {"entityId": api.sandbox.workspace, "role": "WORKSPACE_ADMIN"}
    yield send("POST", "users", "users?send-email=false", {"email": "checked@c.example"})
    yield send("PUT", "users/{userId}", f"users/{user}", {"status": "ACTIVE"})
    yield send("PUT", "users/{userId}/hourly-rate", f"users/{user}/hourly-rate", {"amount": 100})
    yield send("PUT", "users/{userId}/cost-rate", f"users/{user}/cost-rate", {"amount": 100})
    yield send("POST", "users/{userId}/roles", f"users/{user}/roles", role)
    yield send("DELETE", "users/{userId}/roles", f"users/{user}/roles", role)
    yield (made := send("POST", "user-groups", "user-groups", {"name": "checked"}))
    base, path = "user-groups/{id}", f"user-groups/{made[2].json()['id']}"
    yield send("PUT", base, path, {"name": "checked too"})
    yield send("POST", "user-groups/{userGroupId}/users", f"{path}/users", {"userId": user})
    yield send("DELETE", "user-groups/{userGroupId}/users/{userId}", f"{path}/users/{user}")
    yield send("DELETE", base, path)


def _custom_field_writes(send: Any) -> Iterator[Call]:
    yield (made := send("POST", "custom-fields", "custom-fields", {"name": "checked", "type": "TXT"}))
    base, path = "custom-fields/{customFieldId}", f"custom-fields/{made[2].json()['id']}"
    yield send("PUT", base, path, {"name": "checked", "type": "NUMBER"})
    yield send("DELETE", base, path)


@pytest.mark.parametrize("calls", [reads, writes])
def test_answers_match_the_published_document(api: Api, document: Document, calls: Any) -> None:
    """Status, body or its absence, field names, types and enums are those of Clockify's document."""
    api.send("POST", "time-entries", {"description": "running"}, expect=201)
    problems = []
    for method, template, answer in calls(api):
        where = f"{method} {template} {answer.status_code}"
        documented = document.raw["paths"][template][method.lower()]["responses"]
        if str(answer.status_code) not in documented:
            problems.append(f"{where}: documented are {sorted(documented)}: {answer.text[:200]}")
            continue
        schema = document.answer(method, template, answer.status_code)
        if schema is None or not answer.content:
            if (schema is None) != (not answer.content):
                problems.append(f"{where}: body expected {schema is not None}, found {answer.content[:50]!r}")
            continue
        errors = Draft202012Validator(schema).iter_errors(answer.json())
        problems += [f"{where}: {error.json_path}: {error.message[:200]}" for error in errors]
    assert not problems, "\n".join(problems[:40])
