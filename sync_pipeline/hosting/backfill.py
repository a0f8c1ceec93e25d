"""Backfills over years: a real Dagster backfill in bounded runs, requested here, executed by the daemon.

Nothing depends on the requesting process: the backfill is in Dagster's storage, each run in the run queue. Another
request for the same days follows the backfill that is under way, or continues a failed one without its finished days.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterInstance
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._core.utils import make_new_backfill_id

from sync_pipeline.errors import ConfigError
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START, open_instance, partitioned
from sync_pipeline.hosting.liveness import close_orphans
from sync_pipeline.hosting.main_job import dagster_files
from sync_pipeline.hosting.run_tags import requested
from sync_pipeline.session.progress import Progress, reporting, silent
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.guards import waits_for_rewrite
from sync_pipeline.store.audit import system_user
from sync_pipeline.store.loads import days_in
from sync_pipeline.store.locks import lock
from sync_pipeline.store.scope import draw

RANGE_TAG = "sync_pipeline/backfill"
NUMBER_TAG = "sync_pipeline/backfill_read_no"
"""The number of reads when the backfill was first asked for; days read before it are not done."""
LEFT_TAG = "sync_pipeline/backfill_days"
"""How many days it was asked for, which are fewer than its range has when it continues another one."""
PAUSED_TAG = "sync_pipeline/backfill_paused"
"""Who paused it: Dagster cancels it, and its days that are not done are asked for again when it is resumed."""
PAUSED, PAUSING = "PAUSED", "PAUSING"
UNDER_WAY = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING)
DAEMON = "BACKFILL"
SILENT_AFTER = timedelta(seconds=90)
"""A daemon reports itself every 30 seconds."""
LOOK_SECONDS = 1.0
TRIES, SETTLE_SECONDS = 5, 0.3
"""How often a change of a backfill is tried, and the pause before it is checked: the daemon reads and writes within that."""
SHOWN, MOST = 20, 200
"""Backfills that are listed, and the newest ones that are looked at for it."""
DONE = (BulkActionStatus.COMPLETED, BulkActionStatus.COMPLETED_SUCCESS)


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """The state of a backfill: its days by outcome."""

    backfill_id: str
    status: str
    days: str
    total: int
    done: int
    running: int
    failed: int
    held: int
    """Days with records that are held until they are approved."""
    continued: bool
    """Whether days of an earlier, unfinished backfill of the same range were taken over."""
    daemon: bool
    """Whether a Dagster daemon is running, which executes it."""
    runs: list[str]
    days_an_hour: float | None = None
    """Since it was asked for or resumed; None until a day is done."""
    ends_at: datetime | None = None
    """When it will be done at that rate; None where that is unknown."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.status == PAUSED or self.status in {status.value for status in BULK_ACTION_TERMINAL_STATUSES}

    @property
    def success(self) -> bool:
        """Whether all days are done."""
        return self.has_ended and self.done == self.total

    @property
    def is_held(self) -> bool:
        """Whether only an approval is missing."""
        return self.has_ended and self.held > 0 and self.done + self.held == self.total

    @property
    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"success": self.success, **asdict(self)}


def run_backfill(
    settings: Settings, defs: dg.Definitions, days: Days, *, now: Callable[[], datetime]
) -> BackfillReport:
    """Ask for a backfill of the days - or go on with the one that was asked for - and follow it to its end."""
    entity, partitions = dated(defs)
    with dagster_files(settings), open_instance(settings) as instance, open_session(settings) as session:
        close_orphans(instance)
        chain = ask(instance, session, partitions, entity, days, now(), system_user())
        return follow(instance, session, chain, entity, days, now)


def dated(defs: dg.Definitions) -> tuple[str, dg.PartitionsDefinition[str]]:
    """The entity that has days, and its partitions."""
    entity = partitioned(defs)[0]
    partitions = defs.resolve_asset_graph().get(dg.AssetKey(entity)).partitions_def
    if partitions is None:
        raise ValueError(f"{entity} has no days to fill")
    return entity, partitions


def ask(
    instance: DagsterInstance,
    session: Session,
    partitions: dg.PartitionsDefinition[str],
    entity: str,
    days: Days,
    now: datetime,
    by: str,
) -> list[str]:
    """Make sure a backfill of these days is under way; returns its id and those of the ones it continues, newest first."""
    label = _label(entity, days)
    with lock(session.store, f"backfill\n{label}", "backfill"):  # another process may ask for the same
        chain = _chain(instance, session, entity, days)
        made: list[str] = []
        if not chain or chain[0].status in BULK_ACTION_TERMINAL_STATUSES:
            number = _number(chain[0]) if chain else draw(session.store)
            done = _done(session, entity, days, number)
            if wanted := [day for day in days if day not in done]:
                tags = {RANGE_TAG: label, NUMBER_TAG: str(number), **requested("backfill", by)}
                made = [_add(instance, entity, partitions, wanted, now, tags)]
        for before in chain:  # last, so that one with days that were not requested again can still be resumed
            if _is_paused(before) and before.status in BULK_ACTION_TERMINAL_STATUSES:
                instance.update_backfill(_unpaused(before))
    return [*made, *(one.backfill_id for one in chain)]


