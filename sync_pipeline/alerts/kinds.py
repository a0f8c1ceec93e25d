"""The closed list of alerts, worst first: severity, title, and the page of the console that helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sync_pipeline.store.alerts import AlertKey

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of alert. ``{entity}`` and ``{system}`` in its texts are what the alert is about."""

    severity: Severity
    title: str
    path: str
    """The page of the console that helps."""
    lasting: timedelta = timedelta()
    """How long it has to be open before a message is sent."""


KEY_REFUSED, NOT_REACHABLE, NO_HEARTBEAT = "key_refused", "not_reachable", "no_heartbeat"
PERMISSION_MISSING, RUN_FAILED, NO_SUCCESS, HELD = "permission_missing", "run_failed", "no_success", "held"
DRIFT, REJECTS, WEBHOOK_OFF, SCHEMA_CHANGED = "drift", "rejects", "webhook_off", "schema_changed"
CREDENTIALS_AGE, BUDGET_USED, DESTINATION_FAILING = "credentials_age", "budget_used", "destination_failing"

KINDS: Mapping[str, Kind] = {
    KEY_REFUSED: Kind("critical", "{system} refuses its key", "/settings/secrets"),
    NO_HEARTBEAT: Kind("critical", "Live, but nothing is running", "/help"),
    PERMISSION_MISSING: Kind("critical", "A permission is missing for {entity}", "/connections"),
    NOT_REACHABLE: Kind("critical", "{system} does not answer", "/connections", timedelta(minutes=10)),
    RUN_FAILED: Kind("critical", "Syncing {entity} fails", "/activity?entity={entity}"),
    HELD: Kind("warning", "{entity} wait for an approval", "/approvals"),
    NO_SUCCESS: Kind("warning", "{entity} were not synced for long", "/activity?entity={entity}"),
    DRIFT: Kind("warning", "{entity} differ between both sides", "/activity?entity={entity}"),
    REJECTS: Kind("warning", "Some {entity} are rejected", "/records?state=rejected&entity={entity}"),
    WEBHOOK_OFF: Kind("warning", "Webhooks do not deliver", "/connections"),
    DESTINATION_FAILING: Kind("warning", "Alerts do not reach {system}", "/settings/alerts"),
    CREDENTIALS_AGE: Kind("warning", "The {system} credentials need to be replaced", "/settings/secrets"),
    SCHEMA_CHANGED: Kind("info", "The source of {entity} has other fields", "/mapping/{entity}"),
    BUDGET_USED: Kind("info", "The {system} request budget is used up", "/connections", timedelta(hours=1)),
}
"""Worst first: alerts are listed in this order."""
ORDER = {kind: number for number, kind in enumerate(KINDS)}


def title_of(key: AlertKey) -> str:
    """The alert in a few words."""
    entity = key.entity.replace("_", " ")
    title = KINDS[key.kind].title.format(entity=entity, system=_name(key))
    return f"{title[:1].upper()}{title[1:]}"


def path_of(key: AlertKey) -> str:
    """The page of the console that helps."""
    return KINDS[key.kind].path.format(entity=key.entity, system=key.system)


def _name(key: AlertKey) -> str:
    """A system as people write it; a destination as it was named."""
    return key.system if key.kind == DESTINATION_FAILING else key.system.capitalize()
