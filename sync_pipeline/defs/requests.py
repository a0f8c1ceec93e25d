"""What people ask for in the console: a sensor starts it as runs, watches them, and notes how it ended.

Nothing is kept in memory: each tick compares the request's row with the runs that have its tag, so that after a kill
at any point the next tick continues from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus

from sync_pipeline.clock import has_passed
from sync_pipeline.defs.assets import daily
from sync_pipeline.defs.changes import changes_job_name
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.defs.verify import check_op
from sync_pipeline.errors import StoreError, SyncError
from sync_pipeline.hosting import backfill
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START, spans_of, sync_job_name, verify_job_name
from sync_pipeline.hosting.liveness import close_orphans
from sync_pipeline.hosting.queue import PART_TAG, REQUEST_TAG, URGENT, WAITING
from sync_pipeline.hosting.run_tags import requested
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.health import beat
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.stages.batch import Days, whole_range
from sync_pipeline.store.requests import (
    Outcome,
    WorkRequest,
    finish,
    note_progress,
    note_runs,
    open_requests,
    request_of,
    take,
)

NAME = "console_requests"
DIFFERS = ("missing", "extra", "different", "waiting")
GRACE = timedelta(seconds=60)
"""How long a run may take to end by itself when it was cancelled; a request to a vendor may be under way."""
ELSEWHERE = "Its run was cancelled in Dagster. What was delivered stays delivered."
SILENT = "A run failed without saying why; the Dagster UI shows its events."


def requests_sensor(jobs: Sequence[dg.ExecutableDefinition]) -> dg.SensorDefinition:
    """The sensor that does what people ask for; ``jobs`` are the ones it may start."""

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        close_orphans(context.instance)
        try:
            with open_session(SyncResource.settings()) as session:
                beat(session)
                asked = [
                    run for one in open_requests(session.store, session.pair) for run in _look(context, session, one)
                ]
        except SyncError as error:
            return dg.SkipReason(str(error))
        return dg.SensorResult(run_requests=asked) if asked else dg.SkipReason("nothing new is asked for")

    return dg.SensorDefinition(
        name=NAME,
        evaluation_fn=evaluate,
        jobs=jobs,
        minimum_interval_seconds=1,  # each tick of the daemon, whatever the others wait
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts what people ask for in the console - sync now, verify, repair, retry, backfill - and cancels it.",
    )


def _look(context: dg.SensorEvaluationContext, session: Session, request: WorkRequest) -> Iterable[dg.RunRequest]:
    if request.kind != "verify" and not session.mode.writes and not request.runs:
        finish(session.store, request.id, "failed", f"Nothing was sent: {session.mode.why}.")
        return ()
    work = _Backfill if request.kind == "backfill" else _RequestRuns
    try:
        return work(context.instance, session, request).look()
    except StoreError:
        raise
    except SyncError as error:  # such as an entity that was switched off since
        finish(session.store, request.id, "failed", str(error))
        return ()


@dataclass(frozen=True, slots=True)
class Part:
    """One run of a request."""

    spec: EntitySpec
    job: str
    days: Days | None = None
    config: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        """Its name within the request."""
        return f"{self.spec.entity}:{self.days.keys[0] if self.days else ''}"

    def run_request(self, request: WorkRequest) -> dg.RunRequest:
        """The run; asked for again after an interruption, it is the same one."""
        tags = {**URGENT, REQUEST_TAG: request.tag, PART_TAG: self.key, **requested("console", request.by)}
        if self.days is not None:
            tags |= {RANGE_START: self.days.keys[0], RANGE_END: self.days.keys[1]}
        config = {"ops": dict(self.config)} if self.config else None
        return dg.RunRequest(f"request:{request.tag}:{self.key}", run_config=config, tags=tags, job_name=self.job)


def plan(session: Session, request: WorkRequest) -> list[Part]:
    """The runs of a request, in dependency order; entities with days in bounded runs."""
    scope = request.scope
    specs = [session.spec(scope.entity)] if scope.entity else list(session.specs.values())
    if scope.ids:
        return [_by_id(spec, scope.ids) for spec in specs]
    if request.kind in ("verify", "repair"):
        return [_comparison(spec, request) for spec in specs]
    whole = whole_range(session.settings, session.now().date())
    days = Days(_day(scope.first) or whole.first, _day(scope.last) or whole.last)
    spans = spans_of(days, session.settings.days_per_run)
    return [
        Part(spec, sync_job_name(spec.entity), span)
        for spec in specs
        for span in (spans if spec.partitioned else [None])
    ]


def _by_id(spec: EntitySpec, ids: Sequence[str]) -> Part:
    config = {f"{spec.entity}_changed": {"config": {"ids": list(ids)}}}
    return Part(spec, changes_job_name(spec.entity), config=config)


def _comparison(spec: EntitySpec, request: WorkRequest) -> Part:
    days = {"first_day": request.scope.first, "last_day": request.scope.last} if spec.partitioned else {}
    config = {check_op(spec): {"config": {"repair": request.kind == "repair", **days}}}
    return Part(spec, verify_job_name(spec.entity), config=config)


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None


class _RequestRuns:
    """One look at a request that is done by runs."""

    def __init__(self, instance: DagsterInstance, session: Session, request: WorkRequest) -> None:
        self._instance, self._session, self._request = instance, session, request
        self._parts = plan(session, request)
        found = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: request.tag}))
        self._runs = {run.tags.get(PART_TAG, ""): run for run in reversed(found)}

    def look(self) -> list[dg.RunRequest]:
        """Start what can be started, or note how it ended."""
        request, store = self._request, self._session.store
        if (ids := tuple(run.run_id for run in self._runs.values())) != request.runs:
            note_runs(store, request.id, ids)
        if request.cancel_asked_at is not None:
            self._cancel()
            return []
        ready = [part for part in self._parts if part.key not in self._runs and self._is_ready(part)]
        if ready:
            return [part.run_request(request) for part in ready] if take(store, request.id) else []
        if all(run.is_finished for run in self._runs.values()):
            finish(store, request.id, *self._outcome())
        return []

    def _before(self, part: Part) -> Iterator[Part]:
        """The parts that have to succeed first: earlier days of it, and what it depends on. To compare, none has to."""
        if self._request.kind != "verify":
            for other in self._parts[: self._parts.index(part)]:
                if other.spec == part.spec or other.spec.entity in part.spec.depends_on:
                    yield other

    def _is_ready(self, part: Part) -> bool:
        runs = (self._runs.get(other.key) for other in self._before(part))
        return all(run is not None and run.status == DagsterRunStatus.SUCCESS for run in runs)

    def _cancel(self) -> None:
        since = self._request.cancel_asked_at
        with self._session.store.reading() as tx:
            is_late = since is not None and has_passed(since, GRACE, self._session.store.now(tx))
        running = [run for run in self._runs.values() if not run.is_finished]
        for run in running:
            if run.status in WAITING:
                self._instance.report_run_canceling(run)
                self._instance.report_run_canceled(run)
            elif is_late and run.status != DagsterRunStatus.CANCELING:  # else it ends by itself, at the next request
                self._instance.run_launcher.terminate(run.run_id)
        if any(run.status not in WAITING for run in running):
            return
        is_done = all(part.key in self._runs for part in self._parts) and not running and not self._bad()
        finish(self._session.store, self._request.id, *(self._outcome() if is_done else ("cancelled", "")))

    def _bad(self) -> list[dg.DagsterRun]:
        return [run for run in self._runs.values() if run.status != DagsterRunStatus.SUCCESS]

    def _outcome(self) -> tuple[Outcome, str]:
        """How it ended: done only when each part has a run that succeeded and says what it did."""
        bad = self._bad()
        if any(run.status == DagsterRunStatus.CANCELED for run in bad):
            return "cancelled", ELSEWHERE
        untried = sorted({part.spec.entity for part in self._parts if part.key not in self._runs})
        if bad or untried:
            why = dict.fromkeys(reason for run in bad for reason in reasons(self._instance, run.run_id))
            left = f"Not tried after this: {', '.join(untried)}." if untried else ""
            return "failed", " ".join(filter(None, [*why, left]))
        return concluded(
            self._session, self._request, [f"{self._runs[p.key].run_id}:{p.spec.entity}" for p in self._parts]
        )


def concluded(session: Session, request: WorkRequest, keys: Sequence[str]) -> tuple[Outcome, str]:
    """The outcome of a request after all its runs succeeded, from what each run noted."""
    found = request_of(session.store, request.id)
    result = found.result if found is not None else {}
    if any(key not in result for key in keys):  # a dry run succeeds, too
        return "failed", f"Nothing was written: {session.mode.why}."
    figures = result.values()
    if held := sum(each.get("held", 0) + each.get("held_deletes", 0) for each in figures):
        return "held", f"{held:,} records wait for an approval; everything else is done."
    if (
        differ := sum(each.get(name, 0) for each in figures for name in DIFFERS)
        if request.kind in ("verify", "repair")
        else 0
    ):
        return "differs", f"{differ:,} records are not the same on both sides."
    return "done", ""


def reasons(instance: DagsterInstance, run_id: str) -> list[str]:
    """Why a run failed, in our own words where it has any."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [entry.dagster_event for entry in instance.all_logs(run_id, of_type=kinds) if entry.dagster_event]
    steps = [event.step_failure_data.user_failure_data for event in events if event.is_step_failure]
    described = [data.description for data in steps if data is not None and data.description]
    ended = [event.message for event in events if not event.is_step_failure and event.message and not steps]
    return described or ended or [SILENT]


