"""OAuth clients: the one every sandbox has, and those registered through ``/_control/clients``."""

from __future__ import annotations

import re
import secrets
import sqlite3
from dataclasses import dataclass

import orjson

from sync_pipeline.sandbox.snapshots.entities import all_scopes
from sync_pipeline.sandbox.snapshots.grants import hashed

DEFAULT_ID = "sandbox-client"
DEFAULT_SECRET = "sandbox-secret"  # noqa: S105 - printed on the index page; it opens invented data only
DEFAULT_REDIRECTS = (
    "http://localhost:3000/oauth/callback",
    "http://127.0.0.1:3000/oauth/callback",
    # Without a port: any port, for programs that listen wherever there is room (RFC 8252, section 7.3).
    "http://localhost/snapshots/callback",
    "http://127.0.0.1/snapshots/callback",
)
PORT_ON_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|localhost|\[::1\])):\d{1,5}(?=/)")


@dataclass(frozen=True, slots=True)
class Client:
    """A registered application: where it may be sent back to and what it may ask for."""

    id: str
    secret_hash: str
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]

    def knows(self, secret: str) -> bool:
        """Whether this is the client's secret."""
        return secrets.compare_digest(self.secret_hash, hashed(secret))

    def returns_to(self, redirect_uri: str) -> bool:
        """Whether a browser may be sent back there: registered to the letter, but for the port of one's own machine."""
        return redirect_uri in self.redirect_uris or (
            PORT_ON_LOOPBACK.sub(r"\1", redirect_uri, count=1) in self.redirect_uris
        )

    def grantable(self, wanted: str | None) -> str | None:
        """The scope to grant for a ``scope`` parameter; None when it asks for more than is allowed."""
        if not wanted:
            return " ".join(self.scopes)
        names = dict.fromkeys(wanted.split())
        return " ".join(names) if names.keys() <= set(self.scopes) else None


def find_client(db: sqlite3.Connection, client_id: str) -> Client | None:
    """The client of that id; a registered one may replace the default one."""
    row = db.execute(
        "SELECT secret_hash, redirect_uris, scopes FROM snapshots_clients WHERE client_id = ?", (client_id,)
    ).fetchone()
    if row is not None:
        secret_hash, redirect_uris, scopes = row
        return Client(client_id, secret_hash, tuple(orjson.loads(redirect_uris)), tuple(orjson.loads(scopes)))
    if client_id == DEFAULT_ID:
        return Client(DEFAULT_ID, hashed(DEFAULT_SECRET), DEFAULT_REDIRECTS, all_scopes(db))
    return None


def register_client(
    db: sqlite3.Connection, client_id: str, secret: str, redirect_uris: list[str], scopes: list[str]
) -> Client:
    """Add or replace a client; no scopes named means every scope."""
    chosen = scopes or list(all_scopes(db))
    db.execute(
        "INSERT OR REPLACE INTO snapshots_clients (client_id, secret_hash, redirect_uris, scopes) VALUES (?, ?, ?, ?)",
        (client_id, hashed(secret), orjson.dumps(redirect_uris).decode(), orjson.dumps(chosen).decode()),
    )
    return Client(client_id, hashed(secret), tuple(redirect_uris), tuple(chosen))
