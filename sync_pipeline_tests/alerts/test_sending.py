"""Messages about alerts, sent through Apprise to real servers: once when one opens, again after a while, once when it is resolved."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from sync_pipeline.alerts import destinations
from sync_pipeline.alerts.current import acknowledge, open_alerts, silence
from sync_pipeline.alerts.destinations import add, remove, send_test
from sync_pipeline.alerts.sending import send_alerts
from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import Vault
from sync_pipeline.session.session import Session
from sync_pipeline.store.audit import changes
from sync_pipeline.store.health import note_failure, note_ok
from sync_pipeline_tests.alerts.sinks import TOKEN, Sink, http_sink, smtp_sink
from sync_pipeline_tests.harness import Team

HOUR = timedelta(hours=1)
REFUSED, DRIFT = "sync_pipeline: Clockify refuses its key", "sync_pipeline: Users differ between the two sides"


@pytest.fixture
def session(us: Team) -> Iterator[Session]:
    """A pipeline of which nothing was synced yet: only what a test notes opens alerts."""
    with us.session(SYNC_ALERT_GROUP_SECONDS="60", SYNC_ALERT_REPEAT_HOURS="24") as found:
        yield found


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A real HTTP server."""
    with http_sink() as found:
        yield found


def refuse(session: Session, system: str = "clockify") -> None:
    """A system refuses its key from now on."""
    note_failure(session.store, session.pair, system, "key refused", "Replace it.")


def accept(session: Session, system: str = "clockify") -> None:
    """It takes it again."""
    note_ok(session.store, session.pair, system)


def add_to(session: Session, sink: Sink, name: str = "ops") -> Vault:
    """Have the alerts sent there."""
    vault = Vault(session.store, session.settings)
    add(vault, name, sink.address, "ann (test)", session.now())
    return vault


def tick(session: Session, after: timedelta = timedelta()) -> str:
    """One tick of the sensor, so much later than now."""
    with later(after):
        return str(send_alerts(session))


@contextmanager
def later(after: timedelta) -> Iterator[None]:
    """The clock of this process, set ahead."""
    with clock_from(utc_now() + after):
        yield


def test_one_message_when_it_opens_and_one_when_it_is_resolved(session: Session, sink: Sink) -> None:
    """Not at every tick: after the window in which alerts are gathered, and again after a day."""
    add_to(session, sink)
    refuse(session)
    assert tick(session) == "nothing to send"
    assert tick(session, HOUR) == "1 alert sent to ops"
    assert tick(session, 2 * HOUR) == "nothing to send"
    assert sink.titles == [REFUSED]
    assert "NEW: Clockify refuses its key (since " in sink.messages[0][1]
    assert "Replace it." in sink.messages[0][1]
    tick(session, 26 * HOUR)
    assert tick(session, 27 * HOUR) == "1 alert sent to ops"
    assert "STILL OPEN: Clockify refuses its key" in sink.messages[1][1]
    accept(session)
    tick(session, 28 * HOUR)
    tick(session, 29 * HOUR)
    assert sink.titles == [REFUSED, REFUSED, "sync_pipeline: resolved: Clockify refuses its key"]
    assert tick(session, 99 * HOUR) == "nothing to send"


@pytest.mark.parametrize("stored", ["", "https://sync.example.com/"])
def test_a_message_leads_to_the_page_that_helps(us: Team, sink: Sink, stored: str) -> None:
    """Below SYNC_CONSOLE_URL, else below the console that runs here; nothing of a sign-in is in it."""
    with us.session(SYNC_ALERT_GROUP_SECONDS="60", SYNC_CONSOLE_URL=stored) as session:
        add_to(session, sink)
        refuse(session)
        send_alerts(session, console="http://sync-1.localhost:8770")
        with later(HOUR):
            send_alerts(session, console="http://sync-1.localhost:8770")
    lines = sink.messages[0][1].splitlines()
    assert f"{stored.rstrip('/') or 'http://sync-1.localhost:8770'}/connections/clockify" in lines


def test_alerts_of_one_window_are_one_message_for_each_destination(session: Session, sink: Sink) -> None:
    """The worst is its title; what was resolved before it was sent is included as well. Mail arrives through a real SMTP server."""
    with smtp_sink() as mail:
        add_to(session, sink)
        add_to(session, mail, "ops-mail")
        note_failure(session.store, session.pair, "verify:users", "1 missing", "1 missing")
        refuse(session, "snapshots")
        tick(session)
        refuse(session)
        tick(session, timedelta(seconds=30))
        accept(session, "snapshots")
        assert tick(session, timedelta(seconds=70)) == "4 alerts sent to ops; 4 alerts sent to ops-mail"
        for each in (sink, mail):
            ((title, text),) = each.messages
            assert title == "sync_pipeline: Snapshots refuses its key (and 3 more)"
            heads = [line.partition(" (since")[0] for line in text.splitlines() if " (since " in line]
            assert heads == [
                "NEW: Snapshots refuses its key",
                "NEW: Clockify refuses its key",
                "NEW: Users differ between the two sides",
                "RESOLVED: Snapshots refuses its key",
            ]