def under_way(instance: DagsterInstance, session: Session, entity: str, days: Days) -> list[str]:
    """The backfill of these days that has not ended and those it continues, newest first; none when it has."""
    chain = _chain(instance, session, entity, days)
    is_open = bool(chain) and chain[0].status not in BULK_ACTION_TERMINAL_STATUSES
    return [one.backfill_id for one in chain] if is_open else []


def _add(
    instance: DagsterInstance,
    entity: str,
    partitions: dg.PartitionsDefinition[str],
    days: Sequence[str],
    now: datetime,
    tags: Mapping[str, str],
) -> str:
    """Ask Dagster for a backfill of these days; returns its id."""
    filled = {dg.AssetKey(entity): partitions.subset_with_partition_keys(days)}
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=make_new_backfill_id(),
        asset_graph_subset=AssetGraphSubset(filled, set()),  # type: ignore[call-arg]  # mypy does not see its fields
        backfill_timestamp=now.timestamp(),
        tags={**tags, LEFT_TAG: str(len(days))},
        dynamic_partitions_store=instance,
        title=f"{entity} {days[0]} to {days[-1]}",
        description="Asked for by `sync-pipeline backfill` or in the console.",
        run_config=None,
    )
    instance.add_backfill(backfill)
    return str(backfill.backfill_id)


def look(
    instance: DagsterInstance, session: Session, chain: list[str], entity: str, days: Days, now: datetime
) -> BackfillReport:
    """Its current state: a day is done when a read that began after the backfill was asked for is fully loaded."""
    close_orphans(instance)
    backfill = instance.get_backfill(chain[0])
    runs = _runs(instance, chain)
    done = _done(session, entity, days, _number(backfill))
    running = _days_of(run for run in runs if run.status in UNDER_WAY) - done
    left = _days_of(run for run in runs if run.is_finished) - done - running
    held = left & _held(session, entity, days)
    failed = left - held
    total = len(list(days))
    rate = _rate(backfill, total - len(done), now)
    return BackfillReport(
        backfill_id=chain[0],
        status=_status(backfill),
        days=str(days),
        total=total,
        done=len(done),
        running=len(running),
        failed=len(failed),
        held=len(held),
        continued=len(chain) > 1,
        daemon=_daemon_lives(instance, now),
        runs=[run.run_id for run in runs],
        days_an_hour=rate,
        ends_at=now + timedelta(hours=(total - len(done)) / rate) if rate and len(done) < total else None,
    )


def _status(backfill: PartitionBackfill | None) -> str:
    if backfill is None:
        return "REMOVED"
    if not _is_paused(backfill) or backfill.status in DONE:  # its last run may end while it is being paused
        return str(backfill.status.value)
    return PAUSED if backfill.status in BULK_ACTION_TERMINAL_STATUSES else PAUSING


def _rate(backfill: PartitionBackfill | None, left: int, now: datetime) -> float | None:
    """Days done in an hour since it was asked for; None where that is unknown, or it does not go on."""
    if backfill is None or LEFT_TAG not in backfill.tags or PAUSED_TAG in backfill.tags:
        return None
    done, seconds = int(backfill.tags[LEFT_TAG]) - left, now.timestamp() - backfill.backfill_timestamp
    return round(done * 3600 / seconds, 1) if done > 0 and seconds > 0 else None


def find(instance: DagsterInstance, backfill_id: str | None, *, is_paused: bool | None) -> PartitionBackfill:
    """The backfill of this id, or the newest that is at work - or paused; ConfigError when there is none."""
    found = [one for one in _newest(instance) if backfill_id in (None, one.backfill_id)]
    for one in found:
        is_open = _status(one) in (PAUSED, PAUSING) or one.status not in BULK_ACTION_TERMINAL_STATUSES
        if is_open and is_paused in (None, PAUSED_TAG in one.tags):
            return one
    named = f"The backfill {backfill_id}" if backfill_id else "No backfill"
    what = "running or paused" if is_paused is None else "paused" if is_paused else "running"
    raise ConfigError(
        f"{named} is {'not ' if backfill_id else ''}{what}.", fix="`sync-pipeline backfills list` shows all backfills."
    )


