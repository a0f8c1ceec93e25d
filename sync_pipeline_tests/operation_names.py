"""The names of operations: the words of the path joined by dots, and a verb; never those of the vendors' documents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

PREFIXES = ("/v1/workspaces/{workspaceId}/", "/v1/", "/")
VERBS = {"PATCH": "update", "PUT": "update", "DELETE": "delete"}
SPEAKS = frozenset(
    [
        "search",
        "upsert",
        "info",
        "duplicate",
        "export",
        "copy",
        "import",
        "upload",
        "logs",
        "publish",
        "from-template",
        "filter-by-email",
        "validate-slug",
        "detailed",
        "summary",
        "weekly",
        "attendance",
        "totals",
        "remove-all",
        "has-funds",
        "free-slots",
        "resubmit-entries-for-approval",
    ]
)
"""Last words of a path that say what is done, so that no verb follows."""
COLLECTIONS = frozenset({"{resourceType}", "{type}"})
"""Parameters that are words of the path, no ids."""
NAMED = {
    "GET /v1/user": "clockify.user.get",
    "GET /v1/workspaces/{workspaceId}": "clockify.workspaces.get",
    "GET /v1/workspaces/{workspaceId}/invoices/settings": "clockify.invoices.settings.get",
    "GET /v1/workspaces/{workspaceId}/time-entries/status/in-progress": "clockify.time-entries.in-progress",
    "PATCH /v1/workspaces/{workspaceId}/user/{userId}/time-entries": "clockify.user.time-entries.stop",
    "PUT /v1/workspaces/{workspaceId}/user/{userId}/time-entries": "clockify.user.time-entries.update-many",
    "DELETE /v1/workspaces/{workspaceId}/user/{userId}/time-entries": "clockify.user.time-entries.delete-many",
    "POST /v1/workspaces/{workspaceId}/time-off/requests": "clockify.time-off.requests.search",
    "POST /v1/workspaces/{workspaceId}/projects/{projectId}/memberships": "clockify.projects.memberships.add",
    "PATCH /v1/workspaces/{workspaceId}/webhooks/{webhookId}/token": "clockify.webhooks.token.renew",
    "POST /v1/file/image": "clockify.images.upload",
    "GET /contacts/search/duplicate": "highlevel.contacts.search-duplicate",
    "POST /opportunities/search": "highlevel.opportunities.search-advanced",
    "POST /contacts/{contactId}/tags": "highlevel.contacts.tags.add",
    "POST /contacts/{contactId}/followers": "highlevel.contacts.followers.add",
    "POST /opportunities/{id}/followers": "highlevel.opportunities.followers.add",
    "POST /contacts/{contactId}/campaigns/{campaignId}": "highlevel.contacts.campaigns.add",
    "POST /contacts/{contactId}/workflow/{workflowId}": "highlevel.contacts.workflow.add",
    "PUT /calendars/schedules/{id}/associations/{calendarId}": "highlevel.calendars.schedules.associations.add",
    "POST /contacts/bulk/tags/update/{type}": "highlevel.contacts.bulk.tags.update",
    "GET /saas/get-saas-subscription/{locationId}": "highlevel.saas.subscription.get",
    "PUT /saas/update-saas-subscription/{locationId}": "highlevel.saas.subscription.update",
    "POST /saas/bulk-disable-saas/{companyId}": "highlevel.saas.disable-many",
    "POST /saas/bulk-enable-saas/{companyId}": "highlevel.saas.enable-many",
    "POST /saas/enable-saas/{locationId}": "highlevel.saas.enable",
    "POST /saas/pause/{locationId}": "highlevel.saas.pause",
    "POST /saas/update-rebilling/{companyId}": "highlevel.saas.rebilling.update",
    "GET /saas/agency-plans/{companyId}": "highlevel.saas.agency-plans.list",
    "GET /saas/saas-locations/{companyId}": "highlevel.saas.company-locations.list",
    "GET /saas/saas-plan/{planId}": "highlevel.saas.plan.get",
    "POST /snapshots/share/link": "highlevel.snapshots.share-link.create",
    "POST /oauth/token": "highlevel.oauth.token",
    "POST /oauth/locationToken": "highlevel.oauth.location-token",
}
"""Where the rule would mislead."""


def name_all(system: str, operations: Iterable[str]) -> dict[str, str]:
    """A name for each operation, by ``METHOD path``; ValueError when two have the same."""
    keys = list(operations)
    found = {key: NAMED.get(key) or _name(system, key, key.partition(" ")[2], set(keys)) for key in keys}
    if twice := [name for name, count in Counter(found.values()).items() if count > 1]:
        raise ValueError(f"the same name for several operations: {twice}")
    return found


def _name(system: str, key: str, path: str, keys: set[str]) -> str:
    method, prefix = key.partition(" ")[0], next(each for each in PREFIXES if path.startswith(each))
    parts = [each for each in path.removeprefix(prefix).split("/") if each]
    words = [_kebab(each) for each in parts if not each.startswith("{")]
    is_many = not parts[-1].startswith("{") or parts[-1] in COLLECTIONS
    verb = VERBS.get(method) or {"GET": "list" if is_many else "get", "POST": "create"}[method]
    if method == "PUT" and f"PATCH {path}" in keys:
        verb = "replace"
    speaks = is_many and words[-1] in SPEAKS
    return ".".join([system, *words, *([] if speaks else [verb])])


def _kebab(word: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", "-", word).lower()
