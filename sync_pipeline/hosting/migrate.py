"""Bringing both databases to this version: ours, and Dagster's storage."""

from __future__ import annotations

import sys
from contextlib import closing, redirect_stdout

from sync_pipeline.hosting.launch import open_instance
from sync_pipeline.settings import Settings
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.locks import lock
from sync_pipeline.store.setup_file import stored_setup

DAGSTER = "dagster-storage"


def migrate(settings: Settings) -> None:
    """Create or migrate the tables of both.

    Our own migrations wait for each other. Dagster's do not, and fail when two processes run them at the same moment:
    here one process does at a time, on whatever machine, and the second finds it done. Only where the databases are has to
    be known: accounts may be connected later.
    """
    stored_setup(settings)  # a set-up that is still in a file is imported when its table is made
    with (
        closing(open_store(settings.store_url, timeout=settings.lock_seconds)) as store,
        lock(store, DAGSTER, DAGSTER),
        open_instance(settings) as instance,
        redirect_stdout(sys.stderr),  # Dagster prints what it is at
    ):
        instance.upgrade()
