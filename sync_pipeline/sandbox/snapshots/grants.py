"""Codes and tokens of OAuth: made at random, kept as hashes, each usable for what it was made for."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

GrantKind = Literal["access", "refresh", "code"]
CODE_SECONDS = 60
REFRESH_SECONDS = 90 * 86_400
REVOKE = "UPDATE snapshots_grants SET detail = json_set(detail, '$.revoked', 1)"


@dataclass(frozen=True, slots=True)
class Grant:
    """One code or token as it is stored. A family is everything issued from one consent."""

    kind: GrantKind
    client_id: str
    scope: str
    family: str
    expires_at: float
    used: bool = False
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def revoked(self) -> bool:
        """Whether the consent it comes from was withdrawn."""
        return bool(self.detail.get("revoked"))


def hashed(secret: str) -> str:
    """What is stored of a secret. Plain SHA-256 is enough: the secrets are 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def issue(db: sqlite3.Connection, grant: Grant) -> str:
    """Store a grant and hand out the one copy of its secret."""
    secret = f"sbx_{grant.kind}_{secrets.token_urlsafe(32)}"
    db.execute(
        "INSERT INTO snapshots_grants (hash, kind, client_id, scope, family, expires_at, detail)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            hashed(secret),
            grant.kind,
            grant.client_id,
            grant.scope,
            grant.family,
            grant.expires_at,
            orjson.dumps(grant.detail).decode(),
        ),
    )
    return secret


def find(db: sqlite3.Connection, kind: GrantKind, secret: str) -> Grant | None:
    """The grant with this secret, expired and used ones included."""
    row = db.execute(
        "SELECT client_id, scope, family, expires_at, used, detail FROM snapshots_grants WHERE hash = ? AND kind = ?",
        (hashed(secret), kind),
    ).fetchone()
    if row is None:
        return None
    client_id, scope, family, expires_at, used, detail = row
    return Grant(kind, client_id, scope, family, expires_at, bool(used), orjson.loads(detail))


def use(db: sqlite3.Connection, secret: str) -> None:
    """Mark a code or refresh token as spent."""
    db.execute("UPDATE snapshots_grants SET used = 1 WHERE hash = ?", (hashed(secret),))


def revoke_family(db: sqlite3.Connection, family: str) -> None:
    """Withdraw everything that grew out of one consent: one of its secrets was used twice."""
    db.execute(f"{REVOKE} WHERE family = ?", (family,))


def revoke_all(db: sqlite3.Connection) -> int:
    """Withdraw every consent and token there is, as people do on a page of the vendor's; how many that were."""
    return db.execute(f"{REVOKE} WHERE NOT coalesce(json_extract(detail, '$.revoked'), 0)").rowcount