def test_acknowledged_and_silenced_alerts_are_not_repeated(session: Session, sink: Sink) -> None:
    """An acknowledged one is sent again when it gets worse, and when it is resolved; a silenced one is never sent."""
    add_to(session, sink)
    refuse(session)
    tick(session)
    tick(session, HOUR)
    with later(2 * HOUR):
        acknowledge(session, "key_refused:clockify", "ann (test)")
        note_failure(session.store, session.pair, "verify:users", "1 missing", "1 missing")
        silence(session, "drift:users", "ann (test)", utc_now() + 48 * HOUR)
    tick(session, 30 * HOUR)
    assert tick(session, 31 * HOUR) == "nothing to send"
    with later(32 * HOUR):
        note_failure(session.store, session.pair, "clockify", "wrong address", "Another server.")
        refuse(session)
    tick(session, 32 * HOUR)
    assert tick(session, 33 * HOUR) == "1 alert sent to ops"
    tick(session, 51 * HOUR)
    tick(session, 52 * HOUR)
    assert sink.titles == [REFUSED, REFUSED, DRIFT]


def test_a_short_outage_is_not_reported(session: Session, sink: Sink) -> None:
    """It is shown immediately; ten minutes later it is sent."""
    add_to(session, sink)
    note_failure(session.store, session.pair, "clockify", "not reachable", "Nothing answers.")
    assert [alert.name for alert in open_alerts(session)] == ["not_reachable:clockify"]
    tick(session, timedelta(minutes=5))
    assert tick(session, timedelta(minutes=8)) == "nothing to send"
    tick(session, timedelta(minutes=11))
    assert tick(session, timedelta(minutes=13)) == "1 alert sent to ops"


def test_a_destination_that_fails_is_an_alert_for_the_others(session: Session, sink: Sink) -> None:
    """It is tried again, later each time, and gets what it missed, but nothing about itself."""
    with http_sink() as other:
        other.status = 401
        add_to(session, sink)
        add_to(session, other, "broken")
        refuse(session)
        tick(session)
        assert tick(session, HOUR) == "1 alert sent to ops; broken was not reached: it answered 401"
        assert tick(session, HOUR + timedelta(seconds=30)) == "nothing to send"
        tick(session, 2 * HOUR)
        (_, failing) = open_alerts(session)
        assert (failing.name, failing.title) == ("destination_failing:broken", "Alerts do not reach broken")
        assert failing.detail.startswith("1 messages wait: it answered 401.")
        tick(session, 3 * HOUR)
        tick(session, 4 * HOUR)
        assert sink.titles == [REFUSED, "sync_pipeline: Alerts do not reach broken"]
        other.status = 200
        assert "sent to broken" in tick(session, 6 * HOUR)
        assert other.titles == [REFUSED]
        assert [alert.name for alert in open_alerts(session)] == ["key_refused:clockify"]
        other.status = 401
        remove(Vault(session.store, session.settings), "broken", "ann (test)", utc_now())
        tick(session, 99 * HOUR)
        assert "broken" not in tick(session, 100 * HOUR)


def test_an_address_that_is_none_is_refused(session: Session) -> None:
    """With where to look, and without what was typed; nor is a name that is none accepted."""
    vault = Vault(session.store, session.settings)
    for address in (f"nonsense://{TOKEN}", f"{TOKEN}", "", "json://x/" + "y" * 3000):
        with pytest.raises(ConfigError, match=r"The address of ops cannot be used: .* docs/get-notified\.md") as caught:
            add(vault, "ops", address, "ann (test)", session.now())
        assert TOKEN not in str(caught.value)
    with pytest.raises(ConfigError, match="needs a short name"):
        add(vault, "Ops Mail", "json://127.0.0.1:9", "ann (test)", session.now())
    with pytest.raises(ConfigError, match="There is no destination 'ops'"):
        send_test(vault, "ops", "ann (test)", session.now())
    assert destinations.destinations(vault) == []


@pytest.mark.parametrize("case", ["taken", "refused", "no server", "no host"])
def test_an_address_is_shown_nowhere(
    us: Team, session: Session, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    """Not in the store's files, the audit trail, a log, or what is printed - whatever becomes of a message."""
    caplog.set_level(logging.DEBUG)
    with http_sink() as sink:
        sink.status = 403 if case == "refused" else 200
        vault = Vault(session.store, session.settings)
        host = {"no server": "json://127.0.0.1:9/", "no host": "json://nowhere.invalid/"}.get(case)
        add(vault, "ops", f"{host}{TOKEN}" if host else sink.address, "ann (test)", session.now())
        answer = send_test(vault, "ops", "ann (test)", session.now())
        assert bool(answer.problem) == (case != "taken")
        refuse(session)
        tick(session)
        ticked = tick(session, HOUR)
        (found,) = destinations.destinations(vault)
    trail = [str(change) for change in changes(session.store)]
    assert trail[0].startswith("Change(") or trail
    assert (found.name, found.service) == ("ops", "JSON")
    shown = [str(answer), ticked, str(found), repr(found), *trail, caplog.text, *capfd.readouterr()]
    assert [text for text in shown if TOKEN in text] == []
    assert [str(file) for file in files(us.home) if TOKEN.encode() in file.read_bytes()] == []


def files(root: Path) -> Iterator[Path]:
    """Every file below it."""
    return (path for path in root.rglob("*") if path.is_file())
