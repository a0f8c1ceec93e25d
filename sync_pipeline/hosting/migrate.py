"""Bringing both databases to this version: ours, and Dagster's storage."""

from __future__ import annotations

import sys
from contextlib import closing, redirect_stdout
from dataclasses import dataclass

from sync_pipeline.hosting.launch import open_instance
from sync_pipeline.settings import Settings
from sync_pipeline.store.engine import existing_store, open_store
from sync_pipeline.store.locks import lock
from sync_pipeline.store.schema import HEAD, newer_schema, stored_version
from sync_pipeline.store.setup_file import stored_setup

DAGSTER = "dagster-storage"


@dataclass(frozen=True, slots=True)
class Schemas:
    """What the databases have before a migration."""

    ours: str | None
    """The schema of our tables; None where there are none yet."""
    is_dagsters_current: bool

    @property
    def are_current(self) -> bool:
        """Whether there is nothing to migrate."""
        return self.ours == HEAD and self.is_dagsters_current


NONE = Schemas(None, is_dagsters_current=False)
"""Before the first migration; Dagster's storage is not opened then, which would create its tables."""


def schemas(settings: Settings) -> Schemas:
    """Find out what ``migrate`` would change. No schema is changed, so old processes may be running.

    Where Dagster alone has no tables, they are created: its storage does that when it is opened. Raises StoreError when our
    database does not answer, and NewerSchema when a newer version has migrated it.
    """
    store = existing_store(settings.store_url, timeout=settings.lock_seconds)
    if store is None:
        return NONE
    with closing(store):
        with store.reading() as tx:
            ours = stored_version(tx)
        if ours is None:
            return NONE
        if ours > HEAD:
            raise newer_schema(store.place, ours)
        with lock(store, DAGSTER, DAGSTER), open_instance(settings) as instance:
            storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
            versions = [version for storage in storages if storage and (version := storage.alembic_version())]
    return Schemas(ours, all(has == head for has, head in versions))


def migrate(settings: Settings) -> None:
    """Create or migrate the tables of both.

    Our own migrations wait for each other. Dagster's do not, and fail when two processes run them at the same moment:
    a lock in the database lets one process of all machines run them at a time. Only the databases have to be configured;
    accounts may be connected later.
    """
    stored_setup(settings)  # a set-up that is still in a file is imported when its table is made
    with (
        closing(open_store(settings.store_url, timeout=settings.lock_seconds)) as store,
        lock(store, DAGSTER, DAGSTER),
        open_instance(settings) as instance,
        redirect_stdout(sys.stderr),  # Dagster prints what it is at
    ):
        instance.upgrade()
