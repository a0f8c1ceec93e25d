"""Histories in which runs overlap: syncs, backfills, re-scans, repairs and targeted runs that are held up and killed.

A history is made from its seed alone. Runs are threads of this process or processes of their own; one at a time is at
work: a run continues until it has ended or the sandbox holds one of its requests, and only then the next thing happens.
Whatever reports "done" - exit code 0, a green day, a closed event - is judged by the versions of records (``claims``).
"""

from __future__ import annotations

import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, NamedTuple

import dagster as dg
import pytest
from sqlalchemy import select

from sync_pipeline.definitions import build
from sync_pipeline.defs.changes import changes_job_name
from sync_pipeline.hosting.launch import run_sync, spans_of
from sync_pipeline.hosting.run_reports import RunReport
from sync_pipeline.sandbox.control.rules import FaultRule, read_rule
from sync_pipeline.session.progress import Progress, reporting
from sync_pipeline.settings import load_settings
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.stages.verify import verify
from sync_pipeline.stages.watch import Dirty, watch
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.schema import events
from sync_pipeline.store.syncs import by_run
from sync_pipeline_tests.harness import ENTITIES
from sync_pipeline_tests.properties.claims import Claim, Court, read_ledgers
from sync_pipeline_tests.properties.histories import Office, office
from sync_pipeline_tests.properties.life import _ACTIONS, Action
from sync_pipeline_tests.properties.meddling import MEDDLING
from sync_pipeline_tests.properties.saved import Database, SavedFile
from sync_pipeline_tests.properties.versions import SOURCES, Past
from sync_pipeline_tests.scenarios.commands import start, wait_until
from sync_pipeline_tests.scenarios.dagster_runs import enter

PRESENT = "X-Sandbox-Present"
ACTIONS = {**_ACTIONS, **{name: MEDDLING[name] for name in ("restore entry", "edit user")}}
"""What people do at the sources; what someone does to the target behind our back is no matter of this law."""
OFTEN = ("add entry", *("edit entry", "move entry", "delete entry") * 2, "restore entry")
READS = {
    "time_entries": {"report": "POST */reports/detailed", "users": "GET */user/*/time-entries"},
    "users": "GET */workspaces/*/users",
    "projects": "GET */workspaces/*/projects",
    "locations": "GET /snapshots/locations",
}
WAITING = "waiting for it to finish"
"""What a run reports when another one holds its lock."""
WRITES = "POST /snapshots/*/batch"
RECENT = 10
"""Days in which things happen: sensible ranges lie there."""


# -- what happens, as data ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hold:
    """At which request a run is held up: before it is carried out, or after it, with the answer kept back."""

    kind: str
    route: str
    skip: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what it does, over which days (counted back from today), and what happens to it."""

    what: str
    """sync, backfill, repair, command (a process of its own); or the entity for one that is not synced by days."""
    first: int = 0
    last: int = 0
    hold: Hold | None = None
    kill: int | None = None
    """At which request or write it is killed, if it is."""


@dataclass(frozen=True, slots=True)
class Edit:
    """People do something."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Some of the webhooks arrive, the sensors look, and the runs they ask for are executed."""

    dice: int


@dataclass(frozen=True, slots=True)
class Release:
    """One of the runs that are held up continues - or it is killed where it is."""

    which: int
    kill: bool


