"""Jobs: each entity alone, everything in dependency order, and verify."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from sync_pipeline.defs.metadata import job_owners, job_tags, target_key
from sync_pipeline.defs.verify import CHECK
from sync_pipeline.hosting.launch import EVERYTHING, VERIFY, sync_job_name, verify_job_name
from sync_pipeline.hosting.queue import BULK
from sync_pipeline.mapping.spec import EntitySpec


def sync_jobs(specs: Iterable[EntitySpec]) -> list[dg.UnresolvedAssetJobDefinition]:
    """One job an entity, and one for all of them."""
    specs = list(specs)
    each = [
        dg.define_asset_job(
            sync_job_name(spec.entity),
            selection=dg.AssetSelection.assets(spec.entity),
            description=f"Sync {spec.entity} from {spec.source.system} to {spec.target.system}.",
            tags=job_tags("sync", spec),
            owners=job_owners([spec]),
            executor_def=dg.in_process_executor,
        )
        for spec in specs
    ]
    everything = dg.define_asset_job(
        EVERYTHING,
        selection=dg.AssetSelection.assets(*(spec.entity for spec in specs)),
        description="Sync every entity in dependency order: the main job.",
        tags=job_tags("sync"),
        owners=job_owners(specs),
        executor_def=dg.in_process_executor,
    )
    return [*each, everything]


def verify_jobs(specs: Iterable[EntitySpec]) -> list[dg.UnresolvedAssetJobDefinition]:
    """Read both sides in full and compare; one job an entity, and one for all of them."""
    specs = list(specs)
    keys = {spec.entity: dg.AssetCheckKey(target_key(spec), CHECK) for spec in specs}
    each = [
        dg.define_asset_job(
            verify_job_name(spec.entity),
            selection=dg.AssetSelection.checks(keys[spec.entity]),
            description=f"Compare {spec.entity} on both sides.",
            tags=BULK | job_tags("verify", spec),
            owners=job_owners([spec]),
            executor_def=dg.in_process_executor,
        )
        for spec in specs
    ]
    everything = dg.define_asset_job(
        VERIFY,
        selection=dg.AssetSelection.checks(*keys.values()),
        description="Compare everything on both sides.",
        tags=BULK | job_tags("verify"),
        owners=job_owners(specs),
        executor_def=dg.in_process_executor,
    )
    return [*each, everything]
