"""Where Dagster keeps its run history: its own SQLite files, with connections that stay open.

Dagster opens and closes a database several times for each event, and a day of time entries is two events: planned and
materialized. Kept connections and one transaction per batch of events make a run ten times cheaper. Files, tables and
queries are Dagster's own, so `storage` in dagster.yaml may be changed to its default, or back, at any time.

Without a `base_dir` in dagster.yaml everything is in the home of `sync-pipeline`, also where a stock command of Dagster
was started without DAGSTER_HOME: `dagster dev` in a fresh checkout shows the history of `sync-pipeline sync`.
"""

from __future__ import annotations

import os
import select
import sqlite3
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cached_property
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, Self, TextIO, cast

from dagster import Field, StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from sync_pipeline.private_files import private_directory
from sync_pipeline.settings import Settings, environment, load_given

KEPT = 4
"""Run histories kept open: the index, the run at work, and a few that a person looks at."""
BUSY_SECONDS = 30
SHOWN_SECONDS = 0.1
"""How late what a step prints may be on the screen."""
CHUNK_BYTES = 1 << 16
RUN_PAGE_BYTES = 512
"""Page size of a run's own file: Dagster makes 26 tables and indexes in it, each a page even when it holds nothing."""
TABLES = (
    "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' ORDER BY type = 'index', rowid"
)
BATCH_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
HOME_VARIABLE = "DAGSTER_HOME"
BASE_DIR = {"base_dir": Field(StringSource, is_required=False, description="Default: the Dagster home.")}


def home_of(settings: Settings) -> Path:
    """The Dagster home: ``$DAGSTER_HOME`` - of the environment, or of `.env` - else a directory in SYNC_HOME."""
    return Path(environment().get(HOME_VARIABLE) or settings.dagster_home)


def write_events_in_batches() -> None:
    """Let Dagster hand over the events of many partitions together; without this it stores each by itself."""
    os.environ.setdefault(BATCH_VARIABLE, "1000")


def open_engine(url: str, page_bytes: int | None = None) -> Engine:
    """An engine that keeps its connections. Safe to share: each holds one transaction at a time and no state.

    ``page_bytes`` is the page size of a database that is made by this; one that exists keeps its own.
    """
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
    if page_bytes is not None:
        event.listen(engine, "connect", lambda made, _: made.execute(f"PRAGMA page_size={page_bytes}").close())
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    # With a write-ahead log nothing is corrupted by a power cut; the last events may be missing, not the data.
    connection.execute("PRAGMA synchronous=NORMAL").close()
    connection.execute("PRAGMA foreign_keys=ON").close()  # the tags of a run are deleted with it


class _OneEngine:
    """Connections to the one file of a storage."""

    _conn_string: str

    @cached_property
    def _engine(self) -> Engine:
        engine = open_engine(self._conn_string)
        weakref.finalize(self, engine.dispose)  # Dagster drops a storage it could not set up
        return engine

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """One transaction."""
        with self._engine.begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close the connections."""
        self._engine.dispose()


class KeptRunStorage(_OneEngine, SqliteRunStorage):
    """Dagster's run storage on one engine."""

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> Self:
        """The storage in a directory."""
        if _is_complete(Path(base_dir) / "runs.db", "instance_info"):
            return cls(create_db_conn_string(base_dir, "runs"), inst_data)
        return super().from_local(base_dir, inst_data)


