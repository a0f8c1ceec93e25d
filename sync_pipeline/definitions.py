"""The table of contents of everything Dagster sees."""

from __future__ import annotations

import warnings

import dagster as dg

from sync_pipeline.defs.assets import entity_asset, external_assets
from sync_pipeline.defs.changes import changes_job, changes_job_name
from sync_pipeline.defs.first_sync import first_sync_sensor
from sync_pipeline.defs.housekeeping import housekeeping_job
from sync_pipeline.defs.io import BatchIOManager
from sync_pipeline.defs.jobs import sync_job_name, sync_jobs, verify_jobs
from sync_pipeline.defs.partitions import daily
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.defs.schedules import fresh, freshness, schedules
from sync_pipeline.defs.sensors import entity_sensor
from sync_pipeline.defs.verify import in_sync_check
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.settings import Settings, load_settings


def build(settings: Settings) -> dg.Definitions:
    """All assets, checks, jobs and resources for these settings."""
    # Dagster warns of its own copy of every sensor; nothing of ours uses that parameter.
    warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)
    specs = switched_on(specs_of(settings), settings.entities)
    partitions = daily(settings)
    syncs = {job.name: job for job in sync_jobs(specs.values())}
    changes = {job.name: job for job in map(changes_job, specs.values())}
    return dg.Definitions(
        assets=[
            *(
                fresh(entity_asset(spec, partitions, settings.days_per_run), freshness(spec, settings))
                for spec in specs.values()
            ),
            *(asset for spec in specs.values() for asset in external_assets(spec)),
        ],
        asset_checks=[in_sync_check(spec) for spec in specs.values()],
        jobs=[*syncs.values(), *changes.values(), *verify_jobs(specs.values()), housekeeping_job()],
        schedules=schedules(list(specs.values()), settings),
        sensors=[
            entity_sensor(spec, settings, [changes[changes_job_name(name)], syncs[sync_job_name(name)]])
            for name, spec in specs.items()
        ]
        + [first_sync_sensor(specs.values(), settings, [syncs[sync_job_name(name)] for name in specs])],
        resources={"sync": SyncResource(), "batches": BatchIOManager(settings.batches, specs)},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev` loads."""
    return build(load_settings())
