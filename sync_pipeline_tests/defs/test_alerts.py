"""The sensor of the alerts: it finds what is open, asks whether webhooks deliver, and tells the destinations."""

from __future__ import annotations

from datetime import timedelta

from sync_pipeline.alerts.current import open_alerts
from sync_pipeline.alerts.destinations import add
from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.session.secrets import Vault
from sync_pipeline.store.health import note_failure
from sync_pipeline.webhooks.hooks import new_hook, open_hooks
from sync_pipeline_tests.alerts.sinks import http_sink
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.harness import Team


def test_the_daemon_sends_alerts(us: Team, on: Live) -> None:
    """Whatever opens one; also whether Clockify still has our webhooks, which it is asked for now and then."""
    with http_sink() as sink, us.session() as session:
        assert on.look("alerts").said == "nothing to send"
        add(Vault(session.store, session.settings), "ops", sink.address, "ann (test)", session.now())
        note_failure(session.store, session.pair, "verify:users", "1 missing", "1 missing")
        hooks = open_hooks(session)
        hooks.save(new_hook("NEW_PROJECT"), session.now())
        on.look("alerts")
        found = {alert.name: alert.detail for alert in open_alerts(session)}
        assert "Clockify does not have NEW_PROJECT." in found["webhook_off"]
        asked = us.requests()
        with clock_from(utc_now() + timedelta(hours=1)):
            assert "sent to ops" in on.look("alerts").said
        assert us.requests() == asked
        (message,) = sink.messages
    assert "Users differ between both sides" in message[1]
    assert "Webhooks do not deliver" in message[1]
