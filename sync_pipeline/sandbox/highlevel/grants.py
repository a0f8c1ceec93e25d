"""Codes and tokens of the sandbox's marketplace app: made at random, kept as hashes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from sync_pipeline.sandbox.highlevel.settings import Settings
from sync_pipeline.sandbox.snapshots.grants import hashed
from sync_pipeline.sandbox.world import World

Kind = Literal["code", "access", "refresh"]
CODE_SECONDS, REFRESH_SECONDS = 600, 365 * 86_400


@dataclass(frozen=True, slots=True)
class Grant:
    """A code or token: whom it is for, its scopes, and what the consent it comes from was about."""

    kind: Kind
    owner: str
    scope: str
    detail: dict[str, Any]
    """The locations the app was installed in; of a code, where it is sent to; of a used refresh token, its answer."""
    expires_at: float = 0.0

    def has_app(self, location: str, settings: Settings) -> bool:
        """Whether the app is installed in a location: one that is newer than the consent has it only if so decided."""
        if location in settings.uninstalled:
            return False
        return settings.future_locations or location in self.detail["locations"]


def issue(world: World, grant: Grant, seconds: float) -> str:
    """Store a grant and return its secret, of which there is no other copy."""
    secret = f"eyJ.{grant.kind}.{secrets.token_urlsafe(32)}"
    values = (grant.kind, grant.owner, grant.scope, world.clock.epoch() + seconds, orjson.dumps(grant.detail).decode())
    world.db.execute("INSERT INTO highlevel_grants VALUES (?, ?, ?, ?, ?, ?)", (hashed(secret), *values))
    return secret


def find(world: World, kind: Kind, secret: str) -> Grant | None:
    """The grant of a secret, also when it has expired."""
    query = "SELECT owner, scope, detail, expires_at FROM highlevel_grants WHERE hash = ? AND kind = ?"
    row = world.db.execute(query, (hashed(secret), kind)).fetchone()
    if row is None:
        return None
    owner, scope, detail, expires_at = row
    return Grant(kind, owner, scope, orjson.loads(detail), expires_at)


def change(world: World, secret: str, **detail: Any) -> None:
    """Add to what is known about a grant."""
    world.db.execute(
        "UPDATE highlevel_grants SET detail = json_patch(detail, ?) WHERE hash = ?",
        (orjson.dumps(detail).decode(), hashed(secret)),
    )


def remove(world: World, secret: str | None = None) -> None:
    """Forget one grant, or all: every consent is withdrawn."""
    world.db.execute("DELETE FROM highlevel_grants WHERE ? IS NULL OR hash = ?", (secret, hashed(secret or "")))
