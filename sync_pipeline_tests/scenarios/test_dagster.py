"""Stories that happen in Dagster: re-execution from failure, dry runs, runs without a partition, blocked runs."""

from __future__ import annotations

import shutil
from datetime import UTC
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import BACKFILL_ID_TAG

from sync_pipeline.clock import utc_now
from sync_pipeline.definitions import build
from sync_pipeline.defs.assets import daily
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START, sync_job_name, verify_job_name
from sync_pipeline.hosting.run_reports import report_of
from sync_pipeline.settings import load_settings
from sync_pipeline.stages.batch import DAYS_AHEAD
from sync_pipeline.store.syncs import status
from sync_pipeline_tests.harness import morning, tables, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.scenarios.commands import run_json
from sync_pipeline_tests.scenarios.dagster_runs import enter, failures, instance_of, job, re_execute_projects, sync
from sync_pipeline_tests.scenarios.mappings import write_mapping

BATCH = "POST /snapshots/projects/batch"


def test_re_execute_from_failure_after_a_newer_run_leaves_the_newer_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`load` alone runs again on the old run's batch, sees that a newer read is loaded, and leaves that unchanged."""
    with team(tmp_path) as us:
        us.changes["SYNC_MAX_ATTEMPTS"] = "1"
        enter(us, monkeypatch)
        project = us.projects()[0]["id"]
        with instance_of(us) as instance:
            us.clockify("PUT", f"/projects/{project}", {"name": "Older", "archived": False})
            us.fault("status", BATCH, status=503)
            failed = sync(us, instance, "projects")
            assert not failed.success
            us.no_faults()
            us.clockify("PUT", f"/projects/{project}", {"name": "Newer", "archived": False})
            assert sync(us, instance, "projects").success
            us.forget_stats()

            again = re_execute_projects(us, instance, failed.run_id)

            assert again.success
            steps = {event.step_key for event in again.all_events if event.is_step_start}
            assert steps == {"projects.projects_load"}
            assert us.writes() == {}
            (warning,) = report_of(again, None, ["projects"]).warnings
            assert (warning.entity, "is loaded by run" in warning.text) == ("projects", True)
            assert us.at_snapshots("projects")[project]["project_name"] == "Newer"
        us.sync()
        converged(us)


def test_re_execute_from_failure_delivers_what_was_staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a newer run, the old run's batch is delivered, without reading the source again."""
    with team(tmp_path) as us:
        us.changes["SYNC_MAX_ATTEMPTS"] = "1"
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            us.fault("status", BATCH, status=503)
            failed = sync(us, instance, "projects")
            us.no_faults()
            us.forget_stats()
            again = re_execute_projects(us, instance, failed.run_id)
            assert again.success, failures(again)
            assert us.requests() == {BATCH: 1}
            assert us.writes() == {"projects": len(us.projects())}
        us.sync()
        converged(us)


def test_re_executing_a_run_whose_batch_is_deleted_asks_to_run_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of failed runs are kept for a few days; later the failure states what to do instead."""
    with team(tmp_path) as us:
        us.changes["SYNC_MAX_ATTEMPTS"] = "1"
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            us.fault("status", BATCH, status=503)
            failed = sync(us, instance, "projects")
            us.no_faults()
            shutil.rmtree(us.home / "batches" / failed.run_id)
            again = re_execute_projects(us, instance, failed.run_id)
            assert not again.success
            (message,) = failures(again)
            assert "Run it again from the start" in message
            assert us.writes() == {}


def test_re_executing_a_run_under_another_mapping_asks_to_run_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old mapping decided is not delivered under the new one, nor decided again without a look at the source."""
    with team(tmp_path) as us:
        us.changes["SYNC_MAX_ATTEMPTS"] = "1"
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            us.fault("status", BATCH, status=503)
            failed = sync(us, instance, "projects")
            us.no_faults()
            us.forget_stats()
            write_mapping(us, "projects.yaml", "fields: {project_name: {max_length: 100}}")
            enter(us, monkeypatch)
            again = re_execute_projects(us, instance, failed.run_id)
            assert not again.success
            (message,) = failures(again)
            assert "checked under another mapping" in message
            assert us.writes() == {}
            assert sync(us, instance, "projects").success
        us.sync()
        converged(us)


