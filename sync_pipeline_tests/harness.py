"""A team's two systems and the pipeline between them: a live sandbox, settings that point at it, and syncs of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

import httpx
from sqlalchemy import text

from sync_pipeline.clock import unix_time, utc_now
from sync_pipeline.sandbox.server import Running, running
from sync_pipeline.sandbox.world import Clock
from sync_pipeline.sandbox.world import Options as SandboxOptions
from sync_pipeline.session.progress import Report
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import SETTINGS, Settings, load_settings
from sync_pipeline.stages.batch import Batch, Counts, Days, Options
from sync_pipeline.stages.batch_files import read_batch, write_batch
from sync_pipeline.stages.check import Checking, CheckResult, conclude
from sync_pipeline.stages.extract import extract
from sync_pipeline.stages.inbox import claim_events
from sync_pipeline.stages.load import Loaded, load
from sync_pipeline.stages.verify import VerifyResult, verify
from sync_pipeline.store.approvals import lines_of, list_approvals
from sync_pipeline.store.engine import open_store

Json = dict[str, Any]

ENTITIES = ("locations", "users", "projects", "time_entries")
CLOCKIFY_KEY = "sandbox-clockify-key"
SNAPSHOTS_KEY = "sandbox-snapshots-key"
LOOK_BACK = timedelta(days=20)
LOOK_AHEAD = timedelta(days=7)

# Small enough for a sync in a fraction of a second; rate limits off unless a test is about them.
SMALL: Json = {
    "seed": 7,
    "users": 4,
    "projects": 5,
    "clients": 3,
    "locations": 4,
    "entries": 40,
    "days": 12,
    "requests_per_second": 0,
    "requests_per_hour": 0,
    "highlevel_requests": 0,
}


class Blocked(Exception):
    """A blocking check failed, so the load never started."""

    def __init__(self, results: Sequence[CheckResult]) -> None:
        super().__init__("; ".join(f"{result.name}: {result.summary}" for result in results))
        self.checks = [result.name for result in results]


@dataclass(slots=True)
class Team:
    """A sandbox with both systems, and a home of its own for the pipeline between them."""

    sandbox: Running
    home: Path
    people: httpx.Client
    changes: dict[str, str] = field(default_factory=dict)
    runs: Iterator[int] = field(default_factory=count)
    system: ClassVar[str] = "snapshots"
    """What the sandbox calls the other system."""

    # -- the pipeline -------------------------------------------------------------------------------------------

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that point the pipeline here."""
        return {
            "CLOCKIFY_API_KEY": CLOCKIFY_KEY,
            "CLOCKIFY_WORKSPACE_ID": self.sandbox.workspace,
            "CLOCKIFY_BASE_URL": self.sandbox.clockify,
            "CLOCKIFY_REPORTS_URL": self.sandbox.reports,
            "CLOCKIFY_PLAN": "paid",
            "SNAPSHOTS_BASE_URL": self.sandbox.snapshots,
            "SNAPSHOTS_API_KEY": SNAPSHOTS_KEY,
            "SYNC_START_DATE": self.days.first.isoformat(),
            "SYNC_HOME": str(self.home),
            **self.changes,
        }

    @property
    def days(self) -> Days:
        """From the start date to as far ahead as entries are read."""
        today = utc_now().date()
        return Days(today - LOOK_BACK, today + LOOK_AHEAD)

    def settings(self, **changes: str) -> Settings:
        """The settings, with changed environment variables."""
        return load_settings({**self.environ, **changes}, root=self.home)

    @contextmanager
    def session(self, *, report: Report | None = None, **changes: Any) -> Iterator[Session]:
        """A session on the team's two systems; its retries do not really sleep."""
        settings = self.settings(**changes)
        if settings.store_url == f"sqlite:///{self.home / 'sync.db'}" and not (self.home / "sync.db").exists():
            self.home.mkdir(parents=True, exist_ok=True)
            shutil.copy(empty_store(), self.home / "sync.db")
        with open_session(settings, report=report, sleep=self.sleep) as session:
            yield session

    def settle(self) -> None:
        """Let the time pass after which lists are up to date: here they are immediately."""

    async def sleep(self, seconds: float) -> None:
        """Instead of sleeping."""

    def sync(
        self, *entities: str, days: Days | None = None, options: Options | None = None, **changes: Any
    ) -> dict[str, Counts]:
        """Sync the entities (all of them) in a session of their own."""
        with self.session(**changes) as session:
            return {entity: self.sync_one(session, entity, days, options) for entity in entities or session.specs}

    def sync_one(
        self, session: Session, entity: str, days: Days | None = None, options: Options | None = None
    ) -> Counts:
        """Extract, map, check and load one entity, as the ops do; raises Blocked when a check blocks."""
        return self.load(session, entity, self.validated(session, entity, days, options), days, options).counts

    def load(
        self, session: Session, entity: str, batch: Batch, days: Days | None = None, options: Options | None = None
    ) -> Loaded:
        """Load a checked batch."""
        span, run_id = self._span(session, entity, days), f"run-{next(self.runs)}"
        return load(session, session.specs[entity], batch, span, options or Options(), run_id=run_id)

    def validated(
        self, session: Session, entity: str, days: Days | None = None, options: Options | None = None
    ) -> Batch:
        """Extract, map and check; the batch is kept on disk and can be loaded later."""
        spec, span, opts = session.specs[entity], self._span(session, entity, days), options or Options()
        file = self.home / "batches" / f"{entity}-{next(self.runs)}" / f"{entity}.parquet"
        raw = extract(session, spec, span)
        write_batch(file, raw if opts.dry_run else claim_events(session, spec, span, raw))
        os.utime(file, (unix_time(), unix_time()))  # batches are discarded by their age: by the clock of the tests
        checking = Checking(session, spec, read_batch(file), span, opts)
        results = conclude(session, spec, checking, span, opts, run_id=file.parent.name)
        if blocking := [result for result in results if result.blocks]:
            raise Blocked(blocking)
        return checking.batch

    def held(self, entity: str) -> dict[str, list[str]]:
        """The records of each open request for an approval, by what holds them."""
        with self.session() as session:
            store = session.store
            asked = list_approvals(store, session.pair, session.now(), limit=100)
            return {
                request.guard: [line.source_id for line in lines_of(store, request.id, 1000)]
                for request in asked
                if request.entity == entity and request.decision is None
            }

    def verify(self, *entities: str, repair: bool = False, **changes: Any) -> dict[str, VerifyResult]:
        """Compare both sides of the entities (all of them)."""
        with self.session(**changes) as session:
            return {
                entity: verify(session, session.specs[entity], self._span(session, entity, None), repair=repair)
                for entity in entities or session.specs
            }

    def _span(self, session: Session, entity: str, days: Days | None) -> Days | None:
        return (days or self.days) if session.specs[entity].partitioned else None

    # -- what people do in both systems -------------------------------------------------------------------------

    def clockify(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Someone works in Clockify; ``path`` is below the workspace."""
        url = f"{self.sandbox.clockify}/workspaces/{self.sandbox.workspace}{path}"
        return self._ask(method, url, CLOCKIFY_KEY, body, params)

    def snapshots(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Someone works in the Snapshots system."""
        return self._ask(method, f"{self.sandbox.snapshots}{path}", SNAPSHOTS_KEY, body, params)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """One of the sandbox's own controls."""
        return self._ask(method, f"{self.sandbox.control}/{path}", "", body, {})

    def _ask(self, method: str, url: str, key: str, body: Any, params: Mapping[str, Any]) -> Any:
        headers = {"X-Api-Key": key} if key else {}
        content = {} if body is None else {"json": body}
        answer = self.people.request(method, url, headers=headers, params=params, **content).raise_for_status()
        return answer.json() if answer.content else None

    def add_entry(self, user: str, start: datetime, hours: float = 1, **fields: Any) -> Json:
        """A stopped time entry of a user."""
        body = {"start": instant(start), "end": instant(start + timedelta(hours=hours)), **fields}
        made: Json = self.clockify("POST", f"/user/{user}/time-entries", body)
        return made

    def change_entry(self, entry: Json, **fields: Any) -> Json:
        """Edit an entry; what is not named stays. ``start`` and ``end`` are instants."""
        kept = {name: entry[name] for name in ("description", "projectId", "taskId", "tagIds", "billable")}
        interval = {"start": entry["timeInterval"]["start"], "end": entry["timeInterval"]["end"]}
        made: Json = self.clockify("PUT", f"/time-entries/{entry['id']}", {**kept, **interval, **fields})
        return made

    def delete_project(self, project: str) -> None:
        """Archive and delete, as Clockify wants it."""
        self.clockify("PUT", f"/projects/{project}", {"archived": True})
        self.clockify("DELETE", f"/projects/{project}")

    def put_location(self, location_id: str, **fields: Any) -> Json:
        """Create or edit a location."""
        made: Json = self.snapshots("PUT", f"/locations/{location_id}", fields)
        return made

    # -- what is where ------------------------------------------------------------------------------------------

    def users(self) -> list[Json]:
        """Clockify's users, whatever their status."""
        return list(self.clockify("GET", "/users", **{"status": "ALL", "include-roles": "true", "page-size": 5000}))

    def projects(self) -> list[Json]:
        """Clockify's projects, archived ones included."""
        return list(self.clockify("GET", "/projects", **{"page-size": 5000}))

    def entries(self) -> list[Json]:
        """Every time entry of every user, running ones included, as Clockify's lists have them."""
        params = {"hydrated": "true", "page-size": 5000}
        return [
            row for user in self.users() for row in self.clockify("GET", f"/user/{user['id']}/time-entries", **params)
        ]

    def clients(self) -> list[Json]:
        """Clockify's clients, archived ones included."""
        return list(self.clockify("GET", "/clients", **{"page-size": 5000}))

    def client(self, name: str) -> Json:
        """The one client of that name."""
        (found,) = [client for client in self.clients() if client["name"] == name]
        return found

    def at_snapshots(self, entity: str) -> dict[str, Json]:
        """Every record of one entity in the Snapshots system, by id."""
        page = self.snapshots("GET", f"/{entity}", limit=1000)
        assert page["next_cursor"] is None, "a test has no more than a page of records"
        return {row[id_field(entity)]: row for row in page["data"]}

    def generic(self, version: Json) -> Json:
        """A version of a record, as the journal has it, in the words of the generic API."""
        return version

    def route(self, generic: str) -> str:
        """The requests of a route of the generic API, by whatever they are made here."""
        return generic

    def empty_target(self) -> None:
        """Nothing was ever delivered to the Snapshots system."""
        self.sandbox.world.db.execute("DELETE FROM snapshots_records WHERE entity <> 'locations'")

    # -- the sandbox's counters and faults ----------------------------------------------------------------------

    def writes(self) -> dict[str, int]:
        """Records written through either API, by entity."""
        found: dict[str, int] = self.control("GET", "stats")["writes"]
        return found

    def requests(self) -> dict[str, int]:
        """Requests by route."""
        found: dict[str, int] = self.control("GET", "stats")["requests"]
        return found

    def forget_stats(self) -> None:
        """Count from zero."""
        self.control("POST", "stats/reset")

    def fault(self, kind: str, route: str = "*", **more: Any) -> None:
        """Make requests go wrong from now on."""
        self.control("POST", "faults", {"kind": kind, "route": route, **more})

    def no_faults(self) -> None:
        """Remove all faults."""
        self.control("DELETE", "faults")


@contextmanager
def team(root: Path, *, age_days: int = 0, **options: Any) -> Iterator[Team]:
    """A small team with a sandbox of its own; ``options`` are those of the sandbox, which was filled so long ago.

    ``kind`` may be another class of team.
    """
    made: type[Team] = options.pop("kind", Team)
    root.mkdir(parents=True, exist_ok=True)
    clock = Clock(unix_time)
    clock.advance(timedelta(days=-age_days))
    with (
        running(root / "sandbox.db", SandboxOptions(**(SMALL | options)), clock) as sandbox,
        httpx.Client(trust_env=False, verify=False, timeout=30) as people,
    ):
        clock.reset()
        yield made(sandbox, root / "home", people)


async def at_once(_seconds: float) -> None:
    """Instead of sleeping."""


def instant(at: datetime) -> str:
    """An instant as Clockify writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def morning(days_ago: int, hour: int = 8) -> datetime:
    """Some morning before today."""
    day = utc_now().date() - timedelta(days=days_ago)
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def day(days_ago: int) -> date:
    """A day before today."""
    return utc_now().date() - timedelta(days=days_ago)


def id_field(entity: str) -> str:
    """The field that holds the id of a record in the Snapshots system."""
    return {"time_entries": "time_entry_id"}.get(entity, f"{entity.removesuffix('s')}_id")


def rows(session: Session, table: str) -> list[tuple[Any, ...]]:
    """Everything in one table of the store."""
    with session.store.reading() as own:
        return [tuple(row) for row in own.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2, 3"))]


def tables(session: Session, *names: str) -> dict[str, list[tuple[Any, ...]]]:
    """The contents of some tables, to compare before and after."""
    return {name: rows(session, name) for name in names}


def clean_environ(**more: str) -> dict[str, str]:
    """The environment of this process without any setting of the pipeline in it."""
    ours = {spec.metadata["env"] for spec in SETTINGS} | {"DAGSTER_HOME"}
    return {name: value for name, value in os.environ.items() if name not in ours} | more


@cache
def empty_store() -> Path:
    """A migrated store, made once for each test process."""
    path = Path(mkdtemp(prefix="sync-template-")) / "sync.db"
    open_store(f"sqlite:///{path}").close()
    return path
