"""The sensor of the alerts: it finds what is open, asks whether webhooks deliver, and notifies the destinations."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sync_pipeline.alerts.current import open_alerts
from sync_pipeline.alerts.destinations import add
from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.connectors.heartbeat import send_heartbeat
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import Vault
from sync_pipeline.settings import load_settings
from sync_pipeline.store.health import note_failure
from sync_pipeline.webhooks.hooks import new_hook, open_hooks
from sync_pipeline_tests.alerts.sinks import TOKEN, http_sink
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
    assert "Users differ between the two sides" in message[1]
    assert "Webhooks do not deliver" in message[1]


def test_the_daemon_sends_a_heartbeat(
    on: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After each evaluation; what goes wrong with it is reported without its address, and alerts are sent anyway."""
    caplog.set_level(logging.DEBUG)
    with heartbeats() as (url, asked):
        monkeypatch.setenv("SYNC_HEARTBEAT_URL", url)
        assert on.look("alerts").said == "nothing to send"
        assert asked == [f"/{TOKEN}?status=up"]
        monkeypatch.setenv("SYNC_HEARTBEAT_URL", f"{url}&answer=404")
        assert on.look("alerts").said == "nothing to send; the heartbeat was not taken: it answered 404"
    assert on.look("alerts").said == "nothing to send; the heartbeat was not taken: nothing answers there"
    monkeypatch.setenv("SYNC_HEARTBEAT_URL", f"http://monitor.example.com/{TOKEN}")
    refused = on.look("alerts").said
    assert "SYNC_HEARTBEAT_URL is http://monitor.example.com, plain http to another machine" in refused
    assert refused.startswith("nothing to send; the heartbeat was not taken: ")
    assert TOKEN not in refused + caplog.text


@pytest.mark.parametrize(
    "bad", ["https://[x/", "https://[abc]/", "https://host:99999/", "https://host:port/", "ftp://host"]
)
def test_an_address_for_heartbeats_that_is_none_is_refused(bad: str) -> None:
    """Where it is set, not at each tick; what only the name service knows is reported there."""
    with pytest.raises(ConfigError, match="SYNC_HEARTBEAT_URL") as refused:
        load_settings({"SYNC_HEARTBEAT_URL": f"{bad}{TOKEN}"}, root=Path("/"))
    assert TOKEN not in str(refused.value)
    assert send_heartbeat(f"https://xn--/{TOKEN}", ()) == "it is no address"


@contextmanager
def heartbeats() -> Iterator[tuple[str, list[str]]]:
    """An address that takes them, and what was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404 if "404" in self.path else 200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name it has there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{TOKEN}?status=up", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
