"""The table of contents of everything Dagster sees."""

from __future__ import annotations

import dagster as dg

from sync_pipeline.defs.assets import entity_asset, external_assets
from sync_pipeline.defs.io import BatchIOManager
from sync_pipeline.defs.jobs import sync_jobs, verify_jobs
from sync_pipeline.defs.partitions import daily
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.defs.verify import in_sync_check
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.settings import Settings, load_settings


def build(settings: Settings) -> dg.Definitions:
    """All assets, checks, jobs and resources for these settings."""
    specs = load_specs(settings.mappings_dir)
    partitions = daily(settings)
    return dg.Definitions(
        assets=[
            *(entity_asset(spec, partitions, settings.days_per_run) for spec in specs.values()),
            *(asset for spec in specs.values() for asset in external_assets(spec)),
        ],
        asset_checks=[in_sync_check(spec) for spec in specs.values()],
        jobs=[*sync_jobs(specs.values()), *verify_jobs(specs.values())],
        resources={"sync": SyncResource(), "batches": BatchIOManager(settings.batches, specs)},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev` loads."""
    return build(load_settings())
