"""One request as the handlers see it, what they answer, and how they refuse."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from starlette.datastructures import QueryParams

from sync_pipeline.sandbox.clockify.times import parse_instant
from sync_pipeline.sandbox.world import World

Json = dict[str, Any]


class Refusal(Exception):
    """An error answer with Clockify's ``{message, code}`` body; without a message the body is empty."""

    def __init__(self, status: int, code: int | None, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The JSON body."""
        if not self.message:
            return b""
        return orjson.dumps({"message": self.message} | ({} if self.code is None else {"code": self.code}))


def invalid(message: str) -> Refusal:
    """400/501: Clockify's answer to everything the domain does not allow, unknown ids included."""
    return Refusal(400, 501, message)


def not_ours(kind: str) -> Refusal:
    """400/501 for an id that does not exist here - whether deleted, foreign or invented."""
    return invalid(f"{kind} doesn't belong to Workspace")


def denied() -> Refusal:
    """403/501: the caller's role is too low."""
    return Refusal(403, 501, "Access Denied")


def unavailable() -> Refusal:
    """403 for a feature the workspace's plan does not include."""
    return Refusal(403, 403, "You don't have permission to perform this action.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a user through a key of theirs, or an add-on."""

    user_id: str
    zone: str
    admin: bool
    addon: bool


@dataclass(frozen=True, slots=True)
class Happened:
    """Something a webhook may report: the event and the record it is about, in its current or last state."""

    event: str
    table: str
    record: Json


@dataclass(slots=True)
class Call:
    """One authenticated request."""

    world: World
    caller: Caller
    workspace: str
    ids: dict[str, str]
    query: QueryParams
    body: Any = None
    events: list[Happened] = field(default_factory=list)

    @property
    def db(self) -> sqlite3.Connection:
        """The sandbox's database."""
        return self.world.db

    @property
    def now(self) -> int:
        """The current second."""
        return int(self.world.clock.epoch())

    @property
    def shows_rates(self) -> bool:
        """Whether the caller may see them."""
        return self.caller.admin and not self.world.options.rates_hidden

    def happened(self, event: str, table: str, record: Json) -> None:
        """Remember an event; webhooks hear of it once the request has succeeded."""
        self.events.append(Happened(event, table, record))

    def json(self) -> Json:
        """The request body, which must be an object."""
        if not isinstance(self.body, dict):
            raise Refusal(400, 3002, "Required request body is missing or is not an object")
        return self.body

    def flag(self, name: str, default: bool | None = None) -> bool | None:
        """A boolean query value; anything but true/false is refused as Clockify refuses it."""
        text = self.query.get(name)
        if text is None or text == "":
            return default
        if text.lower() not in ("true", "false"):
            raise Refusal(400, 3000, f"Failed to convert value of type 'String' to required type 'Boolean' for {name}")
        return text.lower() == "true"

    def number(self, name: str, default: int) -> int:
        """An integer query value."""
        text = self.query.get(name)
        if text is None or text == "":
            return default
        try:
            return int(text)
        except ValueError:
            message = f"Failed to convert value of type 'String' to required type 'int' for {name}"
            raise Refusal(400, 3000, message) from None

    def instant(self, name: str) -> datetime | None:
        """A query value that is an instant."""
        text = self.query.get(name)
        if text and parse_instant(text) is None:
            message = f"Failed to convert {name}: {text!r} is not in yyyy-MM-ddThh:mm:ssZ format"
            raise Refusal(400, 3000, message)
        return parse_instant(text)

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """An enumerated query value."""
        text = self.query.get(name) or default
        if text not in allowed:
            raise Refusal(400, 3000, f"{name}: {text!r} is not one of {', '.join(allowed)}")
        return text

    def many(self, name: str) -> list[str]:
        """A repeatable query value; comma-separated is the same as repeated."""
        return [part for text in self.query.getlist(name) for part in text.split(",") if part]


@dataclass(slots=True)
class Reply:
    """What a handler answers. ``data`` may be bytes that are JSON already."""

    data: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """The bytes to send."""
        if self.data is None:
            return b""
        return self.data if isinstance(self.data, bytes) else orjson.dumps(self.data)


LISTS = (
    "users", "clients", "projects", "tasks", "tags", "custom-fields", "user-groups", "time-entries", "in-progress",
)  # fmt: skip
Handler = Callable[[Call], Reply]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A verb and a path template with the function that answers it and who may ask.

    ``access``: ``member`` everyone in the workspace, ``admin`` admins and add-ons, ``person`` admins but no add-on,
    ``no addon`` everyone but an add-on. ``permission`` is what the refusal of an add-on names as missing.
    """

    method: str
    path: str
    handler: Handler
    access: str = "member"
    permission: str = ""

    @property
    def segments(self) -> list[str]:
        """The path, split."""
        return self.path.strip("/").split("/")

    @property
    def lags(self) -> bool:
        """Whether it is a list or a report, which may show an old state; what is read by id never does."""
        return (self.method == "GET" and self.path.rpartition("/")[2] in LISTS) or "/reports/" in self.path
