"""What can be changed about the Snapshots side while it runs, kept in the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from sync_pipeline.sandbox.database import get_meta, set_meta

META_NAME = "snapshots.settings"
KEY_STATES = ("valid", "revoked", "expired")


@dataclass(frozen=True, slots=True)
class Settings:
    """Life of an access token, requests a second for each credential (None: no limit), strictness, states of keys.

    ``keys`` are API keys that are ``revoked`` or ``expired``; a key that is new here and ``valid`` may do everything.
    """

    token_seconds: int = 3600
    rate_per_second: int | None = 100
    check_references: bool = False
    keys: dict[str, str] = field(default_factory=dict)

    def with_changes(self, changes: dict[str, Any]) -> Settings:
        """These settings with some replaced; ValueError names what does not fit."""
        for name, value in changes.items():
            if name not in _FITS or not _FITS[name](value):
                raise ValueError(f"{name}={value!r} is not a setting of the Snapshots sandbox")
        return replace(self, **{**changes, "keys": self.keys | changes.get("keys", {})})


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _states(value: Any) -> bool:
    return isinstance(value, dict) and all(key and state in KEY_STATES for key, state in value.items())


_FITS: dict[str, Callable[[Any], bool]] = {
    "token_seconds": _whole,
    "rate_per_second": lambda value: value is None or (_whole(value) and value > 0),
    "check_references": lambda value: isinstance(value, bool),
    "keys": _states,
}


def read_settings(db: sqlite3.Connection) -> Settings:
    """The settings in force."""
    stored = get_meta(db, META_NAME)
    return Settings() if stored is None else Settings(**orjson.loads(stored))


def write_settings(db: sqlite3.Connection, settings: Settings) -> None:
    """Put settings in force."""
    set_meta(db, META_NAME, orjson.dumps(asdict(settings)).decode())
