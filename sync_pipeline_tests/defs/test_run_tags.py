"""What people filter runs by, and what a run shows of itself in the UI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARENT_RUN_ID_TAG, RETRY_NUMBER_TAG, TagType, get_tag_type
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import get_reexecution_strategy

from sync_pipeline.definitions import build
from sync_pipeline.hosting.launch import run_sync, spans_of
from sync_pipeline.hosting.liveness import (
    EARLIER_NAMES,
    LOCK_TAG,
    PROCESS_TAG,
    forget_process,
    name_process,
    own_process,
    process_has_ended,
    process_tags,
)
from sync_pipeline.hosting.run_tags import at_start, requested
from sync_pipeline.settings import load_settings
from sync_pipeline.stages.batch import Counts, Options
from sync_pipeline.store.audit import system_user
from sync_pipeline.store.syncs import by_run
from sync_pipeline_tests.defs.live import Live, live, metadata_of
from sync_pipeline_tests.harness import Team
from sync_pipeline_tests.scenarios.dagster_runs import enter, instance_of, sync

CONSOLE = "http://sync-1.localhost:8770"


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its sensors, on a Dagster that knows where the console is."""
    with live(us, tmp_path / "live", monkeypatch, SYNC_CONSOLE_URL=CONSOLE) as switched_on:
        yield switched_on


def ours(run: dg.DagsterRun | None) -> dict[str, str]:
    """The tags by which people filter."""
    assert run is not None
    names = ("entity", "trigger", "requested_by", "changed")
    return {name: run.tags[f"sync_pipeline/{name}"] for name in names if f"sync_pipeline/{name}" in run.tags}


