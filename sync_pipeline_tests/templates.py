"""New databases as the first ones of this process were made: each test has its own, and making them was a third of a command's time."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from alembic import command
from alembic.config import Config
from dagster._serdes import ConfigurableClassData
from sqlalchemy import inspect

from sync_pipeline.hosting.run_storage import History
from sync_pipeline.store.engine import open_store

Upgrade = Callable[[Config, str], None]


def use_templates(patch: pytest.MonkeyPatch) -> Upgrade:
    """Make new SQLite files of the store and of Dagster's history by copying; returns what runs all migrations of the store."""
    upgrade: Upgrade = command.upgrade
    patch.setattr(command, "upgrade", _copied_store(upgrade))
    patch.setattr(History, "__init__", _copied_history(History.__init__))
    return upgrade


def make_templates() -> None:
    """Make the first ones now, for processes that are forked from this one."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as place:
        open_store(f"sqlite:///{place}/sync.db").close()
        History(f"{place}/dagster").dispose()


def _copied_store(upgrade: Upgrade) -> Upgrade:
    """The statements of the first database, for each that is empty."""
    made: list[str] = []

    def copied(config: Config, revision: str) -> None:
        connection = config.attributes["connection"]
        if revision != "head" or connection.dialect.name != "sqlite" or inspect(connection).get_table_names():
            upgrade(config, revision)
        elif made:
            for statement in made:
                connection.exec_driver_sql(statement)
        else:
            upgrade(config, revision)
            made.extend([*connection.connection.driver_connection.iterdump()][1:-1])  # without BEGIN and COMMIT

    return copied


def _copied_history(make: Callable[[History, str], None]) -> Callable[..., None]:
    """The files of the first history, for each directory that has none; where one cannot be written Dagster makes it."""
    files: dict[str, bytes] = {}

    def copied(history: History, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        if not files:
            files.update(_history(make))
        paths = {Path(base_dir) / name: content for name, content in files.items()}
        with suppress(OSError):
            if not any(path.exists() for path in paths):
                for path, content in paths.items():
                    _write(path, content)
        make(history, base_dir, inst_data)  # type: ignore[call-arg]

    return copied


def _history(make: Callable[[History, str], None]) -> dict[str, bytes]:
    with TemporaryDirectory() as place:
        first = History.__new__(History)
        make(first, place)
        first.dispose()
        root = Path(place)
        return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*.db")}


def _write(path: Path, content: bytes) -> None:
    """The file is complete when it appears."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        made.write_bytes(content)
        os.link(made, path)
    finally:
        made.unlink(missing_ok=True)
