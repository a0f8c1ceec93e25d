"""Delete Dagster's old runs, except those that hold the current state of an asset or a check.

A run is kept as long as it holds the newest materialization, observation or check of an asset or of one of its
partitions: Dagster deletes the events with the run, and the day would be shown as never synced.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable

from sync_pipeline.hosting.queue import FINISHED
from sync_pipeline.store.bulk import chunks

RUNS_A_NIGHT = 5_000
STATES = (
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_OBSERVATION,
)
"""The newest of each says whether a partition is materialized, failed or missing."""


def prune_runs(
    instance: DagsterInstance, checks: Sequence[dg.AssetCheckKey], before: datetime, limit: int = RUNS_A_NIGHT
) -> int:
    """Delete the runs that ended before then and hold nothing current; at most ``limit``. Returns how many."""
    ended = dg.RunsFilter(statuses=list(FINISHED), updated_before=before)
    old = instance.get_run_ids(ended)
    current = set(current_runs(instance, checks)) if old else set()
    due = [run_id for run_id in reversed(old) if run_id not in current][:limit]  # the oldest first
    for run_id in due:
        delete_run(instance, run_id)
    return len(due)


def current_runs(instance: DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> Iterator[str]:
    """The runs that hold the newest state of an asset, a partition or a check."""
    events = instance.event_log_storage
    for record in instance.get_asset_records():
        entry = record.asset_entry
        newest = (entry.last_materialization_record, entry.last_observation_record)
        yield from (each.run_id for each in newest if each is not None)
        if entry.last_run_id is not None:
            yield entry.last_run_id
        for state in STATES:
            ids = events.get_latest_storage_id_by_partition(entry.asset_key, state).values()
            for some in chunks(ids):
                wanted = dg.EventRecordsFilter(state, entry.asset_key, storage_ids=some)
                yield from (each.run_id for each in events.get_event_records(wanted))
    for summary in events.get_asset_check_summary_records(checks).values():
        executions = (summary.last_check_execution_record, summary.last_completed_check_execution_record)
        yield from (each.run_id for each in executions if each is not None)


def delete_run(instance: DagsterInstance, run_id: str) -> None:
    """Delete a run and everything of it; the run itself last, so that an interrupted deletion is done again."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    events = instance.event_log_storage
    if isinstance(events, SqlEventLogStorage):  # Dagster leaves the executions of checks
        with events.index_connection() as tx:
            tx.execute(AssetCheckExecutionsTable.delete().where(AssetCheckExecutionsTable.c.run_id == run_id))
    events.delete_events(run_id)
    instance.run_storage.delete_run(run_id)