@dataclass(frozen=True, slots=True)
class AllGoOn:
    """All runs that are held up continue at the same moment, and work side by side until they end."""

    kill: int | None = None
    """Which of them is killed, if one is."""


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of a system begin to lag, or show the present again."""

    system: str
    lag: bool


Move = Run | Edit | Look | Release | AllGoOn | Lists


@dataclass(frozen=True, slots=True)
class History:
    """All that happens, made from a seed."""

    seed: int
    reader: str
    in_step: bool
    """Whether everything has been delivered before; else nothing has."""
    moves: tuple[Move, ...]

    def __str__(self) -> str:
        begin = "in step" if self.in_step else "nothing delivered yet"
        lines = [f"history {self.seed}, entries read by {self.reader}, {begin}:"]
        return "\n".join([*lines, *(f"  {number}. {move}" for number, move in enumerate(self.moves, 1))])


def history_of(seed: int, *, lag: bool | None = None, processes: bool | None = None) -> History:
    """The history of a seed; in a third of them lists lag, in an eighth a run is a process of its own."""
    dice = random.Random(seed)
    lagging = dice.random() < 1 / 3 if lag is None else lag
    commands = dice.random() < 1 / 8 if processes is None else processes
    return History(seed, dice.choice(["report", "users"]), dice.random() < 0.4, tuple(_moves(dice, lagging, commands)))


def _moves(dice: random.Random, lagging: bool, commands: bool) -> Iterator[Move]:
    """A plot that something depends on, and anything in between."""
    plot = dice.choice([_behind] if lagging else [_overtaken, _overtaken, _cut_each_other, _newer_dies])
    if lagging and dice.random() < 0.3:
        yield Lists("snapshots", True)
    for move in plot(dice, "command" if commands else None):
        yield move
        if dice.random() < 0.2:
            yield _anything(dice)
    for _ in range(dice.randint(0, 2)):
        yield _anything(dice)


def _overtaken(dice: random.Random, what: str | None) -> Iterator[Move]:
    """Some of the days of a long read are read and loaded again before it is loaded."""
    yield _edit(dice)
    yield _run(dice, what or _long(dice), held=True)
    yield _edit(dice)
    yield _run(dice, "short", held=False)
    yield _edit(dice)


def _cut_each_other(dice: random.Random, what: str | None) -> Iterator[Move]:
    """Two long reads at the same time, loaded in any order."""
    yield _edit(dice)
    yield _run(dice, what or _long(dice), held=True)
    yield _edit(dice)
    yield _run(dice, "sync", held=True)
    yield _edit(dice)
    yield Release(dice.randrange(2), kill=False)
    yield _run(dice, "short", held=False)


def _newer_dies(dice: random.Random, what: str | None) -> Iterator[Move]:
    """The newer load is killed on its way: before its merge, between its pages, after them."""
    yield _edit(dice)
    yield _run(dice, what or _long(dice), held=True)
    yield _edit(dice)
    yield replace(_run(dice, "short", held=False), kill=dice.randint(5, 30))
    yield Release(0, kill=False)
    yield _edit(dice)
    yield _run(dice, "short", held=False)


def _behind(dice: random.Random, what: str | None) -> Iterator[Move]:
    """The lists lag while records are edited, read by id, and listed again."""
    yield _edit(dice)
    yield Lists("clockify", True)
    yield _edit(dice)
    yield _look(dice)
    yield _run(dice, what or "sync", held=dice.random() < 0.5)
    yield _edit(dice)
    yield Lists("clockify", dice.random() < 0.5)
    yield _look(dice)
    yield _run(dice, "sync", held=False)


def ranges_of(seed: int) -> History:
    """The history of a seed in which runs load neighbouring and overlapping days of one entity at the same moment."""
    dice = random.Random(seed)
    return History(seed, dice.choice(["report", "users"]), dice.random() < 0.5, tuple(_side_by_side(dice)))


def _side_by_side(dice: random.Random) -> Iterator[Move]:
    """Two or three runs, each held up in its read or its writes, while records move between their days; then all continue."""
    for _ in range(dice.randint(1, 2)):
        yield _edit(dice)
        kinds = dice.choices(["sync", "backfill", "repair", "command"], [6, 3, 1, 2], k=dice.randint(2, 3))
        cuts = sorted(dice.sample(range(RECENT), len(kinds) - 1), reverse=True)
        for kind, first, last in zip(kinds, [RECENT, *cuts], [*(cut + 1 for cut in cuts), 0], strict=True):
            overlap = dice.choice([0, 0, 1, 2])
            run = replace(_run(dice, kind, held=True), first=first, last=max(0, last - overlap))
            yield replace(run, last=min(run.last, run.first))
        yield Edit(tuple(replace(_action(dice), kind="move entry") for _ in range(dice.randint(1, 4))))
        between = dice.choice(["", "look", "whole"])
        if between == "look":
            yield _edit(dice)
            yield _look(dice)
        if between == "whole":
            yield Edit((replace(_action(dice), kind="delete entry"), _action(dice)))
            yield _run(dice, dice.choice(["users", "projects", "sync"]), held=dice.random() < 0.5)
        yield AllGoOn(dice.randrange(3) if dice.random() < 0.4 else None)
        yield _run(dice, "short", held=False)


def _long(dice: random.Random) -> str:
    return dice.choices(["sync", "backfill", "repair", "users", "projects"], [8, 4, 1, 1, 1])[0]


def _look(dice: random.Random) -> Move:
    return Look(dice.randrange(10_000))


def _release(dice: random.Random) -> Move:
    return Release(dice.randrange(2), dice.random() < 0.3)


def _anything(dice: random.Random) -> Move:
    make: Callable[[random.Random], Move] = dice.choice([_edit, _look, _any_run, _release])
    return make(dice)


def _any_run(dice: random.Random) -> Move:
    return _run(dice, None, held=dice.random() < 0.4)


def _edit(dice: random.Random) -> Move:
    return Edit(tuple(_action(dice) for _ in range(dice.randint(3, 6))))


def _action(dice: random.Random) -> Action:
    kind = dice.choice(OFTEN) if dice.random() < 0.8 else dice.choice(sorted(ACTIONS))
    text = dice.choice(["Löwen 桜", "a, b; 'c'", "e\u0301clair", "0012"])
    return Action(kind, dice.randrange(50), dice.randrange(RECENT + 2), text)


def _run(dice: random.Random, what: str | None, *, held: bool) -> Run:
    chosen = (
        what
        or dice.choices(
            ["sync", "rescan", "backfill", "repair", "users", "projects", "locations"], [6, 3, 2, 1, 1, 1, 1]
        )[0]
    )
    first = dice.randint(4, RECENT) if held else dice.randrange(RECENT)
    last = dice.randint(0, 1) if held else dice.randint(0, first)
    if chosen == "rescan":
        chosen, first, last = "sync", 2, 0
    if chosen == "short":
        chosen, first = "sync", dice.randrange(4)
        last = max(0, first - dice.randrange(2))
    hold = None
    if held:
        reads = READS.get(chosen, "entries")
        routes = [reads] if isinstance(reads, str) else ["entries"]
        if chosen == "command" and dice.random() < 0.5:
            routes = [WRITES]
        hold = Hold(dice.choice(["hold_before", "hold_after"]), dice.choice(routes), dice.choice([0, 0, 1]))
    kill = dice.randint(1, 40) if chosen != "command" and dice.random() < 0.15 else None
    return Run(chosen, first, last, hold, kill)


# -- the runs ---------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Days of an entity (None for one without days), and the step their read cannot be older than."""

    entity: str
    days: frozenset[str] | None
    since: int


