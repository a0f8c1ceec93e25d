"""The inventory: what Dagster sees, readable at a glance and kept in step."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

import sync_pipeline.entities
from sync_pipeline.definitions import build
from sync_pipeline.defs.assets import CONFIG
from sync_pipeline.defs.reports import CHECKS as REPORT_CHECKS
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.settings import Settings, load_settings
from sync_pipeline.stages.check import CHECKS

pytestmark = pytest.mark.clock

ASSETS = """
clockify/clients <- locations
clockify/projects
clockify/time_entries
clockify/users
locations <- snapshots/locations
project_performance <- locations, projects, time_entries, users
projects <- clockify/projects
snapshots/locations
snapshots/projects <- projects
snapshots/time_entries <- time_entries
snapshots/users <- users
time_entries <- clockify/time_entries, projects, users
users <- clockify/users
"""
ENTITIES = ("locations", "projects", "time_entries", "users")
TARGETS = ("clockify/clients", "snapshots/projects", "snapshots/time_entries", "snapshots/users")
JOBS = """
changes_locations
changes_projects
changes_time_entries
changes_users
forget_events
reports
run_operation
sync_everything
sync_locations
sync_projects
sync_time_entries
sync_users
verify_everything
verify_locations
verify_projects
verify_time_entries
verify_users
"""

SCHEDULES = """
nightly_forget_events 47 1 * * * forget_events
nightly_locations 2 2 * * * sync_locations
nightly_projects 12 2 * * * sync_projects
nightly_users 22 2 * * * sync_users
rescan_time_entries 17 * * * * sync_time_entries
weekly_verify_locations 37 3 * * 0 verify_locations
weekly_verify_projects 37 4 * * 0 verify_projects
weekly_verify_time_entries 37 6 * * 0 verify_time_entries
weekly_verify_users 37 5 * * 0 verify_users
"""


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """The definitions as a fresh clone has them."""
    return build(load_settings({}, root=tmp_path_factory.mktemp("root")))


def test_assets_and_their_lineage(defs: dg.Definitions) -> None:
    """Each entity is between the external asset it is read from and the one it is delivered to."""
    graph = defs.resolve_asset_graph()
    lines = []
    for key in sorted(graph.get_all_asset_keys(), key=lambda key: key.to_user_string()):
        parents = sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        lines.append(key.to_user_string() + (f" <- {', '.join(parents)}" if parents else ""))

    assert ASSETS.split("\n")[1:-1] == lines


def test_the_lineage_has_three_lanes(defs: dg.Definitions) -> None:
    """Where records come from, what syncs them, where they arrive: groups that the UI shows by their names."""
    graph = defs.resolve_asset_graph()
    lanes: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        lanes.setdefault(str(graph.get(key).group_name), set()).add(key.to_user_string())

    assert lanes == {
        "from_clockify": {"clockify/projects", "clockify/time_entries", "clockify/users"},
        "from_snapshots": {"snapshots/locations"},
        "reports": {"project_performance"},
        "sync": set(ENTITIES),
        "to_clockify": {"clockify/clients"},
        "to_snapshots": {"snapshots/projects", "snapshots/time_entries", "snapshots/users"},
    }


def test_every_entity_has_every_check_and_every_target_is_verified(defs: dg.Definitions) -> None:
    """No entity can forget a check; ``in_sync`` is on the targets only."""
    graph = defs.resolve_asset_graph()
    found = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}

    reports = {("project_performance", name) for name in REPORT_CHECKS}
    assert {(e, c) for e in ENTITIES for c in CHECKS} | {(t, "in_sync") for t in TARGETS} | reports == found


def test_jobs(defs: dg.Definitions) -> None:
    """One job an entity, one for everything, and the same for verify."""
    names = sorted(job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__"))

    assert JOBS.split() == names


def test_schedules(defs: dg.Definitions) -> None:
    """Days often, lists nightly, both sides weekly; no two together; each states what it costs."""
    schedules = sorted(defs.get_repository_def().schedule_defs, key=lambda schedule: schedule.name)

    assert SCHEDULES.split("\n")[1:-1] == [f"{s.name} {s.cron_schedule} {s.job_name}" for s in schedules]
    assert len({s.cron_schedule for s in schedules}) == len(schedules)
    assert all("Cost: " in str(s.description) for s in schedules)


def test_a_schedule_states_the_cost_at_the_systems_it_asks(defs: dg.Definitions) -> None:
    """A list is read from the source of its entity, both sides by a comparison, and none to delete what is old."""
    said = {s.name: str(s.description) for s in defs.get_repository_def().schedule_defs}
    assert "1 request to the Snapshots API for each page of its list" in said["nightly_locations"]
    assert "Clockify" not in said["nightly_locations"].partition("Cost: ")[2].partition(". ")[0]
    assert "1 request to Clockify for each 200 records" in said["nightly_projects"]
    for name in ("weekly_verify_locations", "weekly_verify_time_entries"):
        assert "Clockify's whole list" in said[name]
        assert "1 request to the Snapshots API for each page of its list" in said[name]
    assert said["nightly_forget_events"].endswith("Cost: no request.")


def test_sensors(defs: dg.Definitions) -> None:
    """One an entity, named for it, asking for targeted runs and for whole syncs; that of the alerts asks for none."""
    sensors = {
        sensor.name: {target.job_name for target in sensor.targets} for sensor in defs.get_repository_def().sensor_defs
    }

    first = {"first_sync": {f"sync_{entity}" for entity in ENTITIES}, "alerts": set(), "reports": {"reports"}}
    asked = {"console_requests": {f"{kind}_{entity}" for kind in ("changes", "sync", "verify") for entity in ENTITIES}}
    asked["console_requests"] |= {"sync_everything", "verify_everything"}
    assert sensors == {entity: {f"changes_{entity}", f"sync_{entity}"} for entity in ENTITIES} | first | asked


def test_sensors_say_first_what_they_watch(defs: dg.Definitions) -> None:
    """Their names are those of the assets, so the first words of the description state what each is."""
    said = {sensor.name: str(sensor.description) for sensor in defs.get_repository_def().sensor_defs}

    assert said["users"].startswith("Watches Clockify for changed users and starts the runs that sync them.")
    assert said["locations"].startswith("Watches the Snapshots API for changed locations and starts the runs")
    assert said["first_sync"].startswith("Watches for what was never synced")


def test_jobs_say_when_to_set_which_option(defs: dg.Definitions) -> None:
    """Each option of the launchpad, and where it is written there."""
    jobs = {job.name: str(job.description) for job in defs.resolve_all_job_defs()}

    for name in (*ENTITIES, "everything"):
        assert all(f"- `{option}: true` " in jobs[f"sync_{name}"] for option in CONFIG)
    assert "`ops: users: config:`" in jobs["sync_users"]
    for name, target in zip(ENTITIES, TARGETS, strict=True):
        assert f"`ops: {target.replace('/', '__')}_in_sync: config:`" in jobs[f"verify_{name}"]
        assert "`repair: true`" in jobs[f"verify_{name}"]


def test_assets_lead_to_the_console(tmp_path: Path) -> None:
    """Each of them, where the console's address is known; elsewhere there is no link."""
    known = load_settings({"SYNC_CONSOLE_URL": "http://sync-1.localhost:8770/"}, root=tmp_path)
    for settings, links in ((known, {"http://sync-1.localhost:8770/"}), (load_settings({}, root=tmp_path), {None})):
        graph = build(settings).resolve_asset_graph()
        found = [graph.get(key).metadata.get("console") for key in graph.get_all_asset_keys()]
        assert {link and str(link.value) for link in found} == links


