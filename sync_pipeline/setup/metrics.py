"""The state of a pair as Prometheus reads it: figures by entity and system, never a name of a person or a client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple, get_args

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sync_pipeline.alerts.current import open_alerts
from sync_pipeline.alerts.kinds import Severity
from sync_pipeline.errors import SyncError
from sync_pipeline.session.health import DAEMON, EVALUATED, VERIFY
from sync_pipeline.session.session import Session
from sync_pipeline.setup.overview import EntityRow, entity_rows
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.health import read_health
from sync_pipeline.store.totals import Totals

PREFIX = "sync_pipeline"
ROOM = "Requests that may be sent now without waiting, of those of an hour; only on plans with such a limit."
LIMIT = "Requests of an hour; only on plans with such a limit."
BY_ENTITY = {
    "records": "Records that are known.",
    "pending": "Records that are not yet in the desired state at the target.",
    "waiting": "Records that wait for one they refer to.",
    "rejects": "Records that are rejected and not ignored.",
}

SEEN = {
    DAEMON: ("daemon_seen_timestamp_seconds", "When Dagster's daemon last reported."),
    EVALUATED: ("alerts_evaluated_timestamp_seconds", "When the alerts were last evaluated."),
}


@dataclass(slots=True)
class Metrics:
    """The figures as one process has counted them; requests from the first scrape on."""

    setup: SetupService
    _totals: dict[str, Totals] = field(default_factory=dict)
    """By pair: another account begins at 0."""
    _turn: Lock = field(default_factory=Lock)

    def text(self) -> bytes:
        """Everything in Prometheus' text format; of a database that does not answer only that."""
        with self._turn:
            try:
                with self.setup.connected(), self.setup.reading() as session:
                    totals = self._totals.setdefault(session.pair, Totals())
                    totals.add_new(session.store, session.pair, session.now())
                    found = [_gauge("up", "1 when the state can be read.", 1), *_of_session(session, totals)]
            except SyncError:
                found = [_gauge("up", "1 when the state can be read.", 0)]
        return generate_latest(_Readings(found))


class _Readings(Collector):
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


class _Value(NamedTuple):
    """One value and its labels."""

    labels: tuple[str, ...]
    value: float


def _of_session(session: Session, totals: Totals) -> Iterator[Metric]:
    rows = entity_rows(session)
    yield _gauge("mode_live", "1 when sensors and schedules sync these accounts.", int(session.mode.automatic))
    yield from _entities(session, rows)
    yield from _requests(session, totals)
    deliveries = CounterMetricFamily(
        f"{PREFIX}_deliveries",
        "Writes to a target, those included that are no longer kept.",
        labels=["entity", "outcome"],
    )
    for (entity, outcome), count in sorted(totals.deliveries.items()):
        deliveries.add_metric([entity, outcome], count)
    yield deliveries
    opened = Counter(alert.severity for alert in open_alerts(session))
    values = [_Value((each,), opened[each]) for each in get_args(Severity)]
    yield _labelled("alerts_open", "Open alerts, also those that someone has acknowledged.", "severity", values)


def _entities(session: Session, rows: list[EntityRow]) -> Iterator[Metric]:
    health = read_health(session.store, session.pair)
    successes = [_Value((row.entity,), row.last_success.timestamp()) for row in rows if row.last_success]
    said = "When the last successful sync ended; missing before the first one."
    yield _labelled("last_success_timestamp_seconds", said, "entity", successes)
    for name, said in BY_ENTITY.items():
        yield _labelled(name, said, "entity", [_Value((row.entity,), getattr(row, name)) for row in rows])
    drifting = [each.system for each in health.values() if each.failed_at is not None]
    drift = [_Value((row.entity,), int(f"{VERIFY}{row.entity}" in drifting)) for row in rows]
    yield _labelled("drift", "1 when the last comparison of both sides found differences.", "entity", drift)
    for name, (metric, said) in SEEN.items():
        seen = health.get(name)
        if seen is not None and seen.ok_at is not None:
            yield _gauge(metric, said, seen.ok_at.timestamp())


def _requests(session: Session, totals: Totals) -> Iterator[Metric]:
    total = CounterMetricFamily(
        f"{PREFIX}_requests", "Requests of the syncs that have ended since the first scrape of this process."
    )
    total.add_metric([], totals.requests)
    yield total
    budgets = session.budgets.items()
    room = [_Value((system,), budget.left) for system, budget in budgets]
    limit = [_Value((system,), budget.limit) for system, budget in budgets]
    yield _labelled("requests_room", ROOM, "system", room)
    yield _labelled("requests_limit", LIMIT, "system", limit)


def _gauge(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", said, value=value)


def _labelled(name: str, said: str, label: str, values: list[_Value]) -> Metric:
    found = GaugeMetricFamily(f"{PREFIX}_{name}", said, labels=[label])
    for each in values:
        found.add_metric(each.labels, each.value)
    return found
