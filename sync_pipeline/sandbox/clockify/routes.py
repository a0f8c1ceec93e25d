"""Clockify's two hosts as tables: verb, path, the function that answers, who may ask."""

from __future__ import annotations

from functools import partial

from sync_pipeline.sandbox.clockify import changes, entries, entry_writes, projects, users, webhooks, workspaces
from sync_pipeline.sandbox.clockify.clients import Clients
from sync_pipeline.sandbox.clockify.custom_fields import CustomFields
from sync_pipeline.sandbox.clockify.dispatch import ClockifyApi
from sync_pipeline.sandbox.clockify.from_template import ProjectsFromTemplate
from sync_pipeline.sandbox.clockify.groups import Groups
from sync_pipeline.sandbox.clockify.http import Endpoint, Handler
from sync_pipeline.sandbox.clockify.reports import DetailedReport
from sync_pipeline.sandbox.clockify.summary import summary_report
from sync_pipeline.sandbox.clockify.tags import Tags
from sync_pipeline.sandbox.clockify.tasks import Tasks
from sync_pipeline.sandbox.limits import RequestBudget
from sync_pipeline.sandbox.world import World

WS = "/workspaces/{ws}"
Row = tuple[str, str, Handler]
"""Verb, the rest of the path, and the function that answers."""


def core_and_reports(world: World) -> tuple[ClockifyApi, ClockifyApi]:
    """Both hosts; whether they share one request budget is an option read on every request."""
    core, reports = RequestBudget(), RequestBudget()

    def reports_budget() -> RequestBudget:
        return core if world.options.reports_share_quota else reports

    return (
        ClockifyApi(world, core_endpoints(), lambda: core),
        ClockifyApi(world, report_endpoints(), reports_budget),
    )


def core_endpoints() -> list[Endpoint]:
    """Everything under ``/api/v1``."""
    return [
        Endpoint("GET", "/user", users.get_me),
        Endpoint("GET", "/workspaces", workspaces.list_workspaces, "no addon", "WORKSPACE_READ"),
        Endpoint("GET", WS, workspaces.get_workspace),
        *Clients().endpoints(f"{WS}/clients"),
        *Tasks().endpoints(f"{WS}/projects/{{project}}/tasks"),
        *Tags().endpoints(f"{WS}/tags"),
        *_group_endpoints(),
        *_project_endpoints(),
        *_custom_field_endpoints(),
        *_user_endpoints(),
        *_entry_endpoints(),
        *_below(f"{WS}/entities", ENTITIES, "admin"),
        *_below(f"{WS}/webhooks", WEBHOOKS, "person", "WEBHOOK_WRITE"),
    ]


def report_endpoints() -> list[Endpoint]:
    """Everything under the reports host's ``/v1``."""
    rows: list[Row] = [("POST", "/detailed", DetailedReport().answer), ("POST", "/summary", summary_report)]
    return _below(f"{WS}/reports", rows)


def _below(base: str, rows: list[Row], access: str = "member", permission: str = "") -> list[Endpoint]:
    return [Endpoint(verb, base + rest, handler, access, permission) for verb, rest, handler in rows]


def _group_endpoints() -> list[Endpoint]:
    base, groups = f"{WS}/user-groups", Groups()
    users_of: list[Row] = [("POST", "/{id}/users", groups.join), ("DELETE", "/{id}/users/{user}", groups.leave)]
    return groups.endpoints(base, "admin") + _below(base, users_of, "admin")


def _project_endpoints() -> list[Endpoint]:
    base, all_of = f"{WS}/projects", projects.Projects()
    parts: list[Row] = [
        ("POST", "/from-template", ProjectsFromTemplate().create),
        ("PATCH", "/{id}/estimate", all_of.patched(projects.change_estimate)),
        ("PATCH", "/{id}/memberships", all_of.patched(projects.replace_memberships)),
        ("POST", "/{id}/memberships", all_of.patched(projects.add_memberships)),
        ("PATCH", "/{id}/template", all_of.patched(projects.set_template)),
    ]
    return all_of.endpoints(base) + _below(base, parts)


def _custom_field_endpoints() -> list[Endpoint]:
    project, write, fields = f"{WS}/projects/{{project}}/custom-fields", "CUSTOM_FIELDS_WRITE", CustomFields()
    defaults: list[Row] = [("PATCH", "/{id}", fields.set_default), ("DELETE", "/{id}", fields.drop_default)]
    return [
        *fields.endpoints(f"{WS}/custom-fields", "person", write),
        Endpoint("GET", project, fields.page),
        *_below(project, defaults, "person", write),
        Endpoint("PUT", f"{WS}/users/{{user}}/custom-field/{{id}}/value", fields.set_user_value, "admin"),
    ]


def _user_endpoints() -> list[Endpoint]:
    rows: list[Row] = [
        ("GET", "", users.list_users),
        ("POST", "", users.invite_user),
        ("POST", "/info", users.users_info),
        ("PUT", "/{id}", users.set_status),
        ("PUT", "/{id}/hourly-rate", partial(users.set_rate, field="hourlyRate")),
        ("PUT", "/{id}/cost-rate", partial(users.set_rate, field="costRate")),
        ("POST", "/{id}/roles", users.give_role),
        ("DELETE", "/{id}/roles", users.take_role),
    ]
    return _below(f"{WS}/users", rows, "admin")


def _entry_endpoints() -> list[Endpoint]:
    base = f"{WS}/time-entries"
    rows: list[Row] = [
        ("POST", "", entry_writes.create_entry),
        ("POST", "/batch", entries.fetch_entries),
        ("GET", "/status/in-progress", entries.list_running),
        ("GET", "/{id}", entries.get_entry),
        ("PUT", "/{id}", entry_writes.update_entry),
        ("DELETE", "/{id}", entry_writes.delete_entry),
    ]
    of_user: list[Row] = [
        ("GET", "", entries.list_entries),
        ("POST", "", entry_writes.create_entry_for),
        ("PUT", "", entry_writes.update_entries),
        ("PATCH", "", entry_writes.stop_timer),
        ("DELETE", "", entry_writes.delete_entries),
        ("POST", "/{id}/duplicate", entry_writes.duplicate_entry),
    ]
    invoiced = Endpoint("PATCH", f"{base}/invoiced", entry_writes.mark_invoiced, "admin")
    return [*_below(base, rows), invoiced, *_below(f"{WS}/user/{{user}}/time-entries", of_user)]


ENTITIES: list[Row] = [
    ("GET", "/created", changes.created),
    ("GET", "/updated", changes.updated),
    ("GET", "/deleted", changes.deleted),
]
WEBHOOKS: list[Row] = [
    ("GET", "", webhooks.list_webhooks),
    ("POST", "", webhooks.create_webhook),
    ("GET", "/{id}", webhooks.get_webhook),
    ("PUT", "/{id}", webhooks.update_webhook),
    ("DELETE", "/{id}", webhooks.delete_webhook),
    ("PATCH", "/{id}/token", webhooks.rotate_token),
    ("POST", "/{id}/logs", webhooks.webhook_logs),
]
