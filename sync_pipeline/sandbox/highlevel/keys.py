"""Private Integration tokens: one of the agency, one of each location, named by its number; the first is the home location."""

from __future__ import annotations

import sqlite3

from sync_pipeline.sandbox.highlevel.ids import COMPANY

AGENCY_TOKEN, HOME_TOKEN = "pit-sandbox-agency", "pit-sandbox-home"
AGENCY_SCOPES: tuple[str, ...] = ("locations.readonly", "users.readonly", "saas/location.read")
SCHEMA_SCOPES: tuple[str, ...] = ("objects/schema.readonly", "objects/schema.write")
LOCATION_SCOPES: tuple[str, ...] = (
    "locations.readonly", "users.readonly", *SCHEMA_SCOPES, "objects/record.readonly", "objects/record.write",
    "locations/customFields.readonly", "locations/customFields.write", "opportunities.readonly",
    "contacts.readonly", "contacts.write", "businesses.readonly", "businesses.write",
)  # fmt: skip
APP_ID = "5a4db0c0de00000000000001"
CLIENT_ID, CLIENT_SECRET = f"{APP_ID}-sandbox", "sandbox-app-secret"
APP_SCOPES = tuple(dict.fromkeys((*AGENCY_SCOPES, *LOCATION_SCOPES, "oauth.readonly", "oauth.write")))
"""What the sandbox's marketplace app may ask for."""


def location_token(number: int) -> str:
    """The token of the location that arrived as this one."""
    return HOME_TOKEN if number == 1 else f"pit-sandbox-location-{number}"


def token_owner(db: sqlite3.Connection, token: str) -> str | None:
    """The location, or the company, that a Private Integration token is for."""
    if token == AGENCY_TOKEN:
        return COMPANY
    number = token.removeprefix("pit-sandbox-location-")
    arrival = 1 if token == HOME_TOKEN else int(number) if number.isdecimal() and len(number) < 10 else 0
    row = db.execute("SELECT id FROM highlevel_locations WHERE arrival = ?", (arrival,)).fetchone()
    return None if row is None or location_token(arrival) != token else str(row[0])


def highlevel_keys(db: sqlite3.Connection) -> dict[str, str]:
    """Every token by what it is for, as the index page lists them."""
    numbers = [number for (number,) in db.execute("SELECT arrival FROM highlevel_locations ORDER BY arrival")]
    named = {f"HighLevel location {number} token": location_token(number) for number in numbers if number != 1}
    app = {"HighLevel app client id": CLIENT_ID, "HighLevel app secret": CLIENT_SECRET}
    return {"HighLevel agency token": AGENCY_TOKEN, "HighLevel home token": HOME_TOKEN} | named | app