def test_the_switch_needs_no_restart(defs: dg.Definitions) -> None:
    """Sensors and schedules always look whether live syncing is on; what they do when it is not, they report."""
    repository = defs.get_repository_def()

    assert {sensor.default_status.value for sensor in repository.sensor_defs} == {"RUNNING"}
    assert {schedule.default_status.value for schedule in repository.schedule_defs} == {"RUNNING"}


def test_every_entity_is_expected_to_be_fresh(defs: dg.Definitions) -> None:
    """The daemon checks freshness; no sync job has a check more for it."""
    graph = defs.resolve_asset_graph()

    assert all(graph.get(dg.AssetKey(entity)).freshness_policy_or_from_metadata for entity in ENTITIES)


def test_sync_jobs_leave_in_sync_to_the_verify_jobs(defs: dg.Definitions) -> None:
    """A sync never reads both sides in full by accident."""
    everything = defs.resolve_job_def("sync_everything")
    checks = everything.asset_layer.executable_asset_keys

    assert {key.to_user_string() for key in checks} == set(ENTITIES)
    assert not [node for node in everything.graph.node_names() if "in_sync" in node]


def test_only_time_entries_are_partitioned(defs: dg.Definitions) -> None:
    """Days ahead are covered, and backfills come in bounded runs."""
    graph = defs.resolve_asset_graph()
    partitioned = {key.to_user_string() for key in graph.materializable_asset_keys if graph.get(key).partitions_def}
    entries = graph.get(dg.AssetKey("time_entries"))

    assert partitioned == {"time_entries"}
    assert entries.backfill_policy == dg.BackfillPolicy.multi_run(Settings().days_per_run)


