"""Sensors: one per entity, named for it. Each turns what changed into few runs, and leaves the rest to the next tick."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic, sleep

import dagster as dg
from dagster import DagsterInstance

from sync_pipeline.connectors.registry import name_of
from sync_pipeline.defs.changes import changes_job_name
from sync_pipeline.defs.resources import SyncResource, keep_sandbox
from sync_pipeline.errors import SyncError
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START, sync_job_name
from sync_pipeline.hosting.liveness import close_orphans
from sync_pipeline.hosting.queue import EVENTS_TAG, FAILED, URGENT, attempts, in_the_way, pause
from sync_pipeline.hosting.run_tags import requested
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.health import beat
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch import DAYS_AHEAD
from sync_pipeline.stages.watch import Dirty, watch
from sync_pipeline.webhooks.hooks import has_hooks, open_hooks
from sync_pipeline.webhooks.registration import follow_named

SHOWN_EVENTS = 50
DAGSTERS_SECONDS = 5
"""Dagster's daemon starts the ticks of sensors every five seconds; no setting makes that shorter."""
LISTEN_SECONDS = 4.0
"""How long a tick waits for news: it has to end before the next one is due."""
LISTEN_PAUSE = 0.2
TICK_SECONDS = 40.0
"""How long a tick waits for answers: Dagster gives up after 60, and its words would not say who is silent."""

Evaluation = Callable[[dg.SensorEvaluationContext], dg.SensorResult | dg.SkipReason]


def entity_sensor(spec: EntitySpec, settings: Settings, jobs: Sequence[dg.ExecutableDefinition]) -> dg.SensorDefinition:
    """The sensor of one entity; ``jobs`` are the ones it may ask for."""
    return dg.SensorDefinition(
        name=spec.entity,
        evaluation_fn=_evaluation(spec),
        jobs=jobs,
        minimum_interval_seconds=settings.sensor_seconds,
        # It always looks, and acts when live syncing is on: the switch needs no restart.
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Watches {name_of(spec.source.system, settings)} for changed {spec.entity} and starts the runs that sync them. It "
            "reads the webhook inbox and asks for changes within the request budget; the list of a source that reports "
            "none is read every SYNC_SNAPSHOTS_POLL_SECONDS. A full read that failed in an outage is repeated. Few changes are read by id, many as their days or as the "
            "whole list. Its cursor is the time of the last poll."
        ),
    )


def _evaluation(spec: EntitySpec) -> Evaluation:
    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        close_orphans(context.instance)
        settings = SyncResource.settings()
        try:
            keep_sandbox(settings)
            # No patience here: the next tick is the next try.
            with open_session(replace(settings, max_attempts=1)) as session:
                beat(session)
                if not session.mode.automatic:
                    return dg.SkipReason(session.mode.why)
                session.until = monotonic() + TICK_SECONDS
                if _owns_others(session, spec):
                    _follow_named(context, session)
                return _listen(_Look(context.instance, session, session.spec(spec.entity), context.cursor))
        except SyncError as error:
            return dg.SkipReason(str(error))

    return evaluate


def _owns_others(session: Session, spec: EntitySpec) -> bool:
    """Whether the entity's records own those of another: of each of them, events are asked for by itself."""
    return any(session.owners(other) == spec.entity for other in session.specs.values())


def _follow_named(context: dg.SensorEvaluationContext, session: Session) -> None:
    """Have the webhooks about users name those who joined since; the tick continues even if that fails."""
    try:
        if has_hooks(session) and (note := follow_named(session, open_hooks(session))):
            context.log.info(note)
    except SyncError as error:
        context.log.warning("The webhooks about users could not be looked at: %s", error)


