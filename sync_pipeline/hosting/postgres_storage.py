"""Dagster's storage on PostgreSQL for a fleet: one process keeps a few connections, however many instances it makes.

Dagster opens a connection for each statement, and looks for its tables each time an instance is made, which its code server
does for each request: with three workers these were 90 connections a second, and most of PostgreSQL's load.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, ClassVar

from dagster._serdes import ConfigurableClassData
from dagster_postgres.storage import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config
from sqlalchemy import Engine, make_url

from sync_pipeline.store.engine import time_limits

KEPT = 5
"""Connections that a process keeps; those beyond are closed after their statement."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """Dagster's own storage, with the connections of its process; a forked process makes its own instance first.

    Tables are looked for once in a process.
    """

    _with_tables: ClassVar[set[str]] = set()

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: Any = None,
    ) -> None:
        looks = should_autocreate_tables and postgres_url not in self._with_tables
        super().__init__(postgres_url, looks, inst_data, token_provider)
        if looks:
            self._with_tables.add(postgres_url)
        if token_provider is None:  # a password that expires belongs to its own storage
            for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
                storage._engine = _engine(postgres_url, os.getpid())  # noqa: SLF001 - Dagster has no public name for it

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> PooledPostgresStorage:
        """The storage that a dagster.yaml describes, by the keys of Dagster's own."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )


@cache
def _engine(url: str, pid: int) -> Engine:
    """The connections of the process ``pid``: one that is forked may not use those of its parent.

    A connection is tried before it is used again, and replaced if the server has ended it.
    """
    del pid
    return create_pg_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=KEPT,
        max_overflow=-1,
        pool_pre_ping=True,
        connect_args=time_limits(make_url(url)),
    )
