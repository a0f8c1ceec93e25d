"""Clockify's side of a webhook: what it sends, and what the receiver made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from sync_pipeline.store.events import Event
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.webhooks.hooks import Hook, HookStore, new_hook
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.server import running
from sync_pipeline_tests.store.inbox import counts

HERE = "clockify:w1 generic:https://snapshots.example"
WORKSPACE = "w1"
UPDATED = "TIME_ENTRY_UPDATED"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that stops until time is advanced."""

    at: datetime = START

    def now(self) -> datetime:
        """The time of day."""
        return self.at

    def monotonic(self) -> float:
        """Seconds."""
        return (self.at - START).total_seconds() + 1000

    def pass_(self, time: timedelta) -> None:
        """Let time pass."""
        self.at += time


@dataclass
class Sender:
    """One hook at Clockify and the receiver it delivers to."""

    url: str
    hooks: HookStore
    hook: Hook
    client: httpx.Client

    def send(
        self,
        body: Any = None,
        *,
        content: bytes | None = None,
        token: str | None = None,
        path: str | None = None,
        event: str = UPDATED,
        **headers: str,
    ) -> httpx.Response:
        """One delivery; what is not given is valid."""
        raw = content if content is not None else json.dumps(entry("e1") if body is None else body).encode()
        return self.client.post(
            self.url + (path or self.hook.path(WORKSPACE)),
            content=raw,
            headers=delivery_headers(self.hook.token if token is None else token, event)
            | {name.replace("_", "-"): value for name, value in headers.items()},
        )

    def inbox(self, entity: str = "time_entries") -> list[Event]:
        """What is to do for an entity."""
        return Ledger(self.hooks.store, HERE, entity).events.open_events(100_000)

    def kept(self) -> int:
        """Every event in the inbox, closed ones too."""
        return sum(one.open + one.closed for one in counts(self.hooks.store, HERE).values())

    def figures(self) -> dict[str, float]:
        """The samples of /metrics, by name without the prefix."""
        text = self.client.get(f"{self.url}/metrics").raise_for_status().text
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("sync_pipeline_webhooks_"): float(value) for name, _, value in lines}


@contextmanager
def delivering(
    hooks: HookStore, hook: Hook, options: ReceiverOptions | None = None, clock: Clock | None = None
) -> Iterator[Sender]:
    """A running receiver, and Clockify that delivers to it."""
    clock, options = clock or Clock(), options or ReceiverOptions(workspace=WORKSPACE)
    with (
        running(hooks, options, now=clock.now, clock=clock.monotonic) as started,
        httpx.Client(trust_env=False) as client,
    ):
        yield Sender(started.url, hooks, hook, client)


def delivery_headers(token: str, event: str = UPDATED, attempt: int = 0) -> dict[str, str]:
    """The headers of a delivery."""
    return {
        "content-type": "application/json",
        "clockify-signature": token,
        "clockify-webhook-event-type": event,
        "idempotency-key": f"attempt-{attempt}",
    }


def entry(entry_id: str, **fields: Any) -> dict[str, Any]:
    """The body of a time entry's event."""
    return {"id": entry_id, "workspaceId": WORKSPACE, "description": "work", "timeInterval": {"end": None}, **fields}


def add_hook(hooks: HookStore, name: str, token: str = "signing-secret") -> Hook:
    """A hook of ours that Clockify knows."""
    hook = new_hook(name).with_token(token, START)
    hooks.save(hook, START)
    return hook
