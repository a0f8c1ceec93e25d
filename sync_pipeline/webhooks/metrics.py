"""What the receiver counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "sync_pipeline_webhooks"


class Metrics:
    """The figures of one receiver, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", help_, labels, registry=self._registry)

        self.received = counter("received", "Requests to the webhook paths, good or bad.")
        self.stored = counter("stored", "Events that were new and are kept in the inbox.")
        self.duplicate = counter("duplicate", "Events that repeated what was known and were dropped.")
        self.refused = counter("refused", "Requests that changed nothing, by reason.", "reason")
        self._open = Gauge(f"{_PREFIX}_inbox_open", "Events to be processed.", ["entity"], registry=self._registry)
        self._up = Gauge(f"{_PREFIX}_store_up", "1 when the database answers.", registry=self._registry)

    def text(self, inbox: Mapping[str, int] | None) -> bytes:
        """Everything as Prometheus reads it; ``inbox`` is None when the database does not answer."""
        self._up.set(0 if inbox is None else 1)
        self._open.clear()
        for entity, number in (inbox or {}).items():
            self._open.labels(entity).set(number)
        return generate_latest(self._registry)
