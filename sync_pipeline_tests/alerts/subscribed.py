"""Deliveries that a test writes, as the ledger would."""

from __future__ import annotations

from sqlalchemy import insert

from sync_pipeline.session.session import Session
from sync_pipeline.store.schema import deliveries, entry_facts


def deliver(session: Session, count: int, prefix: str, project: str = "p1", kind: str = "create") -> None:
    """So many time entries of a project are delivered now, with one intent and one outcome each."""
    now, keys = session.now(), [f"{prefix}{number}" for number in range(count)]
    of = {"connection": session.pair, "entity": "time_entries", "kind": kind, "at": now}
    with session.store.writing() as tx:
        tx.execute(insert(deliveries), [{**of, "source_id": key, "phase": "intent"} for key in keys])
        done = {**of, "phase": "outcome", "outcome": "delivered"}
        tx.execute(insert(deliveries), [{**done, "source_id": key} for key in keys])
        facts = {"connection": session.pair, "entity": "time_entries", "read_no": 1, "project_id": project}
        tx.execute(insert(entry_facts), [{**facts, "source_id": key} for key in keys])
