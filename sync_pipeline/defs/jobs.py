"""Jobs: each entity alone, everything in dependency order, and verify."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from sync_pipeline.connectors.registry import name_of
from sync_pipeline.defs.metadata import job_owners, job_tags, target_key
from sync_pipeline.defs.verify import CHECK, check_op
from sync_pipeline.hosting.launch import EVERYTHING, VERIFY, sync_job_name, verify_job_name
from sync_pipeline.hosting.queue import BULK
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.settings import Settings

OPTIONS = {
    "dry_run": "to read, map and check without writing anything",
    "first_contact": "when the first run that writes to these accounts is held, and you want it to write",
    "accept_rewrite": "when a run is held because a changed mapping rewrites many records, and that is intended",
    "allow_deletes": "when a run is held because many records are missing at the source, and they are to be deleted",
}
"""When to set which option of a sync."""


def options_help(where: str) -> str:
    """For the description of a job: when to set what in the launchpad."""
    when = "\n".join(f"- `{name}: true` {text}" for name, text in OPTIONS.items())
    return f"A plain run needs no options. In the launchpad, under `ops: {where}: config:`, set\n\n{when}"


def repair_help(spec: EntitySpec) -> str:
    """The same for a verify job."""
    options = ["`repair: true` when the differences are to be corrected at the target"]
    if spec.partitioned:
        options.append("`first_day` and `last_day`, like `'2026-01-31'`, to compare some days only")
    when = "\n".join(f"- {text}" for text in options)
    return f"A plain run only reads. In the launchpad, under `ops: {check_op(spec)}: config:`, set\n\n{when}"


def sync_jobs(specs: Iterable[EntitySpec], settings: Settings) -> list[dg.UnresolvedAssetJobDefinition]:
    """One job an entity, and one for all of them."""
    specs = list(specs)
    each = [
        dg.define_asset_job(
            sync_job_name(spec.entity),
            selection=dg.AssetSelection.assets(spec.entity),
            description=f"Sync {spec.entity} from {name_of(spec.source.system, settings)} to "
            f"{name_of(spec.target.system, settings)}. {options_help(spec.entity)}",
            tags=job_tags("sync", spec),
            owners=job_owners([spec]),
            executor_def=dg.in_process_executor,
        )
        for spec in specs
    ]
    everything = dg.define_asset_job(
        EVERYTHING,
        selection=dg.AssetSelection.assets(*(spec.entity for spec in specs)),
        description=f"Sync every entity in dependency order: the main job. {options_help('ENTITY')}",
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
            description=f"Compare {spec.entity} on both sides. {repair_help(spec)}",
            tags=BULK | job_tags("verify", spec),
            owners=job_owners([spec]),
            executor_def=dg.in_process_executor,
        )
        for spec in specs
    ]
    everything = dg.define_asset_job(
        VERIFY,
        selection=dg.AssetSelection.checks(*keys.values()),
        description="Compare everything on both sides. To repair the differences of an entity, use its own verify job.",
        tags=BULK | job_tags("verify"),
        owners=job_owners(specs),
        executor_def=dg.in_process_executor,
    )
    return [*each, everything]
