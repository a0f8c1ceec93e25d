"""Laws 1, 2 and 4: looks at both systems and the store, and reports what is not as it must be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

from sqlalchemy import select

from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Counts
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline.store.schema import FACTS, records
from sync_pipeline_tests.harness import ENTITIES, Json, Team, tables
from sync_pipeline_tests.properties import oracle

PARTS = ("created", "adopted", "updated", "unchanged", "rejected", "excluded", "waiting")
BESIDE_FACTS = ("read_no", "rejected_on")


def converged(team: Team, **changes: Any) -> None:
    """Laws 1 and 4 hold: every valid record is at its target as it should be, every other one has its reason."""
    agreed(team, **changes)
    for entity, verdict in team.verify(**changes).items():
        assert verdict.in_sync, f"verify of {entity}: {verdict.figures} {verdict.differences[:5]}"


def agreed(team: Team, **changes: Any) -> None:
    """The same, as far as the systems and the store show; what `verify` reports is not used."""
    with team.session(**changes) as session:
        for entity in ("users", "projects", "time_entries"):
            _upserts_are_right(team, session, entity)
        facts_are_right(team, session)
        _clients_are_right(team, session)


def still(team: Team) -> Team:
    """The current state of the team: each list is read once."""
    kind = type("StillTeam", (_Still, type(team)), {})
    found: Team = kind(team.sandbox, team.home, team.people, team.changes, team.runs)
    return found


class _Still(Team):
    """No one changes anything while it is looked at."""

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
    assert rejects == invalid, f"{entity}: rejected {rejects}, should be {invalid}"
    for key, record in wanted.items():
        assert found.get(key) == record, f"{entity} {key}: {found.get(key)}, should be {record}"
    unexpected = found.keys() - wanted.keys() - ((invalid & source) | excluded | _referred(team, entity))
    assert not unexpected, f"{entity}: {unexpected} at the target"
    lost = source - wanted.keys() - invalid - excluded
    assert not lost, f"{entity}: {lost} is neither delivered, nor rejected, nor excluded"


def facts_are_right(team: Team, session: Session) -> None:
    """Whatever was delivered of them, the facts of entries are those of the source; nothing else has any."""
    wanted, found = oracle.facts_of_entries(team), facts_in(session, "entry_facts")
    for key, facts in wanted.items():
        assert found.get(key) == facts, f"facts of {key}: {found.get(key)}, should be {facts}"
    assert found.keys() == wanted.keys(), f"facts of {found.keys() - wanted.keys()}, which are not in scope"


def facts_in(session: Session, table: str) -> dict[str, Json]:
    """The rows of a table of facts by the id of the record."""
    columns = [column for column in FACTS[table].c if column.name not in ("connection", "entity", *BESIDE_FACTS)]
    with session.store.reading() as tx:
        ours = FACTS[table].c.connection == session.pair
        rows = [dict(row._mapping) for row in tx.execute(select(*columns).where(ours))]
    for row in rows:
        if row.get("tags"):
            row["tags"] = json.loads(row["tags"])
    return {row.pop("source_id"): row for row in rows}


def _sorted_out(team: Team, entity: str) -> tuple[dict[str, Json], set[str]]:
    """The valid records as they should be at the target, and the ids of invalid ones."""
    wanted = oracle.expected(team, entity)
    if entity != "time_entries":
        return wanted, set()
    empty = {
        row["id"]
        for row in team.entries()
        if row["timeInterval"]["start"] == row["timeInterval"]["end"]
        and oracle.in_days(team, row["timeInterval"]["start"])
    }
    return wanted, empty


def _referred(team: Team, entity: str) -> set[str]:
    """The users and projects that time entries refer to, at the source or at the target: these may stay."""
    field = {"users": ("userId", "user_id"), "projects": ("projectId", "project_id")}.get(entity)
    if field is None:
        return set()
    source, target = ({row[name] for row in rows} for name, rows in zip(field, _all_entries(team), strict=True))
    return {key for key in source | target if key}


def _all_entries(team: Team) -> tuple[list[Json], list[Json]]:
    return team.entries(), list(team.at_snapshots("time_entries").values())


def _source_ids(team: Team, entity: str) -> set[str]:
    if entity != "time_entries":
        return set(oracle.expected(team, entity))
    return {row["id"] for row in team.entries() if oracle.in_days(team, row["timeInterval"]["start"])}


def _excluded(team: Team, session: Session, entity: str) -> set[str]:
    """What a stated rule leaves alone, whatever is at the target: running now, or moved before the start date."""
    pages = session.ledger(entity).scan()
    known = {row.source_id for page in pages for row in page if row.excluded_rule}
    if entity != "time_entries":
        return known
    source = {row["id"]: row["timeInterval"] for row in team.entries()}
    early = {key for key, interval in source.items() if interval["start"] < team.days.first.isoformat()}
    running = {key for key, interval in source.items() if interval["end"] is None}
    assert known <= early | running, "excluded without a rule that says so"
    return early | running


def _rejected(session: Session, entity: str) -> set[str]:
    return {str(row.source_id) for row in list_rejects(session.store, session.pair, entity=entity, limit=10_000)}


def _clients_are_right(team: Team, session: Session) -> None:
    locations = team.at_snapshots("locations")
    names = Counter(row["location_name"].strip() for row in locations.values())
    clients = {client["name"]: client for client in team.clients()}
    rejects = _rejected(session, "locations")
    for key, location in locations.items():
        name = location["location_name"].strip()
        if len(name) > 100:
            assert key in rejects, f"location {key} has too long a name, and was not rejected"
        elif names[name] > 1:
            # The one whose client has the name already keeps it; no one else gets it.
            kept = [k for k, other in locations.items() if other["location_name"].strip() == name and k not in rejects]
            assert len(kept) <= 1, f"{kept} clash, and were not rejected"
            assert not kept or not clients[name]["archived"]
        elif key in rejects:
            # The only other reason: the name is held by the client of a location that is itself rejected.
            assert name in clients, f"location {key} was rejected for no reason"
        else:
            client = clients.get(name)
            assert client is not None, f"location {key} has no client"
            assert (client["address"] or None, client["archived"]) == (location["address"] or None, False)
    nothing_twice(team)


def nothing_twice(team: Team) -> None:
    """No location has two clients, and no name exists twice."""
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
    """Law 2: another sync sends no write and leaves records and deliveries unchanged."""
    with team.session(**changes) as session:
        before = _stored(session)
        team.forget_stats()
        for entity in ENTITIES:
            counts = team.sync_one(session, entity)
            adds_up(counts)
            assert counts.created == counts.adopted == counts.updated == counts.deleted == 0, (entity, counts)
        assert team.writes() == {}
        assert _stored(session) == before


def _stored(session: Session) -> dict[str, list[tuple[Any, ...]]]:
    """All that is stored, but for the hash of what was read: it follows fields that are not mapped, too."""
    columns = [column for column in records.c if column.name != "source_hash"]
    with session.store.reading() as tx:
        known = [tuple(row) for row in tx.execute(select(*columns).order_by(*columns[:3]))]
    return {"records": known, **tables(session, "deliveries", "rejects")}
