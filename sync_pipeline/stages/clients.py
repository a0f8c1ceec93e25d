"""Clients that changed in Clockify: compare each with what we delivered, so that an edit there becomes pending.

Our own writes come back as events, too: they find the client as delivered, and end here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sync_pipeline.connectors.paging import Record
from sync_pipeline.mapping.canonical import canonical_target
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.session import Session
from sync_pipeline.store.events import Event, close, mark_attempt
from sync_pipeline.store.outcomes import REMOVAL
from sync_pipeline.store.records import Known, linked, lookup, observe_target

STUBBORN_FOR = timedelta(minutes=10)
ONE_BY_ONE = {"paid": 20, "free": 1}
"""Up to this many clients are read by id; above it the whole list is the cheaper read."""


def compare_clients(
    session: Session, spec: EntitySpec, events: Sequence[Event], stubborn: dict[str, list[str]]
) -> list[int]:
    """Close the events of clients that are as we left them; returns those that need the list to be pulled again.

    ``stubborn`` remembers what a client was instead of what we sent, and when: one that is the same again right after
    we delivered is left to ``verify``, or the two sides would send each other changes for ever.
    """
    tried = {event.source_id for event in events if event.attempts}
    mark_attempt(session.store, [event.id for event in events], session.now())  # from here on a repeat is news
    ids = {event.source_id for event in events if event.source_id}
    links = linked(session.store, session.connection, spec.entity)
    known = lookup(session.store, session.connection, spec.entity, [links[key] for key in ids if key in links])
    ours = {key: known[links[key]] for key in ids if links.get(key) in known}
    wanting = ids - ours.keys()  # nobody's client yet: a location may be waiting for it
    began = session.now()
    for key, client in _read(session, ours).items():
        found = standing(spec, ours[key], client)
        observe_target(session.store, session.connection, spec.entity, [(ours[key].source_id, found)], began)
        if not _is_pending(spec, ours[key], found):
            stubborn.pop(key, None)
        elif key in tried or not _is_stubborn(stubborn.get(key), found, began):
            stubborn[key] = [found or "", began.isoformat()]
            wanting.add(key)
    settled = {event.id for event in events if event.source_id and event.source_id not in wanting}
    close(session.store, settled, None, session.now())
    return [event.id for event in events if event.id not in settled]


def _is_stubborn(known: list[str] | None, found: str | None, now: datetime) -> bool:
    """Whether it was just like that a moment ago; the same later is somebody's doing."""
    return known is not None and known[0] == (found or "") and now - datetime.fromisoformat(known[1]) < STUBBORN_FOR


def _read(session: Session, ours: dict[str, Known]) -> dict[str, Record | None]:
    if len(ours) <= ONE_BY_ONE[session.settings.clockify_plan]:
        return {key: session.call(session.clockify.get_client, key) for key in ours}
    listed: dict[str, Any] = {client["id"]: client for client in session.call(session.clockify.list_clients)}
    return {key: listed.get(key) for key in ours}


def _is_pending(spec: EntitySpec, known: Known, found: str | None) -> bool:
    """Whether a sync would write to the client that stands there as ``found``."""
    if known.deleted_at is not None:
        return found is not None and spec.target.delete != "keep" and known.refused_hash != REMOVAL
    return known.excluded_rule is None and known.fields_hash not in (found, known.refused_hash)


def standing(spec: EntitySpec, known: Known, client: Record | None) -> str | None:
    """What stands at the target, as a hash: None for nothing, and for an archived client of a location that is gone."""
    if client is None or (known.deleted_at is not None and client.get("archived")):
        return None
    return canonical_target(spec, client)[1]
