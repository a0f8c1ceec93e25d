"""The alerts that are open now, worst first: what the console, `status` and messages all read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sync_pipeline.alerts.derive import Found, derive
from sync_pipeline.alerts.evaluation import refresh_figures
from sync_pipeline.alerts.facts import facts_of
from sync_pipeline.alerts.figures import superseded
from sync_pipeline.alerts.kinds import KINDS, ORDER, Severity, order_of, path_of, severity_of, title_of, title_of_row
from sync_pipeline.alerts.paths import paths_of
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.session import Session
from sync_pipeline.store import alerts as store
from sync_pipeline.store.alerts import FIGURE, AlertKey, AlertRow, AlertState
from sync_pipeline.store.audit import note


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


def _found(session: Session) -> list[Found]:
    return derive(facts_of(session))


def _number(alert: Alert) -> int:
    if alert.number is None:  # it was stored by the one who asks
        raise AssertionError(alert.name)
    return alert.number


def _alert(found: Found, row: AlertRow | None) -> Alert:
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
