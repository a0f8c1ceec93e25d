"""The migrations build the declared schema, quietly and once."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import column, table, update

from sync_pipeline.errors import StoreError
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.migrations.runner import known_revisions
from sync_pipeline.store.schema import HEAD, VERSION_TABLE, metadata, stored_version


@pytest.fixture(autouse=True)
def each_one_runs(migrated_once: Callable[[Config, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the migrations themselves."""
    monkeypatch.setattr(command, "upgrade", migrated_once)


# SQLAlchemy reads no index on an expression from SQLite; PostgreSQL's are compared.
@pytest.mark.filterwarnings("ignore:.*expression-based index")
def test_the_migrations_agree_with_the_declared_schema(store: Store) -> None:
    """Alembic finds no difference between a migrated database and ``schema.metadata``."""
    with store.reading() as tx:
        context = MigrationContext.configure(tx, opts={"version_table": VERSION_TABLE, "compare_type": True})

        assert compare_metadata(context, metadata) == []


def test_head_is_the_newest_revision() -> None:
    """The constant that spares importing Alembic names the newest script."""
    assert known_revisions()[0] == HEAD


def test_a_blank_database_is_migrated_without_a_sound(
    blank_url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Creating the tables prints and logs nothing."""
    with caplog.at_level(logging.INFO):
        store = open_store(blank_url)
    with store.reading() as tx:
        assert stored_version(tx) == HEAD
    store.close()

    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_many_may_open_a_blank_database_in_parallel(blank_url: str) -> None:
    """The second one waits and finds the tables made."""
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(open_store, [blank_url] * 4))
    for store in stores:
        with store.reading() as tx:
            assert stored_version(tx) == HEAD
        store.close()


def test_a_newer_schema_is_refused(blank_url: str) -> None:
    """A database of a later version is left alone, with the way out named."""
    store = open_store(blank_url)
    with store.writing() as tx:
        tx.execute(update(table(VERSION_TABLE, column("version_num"))).values(version_num="9999"))
    store.close()

    with pytest.raises(StoreError, match="has schema 9999, this version of sync_pipeline knows up to") as caught:
        open_store(blank_url)

    assert "newer sync_pipeline" in caught.value.fix


def test_a_database_at_head_is_opened_without_alembic(url: str) -> None:
    """The usual start does not pay for importing Alembic."""
    script = (
        "import sys; from sync_pipeline.store.engine import open_store; "
        f"open_store({url!r}).close(); print('alembic' in sys.modules)"
    )

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout == "False\n"
