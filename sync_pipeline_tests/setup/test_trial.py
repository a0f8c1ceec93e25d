"""The trial: all that a sync would do, record by record, with nothing written to either side."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import CLOCKIFY_KEY
from sync_pipeline.setup import trial
from sync_pipeline.setup.approvals import decide, requests
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import is_paused, read_live_status, turn_off, turn_on
from sync_pipeline.stages.batch import Options
from sync_pipeline.store.rate import note_sent
from sync_pipeline.store.trials import trial_of
from sync_pipeline_tests.harness import ENTITIES, Team, rows
from sync_pipeline_tests.setup.services import on_accounts, on_the_sandbox

pytestmark = pytest.mark.clock


def test_a_dry_run_on_the_accounts(us: Team, setup: SetupService) -> None:
    """It passes with checks, figures and changes of every entity; not one write arrives, nothing is remembered."""
    on_accounts(setup, us)
    us.forget_stats()
    found = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    assert (found.outcome, found.kind, found.by) == ("passed", "dry_run", "ann (test)")
    assert us.writes() == {}
    assert set(found.report["entities"]) == set(ENTITIES)
    users = found.report["entities"]["users"]
    assert {change["label"] for change in users["changes"]} == {user["name"] for user in us.users()}
    assert users["counts"]["created"] == users["total"] == len(us.users()) == len(users["changes"])
    assert all(check["ok"] for check in found.report["checks"])
    with setup.session() as session:
        assert rows(session, "records") == rows(session, "deliveries") == []
    standing_now = read_live_status(setup)
    assert standing_now.obstacle == ""
    assert standing_now.trial is not None
    assert standing_now.trial.id == found.id


@pytest.mark.parametrize("set_up", [on_the_sandbox, on_accounts])
def test_a_trial_of_a_set_up_that_was_changed_meanwhile_does_not_pass(
    us: Team, setup: SetupService, set_up: Callable[[SetupService, Team], SetupService]
) -> None:
    """What it looked at is not the configuration that it was started for."""
    kind = trial.kind_for(set_up(setup, us).settings())
    started = trial.begin(setup, kind)
    setup.change({"entities": ["users"]}, "entities", "users")
    found = trial.run(setup, started, kind)
    assert found.outcome == "failed"
    assert "was changed" in found.report["error"]
    setup.change({"entities": None}, "entities", "all")
    assert "did not pass" in read_live_status(setup).obstacle


def test_a_trial_in_the_sandbox_of_a_set_up_there(us: Team, setup: SetupService) -> None:
    """The kind that lets it go live."""
    on_the_sandbox(setup, us)
    assert trial.kind_for(setup.settings()) == "sandbox"
    us.forget_stats()
    assert trial.run(setup, trial.begin(setup, "sandbox"), "sandbox").outcome == "passed"
    assert us.writes() == {}
    assert read_live_status(setup).obstacle == ""


def test_real_accounts_are_tried_for_real(us: Team, setup: SetupService) -> None:
    """In the sandbox alone is not enough; and one in the sandbox afterwards takes nothing back."""
    on_accounts(setup, us)
    assert trial.run(setup, trial.begin(setup, "sandbox"), "sandbox").outcome == "passed"
    assert "only previewed in the sandbox" in read_live_status(setup).obstacle
    trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    assert read_live_status(setup).obstacle == ""
    trial.run(setup, trial.begin(setup, "sandbox"), "sandbox")
    assert read_live_status(setup).obstacle == ""


def test_a_check_that_fails_ends_it(us: Team, setup: SetupService) -> None:
    """A key that may not write: the check reports it, nothing else is read, and live stays closed."""
    on_accounts(setup, us)
    with setup.vault() as vault:
        vault.enter(CLOCKIFY_KEY, "sandbox-clockify-member-key", setup.now())
    found = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    assert (found.outcome, found.report["entities"]) == ("failed", {})
    assert [check for check in found.report["checks"] if not check["ok"]]
    assert "did not pass" in read_live_status(setup).obstacle


@pytest.mark.undocumented
def test_a_blocked_entity_fails_it(us: Team, setup: SetupService) -> None:
    """A check that would block a load: it is shown with its rows, and the others are tried anyway."""
    on_accounts(setup, us)
    us.sandbox.world.db.execute("UPDATE time_entries SET shared = replace(shared, '\"REGULAR\"', '\"NAP\"')")
    found = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    assert found.outcome == "failed"
    assert "more than 10%" in found.report["entities"]["time_entries"]["blocked"][0]
    assert found.report["entities"]["users"]["blocked"] == []
    refused = found.report["entities"]["time_entries"]
    named = {row["record"] for check in refused["checks"] if check["name"] == "valid_values" for row in check["rows"]}
    words = {entry["id"]: entry["description"] for entry in us.entries()}
    assert named
    assert {record: refused["labels"].get(record, "") for record in named} == {
        record: words[record] for record in named
    }
    assert set(found.report["entities"]) == set(ENTITIES)


def test_what_it_holds_passes_once_it_is_approved(us: Team, setup: SetupService) -> None:
    """A changed mapping after going live: the trial holds the rewrite; approved it counts as passed, declined it does not."""
    _live(us, setup)
    setup.change({"mappings.projects.fields.project_name.transform": ["upper"]}, "mapping", "")
    assert is_paused(setup)
    found = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    assert found.outcome == "held"
    (held,) = trial.held_by(found.report)
    assert (held["guard"], held["count"]) == ("rewrite", len(us.projects()))
    assert {change["held"] for change in found.report["entities"]["projects"]["changes"]} == {True}
    for decision, passes in (("declined", False), ("allowed", True), ("declined", False), ("allowed", True)):
        decide(setup, held["approval"], decision)  # type: ignore[arg-type]  # mypy sees any text
        assert read_live_status(setup).has_passed is passes
        assert (read_live_status(setup).obstacle == "") is passes
    assert turn_on(setup).is_live
    assert not is_paused(setup)
    with setup.session() as session:
        done = us.sync_one(session, "projects")
    assert (done.updated, done.held) == (len(us.projects()), 0)
    assert read_live_status(setup).has_passed  # what was approved is used up, and the trial still counts


def test_what_is_approved_with_it_passes(us: Team, setup: SetupService) -> None:
    """`trial --accept-rewrite`: the approval is stored with today's records, and the first live run uses it."""
    _live(us, setup)
    setup.change({"mappings.projects.fields.project_name.transform": ["upper"]}, "mapping", "")
    found = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run", Options(accept_rewrite=True))
    assert (found.outcome, trial.held_by(found.report)) == ("passed", [])
    (allowed,) = requests(setup)
    assert (allowed.state, allowed.title) == ("allowed", f"rewriting {len(us.projects())} projects")
    turn_on(setup)
    with setup.session() as session:
        assert us.sync_one(session, "projects").updated == len(us.projects())
    assert [request.state for request in requests(setup, every=True)] == ["used"]


