"""Law 9: what a run, a day or an event claims to have done, judged by the versions of records.

A claim is about records since a step: when the read behind it began. From then on the target holds the version that
existed at that step or a later one - or the record is rejected with a reason, excluded by a rule, waits, or could not be
proven deleted, each of which is named in the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import or_, select

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import records, rejects
from sync_pipeline_tests.harness import Json, Team
from sync_pipeline_tests.properties import versions
from sync_pipeline_tests.properties.versions import SOURCES, TARGETS, Past, State


@dataclass(frozen=True, slots=True)
class Claim:
    """It was reported as done."""

    said: str
    entity: str
    since: int
    """The step at which the read behind it began; of a list that lags, the one at which it was frozen."""
    days: frozenset[str] | None = None
    """The days that are done; None means all of the entity."""
    ids: frozenset[str] | None = None
    """The records it is about, where it names them."""
    waiting: bool = False
    """Whether it reports that records wait for others."""


@dataclass(slots=True)
class Ledger:
    """What the store holds about the records of one entity at the moment."""

    links: dict[str, str] = field(default_factory=dict)
    """Source id to target id."""
    named: set[str] = field(default_factory=set)
    """Rejected, excluded by a rule, or missing without a proof."""
    days: dict[str, str] = field(default_factory=dict)
    """Source id to the day under which the record is stored."""


def read_ledgers(store: Store, connection: str) -> dict[str, Ledger]:
    """All of it, by entity."""
    found = {entity: Ledger() for entity in SOURCES}
    named = or_(records.c.excluded_rule.isnot(None), records.c.unconfirmed_at.isnot(None)).label("named")
    known = select(records.c.entity, records.c.source_id, records.c.target_id, records.c.partition, named)
    with store.reading() as tx:
        for entity, source_id, target_id, day, is_named in tx.execute(known.where(records.c.connection == connection)):
            if target_id is not None:
                found[entity].links[source_id] = target_id
            if day is not None:
                found[entity].days[source_id] = day
            if is_named:
                found[entity].named.add(source_id)
        rejected = select(rejects.c.entity, rejects.c.source_id).where(rejects.c.connection == connection)
        for entity, source_id in tx.execute(rejected):
            found[entity].named.add(source_id)
    return found


@dataclass(slots=True)
class Court:
    """Judges claims against the history known so far."""

    team: Team
    past: Past
    ledgers: dict[str, Ledger]

    def broken(self, claim: Claim) -> list[str]:
        """The records of which a claim is not true now, each in one line."""
        now = self.past.step
        return [
            f"{claim.said} (read since step {claim.since}): {claim.entity} {source_id}: at step {now} {wrong}"
            for source_id in self._subjects(claim, now)
            if (wrong := self._wrong(claim, source_id, now))
        ]

    def _subjects(self, claim: Claim, now: int) -> list[str]:
        """The records a claim is about: named, or on its days when it was read or as the target has them."""
        known = {*self.past.ids(SOURCES[claim.entity])}
        if claim.entity != "locations":  # clients have ids of their own
            known |= {*self.past.ids(TARGETS[claim.entity])}
        if claim.ids is not None:
            return sorted(claim.ids & known)
        if claim.days is None:
            return sorted(known)
        days = claim.days
        return sorted(
            source_id
            for source_id in known
            if versions.day_at_source(claim.entity, self.past.at(SOURCES[claim.entity], source_id, claim.since)) in days
            or versions.day_at_target(claim.entity, self._at_target(claim.entity, source_id, now)) in days
        )

    def _wrong(self, claim: Claim, source_id: str, now: int) -> str:
        """What is not as claimed; "" when all is well."""
        entity = claim.entity
        if source_id in self.ledgers[entity].named:
            return ""
        states = self.past.states(SOURCES[entity], source_id, claim.since, now)
        target = self._at_target(entity, source_id, now)
        if any(self._fits(claim, source_id, state, target) for state in states):
            return ""
        if claim.waiting and any(self._waits(entity, state.body, now) for state in states):
            return ""
        return f"the target holds {_shown(target)}, the source since then: {'; '.join(self._described(entity, states))}"

    def _fits(self, claim: Claim, source_id: str, state: State, target: Json | None) -> bool:
        """Whether the target may look so after this version was read."""
        entity, day = claim.entity, versions.day_at_source(claim.entity, state.body)
        if claim.days is not None and day is not None and day not in claim.days and target is None:
            return True  # it has left these days, and nothing was known of it: the claim is not about where it is
        kind = versions.kind_of(self.team, entity, state.body)
        if kind == "wanted" and state.body is not None:
            return target is not None and versions.found(entity, target) == versions.wanted(entity, state.body)
        if kind == "absent":
            # Only entries are deleted whatever refers to them; a client is archived.
            return target is None or entity != "time_entries" or self._is_elsewhere(claim, source_id, target)
        return kind == "out of scope" and target is None  # what is there of it is excluded, and named so

    def _is_elsewhere(self, claim: Claim, source_id: str, target: Json) -> bool:
        """Whether the store and the target have the record on a day that the claim is not about.

        It came to the claimed days and was deleted before the read met it: the read of the other day finds that it is deleted.
        """
        day = self.ledgers[claim.entity].days.get(source_id)
        is_read = claim.days is None or {day, versions.day_at_target(claim.entity, target)} & claim.days
        return day is not None and not is_read

    def _waits(self, entity: str, body: Json | None, now: int) -> bool:
        if entity != "time_entries" or body is None:
            return False
        wanting = (("projects", body["projectId"]), ("users", body["userId"]))
        return any(key is not None and self._at_target(kind, key, now) is None for kind, key in wanting)

    def _at_target(self, entity: str, source_id: str, step: int) -> Json | None:
        target_id = self.ledgers[entity].links.get(source_id) if entity == "locations" else source_id
        return None if target_id is None else self.past.at(TARGETS[entity], target_id, step)

    def _described(self, entity: str, states: list[State]) -> Iterator[str]:
        for state in states:
            span = f"{state.since}-{'now' if state.until is None else state.until}"
            yield f"{span} {versions.kind_of(self.team, entity, state.body)} {_shown(state.body)}"


def _shown(body: Json | None) -> str:
    if body is None:
        return "nothing"
    interval = body.get("timeInterval") or {}
    shown = {
        "start": body.get("start_time") or interval.get("start"),
        "end": body.get("end_time") or interval.get("end"),
        "words": body.get("description") or body.get("name") or body.get("project_name") or body.get("location_name"),
        "address": body.get("address"),
        "email": body.get("email"),
        "project": body.get("project_id") or body.get("projectId"),
    }
    return ", ".join(f"{name} {value!r}" for name, value in shown.items() if value) or "a record"
