"""Histories of an automation: locations come, change and go, events are doubled, lost and late, runs are killed at any step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st
from sqlalchemy import update

from sync_pipeline.errors import SyncError
from sync_pipeline.session.session import Session
from sync_pipeline.setup.automations import switch_on
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.store.schema import run_locks
from sync_pipeline_tests.harness import Blocked, Json, Team, team
from sync_pipeline_tests.properties.drawing import drawn
from sync_pipeline_tests.properties.killing import Killed, Killer, killing
from sync_pipeline_tests.properties.saved import Database, SavedFile

NAME, TEMPLATE = "starter_projects", "Template"
PEOPLE = ("add", "add", "rename", "delete", "remove project", "lose an answer")
RUNS = ("locations", "event of a location", "automation", "event", "event")


@dataclass(frozen=True, slots=True)
class Moment:
    """What a person does, or which run starts and at which step it is killed."""

    kind: str
    which: int
    kill: int | None


MOMENTS = st.lists(
    st.builds(Moment, st.sampled_from(sorted({*PEOPLE, *RUNS})), st.integers(0, 20), st.none() | st.integers(1, 40)),
    min_size=1,
    max_size=14,
)


def drawn_moments(number: int) -> list[Moment]:
    """The history of a seed."""
    return drawn(MOMENTS, number)


@dataclass(slots=True)
class Agency:
    """A team whose automation is on, and what happened to it."""

    us: Team
    killer: Killer
    before: frozenset[str]
    new: list[str] = field(default_factory=list)
    removed: dict[str, Json] = field(default_factory=dict)

    def live(self, one: Moment, number: int) -> None:
        """One moment."""
        us = self.us
        places, mine = sorted(us.at_snapshots("locations")), made_by(us)
        if one.kind == "add":
            self.new.append(f"new-{number}")
            us.put_location(self.new[-1], location_name=f"Site {number}")
        elif one.kind == "rename" and places:
            us.put_location(places[one.which % len(places)], location_name=f"Renamed {number}")
        elif one.kind == "delete" and self.new:
            us.snapshots("DELETE", f"/locations/{self.new.pop(one.which % len(self.new))}")
        elif one.kind == "remove project" and mine:
            entry = mine[one.which % len(mine)]
            us.delete_project(entry["id"])
            self.removed[entry["id"]] = entry
        elif one.kind == "lose an answer":
            kind = ("cut_after", "cut_before")[one.which % 2]
            us.fault(kind, "POST */projects/from-template", count=1 + one.which % 3)
        elif one.kind in RUNS:
            self.run(one, places)

    def run(self, one: Moment, places: list[str]) -> None:
        """A run, which may be killed, or fail."""
        entity = "locations" if "location" in one.kind else NAME
        ids = [places[one.which % len(places)]] if places and one.kind.startswith("event") else []
        try:
            with self.us.session() as session:
                self.killer.arm(one.kill)
                try:
                    self._sync(session, entity, ids)
                finally:
                    self.killer.arm(None)
        except (Killed, SyncError, Blocked):
            recognise_the_dead(self.us)

    def _sync(self, session: Session, entity: str, ids: list[str]) -> None:
        if ids:
            sync_ids(session, session.specs[entity], ids, run_id=f"run-{next(self.us.runs)}")
        else:
            self.us.sync_one(session, entity)

    def settle(self) -> None:
        """Everything is synced, as the schedules do in the end, and the history is checked."""
        us = self.us
        us.no_faults()
        for _ in range(2):
            us.sync("locations", NAME, SYNC_MAX_DELETE_SHARE="1", SYNC_MAX_REJECT_SHARE="1")
        there = {project["id"]: project for project in made_by(us)}
        with us.session() as session:
            known = {one.source_id: one for page in session.ledger(NAME).scan() for one in page}
        linked = Counter(str(one.target_id) for one in known.values() if one.target_id)
        assert set(linked.values()) <= {1}, "one project, one record"
        assert there.keys() | self.removed.keys() == linked.keys(), "nothing was made that is not known, or made twice"
        assert not there.keys() & self.removed.keys(), "what was removed stays removed"
        assert all(known[key].target_id is None for key in self.before), "what existed is left alone"
        lacking = [key for key in self.new if known[key].target_id is None]
        assert not lacking, f"no project of {lacking}"
        assert not any(one.target_id and one.delivered_hash != one.fields_hash for one in known.values())
        verdict = us.verify(NAME)[NAME]
        assert verdict.in_sync
        assert (verdict.target, verdict.removed) == (len(there), len(self.removed))
        done = us.sync("locations", NAME)
        assert [counts.writes for counts in done.values()] == [0, 0]


def made_by(us: Team) -> list[Json]:
    """What is there besides the template."""
    return [project for project in us.projects() if project["name"] != TEMPLATE]


def template(us: Team) -> dict[str, str]:
    """A project that is a template, as the automation asks for it."""
    made = us.clockify("POST", "/projects", {"name": TEMPLATE})
    us.clockify("PATCH", f"/projects/{made['id']}/template", {"isTemplate": True})
    return {"templateProjectId": made["id"]}


def recognise_the_dead(us: Team) -> None:
    """The next run comes later than half a minute after a kill, when the run is known to be dead."""
    with us.session() as session, session.store.writing() as tx:
        before = session.now() - timedelta(hours=1)
        tx.execute(update(run_locks).values(started_at=before, free_at=before))


def holds(root: Path, patch: pytest.MonkeyPatch, history: list[Moment], database: Database = SavedFile) -> None:
    """Whatever happens, each new location has one project in the end, and no other has any."""
    with team(root, locations=2, clients=0, entries=0, users=1, projects=0) as us, killing(patch) as killer:
        database(us)
        us.changes["SYNC_MAX_ATTEMPTS"] = "1"
        us.sync("locations")
        switch_on(SetupService("a person", us.home, us.environ), NAME, template(us))
        agency = Agency(us, killer, frozenset(us.at_snapshots("locations")))
        for number, one in enumerate(history):
            agency.live(one, number)
        agency.settle()


def fewer_moments(history: list[Moment]) -> Iterator[list[Moment]]:
    """The histories that lack one moment each."""
    return (history[:number] + history[number + 1 :] for number in range(len(history)))