def test_assets_describe_themselves(defs: dg.Definitions) -> None:
    """Description, kinds, owners, group, column schema and column lineage are there for everyone to read."""
    graph = defs.resolve_asset_graph()
    for name in ENTITIES:
        node = graph.get(dg.AssetKey(name))
        assert node.description
        assert node.kinds == {"clockify", "snapshots"}
        assert node.owners
        assert node.group_name == "sync"
        assert {"dagster/column_schema", "dagster/column_lineage", "dagster/code_references"} <= set(node.metadata)


def test_a_changed_mapping_is_a_new_code_version(tmp_path: Path) -> None:
    """The code version is the mapping's fingerprint: it changes with what decides the outcome, and for that entity only."""
    before = versions(build(load_settings({}, root=tmp_path)))
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "users.yaml").write_text("fields:\n  email: {transform: [trim, lower]}\n")
    settings = load_settings({"SYNC_MAPPINGS_DIR": str(tmp_path / "mappings")}, root=tmp_path)
    after = versions(build(settings))

    assert before == {name: spec.fingerprint for name, spec in load_specs().items()}
    assert {name for name in before if before[name] != after[name]} == {"users"}


def versions(defs: dg.Definitions) -> dict[str, str | None]:
    """The code version of each entity's asset."""
    graph = defs.resolve_asset_graph()
    return {name: graph.get(dg.AssetKey(name)).code_version for name in ENTITIES}


def test_an_asset_names_the_lines_of_its_mapping(tmp_path: Path) -> None:
    """The user's file comes first; the shipped file is what they are laid over."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "users.yaml").write_text("# ours\n\nfields:\n  email: {transform: [trim, lower]}\n")
    (tmp_path / ".sync").mkdir()
    (tmp_path / ".sync" / "setup.yaml").write_text(
        "mappings:\n  projects:\n    fields: {project_name: {default: nameless}}\n"
    )
    defs = build(load_settings({"SYNC_MAPPINGS_DIR": str(tmp_path / "mappings")}, root=tmp_path))
    shipped = Path(sync_pipeline.entities.__path__[0])

    assert references(defs, "users") == [f"{tmp_path}/mappings/users.yaml:3", f"{shipped}/users.yaml:1"]
    assert references(defs, "projects") == [f"{shipped}/projects.yaml:1"]  # the set-up is no file
    assert references(defs, "locations") == [f"{shipped}/locations.yaml:1"]


def references(defs: dg.Definitions, entity: str) -> list[str]:
    """The places an asset's code references name."""
    found = defs.resolve_asset_graph().get(dg.AssetKey(entity)).metadata["dagster/code_references"]
    assert isinstance(found, dg.CodeReferencesMetadataValue)
    return [reference.source for reference in found.code_references]