def test_a_run_of_the_terminal_is_found_by_who_started_it(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entity, trigger and user are tags; a run that wrote has the number of records, one that wrote nothing has none."""
    enter(us, monkeypatch)
    us.clockify("PUT", f"/projects/{us.projects()[0]['id']}", {"name": "Edited", "archived": False})
    with instance_of(us) as instance:
        asked = (instance, build(load_settings()), ["projects"], spans_of(us.days, 93), Options())
        (first,), (second,) = list(run_sync(*asked)), list(run_sync(*asked))
        runs = [instance.get_run_by_id(report.run_id) for report in (first, second)]
    by_terminal = {"entity": "projects", "trigger": "terminal", "requested_by": system_user()}
    assert ours(runs[0]) == by_terminal | {"changed": "1"}
    assert ours(runs[1]) == by_terminal
    assert runs[1] is not None
    assert runs[1].tags["user"] == system_user()  # Dagster's column "Launched by"


def test_a_run_that_answers_a_change(us: Team, on: Live) -> None:
    """Its trigger is the change; the observation begins with what it did and leads to the console's page of the run."""
    entry = next(entry for entry in us.entries() if entry["timeInterval"]["end"])
    us.change_entry(entry, description="edited")
    on.event("TIME_ENTRY_UPDATED", "time_entries", entry)
    (run,) = on.tick("time_entries").runs

    assert ours(on.instance.get_run_by_id(run.run_id)) == {
        "entity": "time_entries",
        "trigger": "change",
        "changed": "1",
    }
    with us.session() as session:
        assert {(sync.trigger, sync.requested_by) for sync in by_run(session.store, [run.run_id])} == {("change", None)}
    shown = metadata_of(run, "time_entries")
    assert list(shown)[:2] == ["summary", "console"]
    assert shown["summary"] == "1 updated of 1 read; took 2 requests."
    assert shown["console"] == f"{CONSOLE}/activity/run/{run.run_id}"
    assert 0 not in shown.values()


def test_a_materialization_begins_with_what_was_done(on: Live) -> None:
    """One sentence, a link, and only figures that are not zero."""
    request = dg.RunRequest(run_key="by hand", job_name="sync_users")
    result = on.execute(request)
    made = {
        event.asset_key.to_user_string(): event.metadata for event in result.asset_materializations_for_node("users")
    }
    shown = made["users"]
    assert list(made["snapshots/users"]) == list(shown)
    assert list(shown)[:2] == ["summary", "console"]
    assert str(shown["summary"].value).startswith("Nothing changed; ")
    assert shown["console"].value == f"{CONSOLE}/activity/run/{result.run_id}"
    assert 0 not in [value.value for value in shown.values()]
    assert ours(on.instance.get_run_by_id(result.run_id)) == {"entity": "users", "trigger": "by hand"}


@pytest.mark.parametrize(
    ("tags", "added"),
    [
        ({}, requested("by hand")),
        ({BACKFILL_ID_TAG: "b"}, requested("backfill")),
        (requested("schedule"), {}),
        # Dagster copies the tags of the run that it repeats.
        ({**requested("terminal", "ana"), PARENT_RUN_ID_TAG: "r"}, requested("by hand", "unknown")),
        ({**requested("schedule"), PARENT_RUN_ID_TAG: "r", RETRY_NUMBER_TAG: "1"}, {}),
        (
            {**requested("change"), "sync_pipeline/changed": "9", PARENT_RUN_ID_TAG: "r", RETRY_NUMBER_TAG: "1"},
            {"sync_pipeline/changed": "unknown"},
        ),
    ],
)
def test_what_a_run_lacks_when_it_starts(tags: dict[str, str], added: dict[str, str]) -> None:
    """A run is launched by hand where nothing else is known; a repeated one does not claim what the first one did."""
    assert at_start(dg.DagsterRun(job_name="j", tags=tags)) == added


def test_the_entity_of_a_single_asset() -> None:
    """Also of a run that no job of ours describes."""
    chosen = frozenset({dg.AssetKey("users")})
    assert at_start(dg.DagsterRun(job_name="__ASSET_JOB", asset_selection=chosen))["sync_pipeline/entity"] == "users"


def test_the_process_is_hidden_and_that_of_an_earlier_version_understood(on: Live) -> None:
    """The UI shows no hidden tag; of a run that the version before has started it is known whether it lives."""
    for tag in (PROCESS_TAG, LOCK_TAG):
        assert get_tag_type(tag) == TagType.HIDDEN  # type: ignore[no-untyped-call]
    for process, has_ended in (("1@1@" + own_process().rpartition("@")[2], True), (own_process(), False)):
        tags: dict[str, Any] = {EARLIER_NAMES[PROCESS_TAG]: process, EARLIER_NAMES[LOCK_TAG]: "true"}
        run = on.instance.create_run_for_job(
            on.defs.resolve_job_def("sync_users"), tags=tags, status=dg.DagsterRunStatus.STARTED
        )
        assert process_has_ended(run) is has_ended
        name_process(on.instance, run)
        named = on.instance.get_run_by_id(run.run_id)
        assert named is not None
        assert not process_has_ended(named)
        # Another launcher may start the next process where this one's files are not.
        assert get_reexecution_strategy(named, on.instance) is ReexecutionStrategy.ALL_STEPS


def test_a_repeated_run_does_not_name_the_process_of_the_first(on: Live) -> None:
    """Dagster copies the tags; until it has a process of its own the run counts as starting."""
    ended = process_tags("1@1@" + own_process().rpartition("@")[2])
    for tags in (ended, {EARLIER_NAMES[name]: value for name, value in ended.items()}):
        job = on.defs.resolve_job_def("sync_users")
        run = on.instance.create_run_for_job(job, tags=dict(tags), status=dg.DagsterRunStatus.STARTING)
        assert process_has_ended(run)
        forget_process(on.instance, run)
        launched = on.instance.get_run_by_id(run.run_id)
        assert launched is not None
        assert not process_has_ended(launched)


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (
            Counts(created=2, updated=1, rejected=1, extracted=120, requests=3),
            "2 created, 1 updated, 1 rejected of 120 read; took 3 requests.",
        ),
        (Counts(extracted=1_200, unchanged=1_200, requests=1), "Nothing changed; 1,200 read; took 1 request."),
        (Counts(held_deletes=5), "5 deletes held of 0 read; took 0 requests."),
    ],
)
def test_counts_in_one_sentence(counts: Counts, sentence: str) -> None:
    """Only what is not zero."""
    assert counts.sentence == sentence


def test_a_day_of_a_longer_run_says_which_days_the_sentence_is_about(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of the run are with the target; each day has the sentence and its own number of rows."""
    enter(us, monkeypatch)
    with instance_of(us) as instance:
        assert sync(us, instance, "time_entries").success
        latest = instance.get_latest_materialization_event(dg.AssetKey("time_entries"))
    assert latest is not None
    assert latest.asset_materialization is not None
    shown = {name: value.value for name, value in latest.asset_materialization.metadata.items()}
    assert next(iter(shown)) == "summary"
    assert str(shown["summary"]).startswith(f"{us.days}: ")
    assert set(shown) == {"summary", "days", "deliveries", "dagster/partition_row_count"}
