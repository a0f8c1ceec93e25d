"""The alerts that are open now, worst first, and the facts that they follow from: what the console, `status` and messages all read."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

import orjson

from sync_pipeline.alerts.configuration import configured
from sync_pipeline.alerts.derive import CredentialFact, DerivedAlert, PipelineFacts, derive
from sync_pipeline.alerts.evaluation import refresh_figures
from sync_pipeline.alerts.figures import superseded
from sync_pipeline.alerts.kinds import (
    FIGURES_PATH,
    KINDS,
    ORDER,
    Severity,
    order_of,
    path_of,
    severity_of,
    title_of,
    title_of_row,
)
from sync_pipeline.alerts.rules import Rule
from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.session.health import nothing_syncs
from sync_pipeline.session.secrets import Secret, Slot, Vault, needed_slots
from sync_pipeline.session.session import Session
from sync_pipeline.settings import Settings
from sync_pipeline.store import alerts as store
from sync_pipeline.store.alert_notices import failing_destinations
from sync_pipeline.store.alerts import FIGURE, AlertKey, AlertRow, AlertState
from sync_pipeline.store.approvals import Approval, list_approvals
from sync_pipeline.store.audit import note
from sync_pipeline.store.digests import failing_digests
from sync_pipeline.store.health import read_health
from sync_pipeline.store.references import WAITS
from sync_pipeline.store.rejects import rejected_records
from sync_pipeline.store.switches import read_switch
from sync_pipeline.store.syncs import failing, status

Paths = Callable[[AlertKey], str]
_PERIOD = re.compile(r"(?P<month>\d{4}-\d\d)|week-(?P<week>\d{4}-\d\d-\d\d)|total")
_CURRENCY = re.compile(r"[A-Z]{3}")
REQUESTS = 100
"""Open requests for approval that are looked at."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One open alert, for people."""

    key: AlertKey
    severity: Severity
    title: str
    detail: str
    """The cause in one sentence, with the fix."""
    path: str
    """The page of the console that helps."""
    since: datetime
    count: int
    """How many runs, records or requests it is about."""
    subject: str = ""
    """The run or the request it is about, by its id."""
    number: int | None = None
    """Its number, once it is stored."""
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    silenced_until: datetime | None = None

    @property
    def name(self) -> str:
        """What commands call it: ``run_failed:users``."""
        return str(self.key)


def open_alerts(session: Session) -> list[Alert]:
    """The open alerts, worst first, those that someone has acknowledged last; nothing is written."""
    rows = store.open_rows(session.store, session.pair)
    found: list[tuple[float, Alert]] = [
        (ORDER[each.key.kind], _alert(each, rows.get(each.key))) for each in _found(session) if not each.is_inhibited
    ]
    figures = {key: row for key, row in rows.items() if key.kind == FIGURE}
    paths, weaker = paths_of(session.settings), superseded(figures)
    found += [(order_of(row), _of_figure(row, paths(key))) for key, row in figures.items() if key not in weaker]
    return [alert for _, alert in sorted(found, key=lambda each: (each[1].acknowledged_at is not None, each[0]))]


def refresh_alerts(session: Session) -> None:
    """Open and resolve alerts in the store by the facts and the figures; where nothing changed nothing is written."""
    refresh_figures(session)
    found = _found(session)
    states = {
        each.key: AlertState(each.since, each.news, each.count, each.detail) for each in found if not each.is_inhibited
    }
    inhibited = {each.key for each in found if each.is_inhibited}
    store.store_alerts(session.store, session.pair, states, inhibited, session.now())


def alert_named(session: Session, name: str) -> Alert:
    """The open alert of that name or number, stored; ConfigError when there is none."""
    refresh_alerts(session)
    alerts = open_alerts(session)
    found = next((alert for alert in alerts if name in (alert.name, str(alert.number))), None)
    if found is None:
        names = ", ".join(alert.name for alert in alerts)
        there = f"Open are: {names}." if names else "None is open."
        raise ConfigError(f"There is no open alert {name!r}.", fix=there)
    return found


def acknowledge(session: Session, name: str, by: str) -> Alert:
    """Note that someone deals with an alert: it is not repeated until it gets worse."""
    alert = alert_named(session, name)
    at = session.now()
    store.acknowledge(session.store, session.pair, _number(alert), by, at)
    note(session.store, by, "alert acknowledged", alert.title, at)
    return alert_named(session, name)


def silence(session: Session, name: str, by: str, until: datetime | None) -> Alert:
    """Send no message about an alert until then; None ends that."""
    alert = alert_named(session, name)
    store.silence(session.store, session.pair, _number(alert), until)
    what = "alert silenced" if until is not None else "alert no longer silenced"
    detail = f"{alert.title}, until {until:%Y-%m-%d %H:%M} UTC" if until is not None else alert.title
    note(session.store, by, what, detail, session.now())
    return alert_named(session, name)


def _found(session: Session) -> list[DerivedAlert]:
    return derive(facts_of(session))


