"""Clockify's webhooks: list, create, change, delete, and a new token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sync_pipeline.connectors.answers import Answer, as_text
from sync_pipeline.connectors.http import ApiClient, RequestOptions
from sync_pipeline.errors import FatalApiError, RejectedRecord, Request

HOOKS = "/workspaces/{workspace}/webhooks"
HOOK = HOOKS + "/{id}"
TOKEN = HOOK + "/token"
MOST_NAMED = 1_000
"""Users that a webhook names at most: how many Clockify takes is not documented."""
LONGEST_NAME = 30
SIGNATURE, EVENT = "clockify-signature", "clockify-webhook-event-type"
"""The headers of a delivery that hold its token, and its event."""


def hook_path(workspace: str) -> str:
    """What the paths of all hooks of ours for a workspace begin with."""
    return f"/hooks/{workspace}"


def is_for_addon(claims: Mapping[str, Any], workspace: str) -> bool:
    """Whether a token claims to be Clockify's, for an add-on in this workspace."""
    wanted = {"iss": "clockify", "type": "addon", "workspaceId": workspace}
    return all(claims.get(name) == value for name, value in wanted.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook as Clockify has it. Address and token are left out of ``repr``: both are secrets."""

    id: str
    name: str
    event: str
    user: str
    url: str = field(repr=False)
    token: str = field(repr=False)
    enabled: bool
    """Switched on by its owner."""
    delivers: bool
    """False after too many failed deliveries."""
    in_plan: bool
    """False when the plan allows fewer webhooks, or not this event."""
    users: frozenset[str] | None = field(default=None, repr=False)
    """The users whose changes it reports; None when it is not limited to users."""

    @property
    def is_working(self) -> bool:
        """Whether events are delivered."""
        return not self.problem

    @property
    def problem(self) -> str:
        """Why nothing is delivered; empty when all is well."""
        if not self.in_plan:
            return "Not in the plan: it allows fewer webhooks, or not this event."
        if not self.delivers:
            return "Clockify switched it off after too many failed deliveries."
        if not self.enabled:
            return "Switched off in Clockify."
        return ""


@dataclass(frozen=True, slots=True)
class WebhookApi:
    """The webhooks of one workspace; admins and owners only."""

    api: ApiClient
    workspace: str

    async def list(self) -> list[Webhook]:
        """All webhooks in the workspace that people created, including those of other users. Not paged."""
        answer = await self.api.request("GET", HOOKS, ids=self._ids())
        data = answer.data.get("webhooks") if isinstance(answer.data, dict) else answer.data
        if not isinstance(data, list):
            raise _not_a_webhook("GET", HOOKS)
        return [_webhook(row, "GET", HOOKS) for row in data]

    async def create(self, name: str, event: str, url: str, users: Sequence[str] = ()) -> Webhook:
        """A new webhook for one event, of these users or of the whole workspace.

        Never sent twice: AmbiguousWrite when it is unknown whether it arrived.
        """
        answer = await self.api.request("POST", HOOKS, ids=self._ids(), json=_body(name, event, url, users))
        return _of(answer, "POST", HOOKS)

    async def update(self, hook_id: str, name: str, event: str, url: str, users: Sequence[str] = ()) -> Webhook:
        """Another address, other users; saving may switch it on again, there is no field for that."""
        answer = await self.api.request("PUT", HOOK, ids=self._ids(hook_id), json=_body(name, event, url, users))
        return _of(answer, "PUT", HOOK)

    async def delete(self, hook_id: str) -> None:
        """Delete a webhook; one that does not exist is no error."""
        try:
            await self.api.request("DELETE", HOOK, ids=self._ids(hook_id))
        except RejectedRecord:
            if any(hook.id == hook_id for hook in await self.list()):
                raise

    async def rotate(self, hook_id: str) -> Webhook:
        """A new token; the old one is no longer used from this moment."""
        # Sent again when cut off: at worst two new tokens are created, and the answer has the last one.
        answer = await self.api.request("PATCH", TOKEN, ids=self._ids(hook_id), options=RequestOptions(idempotent=True))
        return _of(answer, "PATCH", TOKEN)

    def _ids(self, hook_id: str = "") -> dict[str, str]:
        return {"workspace": self.workspace, "id": hook_id}


def _body(name: str, event: str, url: str, users: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        "url": url,
        "webhookEvent": event,
        "triggerSourceType": "USER_ID" if users else "WORKSPACE_ID",
        "triggerSource": list(users),
    }


def _of(answer: Answer, method: str, path: str) -> Webhook:
    return _webhook(answer.data, method, path)


def _webhook(data: Any, method: str, path: str) -> Webhook:
    if not isinstance(data, Mapping) or not as_text(data.get("id") or ""):
        raise _not_a_webhook(method, path)
    return Webhook(
        id=as_text(data["id"]),
        name=as_text(data.get("name") or ""),
        event=as_text(data.get("webhookEvent") or ""),
        user=as_text(data.get("userId") or ""),
        url=as_text(data.get("url") or ""),
        token=as_text(data.get("authToken") or ""),
        # Only what Clockify says is off is off.
        enabled=data.get("enabled") is not False,
        delivers=data.get("deliveryEnabled") is not False,
        in_plan=data.get("planEnabled") is not False,
        users=frozenset(map(as_text, data.get("triggerSource") or ()))
        if data.get("triggerSourceType") == "USER_ID"
        else None,
    )


def _not_a_webhook(method: str, path: str) -> FatalApiError:
    request = Request("Clockify", method, path)
    return FatalApiError(
        "the answer is not about webhooks.", request, fix="Check CLOCKIFY_BASE_URL: is this Clockify's API?"
    )
