"""The sensor of the alerts: it opens and resolves them by the facts, and sends the messages about them."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from sync_pipeline.alerts.sending import send_alerts
from sync_pipeline.clock import has_passed
from sync_pipeline.connectors.heartbeat import send_heartbeat
from sync_pipeline.defs.resources import SyncResource, keep_sandbox
from sync_pipeline.errors import SyncError
from sync_pipeline.session.health import WEBHOOKS, beat
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.store.health import read_health
from sync_pipeline.webhooks.hooks import has_hooks, open_hooks
from sync_pipeline.webhooks.registration import list_hooks

NAME = "alerts"
TICK_SECONDS = 50.0
"""Dagster gives up after 60."""
LOOK_EVERY = timedelta(hours=6)
"""How often the system is asked whether our webhooks are switched on: four requests a day."""


def alerts_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor; it asks for no runs."""

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        try:
            settings = SyncResource.settings()
            keep_sandbox(settings)
            with open_session(settings) as session:
                beat(session)
                _look_at_hooks(context, session)
                sent = str(send_alerts(session, within=TICK_SECONDS))
                return dg.SkipReason(f"{sent}{_heartbeat(session.settings)}")
        except SyncError as error:
            return dg.SkipReason(str(error))

    return dg.SensorDefinition(
        name=NAME,
        evaluation_fn=evaluate,
        minimum_interval_seconds=max(settings.sensor_seconds, 30),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Opens and resolves alerts about the pipeline itself, and sends messages about them to the destinations of "
        "`sync-pipeline alerts`. It asks for no runs, and works whether live syncing is on or not.",
    )


def _heartbeat(settings: Settings) -> str:
    """A sign of life, after the evaluation; in words when it was not taken."""
    if not settings.heartbeat_url:
        return ""
    problem = send_heartbeat(settings.heartbeat_url, settings.allow_http)
    return f"; the heartbeat was not taken: {problem}" if problem else ""


def _look_at_hooks(context: dg.SensorEvaluationContext, session: Session) -> None:
    """Check from time to time whether our webhooks deliver; alerts are sent whatever the result."""
    if not has_hooks(session):
        return
    last = read_health(session.store, session.pair).get(WEBHOOKS)
    with session.store.reading() as tx:
        now = session.store.now(tx)
    if last is not None and not has_passed(max(filter(None, (last.ok_at, last.failed_at))), LOOK_EVERY, now):
        return
    try:
        list_hooks(session, open_hooks(session))
    except SyncError as error:
        context.log.warning("The webhooks could not be looked at: %s", error)