def _number(alert: Alert) -> int:
    if alert.number is None:  # it was stored by the one who asks
        raise AssertionError(alert.name)
    return alert.number


def _alert(found: DerivedAlert, row: AlertRow | None) -> Alert:
    key = found.key
    seen = row is not None and row.is_acknowledged
    return Alert(
        key=key,
        severity=KINDS[key.kind].severity,
        title=title_of(key),
        detail=found.detail,
        path=path_of(key),
        since=row.first_seen_at if row is not None else found.since,
        count=found.count,
        subject=found.subject,
        number=row.id if row is not None else None,
        acknowledged_by=row.acknowledged_by if row is not None and seen else None,
        acknowledged_at=row.acknowledged_at if row is not None and seen else None,
        silenced_until=row.silenced_until if row is not None else None,
    )


def _of_figure(row: AlertRow, path: str) -> Alert:
    return Alert(
        key=row.key,
        severity=severity_of(row),
        title=title_of_row(row),
        detail=row.detail,
        path=path,
        since=row.first_seen_at,
        count=row.count,
        number=row.id,
        acknowledged_by=row.acknowledged_by if row.is_acknowledged else None,
        acknowledged_at=row.acknowledged_at if row.is_acknowledged else None,
        silenced_until=row.silenced_until,
    )


def paths_of(settings: Settings) -> Paths:
    """The page of each alert, by the rules that are in force."""
    try:
        rules = {rule.name: rule for rule in configured(settings).rules}
    except ConfigError:
        rules = {}

    def path(key: AlertKey) -> str:
        rule = rules.get(key.entity)
        return path_of(key) if key.kind != FIGURE or rule is None else _dashboard(rule, key)

    return path


def _dashboard(rule: Rule, key: AlertKey) -> str:
    of, period = key.system.rpartition("/")[0], {}
    before, _, last = of.rpartition("/")
    if before and (found := _PERIOD.fullmatch(last)):
        of, period = before, _months(found)
    before, _, last = of.rpartition("/")
    if before and rule.kind.by_currency and _CURRENCY.fullmatch(last):
        of = before
    return f"{FIGURES_PATH}?{urlencode({rule.scope: of, **period})}"


def _months(found: re.Match[str]) -> dict[str, str]:
    """The months that hold a period; none for all time, which the dashboard does not show."""
    if found["month"]:
        return {"from": found["month"], "to": found["month"]}
    if not found["week"]:
        return {}
    first = date.fromisoformat(found["week"])
    return {"from": f"{first:%Y-%m}", "to": f"{first + timedelta(days=6):%Y-%m}"}


def facts_of(session: Session) -> PipelineFacts:
    """What is known about the pipeline of this session now."""
    store, pair, max_age = session.store, session.pair, session.settings.key_max_age_days
    switch = read_switch(store, pair)
    successes = {entity: each.last_success for entity, each in status(store, pair).items()}
    return PipelineFacts(
        now=session.now(),
        entities=tuple(session.specs),
        health=read_health(store, pair),
        nothing_syncs=nothing_syncs(session),
        is_live=session.mode.automatic and (session.settings.stored or session.settings.mode == "live"),
        live_since=switch.at if switch is not None and switch.is_on else None,
        failing=failing(store, pair),
        last_success={entity: sync for entity, sync in successes.items() if sync is not None},
        held=_open_requests(session),
        rejects=rejected_records(store, pair, without=WAITS),
        budgets=session.budgets,
        credentials=tuple(_credentials(session)),
        max_age=timedelta(days=max_age) if max_age else None,
        destinations={**failing_digests(store, pair), **failing_destinations(store, pair)},
    )


def _open_requests(session: Session) -> list[Approval]:
    asked = list_approvals(session.store, session.pair, session.now(), limit=REQUESTS)
    return [each for each in asked if each.decision is None and each.entity in session.specs]


def _credentials(session: Session) -> Iterator[CredentialFact]:
    for slot in needed_slots(session.settings):
        value = getattr(session.settings, slot.setting)
        secret = _stored(session, slot) if value else None
        entered_at = datetime.fromisoformat(secret.entered_at) if secret is not None else None
        yield CredentialFact(slot.system, entered_at, _expiry(value))


def _stored(session: Session, slot: Slot) -> Secret | None:
    """The stored secret, where that is the one in use."""
    if not session.settings.stored:
        return None
    with suppress(SyncError):
        secret = Vault(session.store, session.settings).get(slot)
        if secret is not None and secret.value == getattr(session.settings, slot.setting):
            return secret
    return None


def _expiry(token: str) -> datetime | None:
    """Until when a token that is a JWT says it is valid; its signature is for the API to verify."""
    parts = token.split(".")
    if len(parts) != 3 or not token.startswith("eyJ"):
        return None
    with suppress(ValueError, binascii.Error, OverflowError, OSError):
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        ends = claims.get("exp") if isinstance(claims, dict) else None
        return datetime.fromtimestamp(ends, UTC) if isinstance(ends, int | float) else None
    return None
