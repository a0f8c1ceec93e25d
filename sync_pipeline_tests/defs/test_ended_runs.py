"""Runs that a worker still executes although Dagster has ended them."""

from __future__ import annotations

from itertools import count
from threading import Event

import dagster as dg
import pytest

from sync_pipeline.hosting.celery_worker import ENDED_SECONDS, LOOK_SECONDS, interrupt_ended
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.harness import Team


@pytest.mark.parametrize("ended", ["canceling", "canceled", "failed"])
def test_a_run_that_dagster_has_ended_is_interrupted(us: Team, on: Live, ended: str) -> None:
    """The broker has lost the request to stop. A run that has ended well is not interrupted."""
    run = on.instance.create_run_for_job(on.defs.resolve_job_def("sync_users"), status=dg.DagsterRunStatus.STARTED)
    is_over, looks, interrupts = Event(), count(1), list[int]()

    class Looking(Event):
        """Looks without a pause; before the third one Dagster ends the run."""

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout == LOOK_SECONDS
            if (number := next(looks)) == 3:
                getattr(on.instance, f"report_run_{ended}")(run)
            return is_over.is_set() or number > 100

    interrupt_ended(on.instance, run.run_id, Looking(), lambda: interrupts.append(next(looks)))
    assert interrupts == [3 + ENDED_SECONDS / LOOK_SECONDS]

    looks = count(4)
    on.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name), run.run_id)
    interrupt_ended(on.instance, run.run_id, Looking(), lambda: interrupts.append(next(looks)))
    assert len(interrupts) == 1
    assert us.users()
