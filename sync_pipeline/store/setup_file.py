"""The set-up that settings are read from; and the file it was in, which is imported once.

A file is imported by itself only into a database that never had a set-up of its own: a new one, or one of an earlier
version. A file that appears or changes later is named and not read.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from sync_pipeline.clock import utc_now
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import load_specs, switched_on
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.private_files import require_trusted
from sync_pipeline.settings import SETUP, Settings, notice, read_setup, retired, setup_text
from sync_pipeline.store.audit import note_in, system_user
from sync_pipeline.store.engine import Store, existing_store, open_store
from sync_pipeline.store.setup import (
    SetupChange,
    SetupVersion,
    has_versions,
    imported_version,
    last_import,
    put_current_in,
    version_in,
)

ACCOUNTS = ("clockify_workspace_id", "snapshots_base_url", "snapshots_account", "snapshots_location")


def stored_setup(settings: Settings) -> tuple[int, str]:
    """Number and text of the current set-up; (0, "") when there is none. Imports the file where that is due."""
    file = settings.setup_file
    is_there = file.exists()  # before the database is read: a process that imports the file renames it after that
    store = existing_store(settings.store_url, timeout=settings.lock_seconds)
    if store is None:
        return _first_setup(settings, is_there=is_there)
    with closing(store):
        if not has_versions(store):
            return _first_setup(settings, is_there=is_there)
        found = version_in(store, settings.setup_name, "current")
        if found is not None and store.path is not None:
            require_trusted(store.path)  # it names the addresses that keys are sent to
        if file.exists():
            _name_file(store, settings, found)
    return (found.id, found.document) if found is not None else (0, "")


def validated(settings: Settings, document: str, place: str = SETUP) -> dict[str, EntitySpec]:
    """The mappings of a set-up; raises when anything in it is not valid. ``place`` is what errors call it."""
    values = read_setup(document, place)
    profile = str(values.get("snapshots_profile") or settings.snapshots_profile)
    on = values.get("automations", settings.automations)
    specs = load_specs(settings.mappings_dir, document, place, profile=profile, automations=on)
    switched_on(specs, values.get("entities", ()))
    return specs


def checksum(document: str) -> str:
    """What identifies the content of a file."""
    return hashlib.sha256(document.encode()).hexdigest()


def retire(file: Path) -> bool:
    """Rename an imported file, so that no one takes it for the set-up; returns whether that was possible."""
    target = retired(file)
    with suppress(OSError):
        if not target.exists():
            file.rename(target)
            return True
    return False


def _first_setup(settings: Settings, *, is_there: bool) -> tuple[int, str]:
    """That of a database that never had one. Raises ConfigError when it may have lost it: it was restored, or is another one."""
    if is_there:
        return _imported(settings)
    file = settings.setup_file
    if (before := retired(file)).exists():
        raise ConfigError(
            f"The database has no set-up, but {before} was imported before: this is a back-up from before that, or a new database.",
            fix=f"Rename {before.name} to {file.name} to import it again; or remove it to begin without a set-up.",
        )
    return 0, ""


def _imported(settings: Settings) -> tuple[int, str]:
    file, is_imported = settings.setup_file, False
    try:
        document = setup_text(file)
    except ConfigError:
        if file.exists():
            raise
        return stored_setup(settings)  # another process has imported and renamed it
    validated(settings, document, str(file))

    def import_setup(tx: Connection) -> None:
        nonlocal is_imported
        by, at = f"{system_user()} (terminal)", utc_now()
        change = SetupChange(by, at, f"imported from {file.name}", checksum(document))
        put_current_in(tx, settings.setup_name, document, change, expected=0)
        note_in(tx, by, "set-up imported", file.name, at)
        is_imported = True

    open_store(settings.store_url, timeout=settings.lock_seconds, import_setup=import_setup).close()
    if is_imported and retire(file):
        notice(logging.INFO, f"The set-up is in the database now; {file} was imported and renamed.")
    return stored_setup(settings)  # another process may have opened it first, with another file


def _name_file(store: Store, settings: Settings, current: SetupVersion | None) -> None:
    """Report a file that is not read."""
    file = settings.setup_file
    try:
        document = setup_text(file)
    except ConfigError:
        if not file.exists():
            return  # another process has renamed it
        document = ""  # of no use, and not used
    command = f"`sync-pipeline setup import {file}`"
    if (imported := imported_version(store, settings.setup_name, checksum(document))) is not None:
        if retire(file):
            notice(logging.WARNING, f"{file} was imported before and is not read again; it is renamed.")
            return
        if imported == last_import(store, settings.setup_name):
            return
    if imported is None and current is not None and not retired(file).exists():
        _refuse_other_accounts(settings, document, current)
    notice(logging.WARNING, f"{file} is not read: the set-up is in the database. To use the file, run {command}.")


def _refuse_other_accounts(settings: Settings, document: str, current: SetupVersion) -> None:
    """Raise where a home would silently go on with the accounts of another home that shares its database."""
    theirs, ours = _accounts(current.document), _accounts(document)
    if any(theirs) and any(ours) and theirs != ours:
        raise ConfigError(
            f"{settings.setup_file} names other accounts than the set-up that another home has stored in the database.",
            fix="Set SYNC_SETUP_NAME to a name of its own for this home and run `sync-pipeline setup import`; or remove the "
            "file to use the stored set-up.",
        )


def _accounts(document: str) -> list[Any]:
    try:
        values = read_setup(document)
    except ConfigError:
        return []
    return [values.get(name, "") for name in ACCOUNTS]
