"""``in_sync``: a check on each target asset that reads both sides in full; run by the verify jobs only."""

from dataclasses import asdict
from datetime import date, timedelta

import dagster as dg

from sync_pipeline.defs.metadata import target_key
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.errors import CheckFailed, ConfigError
from sync_pipeline.hosting.steps import as_failure
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import DAYS_AHEAD, Days
from sync_pipeline.stages.process import PERSONAL
from sync_pipeline.stages.verify import Difference, verify

CHECK = "in_sync"
SHOWN = 50
SHOWN_LENGTH = 200


class VerifyConfig(dg.Config):
    """Which days to compare - all by default - and whether to deliver the differences."""

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
        with as_failure():
            days = (
                chosen_days(config, sync.settings().start_date, sync.session.now().date()) if spec.partitioned else None
            )
            verdict = verify(sync.session, spec, days, repair=config.repair, run_id=context.run.run_id)
            sync.note_writes(verdict.repaired)
            if verdict.held_back:
                raise CheckFailed(verdict.held_back)
        rows = [shown(spec, difference) for difference in verdict.differences[:SHOWN]]
        held = sum(lines.count for lines in verdict.held)
        differences = [{name: str(value)[:SHOWN_LENGTH] for name, value in row.data.items()} for row in rows]
        sync.note(spec.entity, {**verdict.figures, "held": held, "differences": differences})
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


def chosen_days(config: VerifyConfig, start_date: date, today: date) -> Days:
    """The days to compare. Raises ConfigError for what is no day, and for days in the wrong order."""
    first = _day("first_day", config.first_day) or start_date
    last = _day("last_day", config.last_day) or max(first, today + timedelta(days=DAYS_AHEAD))
    if first > last:
        raise ConfigError(f"first_day {first} lies after last_day {last}.", fix="Correct them in the run's config.")
    return Days(first, last)


def shown(spec: EntitySpec, difference: Difference) -> dg.TableRecord:
    """A difference for the UI: which field of which record, and the values unless they are personal."""
    columns = {name: str(value) for name, value in asdict(difference).items()}
    if any(field.personal for field in spec.fields if field.name == difference.field):
        columns |= {"source": PERSONAL, "target": PERSONAL}
    return dg.TableRecord(columns)


def _day(name: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise ConfigError(
            f"{name}: `{text}` is not a day like 2026-01-31.", fix="Correct it in the run's config."
        ) from None
