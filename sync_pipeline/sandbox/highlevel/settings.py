"""What can be changed about the HighLevel side while it runs: a switch for each fact of the vendor's that is not certain."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from sync_pipeline.sandbox.database import get_meta, set_meta

META_NAME = "highlevel.settings"
VENDOR = re.compile("ghl|highlevel|leadconnector", re.IGNORECASE)
"""What no address of an app may contain."""
KEYS = ("clockify_projects.project_id", "clockify_users.user_id", "clockify_time_entries.time_entry_id")
"""What ``"unique": true`` means."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The switches; durations are seconds of the sandbox's clock."""

    index_lag: float = 0.0
    """How long a write takes to show in the search."""
    sources_differ: bool = False
    """Each record names another source, although one integration made them."""
    flicker: float = 0.0
    """For so long after that, every other search leaves the record out."""
    unique: list[str] = field(default_factory=list)
    """Fields marked as unique, as ``object.field``."""
    deleted_blocks: bool = False
    """Whether a deleted record still holds its unique value."""
    filters_ignored: bool = False
    filters_find_nothing: bool = False
    """Whether a filter lets no record through."""
    total_extra: int = 0
    """By how much the search's total is too high."""
    total_most: int = 1_000_000_000
    """How far the search counts; there may be more."""
    own_location_only: bool = False
    """A token of one location is answered with that location's data, whatever location was asked for."""
    schema_by: str = "location"
    """Whose token may create and change objects: location or agency."""
    largest: int = 300_000
    """Records in one object."""
    page_limit: int = 300
    per_day: int = 200_000
    token_seconds: int = 86_399
    tokens: dict[str, str] = field(default_factory=dict)
    """Private Integration tokens that are ``revoked`` or ``expired``."""
    missing_scopes: dict[str, list[str]] = field(default_factory=dict)
    """Scopes that a token or an OAuth client lacks."""
    uninstalled: list[str] = field(default_factory=list)
    """Locations without the app."""
    other_customers: list[str] = field(default_factory=list)
    """Locations that the SaaS customer does not have any more."""
    future_locations: bool = False
    """Whether locations that are newer than the consent have the app."""
    webhooks: dict[str, str] = field(default_factory=dict)
    """Addresses by event; ``*`` is that of all others."""
    webhook_key: str = "sandbox"
    """What the key is made from that signs webhooks."""
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Refusals by name that have another ``status`` or ``message``."""

    def with_changes(self, sent: dict[str, Any]) -> Settings:
        """These settings with some replaced; ValueError names what does not fit."""
        changes = dict(sent)
        if isinstance(changes.get("unique"), bool):
            changes["unique"] = list(KEYS) if changes["unique"] else []
        for name, value in changes.items():
            if not hasattr(self, name) or not _fits(getattr(self, name), value):
                raise ValueError(f"{name}={value!r} is not a setting of the HighLevel sandbox")
        if any(VENDOR.search(url) for url in changes.get("webhooks", {}).values()):
            raise ValueError("the address of a webhook contains a Highlevel reference")
        if changes.get("schema_by", "location") not in ("location", "agency"):
            raise ValueError("schema_by is location or agency")
        return replace(self, **changes)


def _fits(old: Any, value: Any) -> bool:
    if isinstance(old, bool):
        return isinstance(value, bool)
    if isinstance(old, (int, float)):
        return isinstance(value, (int, type(old))) and not isinstance(value, bool) and value >= 0
    return isinstance(value, type(old))


def read_settings(db: sqlite3.Connection) -> Settings:
    """The settings in force."""
    stored = get_meta(db, META_NAME)
    return Settings() if stored is None else Settings(**orjson.loads(stored))


def write_settings(db: sqlite3.Connection, settings: Settings) -> None:
    """Put settings in force."""
    set_meta(db, META_NAME, orjson.dumps(asdict(settings)).decode())
