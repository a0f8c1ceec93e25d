"""Where Dagster keeps its run history: its own SQLite files, with connections that stay open.

Dagster opens and closes a database several times for each event, and a day of time entries is two events: planned and
materialized. Kept connections and one transaction per batch of events make a run ten times cheaper. Files, tables and
queries are Dagster's own, so `storage` in dagster.yaml may be changed to its default, or back, at any time.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event

KEPT = 4
"""Run histories kept open: the index, the run at work, and a few that a person looks at."""
BUSY_SECONDS = 30
BATCH_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"


def write_events_in_batches() -> None:
    """Let Dagster hand over the events of many partitions together; without this it stores each by itself."""
    os.environ.setdefault(BATCH_VARIABLE, "1000")


def open_engine(url: str) -> Engine:
    """An engine that keeps its connections. Safe to share: each holds one transaction at a time and no state."""
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    # With a write-ahead log nothing is corrupted by a power cut; the last events may be missing, not the data.
    connection.execute("PRAGMA synchronous=NORMAL").close()


class KeptRunStorage(SqliteRunStorage):
    """Dagster's run storage on one engine."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engine = open_engine(conn_string)
        weakref.finalize(self, self._engine.dispose)  # Dagster drops a storage it could not set up
        super().__init__(conn_string, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """One transaction."""
        with self._engine.begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close the connections."""
        self._engine.dispose()


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

    def wipe(self) -> None:
        """Forget everything; the files of the runs are removed, so nobody may hold them open."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close the connections."""
        self._close()
        super().dispose()

    def _engine(self, shard: str) -> Engine:
        engine = self._engines.get(shard)
        if engine is None:
            engine = self._engines[shard] = open_engine(self.conn_string_for_shard(shard))
        self._engines.move_to_end(shard)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        while len(self._engines) > KEPT:  # the oldest is not in use: uses are one after the other, under the lock
            self._engines.popitem(last=False)[1].dispose()
        return engine

    def _close(self) -> None:
        with self._db_lock:
            _close_all(self._engines)


def _close_all(engines: OrderedDict[str, Engine]) -> None:
    while engines:
        engines.popitem()[1].dispose()


class History(DagsterSqliteStorage):
    """Runs, events and schedules in SQLite files below ``base_dir``, laid out as Dagster's default storage does."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Its own __init__ would open the default storages.
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir = base_dir
        self._inst_data = inst_data
        base = Path(base_dir)
        self._run_storage = KeptRunStorage.from_local(str(base / "history"))
        self._event_log_storage = KeptEventLogStorage(str(base / "history" / "runs"))
        self._schedule_storage = SqliteScheduleStorage.from_local(str(base / "schedules"))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The storage dagster.yaml describes."""
        return cls.from_local(inst_data=inst_data, **config_value)
