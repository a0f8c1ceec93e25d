"""A team with live syncing: events in the inbox, real sensors on a real Dagster instance, and the runs they ask for."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import dagster as dg
import orjson
import pytest
from sqlalchemy import update

from sync_pipeline.clock import utc_now
from sync_pipeline.definitions import build
from sync_pipeline.settings import load_settings
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline.store.schema import events
from sync_pipeline_tests.generate import ROOT
from sync_pipeline_tests.harness import Json, Team
from sync_pipeline_tests.store.inbox import InboxCounts, counts

NONE_WAIT = InboxCounts(0, 0, 0, None)


@dataclass(slots=True)
class Tick:
    """What one look of a sensor led to."""

    requests: Sequence[dg.RunRequest]
    said: str
    runs: list[dg.ExecuteInProcessResult] = field(default_factory=list)

    @property
    def jobs(self) -> list[str]:
        """The jobs that were asked for."""
        return [str(request.job_name) for request in self.requests]


@dataclass(slots=True)
class Live:
    """The pipeline as the daemon sees it."""

    team: Team
    instance: dg.DagsterInstance
    defs: dg.Definitions
    patch: pytest.MonkeyPatch
    cursors: dict[str, str | None] = field(default_factory=dict)
    fired: set[str] = field(default_factory=set)

    def tick(self, entity: str, *, run: bool = True) -> Tick:
        """Let the sensor look once, keep its cursor, and execute what it asks for; a run key fires once."""
        tick = self.look(entity)
        for request in tick.requests if run else ():
            if request.run_key not in self.fired:
                self.fired.add(str(request.run_key))
                tick.runs.append(self.execute(request))
        return tick

    def look(self, entity: str) -> Tick:
        """Evaluate the sensor as the daemon does."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(entity), definitions=self.defs
        ) as context:
            data = self.defs.resolve_sensor_def(entity).evaluate_tick(context)
        if data.cursor is not None:
            self.cursors[entity] = data.cursor
        return Tick(data.run_requests or [], data.skip_message or "")

    def execute(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Execute a requested run in this process."""
        job = self.defs.resolve_job_def(str(request.job_name))
        tags = {**request.tags, "dagster/run_key": str(request.run_key)}
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        config = {**(request.run_config or {}), **quiet}
        return job.execute_in_process(instance=self.instance, run_config=config, tags=tags, raise_on_error=False)

    def queue(self, request: dg.RunRequest) -> dg.DagsterRun:
        """A requested run that has not been started yet."""
        job = self.defs.resolve_job_def(str(request.job_name))
        run = self.instance.create_run_for_job(job, run_config=request.run_config, tags=request.tags)
        assert self.instance.get_run_by_id(run.run_id)
        return run

    def retry_policy(self, seconds: float) -> None:
        """Runs that failed did so at least this long before now."""
        del seconds
        with sqlite3.connect(next(Path(self.instance.root_directory).rglob("runs.db"))) as own:
            own.execute("UPDATE runs SET end_time = end_time - 86400")
        with self.team.session() as session, session.store.writing() as inbox:
            inbox.execute(update(events).values(tried_at=session.now() - timedelta(days=1)))

    def renew(self) -> None:
        """Take changed settings over."""
        for name, value in self.team.environ.items():
            self.patch.setenv(name, value)
        self.defs = build(load_settings(root=self.team.home))

    def drain(self, *entities: str, most: int = 10) -> list[Tick]:
        """Tick until nothing more is asked for."""
        ticks: list[Tick] = []
        for _ in range(most):
            round_ = [self.tick(entity) for entity in entities]
            ticks += [tick for tick in round_ if tick.requests]
            if not any(tick.requests for tick in round_):
                return ticks
        raise AssertionError(f"still asking for runs after {most} rounds: {[tick.jobs for tick in ticks]}")

    def event(self, kind: str, entity: str, body: Json, source_id: str | None = "") -> bool:
        """An event comes in, as the receiver keeps it."""
        return self.events(kind, entity, [body], source_id)[0]

    def events(self, kind: str, entity: str, bodies: Sequence[Json], source_id: str | None = "") -> list[bool]:
        """Many events come in together."""
        with self.team.session() as session:
            batch = []
            for body in bodies:
                key = body.get("id") if source_id == "" else source_id
                text = orjson.dumps(body).decode()
                batch.append(Received(content_id(kind, key, body), kind, entity, key, text, session.now()))
            return receive_many(session.store, session.pair, "clockify", batch)

    def inbox(self, entity: str) -> InboxCounts:
        """What is in the inbox."""
        with self.team.session() as session:
            return counts(session.store, session.pair).get(entity, NONE_WAIT)


@contextmanager
def live(team: Team, root: Path, patch: pytest.MonkeyPatch, **changes: str) -> Iterator[Live]:
    """Live syncing of a team; polling is off (far away) unless the settings of its seconds turn it on."""
    far = dict.fromkeys(("SYNC_POLL_SECONDS", "SYNC_SNAPSHOTS_POLL_SECONDS"), "86400")
    team.changes.update({**far, "SYNC_MODE": "live", "SYNC_MAX_ATTEMPTS": "1", **changes})
    for name, value in team.environ.items():
        patch.setenv(name, value)
    with team.session():
        pass  # the home and its empty store
    home = root / "dagster"
    if not (home / "history").exists():
        shutil.copytree(empty_history(), home, dirs_exist_ok=True)
    patch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        us = Live(team, instance, build(load_settings(root=team.home)), patch)
        now = utc_now().isoformat()
        us.cursors = {
            entity: orjson.dumps({"polled": now, "listed": now}).decode()
            for entity in ("users", "projects", "time_entries")
        }
        us.cursors["locations"] = us.cursors["users"]
        yield us


def metadata_of(result: dg.ExecuteInProcessResult, entity: str) -> dict[str, Any]:
    """What the observation of a targeted run shows."""
    (observed,) = result.asset_observations_for_node(f"{entity}_changed")
    return {name: value.value for name, value in observed.metadata.items()}


@cache
def empty_history() -> Path:
    """A Dagster home without runs, made once for each test process: Dagster runs all its migrations to make one."""
    home = Path(mkdtemp(prefix="sync-template-"))
    shutil.copy(ROOT / "dagster.yaml", home / "dagster.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.get():
            pass
    return home
