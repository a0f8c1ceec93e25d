"""What Dagster knows of an asset's contents: data versions, the mapping's code version, and when the source was read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipeline.mapping.load import load_specs
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.scenarios.dagster_runs import enter, failures, instance_of, sync

DATA_VERSION, CODE_VERSION, IS_OURS = (
    "dagster/data_version",
    "dagster/code_version",
    "dagster/data_version_is_user_provided",
)
LISTS = ("users", "projects", "locations")

pytestmark = pytest.mark.clock


@pytest.fixture
def us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """A team whose settings are this process's."""
    with team(tmp_path) as opened:
        enter(opened, monkeypatch)
        yield opened


def tags_of(us: Team, entity: str, *, dry_run: bool = False) -> Any:
    """Sync an entity as a Dagster run; returns the tags of its newest materialization."""
    with instance_of(us) as instance:
        run = sync(us, instance, entity, dry_run=dry_run)
        assert run.success, failures(run)
        found = instance.get_latest_materialization_event(dg.AssetKey(entity))
    assert found is not None
    assert found.asset_materialization is not None
    return found.asset_materialization.tags


def test_a_list_has_a_data_version_that_follows_its_contents(us: Team) -> None:
    """The same contents are the same version, whatever was read; a changed record is another one, and back again."""
    for entity in LISTS:
        first = tags_of(us, entity)
        assert first[IS_OURS] == "true"
        assert tags_of(us, entity)[DATA_VERSION] == first[DATA_VERSION]
        assert first[CODE_VERSION] == load_specs()[entity].fingerprint

    location, before = next(iter(us.at_snapshots("locations"))), tags_of(us, "locations")[DATA_VERSION]
    name = us.at_snapshots("locations")[location]["location_name"]
    us.put_location(location, location_name="Another name")
    changed = tags_of(us, "locations")[DATA_VERSION]
    us.put_location(location, location_name=name)

    assert changed != before
    assert tags_of(us, "locations")[DATA_VERSION] == before


def test_time_entries_have_none_of_their_own(us: Team) -> None:
    """One set of tags for all days of a run: a version of the days together would be wrong for each of them."""
    tags = tags_of(us, "time_entries")

    assert IS_OURS not in tags
    assert tags[CODE_VERSION] == load_specs()["time_entries"].fingerprint


@pytest.mark.parametrize("reader", ["report", "users"])
def test_the_source_asset_shows_each_read(us: Team, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    """How many rows in how many requests, by which reader, of which days; a dry run reads, too."""
    monkeypatch.setenv("CLOCKIFY_READER", reader)
    with instance_of(us) as instance:
        assert sync(us, instance, "projects").success
        assert sync(us, instance, "time_entries", dry_run=True).success

        projects = observed(instance, "projects")
        entries = observed(instance, "time_entries")
    requests, rows = projects["requests"], len(us.projects())
    said = f"{rows} read; took {requests} request{'s' if requests > 1 else ''}."
    assert projects == {"summary": said, "rows": rows, "requests": requests, "reader": "list"}
    assert entries["rows"] == len(us.entries())
    assert entries["requests"] >= 1
    assert (entries["reader"], entries["days"]) == (reader, str(us.days))


def observed(instance: dg.DagsterInstance, entity: str) -> dict[str, Any]:
    """What the newest observation of an entity's source at Clockify holds."""
    found = instance.fetch_observations(dg.AssetKey(["clockify", entity]), limit=1).records
    assert found
    observation = found[0].asset_observation
    assert observation is not None
    return {name: value.value for name, value in observation.metadata.items()}
