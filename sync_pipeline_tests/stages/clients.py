"""Locations and the clients they are linked to: looking at them, renaming them."""

from __future__ import annotations

from sync_pipeline.store.deliveries import recent
from sync_pipeline.store.rejects import StoredReject, list_rejects
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged

START = {"one": "A", "two": "B", "three": "C", "four": "D"}


def rejects(us: Team) -> dict[str, StoredReject]:
    """Locations that are rejected."""
    with us.session() as session:
        rows = list_rejects(session.store, session.pair, entity="locations")
    return {row.source_id: row for row in rows}


def kinds(us: Team, location: str) -> list[tuple[str, str | None]]:
    """What was done for a location, oldest first: kind and outcome of every answered write."""
    with us.session() as session:
        lines = recent(session.store, session.pair, entity="locations", source_id=location)
    return [(line.kind, line.outcome) for line in reversed(lines) if line.phase == "outcome"]


def own(us: Team) -> dict[str, str]:
    """The client each location is linked to."""
    with us.session() as session:
        return {key: client for client, key in session.ledger("locations").linked().items()}


def rename(us: Team, **names: str) -> None:
    """Give locations other names."""
    for key, name in names.items():
        us.put_location(key, location_name=name)


def names(us: Team) -> dict[str, str]:
    """The name of each location's client."""
    found = {client["id"]: client["name"] for client in us.clients()}
    return {key: found[client] for key, client in own(us).items()}


def settled(us: Team) -> None:
    """Both sides are as they should be, and stay so."""
    us.sync()
    converged(us)
    changes_nothing(us)


def stands_still(us: Team) -> None:
    """Locations that are rejected are left alone."""
    us.sync("users", "projects", "time_entries")
    changes_nothing(us)


def places(us: Team) -> dict[str, str]:
    """Four locations with their clients; returns the clients' ids."""
    rename(us, **START)
    us.sync("locations")
    return own(us)
