"""The judge of laws 1, 2 and 4: looks at both systems and the store, and says what is not as it must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.session import Session
from sync_pipeline.store.records import scan
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline_tests.harness import ENTITIES, Json, Team, tables
from sync_pipeline_tests.properties import oracle

PARTS = ("created", "adopted", "updated", "unchanged", "rejected", "excluded", "waiting")


def converged(team: Team, **changes: Any) -> None:
    """Laws 1 and 4 hold: every valid record stands at its target as it should, every other one has its reason."""
    agreed(team, **changes)
    for entity, verdict in team.verify(**changes).items():
        assert verdict.in_sync, f"verify of {entity}: {verdict.figures} {verdict.differences[:5]}"


def agreed(team: Team, **changes: Any) -> None:
    """The same, as far as this judge sees; what `verify` says is not asked."""
    with team.session(**changes) as session:
        for entity in ("users", "projects", "time_entries"):
            _upserts_are_right(team, session, entity)
        _clients_are_right(team, session)


def still(team: Team) -> Team:
    """The team as it is at this moment: each list is read once."""
    return _Still(team.sandbox, team.home, team.people, team.changes, team.runs)


class _Still(Team):
    """Nobody changes anything while it is looked at."""

    def _ask(self, method: str, url: str, key: str, body: Any, params: Mapping[str, Any]) -> Any:
        asked = (method, url, tuple(params.items()))
        if asked not in self.seen:
            self.seen[asked] = super()._ask(method, url, key, body, params)
        return self.seen[asked]

    @cached_property
    def seen(self) -> dict[Any, Any]:
        """What was answered so far."""
        return {}


def _upserts_are_right(team: Team, session: Session, entity: str) -> None:
    source = _source_ids(team, entity)
    wanted, invalid = _sorted_out(team, entity)
    excluded = _excluded(team, session, entity)
    found = oracle.found(team, entity)
    rejects = _rejected(session, entity)
    assert rejects == invalid, f"{entity}: set aside {rejects}, should be {invalid}"
    for key, record in wanted.items():
        assert found.get(key) == record, f"{entity} {key}"
    unexpected = found.keys() - wanted.keys() - ((invalid & source) | excluded)
    assert not unexpected, f"{entity}: {unexpected} at the target"
    lost = source - wanted.keys() - invalid - excluded
    assert not lost, f"{entity}: {lost} is neither delivered, nor set aside, nor excluded"


def _sorted_out(team: Team, entity: str) -> tuple[dict[str, Json], set[str]]:
    """The valid records as they should stand at the target, and the ids of invalid ones."""
    wanted = oracle.expected(team, entity)
    if entity != "time_entries":
        return wanted, set()
    projects = oracle.expected(team, "projects").keys() | {None}
    orphans = {key for key, entry in wanted.items() if entry["project_id"] not in projects}
    empty = {
        row["id"]
        for row in team.entries()
        if row["timeInterval"]["start"] == row["timeInterval"]["end"]
        and oracle.in_days(team, row["timeInterval"]["start"])
    }
    return {key: entry for key, entry in wanted.items() if key not in orphans}, orphans | empty


def _source_ids(team: Team, entity: str) -> set[str]:
    if entity != "time_entries":
        return set(oracle.expected(team, entity))
    return {row["id"] for row in team.entries() if oracle.in_days(team, row["timeInterval"]["start"])}


def _excluded(team: Team, session: Session, entity: str) -> set[str]:
    """What a stated rule leaves alone, whatever stands at the target: running now, or moved before the start date."""
    pages = scan(session.store, session.connection, entity)
    known = {row.source_id for page in pages for row in page if row.excluded_rule}
    if entity != "time_entries":
        return known
    source = {row["id"]: row["timeInterval"] for row in team.entries()}
    early = {key for key, interval in source.items() if interval["start"] < team.days.first.isoformat()}
    running = {key for key, interval in source.items() if interval["end"] is None}
    assert known <= early | running, "excluded without a rule that says so"
    return early | running


def _rejected(session: Session, entity: str) -> set[str]:
    return {str(row.source_id) for row in list_rejects(session.store, session.connection, entity=entity, limit=10_000)}


def _clients_are_right(team: Team, session: Session) -> None:
    locations = team.at_snapshots("locations")
    names = Counter(row["location_name"].strip() for row in locations.values())
    clients = {client["name"]: client for client in team.clients()}
    rejects = _rejected(session, "locations")
    for key, location in locations.items():
        name = location["location_name"].strip()
        if len(name) > 100:
            assert key in rejects, f"location {key} has too long a name, and was not set aside"
        elif names[name] > 1:
            # The one whose client has the name already keeps it; nobody else gets it.
            kept = [k for k, other in locations.items() if other["location_name"].strip() == name and k not in rejects]
            assert len(kept) <= 1, f"{kept} clash, and were not set aside"
            assert not kept or not clients[name]["archived"]
        elif key in rejects:
            # The only other reason: the name is held by the client of a location that is itself set aside.
            assert name in clients, f"location {key} was set aside for no reason"
        else:
            client = clients.get(name)
            assert client is not None, f"location {key} has no client"
            assert (client["address"] or None, client["archived"]) == (location["address"] or None, False)
    nothing_twice(team)


def nothing_twice(team: Team) -> None:
    """No location has two clients, and no name stands twice."""
    clients = team.clients()
    for what in ("name", "note"):
        doubled = [value for value, times in Counter(c[what] for c in clients if c[what]).items() if times > 1]
        assert not doubled, f"two clients with the {what} {doubled}"


def adds_up(counts: Counts) -> None:
    """Every record that was read is in exactly one count."""
    figures = asdict(counts)
    assert all(value >= 0 for value in figures.values()), figures
    assert counts.extracted == sum(figures[part] for part in PARTS), figures


def changes_nothing(team: Team, **changes: Any) -> None:
    """Law 2: another sync sends no write and leaves records and deliveries as they are."""
    with team.session(**changes) as session:
        before = tables(session, "records", "deliveries", "rejects")
        team.forget_stats()
        for entity in ENTITIES:
            counts = team.sync_one(session, entity)
            adds_up(counts)
            assert counts.created == counts.adopted == counts.updated == counts.deleted == 0, (entity, counts)
        assert team.writes() == {}
        assert tables(session, "records", "deliveries", "rejects") == before
