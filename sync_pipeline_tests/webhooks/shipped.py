"""The events that the shipped entities name."""

from __future__ import annotations

from sync_pipeline.mapping.load import load_specs
from sync_pipeline.webhooks.events import WebhookEvents

SHIPPED = WebhookEvents.of(load_specs().values())
WORTH_MOST_FIRST = SHIPPED.order
OF_USERS = SHIPPED.only_named
