"""What live syncing begins with: everything once, in order, in bounded runs; and it continues where it was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update

from sync_pipeline.defs.first_sync import NAME
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START
from sync_pipeline.store.approvals import decide, list_approvals
from sync_pipeline.store.schema import entry_facts, loads, records
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.scenarios.mappings import write_mapping

pytestmark = pytest.mark.clock


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team nothing of which was ever synced."""
    with team(tmp_path / "team") as opened:
        yield opened


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Live syncing has just been turned on; a run covers ten days."""
    with live(us, tmp_path / "live", monkeypatch, SYNC_DAYS_PER_RUN="10") as switched_on:
        yield switched_on


def test_a_fresh_system_is_synced_once(us: Team, on: Live) -> None:
    """What depends on nothing first, then the days in runs of at most ten; then both sides agree and it is quiet."""
    first = on.tick(NAME)
    assert sorted(first.jobs) == ["sync_locations", "sync_projects", "sync_users"]
    spans = []
    for _ in range(10):
        tick = on.tick(NAME)
        if not tick.requests:
            break
        (request,) = tick.requests
        assert request.job_name == "sync_time_entries"
        spans.append((request.tags[RANGE_START], request.tags[RANGE_END]))
        assert all(run.success for run in tick.runs)
    assert tick.said == "everything was synced before"
    assert len(spans) == 3
    assert spans == sorted(set(spans), reverse=True)  # what people look at comes first
    assert spans[-1][0] == us.days.first.isoformat()
    converged(us)
    us.forget_stats()
    assert on.tick(NAME).requests == []
    assert us.requests() == {}


def test_one_run_at_a_time(on: Live) -> None:
    """What is queued or running is not asked for again, and what depends on it waits."""
    for request in on.look(NAME).requests:
        on.queue(request)
    assert on.look(NAME).requests == []


def test_it_continues_where_it_was_cut_off(us: Team, on: Live) -> None:
    """A run that failed is tried again after a pause, under another key; what was synced before is not."""
    us.fault("status", "GET /clockify/api/v1/workspaces/{ws}/users", status=500)
    failed = on.tick(NAME)
    assert {run.job_def.name for run in failed.runs if not run.success} >= {"sync_users"}
    assert "sync_users" not in on.look(NAME).jobs, "it waits before it tries again"
    us.no_faults()
    on.retry_policy(60)
    again = on.tick(NAME)
    assert "sync_users" in again.jobs
    assert "sync_locations" not in again.jobs
    assert all(run.success for run in again.runs)
    assert {str(request.run_key) for request in failed.requests}.isdisjoint(
        str(request.run_key) for request in again.requests
    )


def test_what_was_synced_by_hand_is_not_synced_again(us: Team, on: Live) -> None:
    """Only what is lacking is asked for."""
    us.sync()
    assert on.look(NAME).requests == []


def test_days_that_were_loaded_before_reports_are_read_again(us: Team, on: Live) -> None:
    """The newest first, as the version before left them; nothing is written, and then they have their facts."""
    us.sync()
    with us.session() as session, session.store.writing() as tx:
        days = tx.scalar(select(func.count()).where(loads.c.day != "")) or 0
        tx.execute(update(loads).where(loads.c.day != "").values(has_facts=False))
        tx.execute(update(records).values(decided_by="the version before"))
        kept = tx.scalar(select(func.count()).select_from(entry_facts))
        tx.execute(delete(entry_facts))
    us.forget_stats()
    spans = []
    while requests := on.tick(NAME).requests:
        spans += [(request.job_name, request.tags[RANGE_START]) for request in requests]
        assert len(spans) <= days
    assert spans == sorted(set(spans), reverse=True)
    assert {job for job, _ in spans} == {"sync_time_entries"}
    assert [route for route in us.requests() if "/batch" in route] == []
    with us.session() as session, session.store.reading() as tx:
        assert tx.scalar(select(func.count()).select_from(entry_facts)) == kept
        assert kept


def test_nothing_happens_while_it_is_off(us: Team, on: Live) -> None:
    """Not live: it states why, and asks for nothing."""
    us.changes["SYNC_MODE"] = "dry_run"
    on.renew()
    tick = on.look(NAME)
    assert tick.requests == []
    assert "nothing is written" in tick.said


def test_what_waits_for_an_approval_is_not_asked_for_again_and_again(us: Team, on: Live) -> None:
    """A held rewrite is read again only when it was allowed; what depends on it is synced meanwhile."""
    us.sync("locations", "users", "projects")
    write_mapping(us, "users.yaml", "entity: users\nfields:\n  role: {constant: MEMBER, type: text}\n")
    us.sync("users")
    assert us.held("users")["rewrite"]
    on.renew()
    assert {request.job_name for request in on.tick(NAME).requests} == {"sync_time_entries"}
    with us.session() as session:
        (request,) = list_approvals(session.store, session.pair, session.now(), limit=10)
        decide(session.store, session.pair, request.id, "allowed", "ann", session.now())
    assert "sync_users" in on.tick(NAME).jobs
    assert {row["role"] for row in us.at_snapshots("users").values()} == {"MEMBER"}
