"""Unpacking an install that an earlier version wrote, and running this version on it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import httpx
import psycopg
from dotenv import dotenv_values
from filelock import FileLock

from sync_pipeline.sandbox.server import running
from sync_pipeline.sandbox.world import Options
from sync_pipeline.stages.batch import Days
from sync_pipeline_tests.harness import Team

INSTALLS = Path(__file__).with_name("installs")
VERSIONS = sorted(path.name for path in INSTALLS.iterdir())
DIALECTS = ("sqlite", "postgresql")


@dataclass(slots=True)
class Install(Team):
    """A team whose pipeline was set up, switched on and run by an earlier version."""

    root: Path = Path()
    facts: dict[str, Any] = None  # type: ignore[assignment]
    database_url: str = ""
    version: str = ""
    """The schema of its store, as its directory is named."""

    @property
    def environ(self) -> dict[str, str]:
        """The environment of its `.env`; everything else is in its set-up file."""
        environ = {name: value or "" for name, value in dotenv_values(self.root / ".env").items()}
        environ["SYNC_HOME"] = str(self.home)
        environ["SYNC_MAPPINGS_DIR"] = str(self.root / "mappings")
        return environ | ({"SYNC_DATABASE_URL": self.database_url} if self.database_url else {}) | self.changes

    @property
    def days(self) -> Days:
        """The days it had loaded."""
        return Days(date.fromisoformat(self.facts["first_day"]), date.fromisoformat(self.facts["last_day"]))

    @property
    def written_at(self) -> datetime:
        """When it was written: the present of these tests."""
        return datetime.fromisoformat(self.facts["written_at"])


@contextmanager
def installed(version: str, dialect: str, root: Path, blank: str = "") -> Iterator[Install]:
    """Unpack an install and serve its sandbox; ``blank`` is the URL of an empty PostgreSQL database to restore into."""
    with tarfile.open(INSTALLS / version / f"{dialect}.tar.xz") as archive:
        archive.extractall(root, filter="data")
    if blank:
        with psycopg.connect(blank, autocommit=True) as connection:
            connection.execute((root / "store.sql").read_bytes())
    facts, home = json.loads((root / "facts.json").read_text()), root / ".sync"
    options = Options(requests_per_second=0, requests_per_hour=0)
    # The switch was turned on for addresses, so the sandbox has to be where it was: one test at a time.
    with (
        FileLock(Path(gettempdir()) / f"sync-upgrade-{facts['port']}.lock"),
        running(home / "sandbox.db", options, port=facts["port"]) as sandbox,
        httpx.Client(trust_env=False, timeout=30) as people,
    ):
        sandbox.world.clock.set(datetime.fromisoformat(facts["written_at"]))
        yield Install(sandbox, home, people, root=root, facts=facts, database_url=blank, version=version)