def test_a_dry_run_writes_nothing_and_leaves_no_materialization(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads, maps and checks; a backfill of missing days will still find these days missing."""
    with team(tmp_path) as us:
        enter(us, monkeypatch)
        us.add_entry(us.users()[0]["id"], morning(1), 0)  # even rejects are not written
        with us.session() as session:
            before = tables(session, "records", "deliveries", "rejects")
        us.forget_stats()
        with instance_of(us) as instance:
            for entity in ("users", "projects", "time_entries"):
                result = sync(us, instance, entity, dry_run=True)
                assert result.success
                assert len(result.get_asset_check_evaluations()) == 6
                key = dg.AssetKey(entity)
                assert instance.get_latest_materialization_event(key) is None
                assert instance.get_materialized_partitions(key) == set()
        assert us.writes() == {}
        with us.session() as session:
            assert tables(session, "records", "deliveries", "rejects") == before


def test_a_run_of_time_entries_without_a_partition_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster would let it pass as partition None; here it fails, states why, and calls neither system."""
    with team(tmp_path) as us:
        enter(us, monkeypatch)
        us.forget_stats()
        with instance_of(us) as instance:
            result = sync(us, instance, "time_entries", days=False)
            assert not result.success
            (message,) = failures(result)
            assert "names no partition" in message
            assert us.requests() == {}


def test_the_first_contact_with_real_accounts_needs_an_approval_in_dagster_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run launched from the UI reads and checks; its load writes nothing and reports that, until it is allowed to start."""
    with team(tmp_path) as us:
        us.changes["SNAPSHOTS_BASE_URL"] = us.sandbox.snapshots.replace("127.0.0.1", "127.0.0.2")
        us.changes["SYNC_MAX_ATTEMPTS"] = "1"
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            held = sync(us, instance, "users")
            assert held.success
            assert instance.get_latest_materialization_event(dg.AssetKey("users")) is None
            with us.session() as session:
                assert tables(session, "records")["records"] == []
            (volume,) = [one for one in held.get_asset_check_evaluations() if one.check_name == "volume"]
            assert "Nothing was ever delivered to these accounts" in (volume.description or "")
            assert "first_contact: true" in (volume.description or "")
            (message,) = failures(sync(us, instance, "users", first_contact=True))
            assert "POST /users/batch" in message  # no one listens at this address
        with us.session() as session:
            assert tables(session, "records")["records"]


def test_runs_materialize_their_days_and_delete_their_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every day up to today is materialized, days ahead only with records, the target asset too; no batch is left."""
    with team(tmp_path) as us:
        enter(us, monkeypatch)
        planned = us.add_entry(us.users()[0]["id"], morning(-3))["timeInterval"]["start"][:10]
        today = utc_now().astimezone(UTC).date().isoformat()
        ahead = {day for day in us.days if day > today} - {planned}
        with instance_of(us) as instance:
            for entity in ("locations", "users", "projects", "time_entries"):
                result = sync(us, instance, entity)
                assert result.success
                checks = {evaluation.check_name for evaluation in result.get_asset_check_evaluations()}
                assert len(checks) == 6
            days = instance.get_materialized_partitions(dg.AssetKey("time_entries"))
            assert len(ahead) == DAYS_AHEAD - 1
            assert days == set(us.days) - ahead
            assert instance.get_latest_materialization_event(dg.AssetKey(["snapshots", "time_entries"]))
        assert not list((us.home / "batches").rglob("*.parquet"))
        converged(us)
        changes_nothing(us)


@pytest.mark.filterwarnings(
    "ignore:Parameter `backfill_policy` of:dagster.BetaWarning"
)  # of an asset of the user's own
def test_what_is_downstream_runs_after_days_ahead_without_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of the asset continues, with the same partitions, whatever days it does not mark itself."""
    with team(tmp_path) as us:
        enter(us, monkeypatch)

        policy = dg.BackfillPolicy.multi_run(us.settings().days_per_run)  # in one job all have the same

        @dg.asset(deps=["time_entries"], partitions_def=daily(us.settings()), backfill_policy=policy)
        def hours() -> None: ...

        chosen = dg.define_asset_job("both", selection=["time_entries", "hours"])
        defs = dg.Definitions.merge(build(load_settings()), dg.Definitions(assets=[hours], jobs=[chosen]))
        first, last = us.days.keys
        with instance_of(us) as instance:
            result = defs.resolve_job_def("both").execute_in_process(
                instance=instance, raise_on_error=False, tags={RANGE_START: first, RANGE_END: last}
            )
            assert result.success
            assert instance.get_materialized_partitions(dg.AssetKey("hours")) == set(us.days)
            assert last not in instance.get_materialized_partitions(dg.AssetKey("time_entries"))


def test_a_backfill_of_days_ahead_gets_every_day_it_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster would call the days it does not find materialized failed."""
    with team(tmp_path) as us:
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            first, last = us.days.keys
            tags = {RANGE_START: first, RANGE_END: last, BACKFILL_ID_TAG: "asked"}
            result = job(sync_job_name("time_entries")).execute_in_process(
                instance=instance, raise_on_error=False, tags=tags
            )
            assert result.success
            assert instance.get_materialized_partitions(dg.AssetKey("time_entries")) == set(us.days)


def test_a_run_says_how_it_reads_time_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which reader was chosen, what it costs and why is in the event log of the run."""
    with team(tmp_path) as us:
        us.changes["CLOCKIFY_READER"] = "auto"
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            notes = []
            for _ in range(2):
                run = sync(us, instance, "time_entries")
                said = [entry.user_message for entry in instance.all_logs(run.run_id)]
                notes += [line for line in said if line.startswith("time_entries: read by ")]
        first, second = notes
        assert first == (
            "time_entries: read by `report` (expected requests: unknown): the number of entries or users is not known yet"
        )
        assert second.startswith("time_entries: read by `report` (expected requests: 1): the report needs 1 requests, ")


def test_a_materialization_names_the_command_that_lists_its_deliveries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the UI shows can be typed unchanged, and lists every write of that run and of no other."""
    with team(tmp_path, projects=120, entries=0) as us:
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            sync(us, instance, "users")
            assert sync(us, instance, "projects").success
            materialized = instance.get_latest_materialization_event(dg.AssetKey("projects"))
        assert materialized is not None
        assert materialized.asset_materialization is not None
        text = str(materialized.asset_materialization.metadata["deliveries"].value)
        words = text.removeprefix("`sync-pipeline ").removesuffix("` lists them").split()
        listed = run_json(us, *words, "--limit", "1000")["records"]
        assert {row["source_id"] for row in listed} == {project["id"] for project in us.projects()}
        assert len(listed) == 120
        assert len(run_json(us, *words, "--limit", "7")["records"]) == 7


def test_a_blocked_run_never_starts_its_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failing check is with the asset as an error, `load` was skipped, and the run ends with the reason in words."""
    with team(tmp_path) as us:
        enter(us, monkeypatch)
        us.sync("projects", "users")
        for number in range(15):
            us.add_entry(us.users()[0]["id"], morning(number + 1), 0)
        us.forget_stats()
        with instance_of(us) as instance:
            result = sync(us, instance, "time_entries")
            assert not result.success
            failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
            assert [(e.check_name, e.severity) for e in failed] == [("valid_values", dg.AssetCheckSeverity.ERROR)]
            steps = {event.step_key for event in result.all_events if event.is_step_start}
            assert "time_entries.time_entries_load" not in steps
            assert instance.get_latest_materialization_event(dg.AssetKey("time_entries")) is None
            (said,) = failures(result)
            assert said.startswith("valid_values: ")
            assert "nothing is loaded. Correct them at the source" in said
            (stopped,) = [event for event in result.all_events if event.is_step_failure]
            assert "DagsterAssetCheckFailedError" not in str(stopped)
            (error,) = report_of(result, None, ["time_entries"]).errors
            assert error.text == said
        with us.session() as session:
            assert status(session.store, session.pair)["time_entries"].last.reason == said
        assert us.writes() == {}


@pytest.mark.parametrize(
    ("route", "trouble", "exit_code"),
    [("GET /clockify/*/projects", 401, 4), ("GET /clockify/*/projects", 500, 1), (BATCH, 503, 1)],
)
def test_the_reason_of_a_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: str, trouble: int, exit_code: int
) -> None:
    """A failed read or write: the store keeps the sentence the run ends with, and knows how a command ends."""
    with team(tmp_path) as us:
        us.changes["SYNC_MAX_ATTEMPTS"] = "1"
        enter(us, monkeypatch)
        us.fault("status", route, status=trouble)
        with instance_of(us) as instance:
            result = sync(us, instance, "projects")
            (said,) = failures(result)
            (error,) = report_of(result, None, ["projects"]).errors
        assert (error.text, error.exit_code) == (said, exit_code)
        with us.session() as session:
            last = status(session.store, session.pair)["projects"].last
        assert (last.outcome, last.reason) == ("failed", said)


def test_what_differs_is_shown_without_what_is_personal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`in_sync` names record and field of each difference; neither side's name, address or description is in the UI."""
    with team(tmp_path) as us:
        enter(us, monkeypatch)
        us.sync()
        user, entry = next(iter(us.at_snapshots("users").values())), next(iter(us.at_snapshots("time_entries")))
        us.snapshots("PUT", f"/users/{user['user_id']}", {"name": "Somebody Else", "role": "OWNER MAYBE"})
        us.snapshots("PUT", f"/time_entries/{entry}", {"description": "Somebody else's words"})
        with instance_of(us) as instance:
            shown = verdict(instance, "users").metadata["differences"]
            assert isinstance(shown, dg.TableMetadataValue)
            assert {(row.data["field"], row.data["target"]) for row in shown.records} == {
                ("name", "(personal)"),
                ("role", "OWNER MAYBE"),
            }
            metadata = str([verdict(instance, entity).metadata for entity in ("users", "time_entries")])
        assert entry in metadata
        assert not [text for text in ("Somebody", user["name"], user["email"]) if text in metadata]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"first_day": "last week"}, "first_day: `last week` is not a day like 2026-01-31."),
        ({"first_day": "2026-03-02", "last_day": "2026-03-01"}, "first_day 2026-03-02 lies after last_day 2026-03-01."),
    ],
)
def test_days_that_cannot_be_compared_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, str], expected: str
) -> None:
    """A typing error in a run's config gets one message, not a traceback."""
    with team(tmp_path) as us:
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            (message,) = failures(compare(instance, "time_entries", **config))
        assert message.startswith(expected)


def test_everything_is_compared_unless_days_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days ahead as well: an entry that is planned for tomorrow is synced, so it is compared."""
    with team(tmp_path) as us:
        enter(us, monkeypatch)
        planned = us.add_entry(us.users()[0]["id"], morning(-3))
        us.sync()
        us.snapshots("DELETE", f"/time_entries/{planned['id']}")
        with instance_of(us) as instance:
            found = verdict(instance, "time_entries")
        assert (found.passed, found.metadata["missing"].value) == (False, 1)


def compare(instance: dg.DagsterInstance, entity: str, **config: str) -> dg.ExecuteInProcessResult:
    """Run one entity's verify job."""
    (check,) = [name for name in job(verify_job_name(entity)).graph.node_names() if name.endswith("in_sync")]
    run_config = {"ops": {check: {"config": config}}, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return job(verify_job_name(entity)).execute_in_process(
        instance=instance, raise_on_error=False, run_config=run_config
    )


def verdict(instance: dg.DagsterInstance, entity: str) -> dg.AssetCheckEvaluation:
    """What `in_sync` reports about one entity."""
    (evaluation,) = compare(instance, entity).get_asset_check_evaluations()
    return evaluation