class KeptScheduleStorage(_OneEngine, SqliteScheduleStorage):
    """Dagster's schedule storage on one engine: each tick of a sensor queries it a dozen times."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._has: set[str] = set()
        super().__init__(conn_string, inst_data)

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> Self:
        """The storage in a directory."""
        if _is_complete(Path(base_dir) / "schedules.db", "instigators"):
            return cls(create_db_conn_string(base_dir, "schedules"), inst_data)
        return cast("Self", super().from_local(base_dir, inst_data))

    def has_instigators_table(self) -> bool:
        """Asked again at each use; a table that is there stays."""
        return self._stays("", super().has_instigators_table)

    def has_built_index(self, migration_name: str) -> bool:
        """The same of an index."""
        return self._stays(migration_name, lambda: super(KeptScheduleStorage, self).has_built_index(migration_name))

    def _stays(self, name: str, is_there: Callable[[], bool]) -> bool:
        if name not in self._has and is_there():
            self._has.add(name)
        return name in self._has


def _is_complete(file: Path, table: str) -> bool:
    """Whether Dagster has made its tables there, so that it need not load all its migrations to find that out."""
    if not file.exists():
        return False
    with (
        closing(sqlite3.connect(file)) as opened,
        suppress(sqlite3.Error),
    ):  # no such table; all else Dagster meets again
        opened.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608 - a name of ours
        return opened.execute("SELECT version_num FROM alembic_version").fetchone() is not None
    return False


class KeptEventLogStorage(SqliteEventLogStorage):
    """Dagster's event log - one file for each run and an index over all - on engines that are kept."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._batch = threading.local()
        self._tables: set[str] = set()
        weakref.finalize(self, _close_all, self._engines)
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """One transaction; within a batch, the batch's."""
        batch: dict[str, Connection] | None = getattr(self._batch, "connections", None)
        if batch is not None:  # this thread holds the lock
            if shard not in batch:
                batch[shard] = self._batch.stack.enter_context(self._engine(shard).begin())
            yield batch[shard]
            return
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Asked again for each event; a table that is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store all or none; Dagster tries them one by one when this fails."""
        with self._db_lock, ExitStack() as stack:
            self._batch.stack, self._batch.connections, self._batch.latest = stack, {}, {}
            try:
                for entry in events:
                    self.store_event(entry)
                with self.index_connection() as connection:
                    for entry, event_id in self._batch.latest.values():
                        super()._store_asset_event(connection, entry, event_id)
            finally:
                self._batch.connections = None

    def _store_asset_event(self, conn: Connection, event: EventLogEntry, event_id: int) -> None:
        """Note the newest event of an asset; of a batch only the last one of each kind is worth a write."""
        if getattr(self._batch, "connections", None) is None:
            super()._store_asset_event(conn, event, event_id)
        elif event.dagster_event:
            self._batch.latest[event.dagster_event.asset_key, event.dagster_event_type] = (event, event_id)

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """Note a planned check once, not for each day of the run: it is evaluated once, and the other rows would stay planned."""
        if event.dagster_event is not None:
            planned = cast("AssetCheckEvaluationPlanned", event.dagster_event.event_specific_data)
            once = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
            event = event._replace(dagster_event=event.dagster_event._replace(event_specific_data=once))
        super()._store_asset_check_evaluation_planned(event, event_id)

    def delete_events(self, run_id: str) -> None:
        """Delete a run's events, and its file: Dagster would leave that empty, at its full size."""
        super().delete_events(run_id)
        with self._db_lock:
            if (engine := self._engines.pop(run_id, None)) is not None:
                engine.dispose()
            self._initialized_dbs.discard(run_id)
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path_for_shard(run_id)}{suffix}").unlink(missing_ok=True)

    def wipe(self) -> None:
        """Forget everything; the files of the runs are removed, so no process may hold them open."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close the connections."""
        self._close()
        super().dispose()

    def _engine(self, shard: str) -> Engine:
        is_index = shard == INDEX_SHARD_NAME
        engine = self._engines.get(shard)
        if engine is None:
            path = Path(self.path_for_shard(shard))
            if not is_index and not path.exists():
                _make_run_file(path, Path(self.path_for_shard(INDEX_SHARD_NAME)))
            size = None if is_index else RUN_PAGE_BYTES
            engine = self._engines[shard] = open_engine(self.conn_string_for_shard(shard), size)
        self._engines.move_to_end(shard)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        while len(self._engines) > KEPT:  # the oldest is not in use: uses are one after the other, under the lock
            self._engines.popitem(last=False)[1].dispose()
        return engine

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:  # Dagster's signature
        """Make the tables where there are none: Dagster would load all its migrations to find that out, twice to make them."""
        if not _has_tables(engine):
            super()._initdb(engine, for_index_shard)

    def _close(self) -> None:
        with self._db_lock:
            _close_all(self._engines)


def _has_tables(engine: Engine) -> bool:
    """Whether the tables are complete: the version is the last that Dagster writes."""
    with engine.connect() as connection, suppress(DatabaseError):  # no such table; all else Dagster meets again
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").first() is not None
    return False


def _make_run_file(path: Path, index: Path) -> None:
    """Make the file of a run with the tables of the index, which are the same in both; it is complete when it appears.

    This saves loading all of Dagster's migrations in each process. Where it fails, Dagster makes the file, and reports its error.
    """
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with suppress(OSError, sqlite3.Error):
            _copy_tables(index, made)
            os.link(made, path)
    finally:
        for suffix in ("", "-wal", "-shm"):
            made.with_name(f"{made.name}{suffix}").unlink(missing_ok=True)


