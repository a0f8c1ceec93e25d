"""What the sandbox's journal holds about the past, and what a version of a record should look like at its target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import orjson

from sync_pipeline_tests.harness import Json, Team
from sync_pipeline_tests.properties import oracle

Place = tuple[str, str]
"""System and kind."""
SOURCES: dict[str, Place] = {
    "locations": ("snapshots", "locations"),
    "users": ("clockify", "users"),
    "projects": ("clockify", "projects"),
    "time_entries": ("clockify", "time_entries"),
}
TARGETS: dict[str, Place] = {
    "locations": ("clockify", "clients"),
    "users": ("snapshots", "users"),
    "projects": ("snapshots", "projects"),
    "time_entries": ("snapshots", "time_entries"),
}


@dataclass(frozen=True, slots=True)
class State:
    """A record from one step until another; no body means that it did not exist."""

    since: int
    until: int | None
    body: Json | None

    def exists_in(self, first: int, last: int) -> bool:
        """Whether it was so at any step of these."""
        return self.since <= last and (self.until is None or self.until > first)


@dataclass(slots=True)
class Past:
    """Every version of every record, read from the journal through the sandbox's controls."""

    team: Team
    step: int = -1
    versions: dict[Place, dict[str, dict[int, State]]] = field(default_factory=dict)

    def start(self) -> None:
        """Begin a new journal."""
        self.team.control("POST", "journal", {"on": True})
        self.step, self.versions = -1, {}
        self.look()

    def look(self) -> int:
        """Read what is new; the number of the last step."""
        while True:
            found = self.team.control("POST", "journal", {"after": self.step})
            assert found["complete_since"] == 0, "the journal is too short for this history"
            for one in map(self.team.generic, found["versions"]):
                states = self.versions.setdefault((one["system"], one["kind"]), {}).setdefault(one["id"], {})
                states[one["since"]] = State(one["since"], one["until"], one["body"])
            last = found["steps"][-1]["number"] if found["steps"] else found["step"]
            self.step = max(self.step, last)
            if self.step >= found["step"]:
                return self.step

    def ids(self, place: Place) -> list[str]:
        """Every record there ever was."""
        return sorted(self.versions.get(place, {}))

    def states(self, place: Place, record_id: str, first: int, last: int) -> list[State]:
        """What a record was from ``first`` to ``last``, in order, times without it included."""
        return [state for state in self._life(place, record_id) if state.exists_in(first, last)]

    def at(self, place: Place, record_id: str, step: int) -> Json | None:
        """A record's version at a step."""
        (state,) = self.states(place, record_id, step, step)
        return state.body

    def _life(self, place: Place, record_id: str) -> Iterator[State]:
        """All states from the beginning to now."""
        end: int | None = 0
        for _, state in sorted(self.versions.get(place, {}).get(record_id, {}).items()):
            if end is not None and state.since > end:
                yield State(end, state.since, None)
            yield state
            end = state.until
        if end is not None:
            yield State(end, None, None)


Kind = Literal["wanted", "invalid", "out of scope", "absent"]


def kind_of(team: Team, entity: str, body: Json | None) -> Kind:
    """What becomes of a version of a source record."""
    if body is None:
        return "absent"
    if entity != "time_entries":
        return "wanted"
    start, end = (body["timeInterval"][name] for name in ("start", "end"))
    if end is None or not oracle.in_days(team, start):
        return "out of scope"
    return "invalid" if start == end else "wanted"


def wanted(entity: str, body: Json) -> bytes:
    """The target's mapped fields for this version of a source record, comparable."""
    return _comparable(oracle.mapped(entity, body))


def found(entity: str, body: Json) -> bytes:
    """The mapped fields of a record at the target, comparable with ``wanted``."""
    return _comparable(oracle.cut(body, entity))


def day_at_source(entity: str, body: Json | None) -> str | None:
    """The partition of a source record."""
    return body["timeInterval"]["start"][:10] if body is not None and entity == "time_entries" else None


def day_at_target(entity: str, body: Json | None) -> str | None:
    """The partition of a record at the target."""
    return body["start_time"][:10] if body is not None and entity == "time_entries" else None


def _comparable(fields: Json) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
