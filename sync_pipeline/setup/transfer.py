"""The set-up as a file, for git and scripts: written, read, and compared with the stored one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_pipeline.alerts.configuration import stored_configuration
from sync_pipeline.errors import ChangedMeanwhile
from sync_pipeline.settings import Settings, setup_text
from sync_pipeline.setup.document import differences, leaves
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.audit import note
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.setup import SetupChange, put_current, version_in
from sync_pipeline.store.setup_file import checksum, stored_setup, validated


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """A value of the set-up that is another one in a file; None where it is not given."""

    key: str
    stored: Any
    file: Any


def export_setup(setup: SetupService) -> str:
    """The current set-up as YAML, whether it is valid or not; "" when there is none."""
    return stored_setup(setup.given())[1]


def diff_setup(setup: SetupService, file: Path) -> list[SettingDifference]:
    """What is different in a file; ConfigError when that is not a valid set-up."""
    given = setup.given()
    document = _read(given, file)
    return compared(stored_setup(given)[1], document)


def import_setup(setup: SetupService, file: Path) -> tuple[int, list[SettingDifference]]:
    """Make a file the current set-up; returns the number of its version, and what it changed."""
    given = setup.given()
    document = _read(given, file)
    with _store(given) as store:
        while True:
            now = version_in(store, given.setup_name, "current")
            if now is not None and now.document == document and now.file_hash == checksum(document):
                return now.id, []
            change = SetupChange(setup.by, setup.now(), f"imported from {file.name}", checksum(document))
            try:
                number = put_current(store, given.setup_name, document, change, expected=now.id if now else 0)
            except ChangedMeanwhile:
                continue  # what was changed is a version, too
            note(store, setup.by, "set-up imported", file.name, setup.now())
            return number, compared(now.document if now else "", document)


def _read(given: Settings, file: Path) -> str:
    """The text of a file; ConfigError when it is not a valid set-up."""
    document = setup_text(file)
    validated(given, document, str(file))
    stored_configuration(document, str(file))
    return document


def compared(before: str, after: str) -> list[SettingDifference]:
    """The values of one document that are others in another one."""
    old = leaves(before)
    return [
        SettingDifference(".".join(path), old.get(path), value) for path, value in differences(before, after).items()
    ]


@contextmanager
def _store(given: Settings) -> Iterator[Store]:
    with closing(open_store(given.store_url, timeout=given.lock_seconds)) as store:
        yield store