@dataclass(slots=True)
class Outcome:
    """What a run reports about itself."""

    done: bool = False
    """Exit code 0."""
    waiting: bool = False
    green: list[Part] = field(default_factory=list)
    """What was materialized."""
    covered: list[Part] = field(default_factory=list)
    """What it was to do, and reports as done when it succeeds."""
    trouble: str = ""


class Actor:
    """A run at work."""

    def __init__(self, name: str, rule: FaultRule | None) -> None:
        self.name, self.rule = name, rule
        self.by_id = False
        """Whether it reads nothing but records by id, which never lag."""
        self.outcome = Outcome()
        self.waits = threading.Event()
        """Whether it has reported that it waits for another run."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        raise NotImplementedError

    @property
    def held(self) -> bool:
        """Whether a request of it is held up."""
        return self.rule is not None and self.rule.holding > 0


class ThreadActor(Actor):
    """A run in a thread of this process."""

    def __init__(self, *args: Any, work: Callable[[Outcome], None]) -> None:
        super().__init__(*args)
        self._work = work
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        reporting.set(self._listen)
        try:
            self._work(self.outcome)
        except BaseException as error:  # noqa: BLE001 - killed, refused, failed: it has no exit code 0
            self.outcome.trouble = f"{type(error).__name__}: {error}"

    def _listen(self, progress: Progress) -> None:
        if progress.stage == "wait":
            self.waits.set()

    @property
    def ended(self) -> bool:
        """Whether the thread is over."""
        return not self.thread.is_alive()


class ProcessActor(Actor):
    """``sync-pipeline sync`` as a process of its own."""

    def __init__(self, *args: Any, process: subprocess.Popen[str]) -> None:
        super().__init__(*args)
        self.process = process
        self._output: list[str] = []
        self._readers = [threading.Thread(target=self._read, args=(pipe,)) for pipe in (process.stdout, process.stderr)]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                self._output.append(line)
                if WAITING in line:
                    self.waits.set()

    @property
    def ended(self) -> bool:
        """Whether the process is over, and all its output is read."""
        return self.process.poll() is not None and not any(reader.is_alive() for reader in self._readers)

    def say(self) -> None:
        """Take down how it ended."""
        self.outcome.trouble = "".join(self._output)
        self.outcome.done = self.process.returncode == 0


# -- a history, lived -------------------------------------------------------------------------------------------------


class Stage:
    """Where histories are played: one sandbox, one store, one Dagster instance, put back before each."""

    def __init__(self, here: Office, instance: dg.DagsterInstance, patch: pytest.MonkeyPatch) -> None:
        self.here, self.us, self.instance, self.patch = here, here.us, instance, patch
        self.past = Past(here.us)
        self.done: Counter[str] = Counter()
        """How often runs were held, killed, failed; how many claims were judged: a law nothing tests proves nothing."""
        with here.us.session() as session:
            self.connection = session.pair

    def play(self, history: History) -> list[str]:
        """Run it to its end; returns what differs from what was claimed."""
        self._begin(history)
        for number, move in enumerate(history.moves, 1):
            self._act(number, move)
        while self._actors:
            self._release(Release(0, kill=False))
        self._lists(Lists("clockify", False))
        self._lists(Lists("snapshots", False))
        self._act(0, Run("everything", RECENT + 10, -7))
        return [*self._broken, *self._still_broken()]

    def _begin(self, history: History) -> None:
        self.here.begin()
        if not history.in_step:
            self.here.database.empty()
            self.us.empty_target()
        self.us.control("DELETE", "lag")
        self.patch.setenv("CLOCKIFY_READER", history.reader)
        self.us.changes["CLOCKIFY_READER"] = history.reader
        self._reader = history.reader
        self._actors: list[Actor] = []
        self._claims: list[Claim] = []
        self._outcomes: list[str] = []
        self._broken: list[str] = []
        self._received: dict[int, tuple[int, int]] = {}
        self._closed: set[int] = set()
        self.past.start()

    def _act(self, number: int, move: Move) -> None:
        match move:
            case Edit():
                for place, action in enumerate(move.actions):
                    ACTIONS[action.kind](self.us, action, 10 * number + place)
            case Run():
                self._start(f"{number or 'the last'}. {move.what}", move)
            case Release():
                self._release(move)
            case AllGoOn():
                self._all_go_on(move)
            case Look():
                self._look(number, move)
            case Lists():
                self._lists(move)

    # -- starting, holding, ending ------------------------------------------------------------------------------------

    def _start(self, name: str, run: Run) -> None:
        rule = self._hold(run)
        days = self._days(run)
        entities = {"everything": ENTITIES}.get(run.what, (run.what,) if run.what in ENTITIES else ("time_entries",))
        args = (f"{name} of {days}" if "time_entries" in entities else name, rule)
        if run.what == "command":
            words = ("sync", "--entity", "time_entries", "--from", days.keys[0], "--to", days.keys[1], "--json")
            part = Part("time_entries", frozenset(days), self._since("time_entries"))
            command = ProcessActor(*args, process=start(self.us, *words))
            command.outcome.covered.append(part)
            self._settle(command)
            return
        work = (
            self._repair(days)
            if run.what == "repair"
            else self._sync(entities, days, 4 if run.what == "backfill" else 100)
        )
        self._settle(ThreadActor(*args, work=self._mortal(work, run.kill)))

    def _hold(self, run: Run) -> FaultRule | None:
        if run.hold is None:
            return None
        route = READS["time_entries"][self._reader] if run.hold.route == "entries" else run.hold.route  # type: ignore[index]
        rule = {"kind": run.hold.kind, "route": self.us.route(route), "skip": run.hold.skip, "count": 1}
        return self.us.sandbox.world.faults.add(read_rule(rule))

    def _days(self, run: Run) -> Days:
        today = self.us.days.last - timedelta(days=7)
        first, last = today - timedelta(days=run.first), today - timedelta(days=run.last)
        return Days(max(first, self.us.days.first), min(last, self.us.days.last))

    def _since(self, entity: str) -> int:
        """No read of the entity that begins now shows anything older."""
        world = self.us.sandbox.world
        assert world.journal is not None
        frozen: int = world.lag.figures().get(self._system(SOURCES[entity][0]), world.journal.number)
        return min(world.journal.number, frozen)

    def _settle(self, actor: Actor) -> None:
        """Let a run work until it has ended or is held up; one that waits for another lets all continue."""
        wait_until(lambda: actor.ended or actor.held or actor.waits.is_set())
        if actor.held and not actor.ended:
            self.done["held"] += 1
            self._actors.append(actor)
        elif actor.ended:
            self._ended(actor)
        else:
            self.done["waited"] += 1
            while self._actors:
                self._release(Release(0, kill=False))
            wait_until(lambda: actor.ended or actor.held)
            self._actors.append(actor)
            self._release(Release(0, kill=False))

    def _kill(self, actor: Actor) -> None:
        self.done["killed while held"] += 1
        if isinstance(actor, ProcessActor):
            actor.process.send_signal(signal.SIGKILL)
        elif isinstance(actor, ThreadActor):
            self.here.killer.arm(1, actor.thread.ident)

    def _all_go_on(self, move: AllGoOn) -> None:
        actors, self._actors = self._actors, []
        self.done["side by side"] += len(actors) > 1
        if actors and move.kill is not None:
            self._kill(actors[move.kill % len(actors)])
        for actor in actors:
            if actor.rule is not None:
                self.us.sandbox.world.faults.remove(actor.rule)
        wait_until(lambda: all(actor.ended for actor in actors))
        for actor in actors:
            self._ended(actor)

    def _release(self, release: Release) -> None:
        if not self._actors:
            return
        actor = self._actors.pop(release.which % len(self._actors))
        if release.kill:
            self._kill(actor)
        actor.waits.clear()
        if actor.rule is not None:
            self.us.sandbox.world.faults.remove(actor.rule)
        wait_until(lambda: actor.ended or actor.waits.is_set())
        while self._actors and not actor.ended:  # one of these holds what it waits for
            self._release(Release(0, kill=False))
        wait_until(lambda: actor.ended)
        self._ended(actor)

    def _ended(self, actor: Actor) -> None:
        """Record what it claims, and check it immediately."""
        if actor.rule is not None:
            self.us.sandbox.world.faults.remove(actor.rule)
        if isinstance(actor, ThreadActor):
            self.here.killer.arm(None, actor.thread.ident)
        if isinstance(actor, ProcessActor):
            actor.say()
        outcome = actor.outcome
        self.done["succeeded" if outcome.done else "failed"] += 1
        self._outcomes.append(f"{actor.name}: {'done' if outcome.done else outcome.trouble or 'not done'}")
        said = [("green day", part) for part in outcome.green]
        said += [("exit code 0", part) for part in outcome.covered if outcome.done]
        claims = [
            Claim(f"{words} of run {actor.name}", part.entity, part.since, part.days, None, outcome.waiting)
            for words, part in said
        ]
        self._check([*claims, *self._closed_events(actor)])

    def _mortal(self, work: Callable[[Outcome], None], kill: int | None) -> Callable[[Outcome], None]:
        def run(outcome: Outcome) -> None:
            self.here.killer.arm(kill)
            work(outcome)

        return run

    # -- what runs do -------------------------------------------------------------------------------------------------

    def _sync(self, entities: tuple[str, ...], days: Days, size: int) -> Callable[[Outcome], None]:
        """Dagster runs over the days, as `sync` and a backfill's daemon start them."""

        def work(outcome: Outcome) -> None:
            defs, good = build(load_settings()), True
            since = {entity: self._since(entity) for entity in entities}
            for report in run_sync(self.instance, defs, entities, spans_of(days, size), Options(allow_deletes=True)):
                self._take_down(outcome, report, since)
                good = good and report.success and not report.errors
                since = {entity: self._since(entity) for entity in entities}
            outcome.done = good

        return work

    def _take_down(self, outcome: Outcome, report: RunReport, since: dict[str, int]) -> None:
        """What the run was to do, which days it turned green, and whether it reports that something waits."""
        green: dict[str, set[str | None]] = {}
        for record in self.instance.all_logs(report.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
            made = record.get_dagster_event().step_materialization_data.materialization
            if (entity := made.asset_key.to_user_string()) in ENTITIES:
                green.setdefault(entity, set()).add(made.partition)
        outcome.green += [
            Part(entity, None if None in days else frozenset(day for day in days if day), since[entity])
            for entity, days in green.items()
        ]
        for entity, step in since.items():
            days = frozenset(report.days) if entity == "time_entries" and report.days else None
            outcome.covered.append(Part(entity, days, step))
        outcome.trouble += "; ".join(problem.text for problem in report.errors)
        with self._store() as store:
            outcome.waiting |= any(done.counts.get("waiting") for done in by_run(store, [report.run_id]))

    def _repair(self, days: Days) -> Callable[[Outcome], None]:
        """`verify --repair` of the entries."""

        def work(outcome: Outcome) -> None:
            outcome.covered.append(Part("time_entries", frozenset(days), self._since("time_entries")))
            with self.us.session() as session:
                outcome.done = verify(session, session.specs["time_entries"], days, repair=True).in_sync

        return work

    def _targeted(self, entity: str, ids: tuple[str, ...]) -> Callable[[Outcome], None]:
        """The run a sensor asks for when few records changed."""

        def work(outcome: Outcome) -> None:
            job = build(load_settings()).resolve_job_def(changes_job_name(entity))
            config = {
                "ops": {f"{entity}_changed": {"config": {"ids": list(ids)}}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            }
            run = job.execute_in_process(instance=self.instance, run_config=config, raise_on_error=False)
            outcome.done = run.success

        return work

    def _look(self, number: int, look: Look) -> None:
        dice = random.Random(look.dice)
        found: list[tuple[str, Dirty]] = []
        with self.us.session() as session:
            before = (self.past.look(), self._since("time_entries"))
            self.here.deliver(session, dice)
            with session.store.reading() as tx:
                for event in tx.scalars(select(events.c.id)):
                    self._received.setdefault(event, before)
            for entity in ("users", "projects", "time_entries"):
                found += [(entity, dirty) for dirty in watch(session, session.specs[entity], self._quiet(session)).runs]
        for entity, dirty in found:
            name = f"{number}. {entity} by its sensor"
            work = (
                self._targeted(entity, dirty.ids)
                if dirty.ids
                else self._sync((entity,), dirty.days or self.us.days, 100)
            )
            self.done["targeted" if dirty.ids else "asked for"] += 1
            actor = ThreadActor(name, None, work=work)
            actor.by_id = bool(dirty.ids) and entity != "users"  # Clockify has no read of one user
            self._settle(actor)

    def _quiet(self, session: Any) -> str:
        """A cursor of a sensor that has just polled: what is missed by webhooks is another test's matter."""
        import orjson

        return orjson.dumps({"polled": session.now()}).decode()

    def _lists(self, lists: Lists) -> None:
        self.us.control("POST", "lag", {"freeze" if lists.lag else "release": self._system(lists.system)})

    def _system(self, generic: str) -> str:
        return self.us.system if generic == "snapshots" else generic

    # -- judging ------------------------------------------------------------------------------------------------------

    def _closed_events(self, actor: Actor) -> list[Claim]:
        """Events closed since the last look claim that their record was read after they came in."""
        statement = select(events.c.id, events.c.entity, events.c.source_id, events.c.kind).where(
            events.c.closed_at.isnot(None), events.c.entity.isnot(None), events.c.source_id.isnot(None)
        )
        with self._store() as store, store.reading() as tx:
            closed = [row for row in tx.execute(statement) if row.id not in self._closed and row.entity != "locations"]
        self._closed |= {row.id for row in closed}
        received = {row.id: self._received.get(row.id, (0, 0)) for row in closed}
        return [
            Claim(
                f"{row.kind} closed by run {actor.name}",
                row.entity,
                received[row.id][0 if actor.by_id else 1],
                ids=frozenset({row.source_id}),
            )
            for row in closed
        ]

    def _check(self, claims: list[Claim]) -> None:
        self._claims += claims
        self.done["claims"] += len(claims)
        court = self._court()
        self._broken += [f"at once: {line}" for claim in claims for line in court.broken(claim)]

    def _still_broken(self) -> list[str]:
        court = self._court()
        return [f"in the end: {line}" for claim in self._claims for line in court.broken(claim)]

    def _court(self) -> Court:
        self.past.look()
        with self._store() as store:
            return Court(self.us, self.past, read_ledgers(store, self.connection))

    @contextmanager
    def _store(self) -> Iterator[Any]:
        store = open_store(self.us.settings().store_url)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def stage(
    root: Path,
    patch: pytest.MonkeyPatch,
    database: Database = SavedFile,
    vendor: str = "generic",
    *,
    side_by_side: bool = False,
) -> Iterator[Stage]:
    """A place to play histories in; Dagster's history is in files where several threads write it at the same moment."""
    quiet = {"telemetry": {"enabled": False}}
    history = dg.DagsterInstance.local_temp(overrides=quiet) if side_by_side else dg.DagsterInstance.ephemeral()
    with office(root, patch, database, vendor) as here, history as instance:
        here.us.people.headers[PRESENT] = "1"
        here.us.changes |= {"CLOCKIFY_PAGE_SIZE": "6", "SYNC_POLL_SECONDS": "86400"}
        enter(here.us, patch)
        yield Stage(here, instance, patch)
