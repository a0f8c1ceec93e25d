"""The set-up and its versions: one is current, one may be a draft, the others are past."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, select, update
from sqlalchemy.exc import IntegrityError

from sync_pipeline.errors import ChangedMeanwhile
from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import setup_versions

State = Literal["current", "draft", "past"]
CHANGED = "The set-up was changed in the meantime, in another window or by a command: nothing was overwritten."
LOOK_AGAIN = "Look at the current set-up, and make your change again."


@dataclass(frozen=True, slots=True)
class SetupVersion:
    """One version, and who made it. A draft names the version it is based on."""

    id: int
    state: State
    document: str
    base_id: int | None
    file_hash: str | None
    by: str
    at: datetime
    note: str


@dataclass(frozen=True, slots=True)
class SetupChange:
    """Who makes a version, when, and what is different in it."""

    by: str
    at: datetime
    note: str
    file_hash: str | None = None
    """Of the file that it comes from."""


_COLUMNS = [setup_versions.c[name] for name in SetupVersion.__slots__]


def has_versions(store: Store) -> bool:
    """Whether the database has the table; one of an earlier version has not, nor has one that was restored from it."""
    with store.reading() as tx:
        return tx.dialect.has_table(tx, setup_versions.name)


def version_in(store: Store, name: str, state: State) -> SetupVersion | None:
    """The current version of a set-up, or its draft."""
    return _one(store, setup_versions.c.name == name, setup_versions.c.state == state)


def version_of(store: Store, name: str, number: int) -> SetupVersion | None:
    """One version, by its number."""
    return _one(store, setup_versions.c.name == name, setup_versions.c.id == number)


def current_documents(store: Store, *, besides: str) -> dict[str, str]:
    """The current set-ups of other names, by name."""
    others = setup_versions.c.state == "current", setup_versions.c.name != besides
    with store.reading() as tx:
        rows = tx.execute(
            select(setup_versions.c.name, setup_versions.c.document).where(*others).order_by(setup_versions.c.id)
        )
        return {row.name: row.document for row in rows}


def imported_version(store: Store, name: str, file_hash: str) -> SetupVersion | None:
    """The newest version that was imported from a file of this content."""
    return _one(store, setup_versions.c.name == name, setup_versions.c.file_hash == file_hash)


def last_import(store: Store, name: str) -> SetupVersion | None:
    """The newest version that was imported from any file."""
    return _one(store, setup_versions.c.name == name, setup_versions.c.file_hash.is_not(None))


def list_versions(store: Store, name: str, limit: int = 100) -> list[SetupVersion]:
    """The versions that are or were current, newest first."""
    mine = setup_versions.c.name == name, setup_versions.c.state != "draft"
    with store.reading() as tx:
        rows = tx.execute(select(*_COLUMNS).where(*mine).order_by(setup_versions.c.id.desc()).limit(limit))
        return [SetupVersion(*row) for row in rows]


def put_current(store: Store, name: str, document: str, change: SetupChange, *, expected: int) -> int:
    """Store a version that takes effect immediately; returns its number.

    ``expected`` is the number of the version it was made from, 0 for none: ChangedMeanwhile when another one is current.
    """
    with store.writing() as tx:
        return put_current_in(tx, name, document, change, expected=expected)


def put_current_in(tx: Connection, name: str, document: str, change: SetupChange, *, expected: int) -> int:
    """The same within the caller's transaction."""
    current = setup_versions.c.name == name, setup_versions.c.state == "current"
    found = tx.scalar(select(setup_versions.c.id).where(*current).with_for_update()) or 0
    if found != expected:
        raise ChangedMeanwhile(CHANGED, fix=LOOK_AGAIN)
    if found:
        tx.execute(update(setup_versions).where(setup_versions.c.id == found).values(state="past"))
    return _insert(tx, name, "current", document, change)


def put_draft(
    store: Store, name: str, document: str, change: SetupChange, *, base_id: int | None, expected: int | None
) -> int:
    """Store a draft in place of the one there is; returns its number. ``expected`` is that one's, None for none."""
    with store.writing() as tx:
        draft = setup_versions.c.name == name, setup_versions.c.state == "draft"
        if tx.scalar(select(setup_versions.c.id).where(*draft).with_for_update()) != expected:
            raise ChangedMeanwhile(CHANGED, fix=LOOK_AGAIN)
        tx.execute(delete(setup_versions).where(*draft))
        return _insert(tx, name, "draft", document, change, base_id)


def remove_draft(store: Store, name: str) -> None:
    """Delete the draft, if there is one."""
    with store.writing() as tx:
        tx.execute(delete(setup_versions).where(setup_versions.c.name == name, setup_versions.c.state == "draft"))


def remove_draft_in(tx: Connection, name: str, expected: int) -> bool:
    """Delete the draft of this number; False when it is not there any more."""
    draft = setup_versions.c.name == name, setup_versions.c.state == "draft", setup_versions.c.id == expected
    return bool(tx.execute(delete(setup_versions).where(*draft)).rowcount)


def _insert(
    tx: Connection, name: str, state: State, document: str, change: SetupChange, base_id: int | None = None
) -> int:
    row = {"name": name, "state": state, "document": document, "base_id": base_id, **asdict(change)}
    try:
        return int(tx.execute(setup_versions.insert().values(row).returning(setup_versions.c.id)).scalar_one())
    except IntegrityError:  # another transaction has made the first one at the same moment
        raise ChangedMeanwhile(CHANGED, fix=LOOK_AGAIN) from None


def _one(store: Store, *conditions: ColumnElement[bool]) -> SetupVersion | None:
    statement = select(*_COLUMNS).where(*conditions).order_by(setup_versions.c.id.desc()).limit(1)
    with store.reading() as tx:
        row = tx.execute(statement).one_or_none()
    return None if row is None else SetupVersion(*row)
