"""Clockify's webhooks: list, create, change, delete, and a new token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sync_pipeline.connectors.answers import Answer
from sync_pipeline.connectors.http import ApiClient
from sync_pipeline.errors import FatalApiError, RejectedRecord, Request

HOOKS = "/workspaces/{workspace}/webhooks"
HOOK = HOOKS + "/{id}"
TOKEN = HOOK + "/token"


def hook_path(workspace: str) -> str:
    """What the paths of all hooks of ours for a workspace begin with."""
    return f"/hooks/{workspace}"


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
        """All webhooks of people in the workspace, whoever made them. Not paged."""
        answer = await self.api.request("GET", HOOKS, ids=self._ids())
        data = answer.data.get("webhooks") if isinstance(answer.data, dict) else answer.data
        if not isinstance(data, list):
            raise _not_a_webhook("GET", HOOKS)
        return [_webhook(row, "GET", HOOKS) for row in data]

    async def create(self, name: str, event: str, url: str) -> Webhook:
        """A new webhook for one event. Never sent twice: AmbiguousWrite when nobody knows whether it arrived."""
        answer = await self.api.request("POST", HOOKS, ids=self._ids(), json=_body(name, event, url))
        return _of(answer, "POST", HOOKS)

    async def update(self, hook_id: str, name: str, event: str, url: str) -> Webhook:
        """Another address; switched on again as far as Clockify lets us."""
        body = {**_body(name, event, url), "enabled": True}
        answer = await self.api.request("PUT", HOOK, ids=self._ids(hook_id), json=body)
        return _of(answer, "PUT", HOOK)

    async def delete(self, hook_id: str) -> None:
        """Delete a webhook; one that is gone is no error."""
        try:
            await self.api.request("DELETE", HOOK, ids=self._ids(hook_id))
        except RejectedRecord:
            if any(hook.id == hook_id for hook in await self.list()):
                raise

    async def rotate(self, hook_id: str) -> Webhook:
        """A new token; the old one is no longer used from this moment."""
        # Sent again when cut off: at worst it is a new token twice, and the last one is what we are told.
        answer = await self.api.request("PATCH", TOKEN, ids=self._ids(hook_id), idempotent=True)
        return _of(answer, "PATCH", TOKEN)

    def _ids(self, hook_id: str = "") -> dict[str, str]:
        return {"workspace": self.workspace, "id": hook_id}


def _body(name: str, event: str, url: str) -> dict[str, Any]:
    return {
        "name": name,
        "url": url,
        "webhookEvent": event,
        "triggerSourceType": "WORKSPACE_ID",
        "triggerSource": [],
    }


def _of(answer: Answer, method: str, path: str) -> Webhook:
    return _webhook(answer.data, method, path)


def _webhook(data: Any, method: str, path: str) -> Webhook:
    if not isinstance(data, Mapping) or not data.get("id"):
        raise _not_a_webhook(method, path)
    return Webhook(
        id=str(data["id"]),
        name=str(data.get("name") or ""),
        event=str(data.get("webhookEvent") or ""),
        user=str(data.get("userId") or ""),
        url=str(data.get("url") or ""),
        token=str(data.get("authToken") or ""),
        # Only what Clockify says is off is off.
        enabled=data.get("enabled") is not False,
        delivers=data.get("deliveryEnabled") is not False,
        in_plan=data.get("planEnabled") is not False,
    )


def _not_a_webhook(method: str, path: str) -> FatalApiError:
    request = Request("Clockify", method, path)
    return FatalApiError(
        "the answer is not about webhooks.", request, fix="Check CLOCKIFY_BASE_URL: is this Clockify's API?"
    )
