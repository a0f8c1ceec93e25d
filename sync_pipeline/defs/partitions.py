"""Partitions: UTC days of an entry's start, from the start date to a week ahead of today."""

from __future__ import annotations

from datetime import date

import dagster as dg

from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch import DAYS_AHEAD, Days


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
