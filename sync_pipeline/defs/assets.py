"""One factory for all entities: ``extract -> map -> check -> load`` as a graph-backed asset with blocking checks.

A check that fails as an error fails the check op, and ``load`` never starts. ``load`` has one optional output and
yields it only when it really delivered: a dry run leaves no materialization.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg

from sync_pipeline.defs.failures import as_failure
from sync_pipeline.defs.io import SEALED, BatchIOManager
from sync_pipeline.defs.metadata import (
    SUPERSEDED,
    check_metadata,
    column_schema,
    counts_metadata,
    definition_metadata,
    of_each_day,
    source_key,
    source_schema,
    target_key,
)
from sync_pipeline.defs.partitions import days_of
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.errors import StaleBatch
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch, Counts, Days
from sync_pipeline.stages.check import CHECKS, Checking, CheckResult, Options, conclude
from sync_pipeline.stages.extract import extract
from sync_pipeline.stages.inbox import take_up
from sync_pipeline.stages.journal import remembering_failure
from sync_pipeline.stages.load import load
from sync_pipeline.stages.map import map_batch
from sync_pipeline.stages.session import Session
from sync_pipeline.store.deliveries import recent
from sync_pipeline.store.records import delivered_by_day

SHOWN_DELIVERIES = 20
SYSTEMS = {"clockify": "Clockify", "snapshots": "the Snapshots API"}

CONFIG = {
    "dry_run": dg.Field(bool, default_value=False, description="Read, map and check, but write nothing anywhere."),
    "accept_rewrite": dg.Field(
        bool, default_value=False, description="Let a changed mapping rewrite more than the configured share."
    ),
    "allow_deletes": dg.Field(
        bool, default_value=False, description="Let this run delete more than the configured share of what is known."
    ),
    "first_contact": dg.Field(
        bool, default_value=False, description="Let this be the first run that writes to these accounts."
    ),
}


def external_assets(spec: EntitySpec) -> list[dg.AssetSpec]:
    """Where the entity comes from and where it goes, so that lineage reads left to right."""
    source, target = SYSTEMS[spec.source.system], SYSTEMS[spec.target.system]
    return [
        dg.AssetSpec(
            source_key(spec),
            description=f"The {spec.entity} in {source}, read by `{spec.entity}`.",
            group_name=spec.group,
            kinds={spec.source.system},
            metadata={"dagster/column_schema": source_schema(spec)},
        ),
        dg.AssetSpec(
            target_key(spec),
            deps=[dg.AssetKey(spec.entity)],
            description=f"What `{spec.entity}` delivered to {target}. Materialized by its load, judged by `in_sync`.",
            group_name=spec.group,
            kinds={spec.target.system},
            metadata={"dagster/column_schema": column_schema(spec)},
        ),
    ]


def entity_asset(spec: EntitySpec, partitions: dg.PartitionsDefinition[str], days_per_run: int) -> dg.AssetsDefinition:
    """The asset of one entity."""
    extract_op, map_op = _extract_op(spec), _map_op(spec)
    check_op, load_op = _check_op(spec), _load_op(spec)
    upstream = {
        "source": dg.AssetIn(source_key(spec), dagster_type=dg.Nothing),
        **{entity: dg.AssetIn(dg.AssetKey(entity), dagster_type=dg.Nothing) for entity in spec.depends_on},
    }

    @dg.graph_asset(
        name=spec.entity,
        description=spec.description,
        group_name=spec.group,
        owners=list(spec.owners),
        kinds=set(spec.kinds),
        metadata=definition_metadata(spec),
        ins=upstream,
        partitions_def=partitions if spec.partitioned else None,
        backfill_policy=dg.BackfillPolicy.multi_run(days_per_run) if spec.partitioned else None,
        check_specs=[
            dg.AssetCheckSpec(name, asset=spec.entity, description=text, blocking=name != "schema_drift")
            for name, text in CHECKS.items()
        ],
        config=dg.ConfigMapping(config_fn=lambda config: _op_config(spec, config), config_schema=CONFIG),
    )
    def asset(**ready: Any) -> Any:
        sealed, *checks = check_op(map_op(extract_op(**ready)))
        outputs = {f"{spec.entity}_{name}": output for name, output in zip(CHECKS, checks, strict=True)}
        return {"result": load_op(sealed, checks), **outputs}

    return asset


def options_of(context: dg.OpExecutionContext, sync: SyncResource) -> Options:
    """What this run may do; where nothing may be written, every run is a dry run."""
    options = Options(**context.op_config)
    return replace(options, dry_run=options.dry_run or not sync.session.mode.writes)


def _op_config(spec: EntitySpec, config: dict[str, Any]) -> dict[str, Any]:
    return {f"{spec.entity}_{op}": {"config": config} for op in ("extract", "check", "load")}


def _batch_out(spec: EntitySpec, kind: str) -> dg.Out:
    return dg.Out(io_manager_key="batches", metadata={"entity": spec.entity, "batch": kind})


def _extract_op(spec: EntitySpec) -> dg.OpDefinition:
    ins = {name: dg.In(dg.Nothing) for name in ("source", *spec.depends_on)}

    @dg.op(
        name=f"{spec.entity}_extract",
        ins=ins,
        out=_batch_out(spec, "raw"),
        config_schema=CONFIG,
        description=f"Read {spec.entity}.",
    )
    def extract_op(context: dg.OpExecutionContext, sync: SyncResource) -> Batch:
        days = days_of(context)
        batch = extract(sync.session, spec, days)
        if not options_of(context, sync).dry_run:
            with as_failure():
                take_up(sync.session, spec, days, batch)
        return remembering_failure(sync.session, spec, batch, days, run_id=context.run_id)

    return extract_op


def _map_op(spec: EntitySpec) -> dg.OpDefinition:
    @dg.op(name=f"{spec.entity}_map", out=_batch_out(spec, "mapped"), description="From source to target fields.")
    def map_op(batch: Batch) -> Batch:
        return map_batch(spec, batch)

    return map_op


def _check_op(spec: EntitySpec) -> dg.OpDefinition:
    outs = {SEALED: _batch_out(spec, "sealed"), **{f"{spec.entity}_{name}": dg.Out(dg.Nothing) for name in CHECKS}}

    @dg.op(name=f"{spec.entity}_check", out=outs, config_schema=CONFIG, description="Judge before anything is written.")
    def check_op(context: dg.OpExecutionContext, sync: SyncResource, batch: Batch) -> Iterator[Any]:
        options, days = options_of(context, sync), days_of(context)
        checking = Checking(sync.session, spec, batch, days, options)
        yield dg.Output(checking.sealed, SEALED)  # the IO manager walks it here, and with it the checks
        with as_failure():
            results = conclude(sync.session, spec, checking, days, options, run_id=context.run_id)
        yield from (_check_result(spec, result) for result in results)

    return check_op


def _check_result(spec: EntitySpec, result: CheckResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=spec.entity,
        check_name=result.name,
        passed=result.passed,
        severity=dg.AssetCheckSeverity.ERROR if result.severity == "error" else dg.AssetCheckSeverity.WARN,
        description=result.summary,
        metadata=check_metadata(result),
    )


def _load_op(spec: EntitySpec) -> dg.OpDefinition:
    @dg.op(
        name=f"{spec.entity}_load",
        ins={"batch": dg.In(), "checks": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing, is_required=False),
        config_schema=CONFIG,
        description="Deliver what is pending; the target then is what the batch says.",
    )
    def load_op(
        context: dg.AssetExecutionContext, sync: SyncResource, batches: dg.ResourceParam[BatchIOManager], batch: Batch
    ) -> Iterator[Any]:
        options, days = options_of(context.op_execution_context, sync), days_of(context.op_execution_context)
        if options.dry_run:
            context.log.info("dry run: nothing was written. %s", sync.session.mode.why)
            batches.discard(context.run.run_id, spec.entity)
            return
        try:
            with as_failure():
                counts = load(sync.session, spec, batch, days, options, run_id=context.run.run_id)
            metadata = _delivered(sync.session, spec, counts, days, context.run.run_id)
        except StaleBatch as stale:
            context.log.warning(str(stale))
            metadata = {SUPERSEDED: str(stale)}
        for day, rows in rows_by_day(sync.session, spec, days).items():
            context.add_asset_metadata({"dagster/partition_row_count": rows}, partition_key=day)
        context.log_event(dg.AssetMaterialization(target_key(spec), metadata=metadata))
        batches.discard(context.run.run_id, spec.entity)
        yield dg.Output(None, metadata=of_each_day(metadata) if days and days.first != days.last else metadata)

    return load_op


def _delivered(session: Session, spec: EntitySpec, counts: Counts, days: Days | None, run_id: str) -> dict[str, Any]:
    shown = recent(session.store, session.connection, run_id=run_id, entity=spec.entity, limit=SHOWN_DELIVERIES)
    return counts_metadata(spec, counts, days, shown, run_id)


def rows_by_day(session: Session, spec: EntitySpec, days: Days | None) -> dict[str, int]:
    """Records at the target for each day of the run, empty days included; nothing for an unpartitioned entity."""
    if days is None:
        return {}
    counts = delivered_by_day(session.store, session.connection, spec.entity, days.keys)
    return {day: counts.get(day, 0) for day in days}
