"""The records that were set aside: see why, and offer them again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sync_pipeline.setup.desk import Desk
from sync_pipeline.stages.session import Session
from sync_pipeline.store.records import clear_refused
from sync_pipeline.store.rejects import StoredReject, count_rejects, list_rejects

SHOWN = 200


@dataclass(frozen=True, slots=True)
class SetAside:
    """The rejects of one entity: how many records, and the first of their reasons."""

    entity: str
    count: int
    reasons: tuple[StoredReject, ...]


def set_aside(desk: Desk, entity: str) -> SetAside:
    """What is set aside of an entity."""
    with _session(desk, entity) as session:
        count = count_rejects(session.store, session.connection).get(entity, 0)
        reasons = list_rejects(session.store, session.connection, entity=entity, limit=SHOWN)
    return SetAside(entity, count, tuple(reasons))


def offer_again(desk: Desk, entity: str, source_ids: tuple[str, ...] = ()) -> int:
    """Let the next sync offer refused records - all of an entity, or these - to the target again; returns how many."""
    with _session(desk, entity) as session:
        count = clear_refused(session.store, session.connection, entity, source_ids or None)
    if count:
        desk.note("retry", f"{count} refused records of {entity} are offered again")
    return count


@contextmanager
def _session(desk: Desk, entity: str) -> Iterator[Session]:
    with desk.session() as session:
        session.spec(entity)  # is there, and switched on
        yield session
