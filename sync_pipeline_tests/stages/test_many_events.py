"""However many changes come in or are found at a time, their events are in the database, not in memory."""

from __future__ import annotations

from pathlib import Path

import orjson
from sqlalchemy import func, insert, select

from sync_pipeline.stages.batch import Batch
from sync_pipeline.stages.inbox import claim_events, close_covered, unanswered
from sync_pipeline.stages.polling import Cursor, poll
from sync_pipeline.store.schema import events, records
from sync_pipeline_tests.connectors.test_answer_limits import peak
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.stages.test_many_missing import FEW

FEWER, MORE = 2_000, 20_000
ROOM = 3_000_000
"""Bytes by which ten times as many may need more: what their ids take, and an eighth of what the events themselves would."""
BODY = orjson.dumps({"name": "x" * 1_000}).decode()


def _receive(us: Team, some: range) -> None:
    """As if these users had been changed a while ago."""
    with us.session() as session, session.store.writing() as tx:
        fixed = {"connection": session.pair, "system": "clockify", "kind": "USER_UPDATED", "entity": "users"}
        rows = [{**fixed, "payload": BODY, "source_id": f"u{nr}", "delivery_id": f"d{nr}"} for nr in some]
        tx.execute(insert(events).values(received_at=session.now(), attempts=0), rows)


def _answered(us: Team) -> tuple[int, int]:
    """The most bytes that a read takes for the open events, and how many it closes."""
    with us.session() as session:
        spec, batch, closed = session.specs["users"], Batch([], {}), 0

        def run() -> None:
            nonlocal closed
            claim_events(session, spec, None, batch)
            with session.ledger(spec).staging(read_no=1) as staging:
                unanswered(session, spec, staging, batch)
            closed = close_covered(session, spec, None, [""], batch, "a run", besides={"u0"})

        return peak(run), closed


def test_a_read_keeps_no_bodies_of_the_events_it_answers(tmp_path: Path) -> None:
    """Ten times as many take the memory of their ids, and all are closed but the one about an undecided record."""
    with team(tmp_path, **FEW) as us:
        us.sync("users")
        _receive(us, range(FEWER))
        few, closed = _answered(us)
        assert closed == FEWER - 1
        _receive(us, range(FEWER, MORE))
        many, closed = _answered(us)
        assert closed == MORE - FEWER
        assert many < few + ROOM, f"{few:,} bytes for {FEWER:,}, {many:,} for {MORE:,}"


def _link_more(us: Team, some: range) -> None:
    """As if the clients of these locations had been removed by hand."""
    with us.session() as session, session.store.writing() as tx:
        mine = session.ledger("locations").of(records)
        first = tx.execute(select(records).where(*mine).limit(1)).one()._mapping
        tx.execute(insert(records), [{**first, "source_id": f"z{nr}", "target_id": f"t{nr}"} for nr in some])


def _polled(us: Team) -> int:
    """The most bytes that a comparison with the list of the target takes."""
    with us.session() as session:
        cursor = Cursor(refused=session.now())
        return peak(lambda: poll(session, session.specs["locations"], cursor))


def test_a_poll_keeps_what_it_finds_page_by_page(tmp_path: Path) -> None:
    """Removing all clients by hand causes an event for each; a poll keeps few of them in memory at a time."""
    with team(tmp_path, locations=1, clients=0, users=1, projects=1, entries=0) as us:
        us.sync("locations")
        _link_more(us, range(FEWER))
        few = _polled(us)
        _link_more(us, range(FEWER, MORE))
        many = _polled(us)
        with us.session() as session, session.store.reading() as tx:
            assert tx.scalar(select(func.count()).select_from(events)) == MORE
        assert many < few + ROOM, f"{few:,} bytes for {FEWER:,}, {many:,} for {MORE:,}"
