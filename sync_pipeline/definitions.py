"""The table of contents of everything Dagster sees."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import dagster as dg

from sync_pipeline.defs.alerts import alerts_sensor
from sync_pipeline.defs.assets import entity_asset, source_asset, target_asset
from sync_pipeline.defs.changes import changes_job, changes_job_name
from sync_pipeline.defs.first_sync import first_sync_sensor
from sync_pipeline.defs.housekeeping import housekeeping_job
from sync_pipeline.defs.io import BatchIOManager
from sync_pipeline.defs.jobs import sync_jobs, verify_jobs
from sync_pipeline.defs.metadata import job_owners
from sync_pipeline.defs.operations import operation_job
from sync_pipeline.defs.reports import performance_asset, performance_checks, reports_job, reports_sensor
from sync_pipeline.defs.requests import requests_sensor
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.defs.schedules import fresh, freshness, schedules
from sync_pipeline.defs.sensors import entity_sensor
from sync_pipeline.defs.verify import in_sync_check
from sync_pipeline.hosting.launch import sync_job_name
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.secrets import require_key
from sync_pipeline.settings import Settings, load_settings

BETA = ("Parameter `(owners|data_version)` of", "Class `(LocalFileCodeReference|CodeReferencesMetadataValue)`")
"""What we use of Dagster although it may change in a minor version, which our range excludes."""


def build(settings: Settings) -> dg.Definitions:
    """All assets, checks, jobs and resources for these settings; to be merged into another project as well.

    There is no default executor among them: it would be the other project's, too.
    """
    for feature in BETA:
        warnings.filterwarnings("ignore", feature, dg.BetaWarning)
    specs = switched_on(specs_of(settings), settings.entities)
    syncs = {job.name: job for job in sync_jobs(specs.values(), settings)}
    changes = {job.name: job for job in map(changes_job, specs.values())}
    verifies = verify_jobs(specs.values())
    synced = [fresh(entity_asset(spec, settings), freshness(spec, settings)) for spec in specs.values()]
    checking = [*(in_sync_check(spec) for spec in specs.values()), performance_checks(settings)]
    checks = [check.key for definition in (*synced, *checking) for check in definition.check_specs]
    reports = reports_job(specs.values())
    return dg.Definitions(
        assets=[*synced, *_external(specs.values(), settings), performance_asset(specs.values(), settings)],
        asset_checks=checking,
        jobs=[
            *syncs.values(),
            *changes.values(),
            *verifies,
            reports,
            housekeeping_job(checks, job_owners(specs.values())),
            operation_job(job_owners(specs.values())),
        ],
        schedules=schedules(list(specs.values()), settings),
        sensors=[
            entity_sensor(spec, settings, [changes[changes_job_name(name)], syncs[sync_job_name(name)]])
            for name, spec in specs.items()
        ]
        + [
            first_sync_sensor(specs.values(), settings, [syncs[sync_job_name(name)] for name in specs]),
            alerts_sensor(settings),
            reports_sensor(reports),
            requests_sensor([*syncs.values(), *changes.values(), *verifies]),
        ],
        resources={"sync": SyncResource(), "batches": BatchIOManager(settings.batches, specs, settings.console_url)},
    )


def _external(specs: Iterable[EntitySpec], settings: Settings) -> Iterable[dg.AssetSpec]:
    """Where entities come from and go to; one asset, in the lane of the sources, where one comes from what another delivered."""
    specs, found = list(specs), dict[dg.AssetKey, dg.AssetSpec]()
    for asset in (part(spec, settings) for part in (target_asset, source_asset) for spec in specs):
        other = found.get(asset.key)
        found[asset.key] = (
            asset
            if other is None
            else asset.replace_attributes(
                deps=[*other.deps, *asset.deps], description=f"{other.description} {asset.description}"
            )
        )
    return found.values()


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev` loads."""
    settings = load_settings()
    require_key(settings)
    # Another process for each op would cost more than most of our runs.
    return dg.Definitions.merge(build(settings), dg.Definitions(executor=dg.in_process_executor))
