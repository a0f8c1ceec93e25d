"""`migrate`: both databases of a fleet, one process at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from sync_pipeline.hosting.migrate import DAGSTER, Schemas, migrate, schemas
from sync_pipeline.settings import load_given
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.locks import lock
from sync_pipeline.store.schema import HEAD, stored_version
from sync_pipeline_tests.scenarios.commands import ROOT
from sync_pipeline_tests.scenarios.developing import wait_for
from sync_pipeline_tests.store.conftest import Server, postgres

__all__ = ["postgres"]  # a fixture of the store's tests

PATIENCE = 60.0
WAITS = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@pytest.mark.outside
def test_a_second_process_waits_for_the_first(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's own command fails when two processes make its tables at the same moment, on whatever machines."""
    store, history = postgres.create(), postgres.create()
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "deploy" / "dagster.yaml").read_bytes())
    monkeypatch.setenv("SYNC_DATABASE_URL", store)
    monkeypatch.setenv("SYNC_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", history.replace("postgresql://", "postgresql+psycopg2://"))
    monkeypatch.setenv("WORKERS", "4")
    monkeypatch.setenv("SYNC_MODE", "live")  # without accounts, which are connected later
    settings = load_given(root=tmp_path)

    def count(url: str, query: str) -> int:
        with psycopg.connect(url) as connection:
            (found,) = connection.execute(query.encode()).fetchone() or (0,)
        return int(found)

    assert schemas(settings) == Schemas(None, is_dagsters_current=False)
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    with closing(open_store(store)) as first, ThreadPoolExecutor(1) as pool:
        with lock(first, DAGSTER, DAGSTER):
            second = pool.submit(migrate, settings)
            wait_for(lambda: second.done() or count(store, WAITS) == 1, PATIENCE)
            assert not second.done()
            assert count(history, tables) == 0
        second.result(PATIENCE)

        with first.reading() as tx:
            assert stored_version(tx) == HEAD
        assert count(history, "SELECT count(*) FROM alembic_version") == 1
        migrate(settings)
        assert schemas(settings).are_current
        with psycopg.connect(history) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '284a732df317'")
        assert schemas(settings) == Schemas(HEAD, is_dagsters_current=False)
