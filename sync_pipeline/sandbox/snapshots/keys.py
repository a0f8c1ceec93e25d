"""API keys with readable fixed names: one for everything, one for reading, one per scope, and those a control adds."""

from __future__ import annotations

import re
import sqlite3

from sync_pipeline.sandbox.snapshots.entities import all_scopes
from sync_pipeline.sandbox.snapshots.settings import read_settings

FULL_KEY = "sandbox-snapshots-key"
READ_ONLY_KEY = "sandbox-snapshots-read-only-key"


def key_of_scope(scope: str) -> str:
    """The key that has exactly this scope: ``sandbox-snapshots-time-entries-read-key``."""
    return f"sandbox-snapshots-{re.sub(r'[^a-z0-9]+', '-', scope)}-key"


def key_scopes(db: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """Every key and what it may do."""
    scopes = all_scopes(db)
    reading = tuple(scope for scope in scopes if scope.endswith(".read"))
    added = dict.fromkeys(read_settings(db).keys, scopes)  # and the built-in ones whose state was changed
    return added | {FULL_KEY: scopes, READ_ONLY_KEY: reading} | {key_of_scope(scope): (scope,) for scope in scopes}


def snapshot_keys(db: sqlite3.Connection) -> dict[str, str]:
    """Every key by what it is for, as the index page lists them."""
    named = {"Snapshots key": FULL_KEY, "Snapshots read-only key": READ_ONLY_KEY}
    return named | {f"Snapshots {scope}": key_of_scope(scope) for scope in all_scopes(db)}
