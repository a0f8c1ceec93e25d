"""Alerts in the store: opened, noted, acknowledged, silenced and resolved."""

from __future__ import annotations

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.store.alerts import (
    AlertKey,
    AlertState,
    acknowledge,
    alert_row,
    open_rows,
    recent_rows,
    silence,
    store_alerts,
)
from sync_pipeline.store.engine import Store
from sync_pipeline_tests.store.batch import HERE, THERE, at

FAILED, REFUSED = AlertKey("run_failed", "users"), AlertKey("key_refused", system="clockify")


def state(hour: int = 1, count: int = 1, news: int | None = None) -> AlertState:
    """What is found open since that hour."""
    return AlertState(at(hour), None if news is None else at(news), count, "Because.")


def test_an_alert_opens_stays_and_is_resolved(store: Store) -> None:
    """One row while it is open, with since when; opened again it is another alert, of another number."""
    store_alerts(store, HERE, {FAILED: state(1)}, (), at(2))
    store_alerts(store, HERE, {FAILED: state(3, count=4)}, (), at(3))
    (row,) = open_rows(store, HERE).values()
    assert (row.key, row.first_seen_at, row.last_seen_at, row.count) == (FAILED, at(1), at(3), 4)
    assert open_rows(store, THERE) == {}
    store_alerts(store, HERE, {}, (), at(4))
    assert open_rows(store, HERE) == {}
    resolved = alert_row(store, HERE, row.id)
    assert resolved is not None
    assert resolved.resolved_at == at(4)
    store_alerts(store, HERE, {FAILED: state(5)}, (), at(5))
    assert [each.resolved_at for each in recent_rows(store, HERE)] == [None, at(4)]
    assert open_rows(store, HERE)[FAILED].id != row.id


def test_what_another_alert_explains_is_neither_opened_nor_resolved(store: Store) -> None:
    """It stays unchanged until that other one is resolved."""
    store_alerts(store, HERE, {FAILED: state()}, (), at(2))
    store_alerts(store, HERE, {REFUSED: state()}, {FAILED, AlertKey("no_success", "users")}, at(3))
    assert set(open_rows(store, HERE)) == {FAILED, REFUSED}


def test_an_acknowledgement_counts_until_it_gets_worse(store: Store) -> None:
    """With who and when; a silence has an end."""
    store_alerts(store, HERE, {FAILED: state(1)}, (), at(2))
    number = open_rows(store, HERE)[FAILED].id
    row = acknowledge(store, HERE, number, "ann", at(3))
    assert (row.is_acknowledged, row.acknowledged_by) == (True, "ann")
    store_alerts(store, HERE, {FAILED: state(1, count=2)}, (), at(4))
    assert open_rows(store, HERE)[FAILED].is_acknowledged
    store_alerts(store, HERE, {FAILED: state(1, count=3, news=5)}, (), at(5))
    assert not open_rows(store, HERE)[FAILED].is_acknowledged
    silenced = silence(store, HERE, number, at(7))
    assert [silenced.is_silenced(at(hour)) for hour in (6, 7)] == [True, False]
    assert not silence(store, HERE, number, None).is_silenced(at(6))
    with pytest.raises(ConfigError, match="There is no open alert"):
        acknowledge(store, THERE, number, "ann", at(6))


def test_nothing_is_written_while_nothing_changes(store: Store) -> None:
    """But that it is still open, once a minute."""
    store_alerts(store, HERE, {FAILED: state(1)}, (), at(2))
    before = open_rows(store, HERE)
    store_alerts(store, HERE, {FAILED: state(1)}, (), at(2))
    assert open_rows(store, HERE) == before
    store_alerts(store, HERE, {FAILED: state(1)}, (), at(3))
    assert open_rows(store, HERE)[FAILED].last_seen_at == at(3)
