"""A full read that an outage ended is repeated by live syncing itself, after a growing pause; one that needs a person is not."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from sync_pipeline.alerts.current import open_alerts
from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.hosting.launch import sync_job_name
from sync_pipeline_tests.defs.live import Live, Tick
from sync_pipeline_tests.harness import Team

pytestmark = pytest.mark.clock
AWAY = "GET /clockify/api/v1/workspaces/*/projects"


def nightly(on: Live, entity: str = "projects") -> dg.ExecuteInProcessResult:
    """The night's full read."""
    return on.execute(dg.RunRequest("nightly", job_name=sync_job_name(entity)))


def after(on: Live, minutes: float, entity: str = "projects") -> Tick:
    """What the sensor does so much later."""
    with clock_from(utc_now() + timedelta(minutes=minutes)):
        return on.tick(entity)


def problems(us: Team) -> list[str]:
    """The open alerts about failed runs, and about what explains them."""
    with us.session() as session:
        names = [alert.name for alert in open_alerts(session)]
    return [name for name in names if name.startswith(("run_failed", "not_reachable"))]


def test_it_is_repeated_until_it_succeeds(us: Team, on: Live) -> None:
    """After 5 minutes, then 10 after its failure; what has changed meanwhile arrives, and the alert resolves by itself."""
    us.fault("status", AWAY, status=503)
    assert not nightly(on).success
    early = on.tick("projects")
    assert (early.requests, "the last full read failed: it is repeated at" in early.said) == ([], True)
    with clock_from(utc_now() + timedelta(minutes=5)):
        failing = on.tick("projects")
        assert (failing.jobs, [run.success for run in failing.runs]) == (["sync_projects"], [False])
        assert after(on, 9).requests == []
        assert problems(us)
        us.no_faults()
        added = us.clockify("POST", "/projects", {"name": "Added in the outage"})["id"]
        recovered = after(on, 10)
        assert (recovered.jobs, [run.success for run in recovered.runs]) == (["sync_projects"], [True])
        assert recovered.requests[0].tags["sync_pipeline/trigger"] == "schedule"
        assert recovered.requests[0].run_key != failing.requests[0].run_key
        assert added in us.at_snapshots("projects")
        assert problems(us) == []
        assert after(on, 600).requests == []


def test_it_is_not_repeated_while_live_syncing_is_off(us: Team, on: Live) -> None:
    """However long ago it failed; nor again when its run was cancelled by a person."""
    us.fault("status", AWAY, status=503)
    nightly(on)
    us.changes["SYNC_MODE"] = "dry_run"
    on.renew()
    assert after(on, 30).requests == []
    us.changes["SYNC_MODE"] = "live"
    on.renew()
    with clock_from(utc_now() + timedelta(minutes=30)):
        (asked,) = on.tick("projects", run=False).requests
        on.instance.report_run_canceled(on.queue(asked))
        assert [again.run_key for again in on.look("projects").requests] == [asked.run_key]