class _Backfill:
    """One look at a request that is done by a backfill."""

    def __init__(self, instance: DagsterInstance, session: Session, request: WorkRequest) -> None:
        self._instance, self._session, self._request = instance, session, request

    def look(self) -> list[dg.RunRequest]:
        """Start or continue the backfill, and note its progress or outcome."""
        instance, session, request = self._instance, self._session, self._request
        chain = self._asked()
        if request.cancel_asked_at is not None:
            if not chain or backfill.cancel(instance, chain[0]):
                finish(session.store, request.id, "cancelled")
            return []
        days, entity, now = self._days, session.spec(request.scope.entity).entity, session.now()
        if request.paused_at is not None:
            for newest in chain[:1]:
                backfill.pause(instance, newest, request.paused_by or "")
            return []
        partitions = daily(session.settings)
        if chain:
            resumed = backfill.resume(instance, session, partitions, chain[0], now, request.by)
            if not resumed:
                return []  # it is still being stopped
            chain = resumed if resumed[0] != chain[0] else chain
        else:
            if not take(session.store, request.id):
                return []
            chain = backfill.ask(instance, session, partitions, entity, days, now, request.by)
        if tuple(chain) != request.runs:
            note_runs(session.store, request.id, tuple(chain))
        found = backfill.look(instance, session, chain, entity, days, now)
        if found.has_ended:
            finish(session.store, request.id, *self._outcome(found))
        else:
            done = {
                "entity": entity,
                "stage": "backfill",
                "done": found.done,
                "total": found.total,
                "failed": found.failed,
                "days_an_hour": found.days_an_hour,
                "ends_at": found.ends_at.isoformat() if found.ends_at else None,
            }
            note_progress(session.store, request.id, done)
        return []

    def _asked(self) -> list[str]:
        """The backfill it asked for and those that continues; a tick may have been killed before it noted which."""
        request = self._request
        if request.runs or request.taken_at is None:
            return list(request.runs)
        return backfill.under_way(self._instance, self._session, request.scope.entity, self._days)

    @property
    def _days(self) -> Days:
        scope = self._request.scope
        return Days(date.fromisoformat(scope.first), date.fromisoformat(scope.last))

    def _outcome(self, found: backfill.BackfillReport) -> tuple[Outcome, str]:
        if found.success:
            return "done", ""
        if found.is_held:
            return "held", f"{found.held} of {found.total} days have records that wait for an approval."
        if found.status in ("CANCELED", "CANCELING"):
            return "cancelled", ELSEWHERE
        return "failed", f"{found.done} of {found.total} days are done. Asked for again, it tries only what is left."
