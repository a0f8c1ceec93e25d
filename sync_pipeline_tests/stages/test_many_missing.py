"""A read that finds nothing of all that is known: what the guard and the second read need of it is paged, not in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.preview import preview
from sync_pipeline.store.schema import records
from sync_pipeline_tests.connectors.test_answer_limits import peak
from sync_pipeline_tests.harness import Team, morning, team

FEW = {"users": 1, "projects": 1, "clients": 1, "locations": 0, "entries": 0}
ENTITY = "time_entries"
FEWER, MORE = 10_000, 30_000
ROOM = 2_000_000
"""Bytes by which three times as many may need more: a tenth of what the rows themselves would."""


def _preview(us: Team) -> None:
    with us.session() as session:
        assert preview(session, session.specs[ENTITY], us.days, keep=10).counts.held_deletes > FEWER


def _sync(us: Team) -> None:
    assert us.sync(ENTITY)[ENTITY].held_deletes > FEWER


def _sync_allowed(us: Team) -> None:
    assert us.sync(ENTITY, options=Options(allow_deletes=True))[ENTITY].unconfirmed > FEWER / 2


RUNS: dict[str, Callable[[Team], object]] = {
    "preview": _preview,
    "verify": lambda us: us.verify(ENTITY),
    "sync": _sync,
    "sync that is allowed to delete": _sync_allowed,
}


def _deliver_more(us: Team, count: int) -> None:
    """As if this many more entries like the first one were delivered."""
    with us.session() as session, session.store.writing() as tx:
        mine = session.ledger(ENTITY).of(records)
        first = tx.execute(select(records).where(*mine).order_by(records.c.source_id).limit(1)).one()._mapping
        known = {**first, "target_id": None}
        have = tx.execute(select(records.c.source_id).where(*mine)).all()
        tx.execute(insert(records), [{**known, "source_id": f"z{len(have) + nr:08}"} for nr in range(count)])


@pytest.mark.parametrize("how", RUNS)
def test_memory_does_not_grow_with_what_is_missing(tmp_path: Path, how: str) -> None:
    """Three times as many take as much memory in the same run."""
    with team(tmp_path, **FEW) as us:
        entry = us.add_entry(us.users()[0]["id"], morning(3))
        us.sync()
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
        us.changes["SYNC_MAX_CONFIRMATIONS"] = "3"
        _deliver_more(us, FEWER)
        few = peak(lambda: RUNS[how](us))
        _deliver_more(us, MORE - FEWER)
        many = peak(lambda: RUNS[how](us))
        assert many < few + ROOM, f"{few:,} bytes for {FEWER:,}, {many:,} for {MORE:,}"
