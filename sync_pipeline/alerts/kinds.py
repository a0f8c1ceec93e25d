"""The closed list of alerts, worst first: severity, title, and the page of the console that helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast

from sync_pipeline.store.alerts import AlertKey, AlertRow

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True, slots=True)
class AlertKind:
    """One kind of alert. ``{entity}`` and ``{system}`` in its texts are what the alert is about."""

    severity: Severity
    title: str
    path: str
    """The page of the console that helps."""
    opened_by: str
    """The fact that opens it, in words."""
    resolved_by: str
    """What resolves it, in words."""
    lasting: timedelta = timedelta()
    """How long it has to be open before a message is sent."""


KEY_REFUSED, NOT_REACHABLE, NO_HEARTBEAT = "key_refused", "not_reachable", "no_heartbeat"
PERMISSION_MISSING, RUN_FAILED, NO_SUCCESS, HELD = "permission_missing", "run_failed", "no_success", "held"
DRIFT, REJECTS, WEBHOOK_OFF, SCHEMA_CHANGED = "drift", "rejects", "webhook_off", "schema_changed"
CREDENTIALS_AGE, BUDGET_USED, DESTINATION_FAILING = "credentials_age", "budget_used", "destination_failing"
RULES_INVALID = "rules_invalid"

KINDS: Mapping[str, AlertKind] = {
    KEY_REFUSED: AlertKind(
        "critical",
        "{system} refuses its key",
        "/connections/{system}",
        "A system refused its key",
        "its next good answer, or a new key",
    ),
    NO_HEARTBEAT: AlertKind(
        "critical",
        "Live, but nothing is running",
        "/help",
        "Live syncing is on, and no daemon has reported",
        "a daemon that reports",
    ),
    PERMISSION_MISSING: AlertKind(
        "critical",
        "A permission is missing for {entity}",
        "/connections",
        "The last sync of an entity ended with 403",
        "its next success",
    ),
    NOT_REACHABLE: AlertKind(
        "critical",
        "{system} does not answer",
        "/connections/{system}",
        "A system does not answer, or something else answers there",
        "its next good answer",
        timedelta(minutes=10),
    ),
    RUN_FAILED: AlertKind(
        "critical",
        "Syncing {entity} fails",
        "/activity?entity={entity}",
        "The last syncs of an entity failed, or were blocked",
        "its next success",
    ),
    HELD: AlertKind(
        "warning",
        "{entity} wait for an approval",
        "/approvals",
        "Records wait for an approval",
        "a decision",
    ),
    NO_SUCCESS: AlertKind(
        "warning",
        "{entity} have not been synced for a long time",
        "/activity?entity={entity}",
        "No sync of an entity has succeeded for two days while live syncing is on",
        "its next success",
    ),
    DRIFT: AlertKind(
        "warning",
        "{entity} differ between the two sides",
        "/activity?entity={entity}",
        "`verify` found differences, or the sandbox was reset",
        "a `verify` of everything that finds none",
    ),
    REJECTS: AlertKind(
        "warning",
        "Some {entity} are rejected",
        "/records?state=rejected&entity={entity}",
        "Records are rejected, and not ignored",
        "the correction of the last one",
    ),
    WEBHOOK_OFF: AlertKind(
        "warning",
        "Webhooks do not deliver",
        "/connections/clockify",
        "Clockify has one of our webhooks switched off or deleted; it is asked every six hours",
        "webhooks that deliver",
    ),
    DESTINATION_FAILING: AlertKind(
        "warning",
        "Alerts do not reach {system}",
        "/settings/alerts",
        "Messages do not reach a destination",
        "a message that does",
    ),
    RULES_INVALID: AlertKind(
        "warning",
        "The {system} have a mistake",
        "/settings/alerts",
        "A rule on figures or a subscription is not understood, or names what does not exist",
        "the next evaluation without a mistake",
    ),
    CREDENTIALS_AGE: AlertKind(
        "warning",
        "The {system} credentials need to be replaced",
        "/connections/{system}",
        "A key is older than `SYNC_KEY_MAX_AGE_DAYS`, or a token expires within 14 days",
        "a new key",
    ),
    SCHEMA_CHANGED: AlertKind(
        "info",
        "The source of {entity} has other fields",
        "/mapping/{entity}",
        "The last sync met fields at the source that are new, or missed some that are mapped",
        "the next sync that does not",
    ),
    BUDGET_USED: AlertKind(
        "info",
        "The {system} request budget is used up",
        "/connections/{system}",
        "No request of this hour is left",
        "the next hour",
        timedelta(hours=1),
    ),
}
"""Worst first: alerts are listed in this order."""
ORDER = {kind: number for number, kind in enumerate(KINDS)}


FIGURES_PATH = "/dashboard"
"""Where the figures are that an alert is about."""


def title_of_row(row: AlertRow) -> str:
    """A stored alert in a few words."""
    return row.title or title_of(row.key)


def severity_of(row: AlertRow) -> Severity:
    """How severe a stored alert is."""
    return KINDS[row.kind].severity if row.kind in KINDS else cast("Severity", row.severity)


def order_of(row: AlertRow) -> float:
    """Its place in a list, worst first: alerts on figures come after those of their severity about the pipeline."""
    if row.kind in ORDER:
        return ORDER[row.kind]
    return max(ORDER[name] for name, kind in KINDS.items() if kind.severity == row.severity) + 0.5


def title_of(key: AlertKey) -> str:
    """An alert about the pipeline in a few words."""
    entity = key.entity.replace("_", " ")
    title = KINDS[key.kind].title.format(entity=entity, system=_name(key))
    return f"{title[:1].upper()}{title[1:]}"


def path_of(key: AlertKey) -> str:
    """The page of the console that helps."""
    return KINDS[key.kind].path.format(entity=key.entity, system=key.system) if key.kind in KINDS else FIGURES_PATH


def _name(key: AlertKey) -> str:
    """A system as people write it; a destination as it was named."""
    return key.system if key.kind in (DESTINATION_FAILING, RULES_INVALID) else key.system.capitalize()