@dataclass(slots=True)
class _Look:
    """One look at the inbox, which may be repeated within a tick; the cursor moves on with it."""

    instance: DagsterInstance
    session: Session
    spec: EntitySpec
    cursor: str | None

    @property
    def jobs(self) -> tuple[str, str]:
        """The runs that answer events of this entity."""
        return changes_job_name(self.spec.entity), sync_job_name(self.spec.entity)

    def state(self) -> tuple[int, bool]:
        """The newest open event, and whether a run is in the way of all of them: nothing is to be done before it changes."""
        newest = self.session.ledger(self.spec).events.newest_open()
        is_waiting = newest > 0 and in_the_way(self.instance, self.jobs) is not None
        return (0 if is_waiting else newest), is_waiting

    def __call__(self) -> dg.SensorResult:
        if (busy := in_the_way(self.instance, self.jobs)) is not None:
            return self._nothing(f"run {busy} is queued or running: what has come in since waits for it")
        watched = watch(self.session, self.spec, self.cursor, days_ahead=DAYS_AHEAD)
        self.cursor = watched.cursor
        asked = [run_request(self.instance, self.spec, dirty) for dirty in watched.runs]
        pauses = [self._pause(request) for request in asked]
        if requests := [request for request, why in zip(asked, pauses, strict=True) if not why]:
            return dg.SensorResult(run_requests=requests, cursor=self.cursor)
        return self._nothing(". ".join(filter(None, (watched.trouble, watched.note, *pauses))) or "nothing new")

    def _pause(self, request: dg.RunRequest) -> str:
        """Why a run is not to be asked for yet: the same run has failed just now, before it came to mark its events."""
        again = pause(self.instance, request.tags[EVENTS_TAG], self.session.settings.sensor_seconds)
        if again is None or again.is_over(self.session.now()):
            return ""
        return f"{again.failures} runs failed in a row: next try at {again.until:%H:%M:%S %Z}"

    def _nothing(self, why: str) -> dg.SensorResult:
        return dg.SensorResult(skip_reason=why, cursor=self.cursor)


def _listen(look: _Look) -> dg.SensorResult:
    """Look; where sensors are to look more often than Dagster lets them, look again as soon as an event comes in.

    However fast events come in, the tick ends in time: what it leaves is for the next one.
    """
    until = monotonic() + (LISTEN_SECONDS if look.session.settings.sensor_seconds < DAGSTERS_SECONDS else 0)
    while True:
        state = look.state()
        found = look()
        while not found.run_requests and monotonic() < until and look.state() == state:
            sleep(LISTEN_PAUSE)
        if found.run_requests or monotonic() >= until:
            return found


def run_request(instance: DagsterInstance, spec: EntitySpec, dirty: Dirty) -> dg.RunRequest:
    """The run that answers these events. Its key is the same at a repeated tick and another one after a failed run.

    One that repeats a failed sync has the same key also after it was cancelled: it is not asked for again.
    """
    repeats = [] if dirty.repeats is None else [f"repeats {dirty.repeats}"]
    asked = [*map(str, sorted(dirty.events)), str(dirty.days or ""), *repeats]
    digest = hashlib.blake2b(" ".join([spec.entity, *asked]).encode(), digest_size=10).hexdigest()
    cause = requested("schedule" if repeats else "change")
    number = attempts(instance, digest, FAILED) if repeats else attempts(instance, digest)
    shown = "none: repeats a failed sync" if repeats else _shown(dirty.events)
    tags = {**URGENT, **cause, EVENTS_TAG: digest, "sync_pipeline/event_ids": shown}
    if dirty.days is not None:
        tags |= {RANGE_START: dirty.days.keys[0], RANGE_END: dirty.days.keys[1]}
    config = {"ops": {f"{spec.entity}_changed": {"config": {"ids": list(dirty.ids)}}}} if dirty.ids else None
    return dg.RunRequest(
        run_key=f"{spec.entity}:{digest}:{number}",
        job_name=changes_job_name(spec.entity) if dirty.ids else sync_job_name(spec.entity),
        run_config=config,
        tags=tags,
    )


def _shown(events: Sequence[int]) -> str:
    shown = ",".join(map(str, events[:SHOWN_EVENTS]))
    return f"{shown},..." if len(events) > SHOWN_EVENTS else shown or "none: polled"