def test_declined_deletes_let_it_pass(us: Team, setup: SetupService) -> None:
    """They are decided: live syncing continues without them."""
    made = [us.clockify("POST", "/projects", {"name": f"Short-lived {number}"})["id"] for number in range(8)]
    _live(us, setup)
    turn_off(setup)
    for project in made:
        us.delete_project(project)
    found = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    (held,) = [one for one in trial.held_by(found.report) if one["entity"] == "projects"]
    for one in trial.held_by(found.report):
        decide(setup, one["approval"], "declined")
    assert held["guard"] == "deletes"
    assert turn_on(setup).is_live


def _live(us: Team, setup: SetupService) -> None:
    """Tried, turned on, and synced once."""
    on_accounts(setup, us)
    assert trial.run(setup, trial.begin(setup, "dry_run"), "dry_run").outcome == "passed"
    turn_on(setup)
    with setup.session() as session:
        for entity in session.specs:
            us.sync_one(session, entity)


def test_what_breaks_on_its_way_is_reported(us: Team, setup: SetupService) -> None:
    """The other side fails half way: the sentence and what was found before it are kept, and it has ended."""
    on_accounts(setup, us)

    def break_down() -> bool:
        us.fault("status", "GET /clockify/api/v1/workspaces/{ws}/users", status=500)
        return False

    found = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run", stop=break_down)
    assert (found.outcome, found.report["doing"]) == ("failed", "")
    assert "answered 500" in found.report["error"]
    assert "locations" in found.report["entities"]
    assert all(check["ok"] for check in found.report["checks"])


def test_it_can_be_stopped(us: Team, setup: SetupService) -> None:
    """Then it did not pass, and states why."""
    on_accounts(setup, us)
    asked = iter([False, True, True, True, True])
    found = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run", stop=lambda: next(asked))
    assert (found.outcome, found.report["error"]) == ("failed", trial.INTERRUPTED)
    assert len(found.report["entities"]) == 1


def test_ctrl_c_ends_it(us: Team, setup: SetupService) -> None:
    """A trial that was cut off is not under way forever."""
    on_accounts(setup, us)

    def interrupt() -> bool:
        raise KeyboardInterrupt

    started = trial.begin(setup, "dry_run")
    with pytest.raises(KeyboardInterrupt):
        trial.run(setup, started, "dry_run", stop=interrupt)
    with setup.store() as store:
        found = trial_of(store, started)
    assert found is not None
    assert (found.outcome, found.report["error"]) == ("failed", trial.INTERRUPTED)


def test_half_a_set_up_cannot_be_tried(us: Team, setup: SetupService) -> None:
    """It states what is missing; nothing is started."""
    setup.change({"clockify.workspace_id": us.sandbox.workspace}, "half", "")
    with pytest.raises(ConfigError, match="the base URL of the Snapshots API is missing"):
        trial.begin(setup, "dry_run")


def test_a_throttled_trial_says_nothing_about_the_configuration(us: Team, setup: SetupService) -> None:
    """The hour's budget is used up: neither passed nor failed, the one that passed still counts, and it states when."""
    on_accounts(setup, us)
    setup.change({"clockify.plan": "free"}, "plan", "free")
    passed = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    assert passed.outcome == "passed"
    with setup.reading() as session:
        now = session.now()
        note_sent(session.store, session.clockify.account.bucket, PLANS["free"].windows, now.timestamp(), 30)
    us.forget_stats()
    found = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    assert found.outcome == "throttled"
    again = datetime.fromisoformat(found.report["again_at"])
    assert timedelta(minutes=59) < again - now <= timedelta(minutes=61)
    assert not any("clockify" in route for route in us.requests())
    then = read_live_status(setup)
    assert then.obstacle == ""
    assert then.trial == passed


def test_a_429_in_a_trial(us: Team, setup: SetupService) -> None:
    """Someone else used the budget up: the same, and the time is the one the API names."""
    on_accounts(setup, us)
    us.fault("status", "GET /clockify/*/projects", status=429, headers={"Retry-After": "3000"})
    found = trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    assert found.outcome == "throttled"
    assert "has not been previewed yet" in read_live_status(setup).obstacle
