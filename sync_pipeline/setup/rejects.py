"""The rejected records: offer them again, or leave them alone."""

from __future__ import annotations

from collections.abc import Sequence

from sync_pipeline.errors import ConfigError
from sync_pipeline.setup.service import SetupService

NOTE = 500
"""So much of a note is kept."""


def offer_again(setup: SetupService, entity: str, source_ids: tuple[str, ...] = ()) -> int:
    """Let the next sync offer refused records - all of an entity, or these - to the target again; returns how many."""
    with setup.session() as session:
        session.spec(entity)
        count = session.ledger(entity).clear_refused(source_ids or None)
    if count:
        setup.note("retry", f"{count} refused records of {entity} are offered again")
    return count


def accept_outcome(setup: SetupService, entity: str, source_ids: Sequence[str]) -> int:
    """Stop delivering those of these records with an unknown outcome; returns how many."""
    with setup.reading() as session:
        session.spec(entity)
        count = session.ledger(entity).settle(source_ids)
    if count:
        setup.note("reject accepted", f"{_some(source_ids)} of {entity}: nothing more is made")
    return count


def ignore(setup: SetupService, entity: str, source_ids: Sequence[str], note: str) -> int:
    """Ignore why these records are rejected until it changes, with a note; returns how many reasons are."""
    if not note:
        raise ConfigError(
            "Say why these records are ignored.",
            fix="One sentence is enough (on a terminal: --note); the audit trail keeps it.",
        )
    with setup.reading() as session:
        session.spec(entity)
        rejects = session.ledger(entity).rejects
        count = rejects.ignore(source_ids, setup.by, note[:NOTE], setup.now())
    if count:
        setup.note("reject ignored", f"{_some(source_ids)} of {entity}: {note[:NOTE]}")
    return count


def stop_ignoring(setup: SetupService, entity: str, source_ids: Sequence[str]) -> int:
    """Ignore these records no more; returns how many reasons count again."""
    with setup.reading() as session:
        session.spec(entity)
        count = session.ledger(entity).rejects.stop_ignoring(source_ids)
    if count:
        setup.note("reject no longer ignored", f"{_some(source_ids)} of {entity}")
    return count


def _some(source_ids: Sequence[str]) -> str:
    return source_ids[0] if len(source_ids) == 1 else f"{len(source_ids)} records"
