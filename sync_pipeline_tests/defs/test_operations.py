"""One operation as a Dagster run, on the sandbox: sent once, refused with a reason, and nothing of its answer in the history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipeline.defs.operations import OP, RUN_OPERATION
from sync_pipeline.store.audit import changes
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, team


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """Both systems."""
    with team(tmp_path / "team", entries=5) as everybody:
        yield everybody


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its Dagster instance."""
    with live(us, tmp_path / "live", monkeypatch) as switched_on:
        yield switched_on


def launched(on: Live, operation: str, *, tags: dict[str, str] | None = None, **config: Any) -> Any:
    """A run as from the launchpad."""
    ops = {OP: {"config": {"operation": operation, **config}}}
    return on.execute(dg.RunRequest(job_name=RUN_OPERATION, run_config={"ops": ops}, tags=tags))


def outcome(run: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of its output."""
    assert run.success, [event.message for event in run.all_events if event.is_failure]
    (event,) = [each for each in run.all_events if each.event_type_value == "STEP_OUTPUT"]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def why(run: dg.ExecuteInProcessResult) -> str:
    """Why it failed."""
    assert not run.success
    failure = run.failure_data_for_node(OP)
    assert failure is not None
    assert failure.user_failure_data is not None
    return str(failure.user_failure_data.description)


def test_a_write_is_sent_once_also_when_its_run_is_repeated(us: Team, on: Live) -> None:
    """Dagster repeats a run whose process ended; the audit trail names what was done."""
    wanted = {"inputs": {"name": "Harbour House"}}
    us.forget_stats()
    first = launched(on, "clockify.clients.create", **wanted)
    done = outcome(first)
    assert done["sent"]
    repeated = launched(on, "clockify.clients.create", tags={"dagster/root_run_id": first.run_id}, **wanted)
    assert outcome(repeated) == {"request": done["request"], "sent": False, "status": done["status"], "id": done["id"]}
    assert us.writes() == {"clients": 1}
    with us.session() as session:
        assert [change.what for change in changes(session.store, limit=1)] == ["operation done"]


def test_a_refused_write_is_no_success_when_its_run_is_repeated(us: Team, on: Live) -> None:
    """Nothing is sent again, and the run says why."""
    taken = {"inputs": {"name": us.clockify("POST", "/clients", {"name": "Taken"})["name"]}}
    first = launched(on, "clockify.clients.create", **taken)
    assert "already exists" in why(first)
    us.forget_stats()
    repeated = launched(on, "clockify.clients.create", tags={"dagster/root_run_id": first.run_id}, **taken)
    assert "was sent for this key before, and was refused" in why(repeated)
    assert us.writes() == {}


def test_a_read_leaves_figures_not_records(us: Team, on: Live) -> None:
    """What came back is not kept: Dagster's history is not reached by `forget`."""
    run = launched(on, "clockify.users.list")
    assert outcome(run)["rows"] == len(us.users())
    assert "@" not in repr(run.all_events)


@pytest.mark.parametrize(
    ("operation", "config", "reason"),
    [
        ("clockify.tags.delete", {"inputs": {"id": "64a687e2"}}, "a run cannot ask for its name again"),
        ("clockify.cost-rate.update", {"inputs": {"amount": 5}}, "is held back"),
        ("clockify.clients.create", {}, "name"),
        ("clockify.clients.creates", {}, "Did you mean clockify.clients.create"),
    ],
)
def test_what_is_not_sent_says_why(us: Team, on: Live, operation: str, config: dict[str, Any], reason: str) -> None:
    """Deletes, what is held back, missing inputs, and names that do not exist."""
    us.forget_stats()
    assert reason in why(launched(on, operation, **config))
    assert us.writes() == {}


def test_a_dry_run_sends_nothing(us: Team, on: Live) -> None:
    """It checks the inputs and names the request."""
    us.forget_stats()
    run = launched(on, "clockify.clients.create", inputs={"name": "Harbour House"}, dry_run=True)
    assert outcome(run)["sent"] is False
    assert us.writes() == {}
