"""Real Dagster runs for a team: an instance of its own, the project's definitions, and the environment they read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest

from sync_pipeline.definitions import build
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START, open_instance, sync_job_name
from sync_pipeline.settings import SETTINGS, load_settings
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.scenarios.commands import ROOT


def enter(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set this process's environment as the team's settings have it."""
    for spec in SETTINGS:
        monkeypatch.delenv(spec.metadata["env"], raising=False)
    for name, value in us.environ.items():
        monkeypatch.setenv(name, value)
    home = us.home / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(home))


@contextmanager
def instance_of(us: Team) -> Iterator[dg.DagsterInstance]:
    """The project's own Dagster instance, with its history in the team's home."""
    with open_instance(us.settings()) as instance:
        yield instance


def job(name: str) -> dg.JobDefinition:
    """A job of the project, as `dagster dev` would load it now."""
    return build(load_settings()).resolve_job_def(name)


def sync(
    us: Team, instance: dg.DagsterInstance, entity: str, *, days: bool = True, **config: bool
) -> dg.ExecuteInProcessResult:
    """Run one entity's job."""
    keys = us.days.keys
    tags = {RANGE_START: keys[0], RANGE_END: keys[1]} if entity == "time_entries" and days else {}
    run_config: dict[str, Any] = {
        "ops": {entity: {"config": config}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    return job(sync_job_name(entity)).execute_in_process(
        instance=instance, raise_on_error=False, tags=tags, run_config=run_config
    )


def projects_job(_home: str) -> dg.JobDefinition:
    """The job of projects, as a re-execution loads it again; Dagster keeps one for each home."""
    return job(sync_job_name("projects"))


def re_execute_projects(us: Team, instance: dg.DagsterInstance, failed_run: str) -> dg.JobExecutionResult:
    """What the button "re-execute from failure" does: a new run of the steps that failed, on what the others left."""
    from_failure = dg.ReexecutionOptions.from_failure(failed_run, instance)
    with dg.execute_job(
        dg.build_reconstructable_job(__name__, projects_job.__name__, reconstructable_args=(str(us.home),)),
        instance=instance,
        reexecution_options=from_failure,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    ) as result:
        return result


def failures(result: Any) -> list[str]:
    """The errors of the failed steps of a run."""
    events = [event for event in result.all_events if event.is_step_failure]
    data = (event.step_failure_data for event in events)
    return [
        failure.user_failure_data.description if failure.user_failure_data else failure.error.to_string()
        for failure in data
    ]
