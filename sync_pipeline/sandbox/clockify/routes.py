"""Clockify's two hosts as tables: verb, path, the function that answers, who may ask."""

from __future__ import annotations

from sync_pipeline.sandbox.clockify import (
    changes,
    clients,
    custom_fields,
    entries,
    entry_writes,
    groups,
    projects,
    tags,
    tasks,
    users,
    webhooks,
    workspaces,
)
from sync_pipeline.sandbox.clockify.dispatch import ClockifyApi
from sync_pipeline.sandbox.clockify.http import Endpoint
from sync_pipeline.sandbox.clockify.reports import DetailedReport
from sync_pipeline.sandbox.clockify.summary import summary_report
from sync_pipeline.sandbox.limits import RequestBudget
from sync_pipeline.sandbox.world import World

WS = "/workspaces/{ws}"


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
        *_user_endpoints(),
        *_group_endpoints(),
        *_client_endpoints(),
        *_project_endpoints(),
        *_task_endpoints(),
        *_tag_endpoints(),
        *_custom_field_endpoints(),
        *_entry_endpoints(),
        *_change_endpoints(),
        *_webhook_endpoints(),
    ]


def _user_endpoints() -> list[Endpoint]:
    base = f"{WS}/users"
    return [
        Endpoint("GET", base, users.list_users, "admin"),
        Endpoint("POST", base, users.invite_user, "admin"),
        Endpoint("POST", f"{base}/info", users.users_info, "admin"),
        Endpoint("PUT", f"{base}/{{id}}", users.set_status, "admin"),
        Endpoint("PUT", f"{base}/{{id}}/hourly-rate", users.set_rate, "admin"),
        Endpoint("PUT", f"{base}/{{id}}/cost-rate", users.set_cost_rate, "admin"),
        Endpoint("POST", f"{base}/{{id}}/roles", users.give_role, "admin"),
        Endpoint("DELETE", f"{base}/{{id}}/roles", users.take_role, "admin"),
        Endpoint("PUT", f"{base}/{{user}}/custom-field/{{id}}/value", custom_fields.set_user_value, "admin"),
    ]


def _group_endpoints() -> list[Endpoint]:
    base = f"{WS}/user-groups"
    return [
        Endpoint("GET", base, groups.list_groups),
        Endpoint("POST", base, groups.create_group, "admin"),
        Endpoint("PUT", f"{base}/{{id}}", groups.rename_group, "admin"),
        Endpoint("DELETE", f"{base}/{{id}}", groups.delete_group, "admin"),
        Endpoint("POST", f"{base}/{{id}}/users", groups.join_group, "admin"),
        Endpoint("DELETE", f"{base}/{{id}}/users/{{user}}", groups.leave_group, "admin"),
    ]


def _client_endpoints() -> list[Endpoint]:
    base = f"{WS}/clients"
    return [
        Endpoint("GET", base, clients.list_clients),
        Endpoint("POST", base, clients.create_client),
        Endpoint("GET", f"{base}/{{id}}", clients.get_client),
        Endpoint("PUT", f"{base}/{{id}}", clients.update_client),
        Endpoint("DELETE", f"{base}/{{id}}", clients.delete_client),
    ]


def _project_endpoints() -> list[Endpoint]:
    base = f"{WS}/projects"
    return [
        Endpoint("GET", base, projects.list_projects),
        Endpoint("POST", base, projects.create_project),
        Endpoint("GET", f"{base}/{{id}}", projects.get_project),
        Endpoint("PUT", f"{base}/{{id}}", projects.update_project),
        Endpoint("DELETE", f"{base}/{{id}}", projects.delete_project),
        Endpoint("PATCH", f"{base}/{{id}}/estimate", projects.update_estimate),
        Endpoint("PATCH", f"{base}/{{id}}/memberships", projects.replace_memberships),
        Endpoint("POST", f"{base}/{{id}}/memberships", projects.add_memberships),
        Endpoint("PATCH", f"{base}/{{id}}/template", projects.set_template),
    ]


def _task_endpoints() -> list[Endpoint]:
    base = f"{WS}/projects/{{project}}/tasks"
    return [
        Endpoint("GET", base, tasks.list_tasks),
        Endpoint("POST", base, tasks.create_task),
        Endpoint("GET", f"{base}/{{id}}", tasks.get_task),
        Endpoint("PUT", f"{base}/{{id}}", tasks.update_task),
        Endpoint("DELETE", f"{base}/{{id}}", tasks.delete_task),
    ]


