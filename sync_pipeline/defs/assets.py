"""One factory for all entities: ``extract -> check -> load`` as a graph-backed asset with blocking checks.

A check that fails as an error fails the check op, and ``load`` never starts. ``load`` has one optional output and
yields it only when everything was delivered: a dry run leaves no materialization, nor does a day with held records.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, date
from typing import Any

import dagster as dg

from sync_pipeline.connectors.registry import name_of
from sync_pipeline.defs.io import CHECKED, READ, BatchIOManager
from sync_pipeline.defs.metadata import (
    asset_tags,
    check_metadata,
    column_schema,
    console_link,
    counts_metadata,
    definition_metadata,
    of_each_day,
    run_summary,
    source_key,
    source_schema,
    target_key,
)
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.errors import Incomplete
from sync_pipeline.hosting.run_reports import LOADED_BY, VALIDATED
from sync_pipeline.hosting.steps import as_failure, blocked, days_shown, materialize_only
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.printable import printable
from sync_pipeline.session.session import Session
from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch import DAYS_AHEAD, Batch, Counts, Days, Options
from sync_pipeline.stages.check import CHECKS, ROW_CHECKS, Checking, CheckResult, conclude
from sync_pipeline.stages.extract import extract, remembering_failure
from sync_pipeline.stages.inbox import claim_events
from sync_pipeline.stages.load import Loaded, load
from sync_pipeline.store.deliveries import recent
from sync_pipeline.store.loads import WHOLE

SHOWN_DELIVERIES = 20
AHEAD = "Days ahead that hold no records are loaded, but not marked as materialized."
NO_DATA_VERSION = (
    "It has no data version of its own: a run covers many days, and Dagster keeps one version for all of them. "
    "What is downstream of it should follow its materializations."
)

CONFIG = {
    "dry_run": dg.Field(bool, default_value=False, description="Read, map and check, but write nothing anywhere."),
    "accept_rewrite": dg.Field(
        bool, default_value=False, description="Approve that a changed mapping rewrites more than the configured share."
    ),
    "allow_deletes": dg.Field(
        bool,
        default_value=False,
        description="Approve that more than the configured share of what is known is deleted.",
    ),
    "first_contact": dg.Field(
        bool, default_value=False, description="Approve that this is the first run that writes to these accounts."
    ),
}


def source_asset(spec: EntitySpec, settings: Settings) -> dg.AssetSpec:
    """Where the entity comes from; the groups are the lanes of the lineage, from left to right."""
    return dg.AssetSpec(
        source_key(spec),
        description=f"The {spec.entity} in {name_of(spec.source.system, settings)}, read by `{spec.entity}`.",
        group_name=f"from_{spec.source.system}",
        kinds={spec.source.system},
        metadata={"dagster/column_schema": source_schema(spec), **console_link(settings.console_url)},
    )


def target_asset(spec: EntitySpec, settings: Settings) -> dg.AssetSpec:
    """Where the entity is delivered."""
    return dg.AssetSpec(
        target_key(spec),
        deps=[dg.AssetKey(spec.entity)],
        description=f"What `{spec.entity}` delivered to {name_of(spec.target.system, settings)}. Materialized by its load, "
        "checked by `in_sync`.",
        group_name=f"to_{spec.target.system}",
        kinds={spec.target.system},
        metadata={"dagster/column_schema": column_schema(spec), **console_link(settings.console_url)},
    )


def entity_asset(spec: EntitySpec, settings: Settings) -> dg.AssetsDefinition:
    """The asset of one entity."""
    extract_op, check_op, load_op = _extract_op(spec), _check_op(spec), _load_op(spec)
    upstream = {
        "source": dg.AssetIn(source_key(spec), dagster_type=dg.Nothing),
        **{entity: dg.AssetIn(dg.AssetKey(entity), dagster_type=dg.Nothing) for entity in spec.depends_on},
    }

    @dg.graph_asset(
        name=spec.entity,
        description=f"{spec.description} {NO_DATA_VERSION}" if spec.partitioned else spec.description,
        group_name=spec.group,
        owners=list(spec.owners),
        kinds=set(spec.kinds),
        tags=asset_tags(spec),
        code_version=spec.fingerprint,
        metadata=definition_metadata(spec) | console_link(settings.console_url),
        ins=upstream,
        partitions_def=daily(settings) if spec.partitioned else None,
        backfill_policy=dg.BackfillPolicy.multi_run(settings.days_per_run) if spec.partitioned else None,
        check_specs=[
            dg.AssetCheckSpec(name, asset=spec.entity, description=text, blocking=name in ROW_CHECKS)
            for name, text in CHECKS.items()
        ],
        config=dg.ConfigMapping(config_fn=lambda config: _op_config(spec, config), config_schema=CONFIG),
    )
    def asset(**ready: Any) -> Any:
        validated, *checks = check_op(extract_op(**ready))
        outputs = {f"{spec.entity}_{name}": output for name, output in zip(CHECKS, checks, strict=True)}
        return {"result": load_op(validated, checks), **outputs}

    return asset


def options_of(context: dg.OpExecutionContext, sync: SyncResource) -> Options:
    """What this run may do; where nothing may be written, every run is a dry run."""
    options = Options(**context.op_config)
    return replace(options, dry_run=options.dry_run or not sync.session.mode.writes)


def _op_config(spec: EntitySpec, config: dict[str, Any]) -> dict[str, Any]:
    return {f"{spec.entity}_{op}": {"config": config} for op in ("extract", "check", "load")}


def _batch_out(spec: EntitySpec, holds: str) -> dg.Out:
    return dg.Out(io_manager_key="batches", metadata={"entity": spec.entity, "holds": holds})


def _extract_op(spec: EntitySpec) -> dg.OpDefinition:
    ins = {name: dg.In(dg.Nothing) for name in ("source", *spec.depends_on)}

    @dg.op(
        name=f"{spec.entity}_extract",
        ins=ins,
        out=_batch_out(spec, READ),
        config_schema=CONFIG,
        description=f"Read {spec.entity}.",
    )
    def extract_op(context: dg.OpExecutionContext, sync: SyncResource) -> Batch:
        days = days_of(context)
        batch = extract(sync.session, spec, days)
        if not options_of(context, sync).dry_run:
            with as_failure():
                claim_events(sync.session, spec, days, batch)
        return remembering_failure(sync.session, spec, batch, days, run_id=context.run_id)

    return extract_op


def _check_op(spec: EntitySpec) -> dg.OpDefinition:
    outs = {VALIDATED: _batch_out(spec, CHECKED), **{f"{spec.entity}_{name}": dg.Out(dg.Nothing) for name in CHECKS}}

    @dg.op(
        name=f"{spec.entity}_check",
        out=outs,
        config_schema=CONFIG,
        description="Map and check before anything is written.",
    )
    def check_op(context: dg.OpExecutionContext, sync: SyncResource, batch: Batch) -> Iterator[Any]:
        options, days = options_of(context, sync), days_of(context)
        with as_failure():
            checking = Checking(sync.session, spec, batch, days, options)
        yield dg.Output(checking.batch, VALIDATED)
        with as_failure():
            results = conclude(sync.session, spec, checking, days, options, run_id=context.run_id)
        yield from (_check_result(spec, result) for result in results)
        if any(result.blocks for result in results):
            raise blocked(results)

    return check_op


def _check_result(spec: EntitySpec, result: CheckResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=spec.entity,
        check_name=result.name,
        passed=result.passed,
        severity=dg.AssetCheckSeverity.ERROR if result.severity == "error" else dg.AssetCheckSeverity.WARN,
        description=printable(result.summary),
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
            batches.discard(context.run.run_id, batch, spec.entity)
            return
        with as_failure():
            loaded = load(sync.session, spec, batch, days, options, run_id=context.run.run_id)
        sync.note(spec.entity, asdict(loaded.counts))
        sync.note_writes(loaded.counts.writes)
        metadata = _delivered(sync.session, spec, loaded.counts, days, context.run.run_id)
        metadata |= _covered(loaded) if days is None else {}
        if loaded.done or loaded.counts.writes:
            context.log_event(dg.AssetMaterialization(target_key(spec), metadata=metadata))
        each = of_each_day(metadata) if days and days.first != days.last else metadata
        by_day = _by_day(sync.session, spec, loaded, context.run)
        if loaded.held:
            context.log.warning(printable(loaded.why_held))
        is_whole = not loaded.not_done and not loaded.held_days
        if not is_whole:
            _log_days(context, spec, loaded, {day: {**each, **figures} for day, figures in by_day.items()})
        batches.discard(context.run.run_id, batch, spec.entity)
        if is_whole and _choose_days(context, loaded, by_day):
            yield dg.Output(None, metadata=each, data_version=_data_version(sync.session, spec))

    return load_op


def _log_days(
    context: dg.AssetExecutionContext, spec: EntitySpec, loaded: Loaded, by_day: Mapping[str, dict[str, Any]]
) -> None:
    """Materialize the days that are done; raises dg.Failure where others are not."""
    for day, metadata in by_day.items():
        context.log_event(dg.AssetMaterialization(spec.entity, partition=day, metadata=metadata))
    if loaded.not_done:
        with as_failure():
            raise Incomplete(loaded.problem, fix="Run it again.")


def _choose_days(context: dg.AssetExecutionContext, loaded: Loaded, by_day: Mapping[str, dict[str, Any]]) -> bool:
    """Let the output materialize these days; returns whether there is anything to materialize."""
    for day, figures in by_day.items():
        context.add_asset_metadata(figures, partition_key=day)
    if len(by_day) < len([day for day in loaded.done if day]):
        context.log.info(AHEAD)
        materialize_only(context, by_day)
        return bool(by_day)
    return True


def _data_version(session: Session, spec: EntitySpec) -> dg.DataVersion | None:
    """Of what is at the target: it changes when a record does, so that nothing downstream is stale without a reason."""
    if spec.partitioned:
        return None
    return dg.DataVersion(session.ledger(spec).delivered_digest())


def _by_day(session: Session, spec: EntitySpec, loaded: Loaded, run: dg.DagsterRun) -> dict[str, dict[str, Any]]:
    """What the materialization of each day that is marked shows of that day; nothing for an entity without days."""
    days = [day for day in loaded.done if day]
    if not days:
        return {}
    counts = session.ledger(spec).delivered_by_day((days[0], days[-1]))
    return {
        day: {
            "dagster/partition_row_count": counts.get(day, 0),
            **({LOADED_BY: loaded.covered[day].run_id or "unknown"} if day in loaded.covered else {}),
        }
        for day in days_shown(days, counts, session.now().astimezone(UTC).date(), run)
    }


def _covered(loaded: Loaded) -> dict[str, Any]:
    """The same of an entity without days."""
    load = loaded.covered.get(WHOLE)
    return {LOADED_BY: load.run_id or "unknown"} if load is not None else {}


def _delivered(session: Session, spec: EntitySpec, counts: Counts, days: Days | None, run_id: str) -> dict[str, Any]:
    shown = recent(session.store, session.pair, run_id=run_id, entity=spec.entity, limit=SHOWN_DELIVERIES)
    about = f"{days}: {counts.sentence}" if days else counts.sentence
    return run_summary(about, run_id, session.settings.console_url) | counts_metadata(spec, counts, days, shown, run_id)


def daily(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition a day; without ``end_offset`` Dagster would end yesterday."""
    return dg.DailyPartitionsDefinition(settings.start_date.isoformat(), timezone="UTC", end_offset=1 + DAYS_AHEAD)


def days_of(context: dg.OpExecutionContext) -> Days | None:
    """The days this run covers; None for an asset without partitions.

    Raises dg.Failure for a run of a partitioned asset without a partition, which Dagster would let pass silently.
    """
    if not context.assets_def.partitions_def:
        return None
    if not (context.has_partition_key or context.has_partition_key_range):
        raise dg.Failure(
            "time entries are synced day by day: this run names no partition, so it was refused. "
            "Choose the days in the launchpad, or run `sync-pipeline sync --from DAY --to DAY`.",
            allow_retries=False,
        )
    span = context.partition_key_range
    return Days(date.fromisoformat(span.start), date.fromisoformat(span.end))
