"""The trial: all that a sync would do, record by record, with nothing written to either side."""

from __future__ import annotations

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.setup import trial
from sync_pipeline.setup.desk import Desk
from sync_pipeline.setup.switching import standing
from sync_pipeline.stages.vault import CLOCKIFY_KEY
from sync_pipeline.store.trials import trial_of
from sync_pipeline_tests.harness import ENTITIES, Team, rows
from sync_pipeline_tests.setup.desks import on_accounts, on_the_sandbox


def test_a_dry_run_on_the_accounts(us: Team, desk: Desk) -> None:
    """It passes with checks, figures and changes of every entity; not one write arrives, nothing is remembered."""
    on_accounts(desk, us)
    us.forget_stats()
    found = trial.run(desk, trial.begin(desk, "dry_run"), "dry_run")
    assert (found.outcome, found.kind, found.by) == ("passed", "dry_run", "ann (test)")
    assert us.writes() == {}
    assert set(found.report["entities"]) == set(ENTITIES)
    users = found.report["entities"]["users"]
    assert users["counts"]["created"] == users["total"] == len(us.users()) == len(users["changes"])
    assert all(check["ok"] for check in found.report["checks"])
    with desk.session() as session:
        assert rows(session, "records") == rows(session, "deliveries") == []
    standing_now = standing(desk)
    assert standing_now.obstacle == ""
    assert standing_now.trial is not None
    assert standing_now.trial.id == found.id


def test_a_trial_in_the_sandbox_of_a_set_up_there(us: Team, desk: Desk) -> None:
    """The kind that lets it go live."""
    on_the_sandbox(desk, us)
    assert trial.kind_for(desk.settings()) == "sandbox"
    us.forget_stats()
    assert trial.run(desk, trial.begin(desk, "sandbox"), "sandbox").outcome == "passed"
    assert us.writes() == {}
    assert standing(desk).obstacle == ""


def test_real_accounts_are_tried_for_real(us: Team, desk: Desk) -> None:
    """In the sandbox alone is not enough; and one in the sandbox afterwards takes nothing back."""
    on_accounts(desk, us)
    assert trial.run(desk, trial.begin(desk, "sandbox"), "sandbox").outcome == "passed"
    assert "only tried in the sandbox" in standing(desk).obstacle
    trial.run(desk, trial.begin(desk, "dry_run"), "dry_run")
    assert standing(desk).obstacle == ""
    trial.run(desk, trial.begin(desk, "sandbox"), "sandbox")
    assert standing(desk).obstacle == ""


def test_a_check_that_fails_ends_it(us: Team, desk: Desk) -> None:
    """A key that may not write: the check says so, nothing else is read, and live stays closed."""
    on_accounts(desk, us)
    with desk.vault() as vault:
        vault.enter(CLOCKIFY_KEY, "sandbox-clockify-member-key", desk.now())
    found = trial.run(desk, trial.begin(desk, "dry_run"), "dry_run")
    assert (found.outcome, found.report["entities"]) == ("failed", {})
    assert [check for check in found.report["checks"] if not check["ok"]]
    assert "did not pass" in standing(desk).obstacle


def test_a_blocked_entity_fails_it(us: Team, desk: Desk) -> None:
    """A check that would block a load: it is told with its rows, and the others are tried all the same."""
    on_accounts(desk, us)
    us.sandbox.world.db.execute("UPDATE time_entries SET shared = replace(shared, '\"REGULAR\"', '\"NAP\"')")
    found = trial.run(desk, trial.begin(desk, "dry_run"), "dry_run")
    assert found.outcome == "failed"
    assert "more than 10%" in found.report["entities"]["time_entries"]["blocked"][0]
    assert found.report["entities"]["users"]["blocked"] == []
    assert set(found.report["entities"]) == set(ENTITIES)


def test_what_breaks_on_its_way_is_told(us: Team, desk: Desk) -> None:
    """The other side fails half way: the sentence and what was found before it are kept, and it has ended."""
    on_accounts(desk, us)

    def break_down() -> bool:
        us.fault("status", "GET /clockify/api/v1/workspaces/{ws}/users", status=500)
        return False

    found = trial.run(desk, trial.begin(desk, "dry_run"), "dry_run", stop=break_down)
    assert (found.outcome, found.report["doing"]) == ("failed", "")
    assert "answered 500" in found.report["error"]
    assert "locations" in found.report["entities"]
    assert all(check["ok"] for check in found.report["checks"])


def test_it_can_be_stopped(us: Team, desk: Desk) -> None:
    """Then it did not pass, and says why."""
    on_accounts(desk, us)
    asked = iter([False, True, True, True, True])
    found = trial.run(desk, trial.begin(desk, "dry_run"), "dry_run", stop=lambda: next(asked))
    assert (found.outcome, found.report["error"]) == ("failed", trial.INTERRUPTED)
    assert len(found.report["entities"]) == 1


def test_ctrl_c_ends_it(us: Team, desk: Desk) -> None:
    """A trial that was cut off is not under way for ever."""
    on_accounts(desk, us)

    def interrupt() -> bool:
        raise KeyboardInterrupt

    begun = trial.begin(desk, "dry_run")
    with pytest.raises(KeyboardInterrupt):
        trial.run(desk, begun, "dry_run", stop=interrupt)
    with desk.store() as store:
        found = trial_of(store, begun)
    assert found is not None
    assert (found.outcome, found.report["error"]) == ("failed", trial.INTERRUPTED)


def test_half_a_set_up_cannot_be_tried(us: Team, desk: Desk) -> None:
    """It says what is missing; nothing is begun."""
    desk.change({"clockify.workspace_id": us.sandbox.workspace}, "half", "")
    with pytest.raises(ConfigError, match="the base URL of the Snapshots API is missing"):
        trial.begin(desk, "dry_run")
