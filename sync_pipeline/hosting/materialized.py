"""Which days a load marks as materialized: those it is done with, but of the days ahead only those that hold records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date

import dagster as dg
from dagster._core.execution.context.output import OutputContext
from dagster._core.storage.tags import BACKFILL_ID_TAG


def days_shown(done: Iterable[str], counts: Mapping[str, int], today: date, run: dg.DagsterRun) -> list[str]:
    """The days to mark; an empty day ahead only where a backfill asks for it, which would call it failed otherwise."""
    every = BACKFILL_ID_TAG in run.tags
    return [day for day in done if every or counts.get(day) or day <= today.isoformat()]


def materialize_only(context: dg.AssetExecutionContext, days: Collection[str]) -> None:
    """Let the output of this step materialize these days of the run, and no others.

    Dagster takes all partitions of a run or none. Materializations that are logged instead would lack the versions it
    notes, and what is downstream in the same run would not start.
    """
    step = context.op_execution_context.get_step_execution_context()
    whole = step.get_output_context

    def narrowed(*args: object, **kwargs: object) -> OutputContext:
        output = whole(*args, **kwargs)  # type: ignore[arg-type]
        subset = output.asset_partitions_def.subset_with_partition_keys(days)
        output._asset_partitions_subset = subset  # noqa: SLF001 - Dagster has no other way
        return output

    step.get_output_context = narrowed  # type: ignore[method-assign]
