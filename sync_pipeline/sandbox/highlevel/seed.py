"""One invented agency: its locations, the first of which is its own, its users, and the objects a sync needs."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator

import orjson

from sync_pipeline.sandbox.database import get_meta, set_meta, transaction
from sync_pipeline.sandbox.highlevel.contacts import seed_contacts
from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME, letters
from sync_pipeline.sandbox.highlevel.objects import PLURAL, make_field, make_folder, make_object, stamp
from sync_pipeline.sandbox.highlevel.opportunities import invented, store_opportunity
from sync_pipeline.sandbox.highlevel.resource import Json
from sync_pipeline.sandbox.snapshots.seed import NAMES, PLACES
from sync_pipeline.sandbox.world import World

COUNTRIES = {
    "Switzerland": "CH", "Germany": "DE", "France": "FR", "USA": "US", "Japan": "JP", "Australia": "AU", "Poland": "PL",
}  # fmt: skip
PEOPLE = ("Ada Agency", "Ben Agency")
MATCHED = 4
"""Users with the e-mail address of a user of Clockify."""
OBJECTS: dict[str, tuple[str, dict[str, str]]] = {
    "clockify_projects": (
        "Clockify project",
        {
            "project_id": "TEXT", "project_name": "TEXT", "client_id": "TEXT", "client_name": "TEXT", "archived": "TEXT",
            "billable": "TEXT", "color": "TEXT", "note": "LARGE_TEXT", "location_id": "TEXT",
        },
    ),
    "clockify_users": (
        "Clockify user",
        {"user_id": "TEXT", "email": "TEXT", "role": "TEXT", "name": "TEXT", "status": "TEXT", "time_zone": "TEXT"},
    ),
    "clockify_time_entries": (
        "Clockify time entry",
        {
            "time_entry_id": "TEXT", "start_time": "TEXT", "end_time": "TEXT", "start_day": "DATE", "task_id": "TEXT",
            "project_id": "TEXT", "user_id": "TEXT", "description": "LARGE_TEXT", "billable": "TEXT",
            "duration_seconds": "NUMERICAL", "hours": "NUMERICAL", "tags": "LARGE_TEXT", "type": "TEXT",
        },
    ),
}  # fmt: skip


def seed_highlevel(world: World) -> None:
    """Fill an empty agency, and make the objects of the home location when the sandbox is to have them."""
    if get_meta(world.db, "highlevel.seed") is None:
        rng = random.Random(world.options.seed + 3)
        with transaction(world.db):
            for location in list(_locations(world, rng)):
                store_location(world.db, location)
                for opportunity in invented(world, rng, location["id"]):
                    store_opportunity(world.db, opportunity)
            for user in _users(world):
                values = (user["id"], orjson.dumps(user).decode())
                world.db.execute("INSERT INTO highlevel_users VALUES (?, ?)", values)
            set_meta(world.db, "highlevel.seed", str(world.options.seed))
    seed_contacts(world)  # every time: a file of an earlier version has none
    if world.options.highlevel_prepared:
        prepare_home(world)


def prepare_home(world: World) -> None:
    """Make the objects and fields that the home location does not have."""
    with transaction(world.db):
        for name, (label, fields) in OBJECTS.items():
            query = "SELECT 1 FROM highlevel_objects WHERE location_id = ? AND object_key = ?"
            if world.db.execute(query, (HOME, name)).fetchone():
                continue
            primary = {"key": f"{PLURAL}{name}.title", "name": "Title", "dataType": "TEXT"}
            make_object(world, HOME, name, {"singular": label, "plural": label.removesuffix("y") + "s"}, primary)
            folder = make_folder(world, HOME, name, "Clockify")
            for key, kind in fields.items():
                title = key.replace("_", " ").capitalize()
                field = {"name": title, "dataType": kind, "parentId": folder["id"], "showInForms": False}
                make_field(world, HOME, name, key, field)


def store_location(db: sqlite3.Connection, location: Json) -> None:
    """Add a location, or replace it."""
    db.execute(
        "INSERT INTO highlevel_locations (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        (location["id"], orjson.dumps(location).decode()),
    )


def _locations(world: World, rng: random.Random) -> Iterator[Json]:
    names = ["Northwind Agency", *NAMES][: max(1, world.options.highlevel_locations)]
    for number, name in enumerate(names, 1):
        city, code, country, time_zone, phone, streets = rng.choice(PLACES)
        mailbox = "".join(letter for letter in name.lower() if letter.isascii() and letter.isalnum())
        yield {
            "id": HOME if number == 1 else letters("location", world.options.seed, number),
            "companyId": COMPANY,
            "name": name,
            "address": f"{rng.choice(streets)} {rng.randint(1, 180)}" if rng.random() < 0.9 else "",
            "city": city.partition(",")[0],
            "state": city.partition(", ")[2],
            "country": COUNTRIES[country],
            "postalCode": code,
            "email": f"hello@{mailbox}.example",
            "phone": phone.format(rng.randint(0, 9999)),
            "website": f"https://{mailbox}.example",
            "timezone": time_zone,
            "settings": {"allowDuplicateContact": False},
            "social": {},
            "dateAdded": stamp(world),
        }


def _users(world: World) -> Iterator[Json]:
    rows = world.db.execute(
        "SELECT name, email FROM users WHERE name IS NOT NULL ORDER BY id LIMIT ?", (MATCHED,)
    ).fetchall()
    for name, email in [*rows, *((name, f"{name.split()[0].lower()}@agency.example") for name in PEOPLE)]:
        first, _, last = name.partition(" ")
        yield {
            "id": letters("user", email),
            "name": name,
            "firstName": first,
            "lastName": last,
            "email": email,
            "roles": {"type": "account", "role": "user", "locationIds": [HOME]},
        }
