"""Invented customers' sites and project figures; the same random numbers give the same ones."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import orjson

from sync_pipeline.sandbox.snapshots.analytics import Figure, store_figures
from sync_pipeline.sandbox.snapshots.entities import LOCATIONS
from sync_pipeline.sandbox.snapshots.validation import EPOCH
from sync_pipeline.sandbox.world import World

NAMES = (
    "Harbour Dental", "Café Zürich", "Löwen Apotheke", "Oak & Sons Roofing", "Peak Fitness", "Bäckerei Schönfeld",
    "Sakura 桜 Spa", "Nordlys Yoga", "Pâtisserie Élodie", "Green Valley Vets", "Riverside Law", "Blue Door Realty",
    "Kraków Motors", "Casa Niño", "Smile Studio", "Fjord Outfitters", "O'Malley's Pub", "Atelier Größe",
    "Sunrise Physio", "Lisboa Azulejos", "Copper Kettle", "Tannenhof Hotel", "Brightside Nursery", "İstanbul Optik",
)  # fmt: skip
PLACES = (
    ("Zürich", "CH-8001", "Switzerland", "Europe/Zurich", "+41 44 555 {:04d}", ("Bahnhofstraße", "Limmatquai")),
    ("Berlin", "10115", "Germany", "Europe/Berlin", "+49 30 5550 {:04d}", ("Torstraße", "Chausseestraße")),
    ("Lyon", "69002", "France", "Europe/Paris", "+33 4 55 50 {:04d}", ("Rue de la République", "Quai Perrache")),
    ("Austin, TX", "78701", "USA", "America/Chicago", "+1 512 555 {:04d}", ("Congress Ave", "E 6th St")),
    ("Portland, OR", "97205", "USA", "America/Los_Angeles", "+1 503 555 {:04d}", ("SW Morrison St", "NW 23rd Ave")),
    ("Tokyo", "150-0001", "Japan", "Asia/Tokyo", "+81 3 5550 {:04d}", ("Jingumae", "Omotesando")),
    ("Sydney", "NSW 2000", "Australia", "Australia/Sydney", "+61 2 5550 {:04d}", ("George St", "Pitt St")),
    ("Kraków", "31-042", "Poland", "Europe/Warsaw", "+48 12 555 {:04d}", ("Rynek Główny", "ul. Floriańska")),
)
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def seed_locations(world: World, rng: random.Random, count: int) -> None:
    """``count`` sites with distinct names; now and then one without address, phone or e-mail."""
    now = world.clock.now()
    now_us, now_text = (now - EPOCH) // timedelta(microseconds=1), f"{now:%Y-%m-%dT%H:%M:%S.%f}Z"
    world.db.executemany(
        "INSERT OR REPLACE INTO snapshots_records (entity, id, body, updated_us) VALUES ('locations', ?, ?, ?)",
        (
            (
                location["location_id"],
                orjson.dumps({**location, "created_at": now_text, "updated_at": now_text}),
                now_us,
            )
            for location in _locations(rng, count)
        ),
    )


def _locations(rng: random.Random, count: int) -> Iterator[dict[str, str | None]]:
    for number in range(count):
        name = NAMES[number % len(NAMES)]
        city, code, country, time_zone, phone, streets = rng.choice(PLACES)
        if number >= len(NAMES):
            name = f"{name} {city.partition(',')[0]} {number // len(NAMES) + 1}"
        street = f"{rng.choice(streets)} {rng.randint(1, 180)}"
        mailbox = "".join(letter for letter in name.lower() if letter.isascii() and letter.isalnum())
        yield {
            **LOCATIONS.empty,
            "location_id": "loc" + "".join(rng.choices(ALPHABET, k=17)),
            "location_name": name,
            "address": f"{street}, {code} {city}, {country}" if rng.random() < 0.95 else None,
            "phone": phone.format(rng.randint(0, 9999)) if rng.random() < 0.8 else None,
            "email": f"hello@{mailbox}.example" if rng.random() < 0.7 else None,
            "time_zone": time_zone,
        }


def seed_analytics(world: World, rng: random.Random) -> None:
    """Twelve months up to this one for every Clockify project there is."""
    projects = world.db.execute("SELECT id, name FROM projects ORDER BY id").fetchall()
    store_figures(world.db, _figures(rng, [(p["id"], p["name"]) for p in projects], _months(world.clock.now().date())))


def _months(today: date) -> list[str]:
    first = today.year * 12 + today.month - 12
    return [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(first, first + 12)]


def _figures(rng: random.Random, projects: Sequence[tuple[str, str]], months: Sequence[str]) -> Iterator[Figure]:
    for project_id, name in projects:
        budget, health = rng.randrange(2_000, 40_000, 500), rng.uniform(0.6, 1.4)
        for month in months:
            revenue = round(budget * rng.uniform(0.7, 1.2), 2)
            cost = round(revenue * health * rng.uniform(0.5, 0.9), 2)
            yield {
                "project_id": project_id,
                "project_name": name,
                "month": month,
                "currency": "USD",
                "revenue": revenue,
                "cost": cost,
                "budget": float(budget),
                "margin": round(revenue - cost, 2),
            }