def _copy_tables(index: Path, made: Path) -> None:
    with (
        closing(sqlite3.connect(f"{index.as_uri()}?mode=ro", timeout=BUSY_SECONDS, uri=True)) as source,
        closing(sqlite3.connect(made)) as target,
    ):
        tables = source.execute(TABLES).fetchall()
        version = source.execute("SELECT version_num FROM alembic_version").fetchall()
        target.executescript(f"PRAGMA page_size={RUN_PAGE_BYTES}; PRAGMA journal_mode=WAL")
        target.executescript(";".join(["BEGIN", *(statement for (statement,) in tables), "COMMIT"]))
        with target:
            target.executemany("INSERT INTO alembic_version VALUES (?)", version)


def _close_all(engines: OrderedDict[str, Engine]) -> None:
    while engines:
        engines.popitem()[1].dispose()


class History(DagsterSqliteStorage):
    """Runs, events and schedules in SQLite files below ``base_dir``, laid out as Dagster's default storage does."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        write_events_in_batches()
        # Its own __init__ would open the default storages.
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir = base_dir
        self._inst_data = inst_data
        base = Path(base_dir)
        self._run_storage = KeptRunStorage.from_local(str(base / "history"))
        self._event_log_storage = KeptEventLogStorage(str(base / "history" / "runs"))
        self._schedule_storage = KeptScheduleStorage.from_local(str(base / "schedules"))

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """What dagster.yaml may say."""
        return BASE_DIR

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The storage dagster.yaml describes."""
        return cls.from_local(_base_dir(config_value), inst_data=inst_data)


def _base_dir(config: Mapping[str, Any]) -> str:
    """Where dagster.yaml says, else the Dagster home."""
    if "base_dir" in config:
        return str(config["base_dir"])
    home = home_of(load_given())
    private_directory(home)
    return str(home)


class StepOutput(LocalComputeLogManager):
    """What the steps print, stored where Dagster's default stores it, and shown by this process.

    Dagster starts two small programs for each stream, which cost more than most runs do and would have to be kept from
    Ctrl-C, and it ends them before they have shown the last lines.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """What dagster.yaml may say."""
        return BASE_DIR

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The manager dagster.yaml describes; ``base_dir`` is the instance's."""
        return cls(str(Path(_base_dir(config_value)) / "storage"), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Capture what is printed in this block."""
        complete = Path(self.complete_artifact_path(log_key))  # type: ignore[no-untyped-call]
        complete.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for kind, stream in ((ComputeIOType.STDOUT, sys.stdout), (ComputeIOType.STDERR, sys.stderr)):
                path = Path(self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind]))
                stack.enter_context(captured(stream, path))
            yield CapturedLogContext(log_key)
        complete.touch()


@contextmanager
def captured(stream: TextIO, path: Path) -> Iterator[None]:
    """Write what is printed to a stream, also by other programs, to a file, and show it meanwhile where it would go."""
    try:
        number = stream.fileno()
    except (OSError, AttributeError, ValueError):  # not a file, or closed: nothing to capture
        yield
        return
    _flush(stream)
    with path.open("ab") as file, os.fdopen(os.dup(number), "wb", buffering=0) as place:
        ended = threading.Event()
        showing = threading.Thread(target=_show, args=(path, place, ended), name="step output", daemon=True)
        showing.start()
        os.dup2(file.fileno(), number)
        try:
            yield
        finally:
            _flush(stream)
            os.dup2(place.fileno(), number)
            ended.set()
            showing.join()
    if path.is_file() and not path.stat().st_size:
        path.unlink()  # a step that printed nothing is shown in the same way without the file


def _flush(stream: TextIO) -> None:
    """Where it fails - the disk is full, the reader has closed the pipe, the stream is closed - what is left is written later or lost."""
    with suppress(OSError, ValueError):
        stream.flush()


def _show(path: Path, place: RawIOBase, ended: threading.Event) -> None:
    # The reader has closed the pipe; or a second Ctrl-C has ended the wait for this thread.
    with suppress(OSError, ValueError), path.open("rb") as printed:
        while not ended.wait(SHOWN_SECONDS):
            _pass_on(printed, place)
        _pass_on(printed, place)


def _pass_on(printed: BinaryIO, place: RawIOBase) -> None:
    """Copy to the end, also to a pipe that another program has made non-blocking: it takes only what fits in."""
    while left := printed.read(CHUNK_BYTES):
        while left:
            if not (written := place.write(left)):
                select.select([], [place], [])
            left = left[written or 0 :]
