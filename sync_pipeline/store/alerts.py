"""The alerts of a pair: one row for each condition while it is open, kept for a while after it was resolved."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, insert, select, update

from sync_pipeline.errors import ConfigError
from sync_pipeline.store.engine import Store
from sync_pipeline.store.locks import take_turn
from sync_pipeline.store.schema import alerts

FIGURE = "figure"
"""The kind of the alerts on figures, which are evaluated apart from those about the pipeline."""
SEEN_EVERY = timedelta(seconds=60)
"""That an alert is still open is stored at most this often."""
SHOWN = 200


class AlertKey(NamedTuple):
    """What distinguishes one open alert of a pair from another."""

    kind: str
    entity: str = ""
    system: str = ""

    def __str__(self) -> str:
        return ":".join((self.kind, *filter(None, self[1:])))


@dataclass(frozen=True, slots=True)
class AlertState:
    """What is found open now."""

    since: datetime
    news_at: datetime | None
    """When it last got worse; None: it has not since it opened."""
    count: int
    detail: str
    title: str | None = None
    """What people call it; None: as its kind is called."""
    severity: str | None = None


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One stored alert."""

    id: int
    kind: str
    entity: str
    system: str
    first_seen_at: datetime
    last_seen_at: datetime
    news_at: datetime
    count: int
    detail: str
    title: str | None
    severity: str | None
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    silenced_until: datetime | None
    resolved_at: datetime | None

    @property
    def key(self) -> AlertKey:
        """What it is about."""
        return AlertKey(self.kind, self.entity, self.system)

    @property
    def is_acknowledged(self) -> bool:
        """Whether someone has acknowledged it and it has not got worse since."""
        return self.acknowledged_at is not None and self.acknowledged_at >= self.news_at

    def is_silenced(self, now: datetime) -> bool:
        """Whether no message about it is sent now."""
        return self.silenced_until is not None and now < self.silenced_until


def open_rows(store: Store, pair: str) -> dict[AlertKey, AlertRow]:
    """The alerts that are stored as open."""
    with store.reading() as tx:
        return {row.key: row for row in _rows(tx, alerts.c.connection == pair, alerts.c.resolved_at.is_(None))}


def recent_rows(store: Store, pair: str) -> list[AlertRow]:
    """The alerts that opened last, open and resolved ones, newest first."""
    with store.reading() as tx:
        return _rows(tx, alerts.c.connection == pair, limit=SHOWN)


def alert_row(store: Store, pair: str, number: int) -> AlertRow | None:
    """One alert by its number."""
    with store.reading() as tx:
        found = _rows(tx, alerts.c.connection == pair, alerts.c.id == number)
    return found[0] if found else None


def resolved_rows(tx: Connection, pair: str, numbers: Select[int]) -> list[AlertRow]:
    """The resolved alerts of these numbers."""
    return _rows(tx, alerts.c.connection == pair, alerts.c.resolved_at.isnot(None), alerts.c.id.in_(numbers))


def store_alerts(
    store: Store,
    pair: str,
    found: Mapping[AlertKey, AlertState],
    kept: Collection[AlertKey],
    now: datetime,
    *,
    figures: bool = False,
) -> None:
    """Open what is new, note what is still open, and resolve the rest except for what is ``kept``.

    It handles either the alerts on figures or those on the pipeline and leaves the others unchanged. Where nothing changed,
    nothing is written.
    """
    is_figure = alerts.c.kind == FIGURE
    mine = (
        alerts.c.connection == pair,
        alerts.c.resolved_at.is_(None),
        is_figure if figures else ~is_figure,
    )
    with store.reading() as tx:
        rows = {row.key: row for row in _rows(tx, *mine)}
    if not _changes(rows, found, kept, now):
        return
    with store.writing() as tx:
        take_turn(store, tx, f"alerts\n{pair}")
        rows = {row.key: row for row in _rows(tx, *mine)}
        for key, values in _changes(rows, found, kept, now).items():
            if key in rows:
                tx.execute(update(alerts).where(alerts.c.id == rows[key].id).values(values))
            else:
                tx.execute(insert(alerts).values(connection=pair, **key._asdict(), **values))


def acknowledge(store: Store, pair: str, number: int, by: str, at: datetime) -> AlertRow:
    """Note that someone deals with an alert: it is not repeated until it gets worse."""
    return _change(store, pair, number, {"acknowledged_by": by, "acknowledged_at": at})


def silence(store: Store, pair: str, number: int, until: datetime | None) -> AlertRow:
    """Send nothing about an alert until then; None ends that."""
    return _change(store, pair, number, {"silenced_until": until})


def _changes(
    rows: Mapping[AlertKey, AlertRow],
    found: Mapping[AlertKey, AlertState],
    kept: Collection[AlertKey],
    now: datetime,
) -> dict[AlertKey, dict[str, Any]]:
    """What is to be written, by alert."""
    changes: dict[AlertKey, dict[str, Any]] = {
        key: {"resolved_at": now} for key in rows if key not in found and key not in kept
    }
    for key, state in found.items():
        row = rows.get(key)
        news_at = state.news_at or (row.first_seen_at if row is not None else state.since)
        said = {"title": state.title, "severity": state.severity}
        values: dict[str, Any] = {"count": state.count, "detail": state.detail, "news_at": news_at, **said}
        if row is None:
            changes[key] = {**values, "first_seen_at": state.since, "last_seen_at": now}
        elif abs(now - row.last_seen_at) >= SEEN_EVERY or any(getattr(row, name) != values[name] for name in values):
            changes[key] = {**values, "last_seen_at": now}
    return changes


def _change(store: Store, pair: str, number: int, values: dict[str, Any]) -> AlertRow:
    mine = (alerts.c.connection == pair, alerts.c.id == number, alerts.c.resolved_at.is_(None))
    with store.writing() as tx:
        tx.execute(update(alerts).where(*mine).values(values))
        found = _rows(tx, *mine)
    if not found:
        raise ConfigError(f"There is no open alert {number}.", fix="`sync-pipeline alerts list` shows those there are.")
    return found[0]


def _rows(tx: Connection, *conditions: ColumnElement[bool], limit: int | None = None) -> list[AlertRow]:
    columns = [alerts.c[name] for name in AlertRow.__slots__]
    statement = select(*columns).where(*conditions).order_by(alerts.c.id.desc()).limit(limit)
    return [AlertRow(*row) for row in tx.execute(statement)]