def test_what_is_found_by_tags_and_owners(defs: dg.Definitions) -> None:
    """Assets with personal data, and each job by its kind, its entity and who owns it; so do its runs."""
    graph = defs.resolve_asset_graph()
    personal = {name for name in ENTITIES if graph.get(dg.AssetKey(name)).tags.get("personal_data") == "true"}
    jobs = [job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")]

    assert personal == {name for name, spec in load_specs().items() if any(field.personal for field in spec.fields)}
    for job in jobs:
        kind, _, entity = job.name.partition("_")
        tags = {"sync_pipeline/kind": {"forget": "housekeeping", "run": "operation"}.get(kind, kind)}
        tags |= {"sync_pipeline/entity": entity} if entity in ENTITIES else {}
        assert tags.items() <= job.run_tags.items()
        assert job.owners == ["team:operations"]


def test_only_time_entries_say_that_they_have_no_data_version(defs: dg.Definitions) -> None:
    """A run covers many days with one set of tags, so none would be true of each of them."""
    graph = defs.resolve_asset_graph()
    said = {name for name in ENTITIES if "no data version" in str(graph.get(dg.AssetKey(name)).description)}

    assert said == {"time_entries"}


def test_no_setting_reaches_the_definitions(tmp_path: Path) -> None:
    """A secret is nowhere in what the code location publishes."""
    secret = "k3y-that-must-not-travel"
    environ = {
        "CLOCKIFY_API_KEY": secret,
        "CLOCKIFY_WORKSPACE_ID": "w",
        "SNAPSHOTS_BASE_URL": "http://127.0.0.1:1/s",
        "SNAPSHOTS_API_KEY": secret,
    }
    definitions = build(load_settings(environ, root=tmp_path))

    assert secret not in repr(definitions)
    assert all(secret not in repr(job.run_config) for job in definitions.resolve_all_job_defs())


def test_what_one_entity_delivers_another_may_be_read_from(tmp_path: Path) -> None:
    """Locations that become projects: one external asset, behind the locations and before the projects."""
    mappings = tmp_path / "mappings"
    mappings.mkdir()
    (mappings / "locations.yaml").write_text(
        "entity: locations\ntarget: {kind: projects}\nfields: {address: drop, name: {max_length: 250}}\n"
    )
    graph = build(load_settings({"SYNC_MAPPINGS_DIR": str(mappings)}, root=tmp_path)).resolve_asset_graph()
    shared = dg.AssetKey(["clockify", "projects"])
    assert graph.get(shared).parent_keys == {dg.AssetKey("locations")}
    assert graph.get(shared).child_keys == {dg.AssetKey("projects")}
    assert graph.get(shared).group_name == "from_clockify"


@pytest.mark.parametrize(
    ("name", "source", "target", "fields"),
    [
        ("clients", "locations", "clockify, operation: tags.create", "name: {source: name, required: true}"),
        ("contacts", "contacts", "snapshots, operation: contacts.upsert", "email: {source: email, type: email}"),
    ],
)
def test_an_automation_may_be_called_as_what_is_there(
    tmp_path: Path, name: str, source: str, target: str, fields: str
) -> None:
    """What it makes is an asset of its own, neither what an entity delivers nor what it reads itself."""
    text = f"source: {{system: snapshots, list: {source}, id: id}}\ntarget: {{system: {target}, once: true}}\n"
    (tmp_path / f"{name}.yaml").write_text(f"{text}fields: {{{fields}}}\n")
    settings = load_settings({"SYNC_MAPPINGS_DIR": str(tmp_path), "SYNC_AUTOMATIONS": name}, root=tmp_path)
    definitions = build(settings)
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    assert dg.AssetKey(name) in graph.toposorted_asset_keys
    made = dg.AssetKey([target.partition(",")[0], "automations", name])
    assert graph.get(made).parent_keys == {dg.AssetKey(name)}
