"""Other runs have stored much of what a run reads: which records these are is marked in the database, not kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import select, update

from sync_pipeline.session.session import Session
from sync_pipeline.stages import load
from sync_pipeline.store.loads import Loading
from sync_pipeline.store.schema import records
from sync_pipeline.store.staged import StagedRow
from sync_pipeline_tests.connectors.test_answer_limits import peak
from sync_pipeline_tests.harness import Team, day, morning, team
from sync_pipeline_tests.stages.test_load import _meanwhile, _span
from sync_pipeline_tests.stages.test_many_missing import ENTITY, FEW, _deliver_more
from sync_pipeline_tests.store.batch import LATER

FEWER, MORE = 1_000, 10_000
ROOM = 500_000
"""Bytes by which ten times as many may need more: the ids alone would take more than that."""
DAY, OTHER_DAY, OUTSIDE = (day(days_ago).isoformat() for days_ago in (3, 1, 9))


def _update(session: Session, **values: str | None) -> None:
    """As if another run had stored this of all records but the first."""
    mine = [*session.ledger(ENTITY).of(records), records.c.source_id.startswith("z")]
    with session.store.writing() as tx:
        tx.execute(update(records).where(*mine).values(**values))


def _change(session: Session) -> None:
    """An older run with another mapping has stored all of them."""
    _update(session, source_hash="another")


def _move(session: Session) -> None:
    """They were moved, and a newer run has loaded the day on which they are."""
    _update(session, partition=OTHER_DAY)
    ledger = session.ledger(ENTITY)
    with session.store.writing() as tx:
        ledger.loads.note(tx, Loading([OTHER_DAY], LATER, "f", 1, "r", session.now()))


def _add(session: Session) -> None:
    """An older run has stored records that do not exist any more."""
    _update(session, partition=DAY)


class Case(NamedTuple):
    """What another run does with the records, and what the batch has of them."""

    happens: Callable[[Session], None]
    is_during: bool = True
    """Whether it happens while missing records are read again."""
    is_read: bool = True
    in_full: bool = False
    """Whether the batch contains them with their fields, rather than by their ids."""


CASES = {
    "changed before the load": Case(_change, is_during=False),
    "changed during the load": Case(_change),
    "moved before the load": Case(_move, is_during=False, in_full=True),
    "moved during the load": Case(_move, in_full=True),
    "missing since": Case(_add, is_read=False),
}


def _stage(session: Session, read_no: int, *, in_full: bool) -> int:
    """Add the stored records to a checked batch, as they are stored."""
    staging = session.stagings[ENTITY, read_no]
    columns = [records.c[name] for name in (*StagedRow._fields[:4], "source_hash")]
    stored = select(*columns).where(*session.ledger(ENTITY).of(records), records.c.source_id.startswith("z"))
    with session.store.reading() as tx:
        rows = tx.execute(stored).all()
    if in_full:
        staging.add([StagedRow(row[0], row[1], row[2], row[3], "accepted") for row in rows])
    else:
        staging.add_unchanged([(row[0], row[4]) for row in rows])
    return len(rows)


def _held(us: Team, patch: pytest.MonkeyPatch, case: str, count: int) -> int:
    """The most bytes that the load takes of a batch in which so many records are in doubt."""
    happens, is_during, is_read, in_full = CASES[case]
    missing = us.add_entry(us.users()[0]["id"], morning(4))
    us.sync(ENTITY)
    us.clockify("DELETE", f"/time-entries/{missing['id']}")
    done: list[load.Loaded] = []
    with us.session() as session:
        _update(session, partition=DAY if is_read else OUTSIDE, unconfirmed_at=None, source_hash="as read")
        batch = us.validated(session, ENTITY, _span(5, 2))
        batch.notes["rows"] += _stage(session, batch.read_no, in_full=in_full) if is_read else 0

        def run() -> None:
            done.append(us.load(session, ENTITY, batch, _span(5, 2)))

        if is_during:
            with _meanwhile(patch, lambda: happens(session)):
                held = peak(run)
        else:
            happens(session)
            held = peak(run)
    assert count - 10 < done[0].counts.lagging <= count
    assert done[0].not_done.keys() == {DAY}
    return held


@pytest.mark.parametrize("case", CASES)
def test_memory_does_not_grow_with_what_is_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Ten times as many take as much memory, and their day is not done, since a run reads only some of them by id."""
    with team(tmp_path, **FEW) as us:
        us.add_entry(us.users()[0]["id"], morning(3))
        us.sync()
        us.changes["SYNC_MAX_CONFIRMATIONS"] = "3"
        _deliver_more(us, FEWER)
        few = _held(us, monkeypatch, case, FEWER)
        _deliver_more(us, MORE - FEWER)
        many = _held(us, monkeypatch, case, MORE)
        assert many < few + ROOM, f"{few:,} bytes for {FEWER:,}, {many:,} for {MORE:,}"