def listed(
    instance: DagsterInstance, session: Session, graph: BaseAssetGraph[Any], now: datetime, limit: int = SHOWN
) -> list[BackfillReport]:
    """The newest backfills, those asked for in the Dagster UI included; of one that was continued the last part."""
    reports: list[BackfillReport] = []
    seen: set[str] = set()
    for one in _newest(instance):
        label = one.tags.get(RANGE_TAG, one.backfill_id)
        if label in seen or len(reports) == limit:
            continue
        seen.add(label)
        entity, *ends = label.split()
        if ends and entity in session.specs:
            days = Days(*(date.fromisoformat(day) for day in ends))
            chain = [one.backfill_id, *(each.backfill_id for each in _chain(instance, session, entity, days))]
            reports.append(look(instance, session, list(dict.fromkeys(chain)), entity, days, now))
        else:
            reports.append(_of_the_ui(instance, graph, one, now))
    return reports


def _of_the_ui(
    instance: DagsterInstance, graph: BaseAssetGraph[Any], backfill: PartitionBackfill, now: datetime
) -> BackfillReport:
    """The state of a backfill that was not asked for here: what its runs say."""
    runs = _runs(instance, [backfill.backfill_id])
    done = _days_of(run for run in runs if run.is_success)
    return BackfillReport(
        backfill_id=backfill.backfill_id,
        status=_status(backfill),
        days=backfill.title or "",
        total=len(_asked_days(graph, backfill)),
        done=len(done),
        running=len(_days_of(run for run in runs if run.status in UNDER_WAY) - done),
        failed=len(_days_of(run for run in runs if run.is_finished) - done),
        held=0,
        continued=False,
        daemon=_daemon_lives(instance, now),
        runs=[run.run_id for run in runs],
    )


def _newest(instance: DagsterInstance) -> list[PartitionBackfill]:
    return list(instance.get_backfills(limit=MOST))  # by the order in which they were stored: clocks may differ


def pause(instance: DagsterInstance, backfill_id: str, by: str) -> None:
    """Have the daemon stop a backfill and its runs, so that ``resume`` continues with the days that are not done."""

    def paused(backfill: PartitionBackfill) -> PartitionBackfill:
        if backfill.status in BULK_ACTION_TERMINAL_STATUSES or _is_paused(backfill):
            return backfill
        tags = {**backfill.tags, PAUSED_TAG: by}
        return backfill._replace(status=BulkActionStatus.CANCELING, tags=tags)

    _change(instance, backfill_id, paused)


def _change(
    instance: DagsterInstance, backfill_id: str, change: Callable[[PartitionBackfill], PartitionBackfill]
) -> None:
    """Change a backfill, again if the daemon has overwritten the change; ``change`` returns the same one when none is needed."""
    for _ in range(TRIES):
        backfill = instance.get_backfill(backfill_id)
        if backfill is None or (wanted := change(backfill)) is backfill:
            return
        instance.update_backfill(wanted)
        time.sleep(SETTLE_SECONDS)
    raise ConfigError(f"The daemon keeps overwriting the backfill {backfill_id}.", fix="Run the command again.")


def resume(
    instance: DagsterInstance,
    session: Session,
    partitions: dg.PartitionsDefinition[str],
    backfill_id: str,
    now: datetime,
    by: str,
    graph: BaseAssetGraph[Any] | None = None,
) -> list[str]:
    """Ask for the days of a paused backfill that are not done; returns as ``ask`` does, nothing while it is still being stopped.

    ``graph`` is needed for one that was asked for in the Dagster UI.
    """
    backfill = instance.get_backfill(backfill_id)
    if backfill is None or not _is_paused(backfill):
        return [backfill_id] if backfill is None else _continued(instance, backfill)
    if backfill.status in DONE:
        cancel(instance, backfill_id)  # nothing is left of it
        return [backfill_id]
    if backfill.status not in BULK_ACTION_TERMINAL_STATUSES:
        if _runs(instance, [backfill_id]):
            return []
        instance.update_backfill(_unpaused(backfill)._replace(status=BulkActionStatus.REQUESTED))
        return [backfill_id]  # nothing of it was started
    if RANGE_TAG in backfill.tags:
        entity, *ends = backfill.tags[RANGE_TAG].split()
        return ask(instance, session, partitions, entity, Days(*map(date.fromisoformat, ends)), now, by)
    assets = backfill.asset_selection or ()
    if graph is None or len(assets) != 1:
        raise ConfigError(
            f"The backfill {backfill_id} was asked for in the Dagster UI, and not for one asset.",
            fix="Start one there for the days that are left.",
        )
    (key,) = assets
    done = _days_of(run for run in _runs(instance, [backfill_id]) if run.is_success)
    left = sorted(_asked_days(graph, backfill) - done)
    made = [_add(instance, key.to_user_string(), partitions, left, now, requested("backfill", by))] if left else []
    cancel(instance, backfill_id)
    return [*made, backfill_id]


