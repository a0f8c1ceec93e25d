"""What is old is deleted by age, and what is current stays, however old it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Table, func, insert, select

from sync_pipeline.store import retention
from sync_pipeline.store.engine import Store
from sync_pipeline.store.records import BEFORE_SWITCH_ON
from sync_pipeline.store.retention import Ages, prune
from sync_pipeline.store.schema import (
    approval_lines,
    approvals,
    audit,
    deliveries,
    events,
    loads,
    records,
    syncs,
    trials,
)
from sync_pipeline.store.trials import last_trial
from sync_pipeline_tests.store.batch import ENTITY, HERE, here

AGES = Ages(
    deliveries=timedelta(days=60),
    syncs=timedelta(days=30),
    audit=timedelta(days=30),
    trials=timedelta(days=30),
    approvals=timedelta(days=30),
    events=timedelta(days=30),
    alerts=timedelta(days=30),
    tombstones=timedelta(days=7),
)
TABLES = (deliveries, syncs, audit, trials, approvals, approval_lines, events, records)
START = datetime(2026, 1, 1, 2, 47, tzinfo=UTC)
NIGHTS = range(0, 365, 5)


def test_a_year_of_nights_keeps_the_store_level(store: Store) -> None:
    """Each table has as many rows after a year as after four months, and everything that is current is there."""
    current(store)
    levels = {}
    for night in NIGHTS:
        now = START + timedelta(days=night)
        a_day(store, night, now)
        prune(store, AGES, now)
        levels[night] = {table.name: rows(store, table) for table in TABLES}
    assert levels[NIGHTS[-1]] == levels[120]
    assert [intent.source_id for intent in here(store).open_intents()] == ["unanswered"]
    with store.reading() as tx:
        outcomes = deliveries.c.phase == "outcome"
        delivered = set(tx.scalars(select(deliveries.c.source_id).where(outcomes)))
        undecided = select(func.count()).select_from(approvals)
        assert tx.scalar(undecided.where(approvals.c.decided_at.is_(None))) == 1
        assert tx.scalar(undecided.where(approvals.c.entity == "usable")) == 1
        assert tx.scalar(select(func.count()).select_from(loads)) == 1
        linked = select(func.count()).select_from(deliveries.join(syncs, deliveries.c.sync_id == syncs.c.id))
        assert tx.scalar(linked) == tx.scalar(select(func.count()).where(deliveries.c.sync_id.isnot(None)))
    assert delivered == {"once", *(f"r{n}" for n in range(7))}
    passed = last_trial(store, HERE, "approved")
    assert passed is not None
    assert passed.outcome == "passed"
    assert [event.source_id for event in here(store).events.open_events(10)] == ["waiting"]


def test_a_night_has_an_end_and_the_next_one_continues(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that was never pruned is pruned in bounded parts; each part may be the last before an interruption."""
    monkeypatch.setattr(retention, "A_NIGHT", 10)
    current(store)
    for night in range(40):
        a_day(store, night, START + timedelta(days=night))
    later = START + timedelta(days=400)
    first = prune(store, AGES, later)
    assert first["audit"] == first["syncs"] == first["events"] == first["tombstones"] == 10
    for _ in range(10):
        prune(store, AGES, later)
    assert prune(store, AGES, later) == dict.fromkeys(first, 0)
    assert rows(store, audit) == 0
    assert rows(store, deliveries) == 1 + 2 + 2 * 7  # the open intent, and the newest delivery of each record


def test_what_an_automation_leaves_alone_is_left_alone_for_good(store: Store) -> None:
    """Also when its source was deleted long ago: it may come back."""
    here(store).leave_alone(["left"], START, 1)
    here(store).mark_deleted({"left": 2}, START)
    prune(store, AGES, START + timedelta(days=400))
    assert here(store).lookup(["left"])["left"].excluded_rule == BEFORE_SWITCH_ON


def current(store: Store) -> None:
    """What is never pruned."""
    here(store).intend("unanswered", "create", {"name": "x"}, START)
    a_delivery(store, "once", START, sync(store, START))
    with store.writing() as tx:
        tx.execute(
            insert(loads),
            {"connection": HERE, "entity": ENTITY, "day": "2026-01-01", "read_no": 1, "loaded_at": START, "sync_id": 1},
        )
        tx.execute(insert(trials), trial("approved", "passed", START))
        tx.execute(insert(events), event("waiting", START, None))
        asked = {"connection": HERE, "kind": "records", "guard": "deletes", "shown": 1, "requested_at": START}
        tx.execute(insert(approvals), asked | {"entity": ENTITY})
        allowed = {"decided_at": START, "decision": "allowed", "expires_at": START + timedelta(days=4000)}
        tx.execute(insert(approvals), asked | {"entity": "usable"} | allowed)


def a_day(store: Store, night: int, at: datetime) -> None:
    """What a day leaves behind."""
    a_delivery(store, f"r{night % 7}", at, sync(store, at))
    here(store).leave_tombstones({f"t{night}": night + 1}, at)
    with store.writing() as tx:
        tx.execute(insert(audit), {"at": at, "by": "me", "what": "retry", "detail": "once"})
        tx.execute(insert(trials), trial(f"f{night}", "failed", at))
        tx.execute(insert(events), event(f"e{night}", at, at))
        decided = {"connection": HERE, "entity": ENTITY, "kind": "records", "guard": "deletes", "shown": 1}
        decided |= {"requested_at": at, "decided_at": at, "decision": "declined"}
        number = tx.execute(insert(approvals).returning(approvals.c.id), decided).scalar_one()
        tx.execute(insert(approval_lines), {"approval_id": number, "source_id": "a", "action": "delete"})


def a_delivery(store: Store, source_id: str, at: datetime, sync_id: int) -> None:
    """An intent and its outcome."""
    intent = here(store).intend(source_id, "create", {}, at, sync_id)
    here(store).conclude(intent, "failed", at, reason="no answer")


def sync(store: Store, at: datetime) -> int:
    """A sync with a delivery, after one without."""
    row = {"connection": HERE, "entity": ENTITY, "observed_at": at, "begun_at": at, "outcome": "success"}
    with store.writing() as tx:
        tx.execute(insert(syncs), row)
        return int(tx.execute(insert(syncs).returning(syncs.c.id), row).scalar_one())


def trial(fingerprint: str, outcome: str, at: datetime) -> dict[str, object]:
    """One row."""
    return {
        "connection": HERE, "fingerprint": fingerprint, "kind": "dry_run", "by": "me", "begun_at": at, "outcome": outcome,
    }  # fmt: skip


def event(source_id: str, at: datetime, closed_at: datetime | None) -> dict[str, object]:
    """One row."""
    return {
        "connection": HERE, "system": "clockify", "delivery_id": source_id, "kind": "K", "entity": ENTITY,
        "source_id": source_id, "payload": "{}", "received_at": at, "attempts": 0, "closed_at": closed_at,
    }  # fmt: skip


def rows(store: Store, table: Table) -> int:
    """How many there are."""
    with store.reading() as tx:
        return int(tx.scalar(select(func.count()).select_from(table)) or 0)
