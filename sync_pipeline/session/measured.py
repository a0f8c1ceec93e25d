"""What was measured at the system that records are written to: kept beside the facts about it, and used when it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sync_pipeline.connectors.preparation import Measured
from sync_pipeline.session.secrets import place
from sync_pipeline.settings import Settings
from sync_pipeline.store.engine import Store
from sync_pipeline.store.health import note_test, read_facts


def measured_place(settings: Settings) -> str:
    """Under what it is kept: the address, and the account there."""
    return " ".join(filter(None, (place(settings, "snapshots"), settings.snapshots_location, "measured")))


def unread_place(settings: Settings) -> str:
    """Under what it is kept of which accounts below the address no figures could be read, and why."""
    return " ".join(filter(None, (place(settings, "snapshots"), settings.snapshots_location, "unread")))


def note_measured(store: Store, settings: Settings, found: Sequence[Measured], at: datetime) -> None:
    """Keep what was measured, in place of what was measured before."""
    note_test(store, measured_place(settings), [one._asdict() for one in found], at)


def read_measured(store: Store, settings: Settings) -> list[Measured]:
    """What was measured last; empty where nothing was, and where there is no account that it could be about."""
    if not settings.snapshots_location:
        return []
    return [Measured(**one) for one in read_facts(store, measured_place(settings)).findings]
