"""``in_sync``: a check on each target asset that reads both sides in full; run by the verify jobs only."""

from dataclasses import asdict
from datetime import date

import dagster as dg

from sync_pipeline.defs.failures import as_failure
from sync_pipeline.defs.metadata import target_key
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.errors import CheckFailed
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.reconcile import verify

CHECK = "in_sync"
SHOWN = 50


class VerifyConfig(dg.Config):
    """Which days to compare, and whether to deliver the differences."""

    first_day: str = ""
    last_day: str = ""
    repair: bool = False


def check_op(spec: EntitySpec) -> str:
    """The op of one entity's check, as run config names it."""
    return f"{'__'.join(target_key(spec).path)}_{CHECK}"


def in_sync_check(spec: EntitySpec) -> dg.AssetChecksDefinition:
    """The check of one entity's target."""

    @dg.asset_check(asset=target_key(spec), name=CHECK, description=f"Both sides hold the same {spec.entity}.")
    def in_sync(
        context: dg.AssetCheckExecutionContext, config: VerifyConfig, sync: SyncResource
    ) -> dg.AssetCheckResult:
        settings = sync.settings()
        days = None
        if spec.partitioned:
            first = date.fromisoformat(config.first_day) if config.first_day else settings.start_date
            last = date.fromisoformat(config.last_day) if config.last_day else sync.session.now().date()
            days = Days(first, last)
        with as_failure():
            verdict = verify(sync.session, spec, days, repair=config.repair, run_id=context.run.run_id)
            if verdict.held_back:
                raise CheckFailed(verdict.held_back)
        rows = [dg.TableRecord({k: str(v) for k, v in asdict(d).items()}) for d in verdict.differences[:SHOWN]]
        return dg.AssetCheckResult(
            passed=verdict.in_sync,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                **verdict.figures,
                "days": str(days or "all"),
                **({"differences": dg.MetadataValue.table(rows)} if rows else {}),
            },
        )

    return in_sync