def _tag_endpoints() -> list[Endpoint]:
    base = f"{WS}/tags"
    return [
        Endpoint("GET", base, tags.list_tags),
        Endpoint("POST", base, tags.create_tag),
        Endpoint("GET", f"{base}/{{id}}", tags.get_tag),
        Endpoint("PUT", f"{base}/{{id}}", tags.update_tag),
        Endpoint("DELETE", f"{base}/{{id}}", tags.delete_tag),
    ]


def _custom_field_endpoints() -> list[Endpoint]:
    base, project = f"{WS}/custom-fields", f"{WS}/projects/{{project}}/custom-fields"
    write = "CUSTOM_FIELDS_WRITE"
    return [
        Endpoint("GET", base, custom_fields.list_fields),
        Endpoint("POST", base, custom_fields.create_field, "person", write),
        # There is no GET of a single field: it answers 405, naming these two verbs.
        Endpoint("PUT", f"{base}/{{id}}", custom_fields.update_field, "person", write),
        Endpoint("DELETE", f"{base}/{{id}}", custom_fields.delete_field, "person", write),
        Endpoint("GET", project, custom_fields.list_project_fields),
        Endpoint("PATCH", f"{project}/{{id}}", custom_fields.set_project_default, "person", write),
        Endpoint("DELETE", f"{project}/{{id}}", custom_fields.drop_project_default, "person", write),
    ]


def _entry_endpoints() -> list[Endpoint]:
    base, of_user = f"{WS}/time-entries", f"{WS}/user/{{user}}/time-entries"
    return [
        Endpoint("POST", base, entry_writes.create_entry),
        Endpoint("PATCH", f"{base}/invoiced", entry_writes.mark_invoiced, "admin"),
        Endpoint("POST", f"{base}/batch", entries.fetch_entries),
        Endpoint("GET", f"{base}/status/in-progress", entries.list_running),
        Endpoint("GET", f"{base}/{{id}}", entries.get_entry),
        Endpoint("PUT", f"{base}/{{id}}", entry_writes.update_entry),
        Endpoint("DELETE", f"{base}/{{id}}", entry_writes.delete_entry),
        Endpoint("GET", of_user, entries.list_entries),
        Endpoint("POST", of_user, entry_writes.create_entry_for),
        Endpoint("PUT", of_user, entry_writes.update_entries),
        Endpoint("PATCH", of_user, entry_writes.stop_timer),
        Endpoint("DELETE", of_user, entry_writes.delete_entries),
        Endpoint("POST", f"{of_user}/{{id}}/duplicate", entry_writes.duplicate_entry),
    ]


def _change_endpoints() -> list[Endpoint]:
    base = f"{WS}/entities"
    return [
        Endpoint("GET", f"{base}/created", changes.created, "admin"),
        Endpoint("GET", f"{base}/updated", changes.updated, "admin"),
        Endpoint("GET", f"{base}/deleted", changes.deleted, "admin"),
    ]


def _webhook_endpoints() -> list[Endpoint]:
    base, scope = f"{WS}/webhooks", "WEBHOOK_WRITE"
    return [
        Endpoint("GET", base, webhooks.list_webhooks, "person", scope),
        Endpoint("POST", base, webhooks.create_webhook, "person", scope),
        Endpoint("GET", f"{base}/{{id}}", webhooks.get_webhook, "person", scope),
        Endpoint("PUT", f"{base}/{{id}}", webhooks.update_webhook, "person", scope),
        Endpoint("DELETE", f"{base}/{{id}}", webhooks.delete_webhook, "person", scope),
        Endpoint("PATCH", f"{base}/{{id}}/token", webhooks.rotate_token, "person", scope),
        Endpoint("POST", f"{base}/{{id}}/logs", webhooks.webhook_logs, "person", scope),
    ]


def report_endpoints() -> list[Endpoint]:
    """Everything under the reports host's ``/v1``."""
    base = f"{WS}/reports"
    return [
        Endpoint("POST", f"{base}/detailed", DetailedReport().answer),
        Endpoint("POST", f"{base}/summary", summary_report),
    ]