def _continued(instance: DagsterInstance, backfill: PartitionBackfill) -> list[str]:
    """The backfill that continues one that has ended - another process resumed it - and those before, newest first."""
    same = {name: backfill.tags[name] for name in (RANGE_TAG, NUMBER_TAG) if name in backfill.tags}
    if backfill.status not in BULK_ACTION_TERMINAL_STATUSES or len(same) < 2:
        return [backfill.backfill_id]
    return [one.backfill_id for one in instance.get_backfills(filters=BulkActionsFilter(tags=same))]


def _asked_days(graph: BaseAssetGraph[Any], backfill: PartitionBackfill) -> set[str]:
    """The days that Dagster was asked for."""
    if not backfill.is_asset_backfill:  # of a job
        return set(backfill.partition_names or ())
    asked = backfill.get_asset_backfill_data(graph).target_subset
    keys = asked.partitions_subsets_by_asset_key.values()
    return {day for subset in keys for day in subset.get_partition_keys()}


def _unpaused(backfill: PartitionBackfill) -> PartitionBackfill:
    return backfill._replace(tags={name: value for name, value in backfill.tags.items() if name != PAUSED_TAG})


def _is_paused(backfill: PartitionBackfill) -> bool:
    return PAUSED_TAG in backfill.tags


def cancel(instance: DagsterInstance, backfill_id: str) -> bool:
    """Have the daemon end a backfill and its runs; returns whether it has ended."""
    found = instance.get_backfill(backfill_id)

    def cancelled(backfill: PartitionBackfill) -> PartitionBackfill:
        has_ended = backfill.status in BULK_ACTION_TERMINAL_STATUSES
        status = backfill.status if has_ended else BulkActionStatus.CANCELING
        is_right = backfill.status is status and not _is_paused(backfill)
        return backfill if is_right else _unpaused(backfill)._replace(status=status)

    _change(instance, backfill_id, cancelled)
    return found is None or found.status in BULK_ACTION_TERMINAL_STATUSES


def follow(
    instance: DagsterInstance,
    session: Session,
    chain: list[str],
    entity: str,
    days: Days,
    now: Callable[[], datetime],
) -> BackfillReport:
    """Report the progress until it has ended, or until there is no daemon, which is in the answer."""
    report = reporting.get(silent)
    while True:
        found = look(instance, session, chain, entity, days, now())
        note = f"of {found.total} days done, {found.running} running, {found.failed} failed"
        report(Progress("backfill", found.status.lower(), found.done, note))
        if found.has_ended or not found.daemon:
            return found
        time.sleep(LOOK_SECONDS)


def _held(session: Session, entity: str, days: Days) -> set[str]:
    """The days that hold a load of another mapping, where rewriting them waits for an approval."""
    spec, ledger = session.specs[entity], session.ledger(entity)
    if not waits_for_rewrite(session, spec):
        return set()
    return {day for scope in ledger.loads.loaded_otherwise(spec.fingerprint, days.keys) for day in days_in(scope)}


def _chain(instance: DagsterInstance, session: Session, entity: str, days: Days) -> list[PartitionBackfill]:
    """The backfills of exactly these days since the last one that finished them, newest first."""
    found = instance.get_backfills(filters=BulkActionsFilter(tags={RANGE_TAG: _label(entity, days)}))
    chain: list[PartitionBackfill] = []
    for backfill in found:  # as in `_newest`
        if backfill.status in DONE and len(_done(session, entity, days, _number(backfill))) == len(list(days)):
            break
        chain.append(backfill)
    return chain


def _number(backfill: PartitionBackfill | None) -> int:
    """The number of reads when it was first asked for; one of an earlier version counts as asked for before all reads."""
    return int(backfill.tags.get(NUMBER_TAG, 0)) if backfill else 0


def _done(session: Session, entity: str, days: Days, number: int) -> set[str]:
    return session.ledger(entity).loads.done_since(days.keys, number)


def _label(entity: str, days: Days) -> str:
    return f"{entity} {days.keys[0]} {days.keys[1]}"


def _runs(instance: DagsterInstance, chain: list[str]) -> list[dg.DagsterRun]:
    return [run for one in chain for run in instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: one}))]


def _days_of(runs: Iterable[dg.DagsterRun]) -> set[str]:
    found: set[str] = set()
    for run in runs:
        first = run.tags.get(RANGE_START) or run.tags.get("dagster/partition")
        last = run.tags.get(RANGE_END) or first
        if first and last:
            found |= set(Days(date.fromisoformat(first), date.fromisoformat(last)))
    return found


def _daemon_lives(instance: DagsterInstance, now: datetime) -> bool:
    beat = instance.get_daemon_heartbeats().get(DAEMON)
    return beat is not None and now.timestamp() - beat.timestamp < SILENT_AFTER.total_seconds()
