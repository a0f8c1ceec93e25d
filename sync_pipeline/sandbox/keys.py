"""The keys people and tests use; Clockify's are in its table, the others keep their own."""

from __future__ import annotations

import sqlite3

from sync_pipeline.sandbox.highlevel.keys import highlevel_keys
from sync_pipeline.sandbox.highlevel.settings import read_settings
from sync_pipeline.sandbox.highlevel.webhooks import public_key
from sync_pipeline.sandbox.snapshots.keys import snapshot_keys

OWNER_KEY = "sandbox-clockify-key"
MEMBER_KEY = "sandbox-clockify-member-key"
ADDON_TOKEN = "sandbox-clockify-addon-token"  # noqa: S105 - a public key to invented data


def all_keys(db: sqlite3.Connection) -> dict[str, str]:
    """Every key that works, by what it is for."""
    rows = db.execute("SELECT note, key FROM api_keys ORDER BY rowid").fetchall()
    return (
        {row["note"]: row["key"] for row in rows}
        | snapshot_keys(db)
        | highlevel_keys(db)
        | {"HighLevel webhook public key": public_key(read_settings(db).webhook_key)}
    )
