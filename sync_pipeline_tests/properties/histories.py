"""Random histories with live syncing: people at work in both systems, webhooks that get lost, runs that fail and die."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pytest
from hypothesis import strategies as st
from sqlalchemy import update

from sync_pipeline.defs.changes import answer
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.sandbox.control.rules import read_rule
from sync_pipeline.sandbox.webhooks.courier import Delivery
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Batch, Days, Options
from sync_pipeline.stages.check import Checking, conclude
from sync_pipeline.stages.extract import extract, remembering_failure
from sync_pipeline.stages.inbox import claim_events
from sync_pipeline.stages.load import load
from sync_pipeline.stages.verify import verify
from sync_pipeline.stages.watch import Dirty, watch
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline.store.records import LAG
from sync_pipeline.store.schema import events, run_locks
from sync_pipeline_tests.harness import ENTITIES, Blocked, Team, team
from sync_pipeline_tests.highlevel import VENDORS
from sync_pipeline_tests.properties.drawing import drawn
from sync_pipeline_tests.properties.invariants import agreed, still
from sync_pipeline_tests.properties.killing import Killed, Killer, killing
from sync_pipeline_tests.properties.life import _ACTIONS, TEXTS, Action
from sync_pipeline_tests.properties.meddling import MEDDLING
from sync_pipeline_tests.properties.saved import Database, Saved, SavedFile
from sync_pipeline_tests.store.inbox import counts
from sync_pipeline_tests.webhooks.shipped import OF_USERS, SHIPPED, WORTH_MOST_FIRST

LOST, DOUBLED, FAULTY = 0.3, 0.3, 0.2
HOOKS = 10
MOST_TICKS = 3
DOING = _ACTIONS | MEDDLING
KINDS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 429},
    {"kind": "cut_before"},
    {"kind": "cut_after"},
    {"kind": "truncated_json"},
]
"""Every way in which a request fails: refused, cut off before it was done or after, answered with half an answer."""
SMALLEST = {"users": 2, "projects": 3, "clients": 2, "locations": 3, "entries": 12, "days": 6}


@dataclass(frozen=True, slots=True)
class Round:
    """What people do, which of the webhooks about it arrive, and how the sensors and their runs fare."""

    actions: list[Action]
    dice: int
    """Decides what gets lost, doubled and mixed up, and which requests go wrong."""
    kill: int | None
    """At which request or write the run is killed."""
    poll: bool


ROUNDS = st.builds(
    Round,
    actions=st.lists(
        st.builds(
            Action,
            kind=st.sampled_from(sorted(DOING)),
            which=st.integers(0, 50),
            days=st.integers(0, 12),
            text=TEXTS,
        ),
        min_size=1,
        max_size=4,
    ),
    dice=st.integers(0, 10_000),
    kill=st.none() | st.integers(1, 40),
    poll=st.integers(0, 9).map(lambda one: one == 0),
)
HISTORIES = st.lists(ROUNDS, min_size=1, max_size=3)


def drawn_history(number: int) -> list[Round]:
    """The history of a seed."""
    return drawn(HISTORIES, number)


@dataclass(slots=True)
class Office:
    """A team in step with live syncing; each history begins as everything was then."""

    us: Team
    killer: Killer
    saved: sqlite3.Connection
    database: Saved
    mail: list[Delivery] = field(default_factory=list)
    cursors: dict[str, str | None] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    prepare: Callable[[], object] = lambda: None
    """What is done to the sandbox before each history."""
    """How often runs were asked for, failed and were killed: a history in which nothing happens proves nothing."""

    def begin(self) -> None:
        """Back to the state in step."""
        world = self.us.sandbox.world
        world.faults.clear()
        world.clock.reset()
        self.saved.backup(world.db)
        world.db.execute("UPDATE temp.versions SET n = n + 1")  # what the sandbox keeps in memory is out of date
        shutil.rmtree(self.us.home, ignore_errors=True)
        self.us.home.mkdir()
        self.database.restore()
        self.mail.clear()
        self.cursors.clear()
        self.prepare()

    def live(self, history: list[Round]) -> None:
        """One round after the other; how it ends is left to the reconciliation."""
        number = 0
        for one in history:
            for action in one.actions:
                number += 1
                DOING[action.kind](self.us, action, number)
            self._tick(one)

    def _tick(self, one: Round) -> None:
        """The webhooks come in, the sensors look, and the runs they ask for are executed - or killed."""
        dice = random.Random(one.dice)
        for kind in KINDS:
            rule = {"route": "*", "rate": FAULTY / len(KINDS), "seed": dice.randrange(10_000), **kind}
            self.us.sandbox.world.faults.add(read_rule(rule))
        try:
            with self.us.session() as session:
                self.deliver(session, dice)
                self.killer.arm(one.kill)
                for entity in ENTITIES:
                    self._look(session, session.specs[entity], one.poll)
        except Killed:
            self.done["killed"] += 1
        finally:
            self.killer.arm(None)
            self.us.sandbox.world.faults.clear()

    def deliver(self, session: Session, dice: random.Random) -> None:
        """What is not lost, in any order, some of it twice; the rest of it, perhaps, next time."""
        coming = [one for one in self.mail if dice.random() >= LOST]
        coming += [one for one in coming if dice.random() < DOUBLED]
        dice.shuffle(coming)
        later = coming[: dice.randrange(len(coming) + 1)] if dice.random() < LOST else []
        receive_many(
            session.store,
            session.pair,
            "clockify",
            [_received(session, one) for one in coming[len(later) :]],
        )
        self.mail[:] = later

    def _look(self, session: Session, spec: EntitySpec, poll: bool) -> None:
        quiet = orjson.dumps({"polled": session.now()}).decode()
        found = watch(session, spec, None if poll else self.cursors.get(spec.entity, quiet))
        self.cursors[spec.entity] = found.cursor
        for dirty in found.runs:
            self.done["asked for"] += 1
            try:
                self._run(session, spec, dirty)
            except (SyncError, dg.Failure, Blocked):
                self.done["failed"] += 1

    def _run(self, session: Session, spec: EntitySpec, dirty: Dirty) -> None:
        if dirty.ids:
            answer(session, spec, dirty.ids, f"run-{next(self.us.runs)}")
        else:
            self._sync(session, spec, dirty.days)

    def _sync(self, session: Session, spec: EntitySpec, days: Days | None) -> None:
        """Extract, map, check and load, with the batch in memory: there are many of them, and they are small."""
        span, run_id = (days or self.us.days) if spec.partitioned else None, f"run-{next(self.us.runs)}"
        raw = claim_events(session, spec, span, extract(session, spec, span))
        read = _walked(remembering_failure(session, spec, raw, span, run_id=run_id))
        checking = Checking(session, spec, read, span, Options(allow_deletes=True))
        results = conclude(session, spec, checking, span, checking.options, run_id=run_id)
        if blocking := [result for result in results if result.blocks]:
            raise Blocked(blocking)
        load(session, spec, checking.batch, span, checking.options, run_id=run_id)

    def holds(self, history: list[Round]) -> None:
        """Live it; then a reconciliation makes both sides agree, nothing exists twice, and what is still open ends."""
        self.begin()
        self.live(history)
        self.reconcile()
        agreed(still(self.us))
        self.clear_the_inbox()

    def reconcile(self) -> None:
        """What the schedules do in the end: read everything again, compare both sides, and repair."""
        self._recognise_the_dead()
        self.us.settle()
        with self.us.session() as session:
            for entity in ENTITIES:
                self._sync(session, session.specs[entity], None)
            for entity in ENTITIES:
                days = self.us.days if session.specs[entity].partitioned else None
                verdict = verify(session, session.specs[entity], days, repair=True)
                assert verdict.in_sync, f"verify of {entity}: {verdict.figures} {verdict.differences[:5]}"

    def _recognise_the_dead(self) -> None:
        """The schedules come later than half a minute after a kill, when the run is known to be dead."""
        with self.us.session() as session, session.store.writing() as tx:
            before = session.now() - timedelta(hours=1)
            tx.execute(update(run_locks).values(started_at=before, free_at=before))

    def clear_the_inbox(self) -> None:
        """What is still open then is answered as well, however often it was tried, once lists lag no more; it writes nothing."""
        self.us.forget_stats()
        with self.us.session() as session:
            for _ in range(MOST_TICKS):
                if not _still_open(session):
                    break
                with session.store.writing() as inbox:
                    inbox.execute(update(events).values(tried_at=None, stored_at=session.now() - 2 * LAG))
                for entity in ENTITIES:
                    self._look(session, session.specs[entity], poll=False)
            left = _still_open(session)
        assert not left, f"still open: {left}"
        assert self.us.writes() == {}


@contextmanager
def office(
    root: Path, patch: pytest.MonkeyPatch, database: Database = SavedFile, vendor: str = "generic"
) -> Iterator[Office]:
    """One sandbox for many histories; its webhooks are handed over here instead of being posted."""
    with team(root, **VENDORS[vendor] | SMALLEST) as us, killing(patch) as killer:
        us.changes |= {"SYNC_MAX_REJECT_SHARE": "1", "SYNC_MAX_DELETE_SHARE": "1", "SYNC_MAX_ATTEMPTS": "1"}
        for event in WORTH_MOST_FIRST[:HOOKS]:
            hook = {"name": event, "url": "http://127.0.0.1:9", "webhookEvent": event}
            named = [user["id"] for user in us.users()] if event in OF_USERS else []
            kind = "USER_ID" if named else "WORKSPACE_ID"
            us.clockify("POST", "/webhooks", {**hook, "triggerSourceType": kind, "triggerSource": named})
        store = database(us)
        us.sync()
        store.keep()
        with sqlite3.connect(":memory:", check_same_thread=False) as saved:
            us.sandbox.world.db.backup(saved)
        here = Office(us, killer, saved, store)
        patch.setattr(us.sandbox.world.courier, "put", here.mail.append)
        yield here
        saved.close()


def _still_open(session: Session) -> dict[str | None, int]:
    """How many events of each entity wait."""
    return {entity: one.open for entity, one in counts(session.store, session.pair).items() if one.open}


def _walked(batch: Batch) -> Batch:
    """The batch, read in full."""
    return Batch(list(batch.parts), batch.notes)


def _received(session: Session, delivery: Delivery) -> Received:
    """An event as the receiver keeps it."""
    body = orjson.loads(delivery.body)
    entity, source_id = SHIPPED.about(delivery.event, body)
    content = content_id(delivery.event, source_id, body)
    return Received(content, delivery.event, entity, source_id, delivery.body.decode(), session.now())
