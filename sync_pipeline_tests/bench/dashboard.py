"""The dashboard's pages with very many time entries, and the catalogue's: how long each takes, on the wall and of the processor."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from time import perf_counter

import httpx
import psutil

from sync_pipeline.console.operations import HERE
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import load_settings
from sync_pipeline.store.engine import Store
from sync_pipeline.store.project_months import ReportSettings, month_before, recompute
from sync_pipeline_tests.scenarios.developing import environment, free_port, local_client, place, wait_for

PEOPLE, PROJECTS, CLIENTS, DAYS = 200, 300, 40, 1_000
TIMES = 5
PATIENCE = 120.0
PAGES = (
    "/dashboard",
    "/dashboard?from={first}",
    "/dashboard?from={first}&client=c3",
    "/dashboard?from={first}&project=p3",
    "/dashboard?from={first}&person=u3",
    "/dashboard/entries?from={first}",
    "/dashboard/entries?from={first}&page=100",
    "/dashboard/entries?from={first}&client=c3&page=20",
    "/dashboard/entries?from={first}&project=p3&page=5",
    "/dashboard/entries?from={first}&person=u3&page=30",
    "/dashboard/entries?from={first}&currency=USD",
)
"""With the longest period that can be shown where none is named."""

CATALOGUE = (HERE, f"{HERE}?q=project+template", f"{HERE}/clockify.projects.from-template", f"{HERE}/events")
"""The pages of the catalogue of operations."""

_ROWS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)"
_PROJECTS = f"""{_ROWS}
    INSERT INTO project_facts
        (connection, entity, source_id, read_no, name, client_id, client_name, budget, estimate_seconds)
    SELECT :pair, 'projects', 'p' || i, 1, 'Project ' || i, 'c' || (i % {CLIENTS}), 'Client ' || (i % {CLIENTS}),
        CASE WHEN i % 3 = 0 THEN 1000000 * (1 + i % 7) END, CASE WHEN i % 4 = 1 THEN 3600 * (100 + i * 9) END FROM n
"""
_PEOPLE = f"""{_ROWS}
    INSERT INTO person_facts (connection, entity, source_id, read_no, name)
    SELECT :pair, 'users', 'u' || i, 1, 'Person ' || i FROM n
"""
_TIME = (
    "strftime('%Y-%m-%d %H:%M:%S.000000', :end, '-' || (i * {days} / :count) || ' days', '+' || ({more}) || ' seconds')"
)
_START, _END = (_TIME.format(days=DAYS, more=more) for more in ("28800 + (i * 37) % 36000", "32400 + (i * 37) % 36000"))
_ENTRIES = f"""{_ROWS}
    INSERT INTO entry_facts (connection, entity, source_id, read_no, user_id, project_id, start_time, end_time, seconds,
        billable, amount, cost, currency, tags)
    SELECT :pair, 'time_entries', 'e' || i, 1, 'u' || (i % {PEOPLE}),
        'p' || (((i % {PEOPLE}) * 7 + (i / {PEOPLE}) % 8) % {PROJECTS}), {_START}, {_END}, 900 + (i * 613) % 9000,
        (i % 10) < 7, CASE WHEN (i % 10) < 7 THEN 2500 + (i * 613) % 9000 END, 2000 + (i * 311) % 6000,
        CASE WHEN i % 50 = 0 THEN 'USD' ELSE 'EUR' END, '[]' FROM n
"""


@dataclass(frozen=True, slots=True)
class PageTime:
    """What a page takes, in milliseconds."""

    path: str
    wall_ms: float
    """The median."""
    cpu_ms: float
    """The mean: the system counts in hundredths of a second."""
    kilobytes: int


def measure_dashboard(directory: Path, entries: int) -> list[PageTime]:
    """Fill a store with so many entries, and ask a console for each page a few times."""
    root = directory / "dashboard"
    place(root)
    environ = environment(root)
    (root / "home").mkdir(mode=0o700)
    with open_session(load_settings(environ, root=root)) as session:
        today = session.now()
        fill(session, entries, today)
        recompute(session.store, session.pair, ReportSettings.of(session.settings))
    first = month_before(f"{today:%Y-%m}", 23)
    with _console(root, environ) as (browser, process):
        return [_measured(browser, process, path.format(first=first)) for path in (*PAGES, *CATALOGUE)]


def fill(session: Session, entries: int, today: datetime) -> None:
    """Entries of the last thousand days, as facts that a read has left; indexes are made afterwards, which is much quicker."""
    given = {"pair": session.pair, "end": f"{today:%Y-%m-%d}"}
    with closing(sqlite3.connect(_file(session.store))) as store, store:
        query = "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = 'entry_facts' AND sql IS NOT NULL AND type <> 'table'"
        schema = store.execute(query).fetchall()
        for kind, name, _ in schema:
            store.execute(f"DROP {kind} {name}")
        for statement, count in ((_PROJECTS, PROJECTS), (_PEOPLE, PEOPLE), (_ENTRIES, entries)):
            store.execute(statement, given | {"count": count})
        for _, _, sql in schema:
            store.execute(sql)
        store.execute("ANALYZE")


def _file(store: Store) -> Path:
    assert store.path is not None
    return store.path


@contextmanager
def _console(root: Path, environ: dict[str, str]) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """A console in a process of its own, and a browser that has signed in."""
    command = [sys.executable, "-m", "sync_pipeline.cli", "console"]
    port = str(free_port())
    with subprocess.Popen(
        [*command, "serve", "--port", port], cwd=root, env=environ, stdout=subprocess.DEVNULL
    ) as process:
        try:
            links: list[str] = []

            def has_link() -> bool:
                asked = subprocess.run(
                    [*command, "link"], cwd=root, env=environ, capture_output=True, text=True, check=False
                )
                links.extend(word for word in asked.stdout.split() if word.startswith("http"))
                return bool(links)

            wait_for(has_link, PATIENCE)
            with local_client() as browser:
                browser.base_url = browser.get(links[0], follow_redirects=True).raise_for_status().url.join("/")
                yield browser, psutil.Process(process.pid)
        finally:
            process.terminate()


def _measured(browser: httpx.Client, process: psutil.Process, path: str) -> PageTime:
    size = len(browser.get(path).raise_for_status().content)
    before, walls = process.cpu_times(), []
    for _ in range(TIMES):
        began = perf_counter()
        browser.get(path)
        walls.append(perf_counter() - began)
    after = process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return PageTime(path, round(1000 * median(walls)), round(1000 * cpu / TIMES), round(size / 1000))
