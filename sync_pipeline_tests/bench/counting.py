"""``python -m sync_pipeline_tests.bench.counting OUT INSTANT URL WORKSPACE``: sync what a sandbox holds; count the work of it.

Counted are requests, SQL statements (one for many rows counts once), JSON, bytes written to files and Dagster's events.
JSON is counted in two ways: calls, and rows, each as often as its id is in a text that is encoded or decoded. Seen are
`orjson`, `json` and pydantic's functions; they are replaced before anything of the package is imported.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import orjson
import pydantic_core

if TYPE_CHECKING:
    from sync_pipeline_tests.bench.sandbox import Sandbox

Json = dict[str, Any]

REQUESTS, WRITTEN, EVENTS, ROWS = "requests", "bytes written", "Dagster events", "rows in Dagster's index"
STORE_SQL, DAGSTER_SQL = "SQL statements of the store", "SQL statements of Dagster"
JSON_CALLS, JSON_ROWS = "JSON calls", "rows encoded or decoded"
LINES = (REQUESTS, STORE_SQL, DAGSTER_SQL, JSON_CALLS, JSON_ROWS, WRITTEN, EVENTS, ROWS)
FUNCTIONS = ((orjson, "loads"), (orjson, "dumps"), (json, "loads"), (json, "dumps"), (pydantic_core, "from_json"), (pydantic_core, "to_json"))  # fmt: skip
STORE_FILE, INDEX_FILE = "sync.db", "history/runs/index.db"
INDEX_TABLES = ("event_logs", "asset_event_tags", "asset_check_executions")
ID = re.compile(rb"[0-9a-f]{24}")
IO = Path("/proc/self/io")
KEPT = ("projectId", "taskId", "tagIds", "billable")


class Work:
    """What is counted while it is on."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.is_on = False
        self._lock = Lock()
        self.ids: set[bytes] = set()
        """Of the entries that are rows."""

    def see_json(self) -> None:
        """Count every call of a function that encodes or decodes JSON."""
        for module, name in FUNCTIONS:
            setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(value: Any, *args: Any, **kwargs: Any) -> Any:
            result = function(value, *args, **kwargs)
            if self.is_on:
                rows = self._rows_in(result if isinstance(result, str | bytes) else value)
                self._add({JSON_CALLS: 1, JSON_ROWS: rows})
            return result

        return counted

    def _rows_in(self, text: Any) -> int:
        data = text.encode(errors="replace") if isinstance(text, str) else bytes(text)
        return len(self.ids.intersection(ID.findall(data)))

    def see_sql(self) -> None:
        """Count every statement that SQLAlchemy hands to a driver."""
        from sqlalchemy import Engine, event

        def count(connection: Any, *_: Any) -> None:
            if self.is_on:
                is_store = Path(connection.engine.url.database or "").name == STORE_FILE
                self._add({STORE_SQL if is_store else DAGSTER_SQL: 1})

        event.listen(Engine, "before_cursor_execute", count)

    def _add(self, counts: dict[str, int]) -> None:
        with self._lock:  # answers are read in a thread of their own
            self.counts.update(counts)

    @contextmanager
    def counting(self, sandbox: Sandbox) -> Iterator[Counter[str]]:
        """Count what happens in this block, from zero."""
        self.counts.clear()
        sandbox.clear()
        before, self.is_on = written(), True
        yield self.counts
        self.is_on = False
        self.counts[WRITTEN] = written() - before
        self.counts[REQUESTS] = sum(sandbox.stats().requests.values())


def written() -> int:
    """Bytes this process has handed to the system for files, so far; what is sent to sockets is not among them."""
    if not IO.exists():  # only Linux reports it
        return 0
    found = dict(line.split(": ") for line in IO.read_text().splitlines())
    return int(found["wchar"])


def sync(work: Work, sandbox: Sandbox) -> dict[str, int]:
    """Run the main job in this process, as the command line does, and return what it took."""
    from dagster import DagsterInstance

    from sync_pipeline.cli import cli

    known, rows = set(_runs()), _index_rows()
    with work.counting(sandbox) as counts:
        try:
            cli(["sync", "--json", "--yes"], standalone_mode=False)
        except SystemExit as end:
            if end.code:
                raise
    with DagsterInstance.get() as instance:
        counts[EVENTS] = sum(len(instance.all_logs(run)) for run in instance.get_run_ids() if run not in known)
    counts[ROWS] = _index_rows() - rows
    return {line: counts[line] for line in LINES}


def _runs() -> list[str]:
    from dagster import DagsterInstance

    if "DAGSTER_HOME" not in os.environ:  # the first sync names it
        return []
    with DagsterInstance.get() as instance:
        return list(instance.get_run_ids())


def _index_rows() -> int:
    """Rows in the file that Dagster keeps about all runs; what was planned for each day and each check is among them."""
    file = Path(os.environ.get("DAGSTER_HOME", "")) / INDEX_FILE
    if not file.is_file():
        return 0
    with closing(sqlite3.connect(file)) as index:
        return sum(index.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in INDEX_TABLES)


def entries(sandbox: Sandbox) -> dict[str, list[Json]]:
    """The stopped entries of each user."""
    base = f"/clockify/api/v1/workspaces/{sandbox.workspace}"
    lists = {
        user["id"]: sandbox.ask(f"{base}/user/{user['id']}/time-entries?page-size=5000")
        for user in sandbox.ask(f"{base}/users?page-size=200")
    }
    return {user: [row for row in rows if row["timeInterval"]["end"]] for user, rows in lists.items()}


def change_all(sandbox: Sandbox, text: str) -> None:
    """Give every stopped entry another description, with one request a user."""
    base = f"/clockify/api/v1/workspaces/{sandbox.workspace}"
    for user, rows in entries(sandbox).items():
        bodies = [
            {
                "id": row["id"],
                "description": text,
                **{name: row[name] for name in KEPT},
                **{name: row["timeInterval"][name] for name in ("start", "end")},
            }
            for row in rows
        ]
        if bodies:
            sandbox.ask(f"{base}/user/{user}/time-entries", bodies, method="PUT")


@contextmanager
def clock_at(instant: datetime) -> Iterator[None]:
    """The clock of this process, Dagster's included, starts at this instant."""
    import dagster._time

    from sync_pipeline.clock import clock_from, unix_time, utc_now

    dagster._time._mockable_get_current_datetime = utc_now
    dagster._time._mockable_get_current_timestamp = unix_time
    with clock_from(instant):
        yield


def main(out: Path, instant: str, url: str, workspace: str) -> None:
    """Sync for the first time; then when everything has changed, and when nothing has."""
    work = Work()
    work.see_json()
    work.see_sql()

    from sync_pipeline_tests.bench.sandbox import Sandbox

    with clock_at(datetime.fromisoformat(instant)):
        out.write_text(json.dumps(measured(work, Sandbox(url, workspace))))


def measured(work: Work, sandbox: Sandbox) -> Json:
    """What a sync takes when every row has changed, and when nothing has."""
    work.ids = {row["id"].encode() for rows in entries(sandbox).values() for row in rows}
    found: Json = {"rows": len(work.ids)}
    sync(work, sandbox)
    if work.ids:
        change_all(sandbox, "changed")
        found["changed"] = sync(work, sandbox)
    return found | {"unchanged": sync(work, sandbox)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
