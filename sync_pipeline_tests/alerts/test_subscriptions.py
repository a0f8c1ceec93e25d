"""Subscriptions: digests about new and changed records, by mail and by webhook, of which none is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import insert

from sync_pipeline.alerts import destinations
from sync_pipeline.alerts.configuration import configured
from sync_pipeline.alerts.current import open_alerts
from sync_pipeline.alerts.destinations import add, remove
from sync_pipeline.alerts.messenger import Message, MessageResult
from sync_pipeline.alerts.sending import send_alerts
from sync_pipeline.clock import clock_from
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import Vault
from sync_pipeline.session.session import Session
from sync_pipeline.store import credentials
from sync_pipeline.store.digests import MOST_WAITING, waiting_digests
from sync_pipeline.store.schema import project_facts
from sync_pipeline_tests.alerts.sinks import Sink, http_sink, smtp_sink
from sync_pipeline_tests.alerts.subscribed import deliver
from sync_pipeline_tests.harness import Team, clean_environ, morning

NOW = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ENTRIES = "subscriptions: {mine: {about: new_entries, every: at_once}}"
BAD = {
    "subscriptions: {a: {about: new_entry}}": "1: subscriptions.a.about: found 'new_entry'. Did you mean 'new_entries'?",
    "subscriptions:\n  a:\n    every: daily": "2: subscriptions.a.about: is missing.",
    "subscriptions:\n  a:\n    about: new_entries\n    every: often": "4: subscriptions.a.every: found 'often', expected one of "
    "at_once, hourly, daily, weekly.",
    "subscriptions:\n  a: {about: new_locations, project: [x]}": "2: subscriptions.a.project: does not fit locations",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file with the subscriptions."""
    found = tmp_path / "rules.yaml"
    found.write_text(ENTRIES)
    return found


@pytest.fixture
def session(us: Team, file: Path) -> Iterator[Session]:
    """A pair with two projects of two clients."""
    with us.session(SYNC_ALERT_RULES_FILE=str(file), SYNC_ALERT_GROUP_SECONDS="60") as found:
        for id_, name, client in (("p1", "Website", "Acme"), ("p2", "Garden", "Brook")):
            key = {"connection": found.pair, "entity": "projects", "source_id": id_, "read_no": 1}
            with found.store.writing() as tx:
                row = insert(project_facts).values(**key, name=name, client_id=f"c-{client}", client_name=client)
                tx.execute(row)
        yield found


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A real HTTP server."""
    with http_sink() as found:
        yield found


def add_to(session: Session, sink: Sink, name: str = "ops") -> Vault:
    """Have digests sent there."""
    vault = Vault(session.store, session.settings)
    add(vault, name, sink.address, "ann (test)", session.now())
    return vault


def tick(session: Session, after: timedelta) -> str:
    """One tick of the sensor."""
    with clock_from(NOW + after):
        return str(send_alerts(session, console="http://sync-1.localhost:8770"))


def quick_tick(session: Session, after: timedelta) -> str:
    """The same, without a process for each message."""
    with clock_from(NOW + after):
        return str(send_alerts(session, send=post))


def post(vault: Vault, name: str, message: Message) -> MessageResult:
    """Send a message to a sink from this process."""
    kept = credentials.get(vault.store, vault.keyring, destinations.PLACE, name) or {}
    body = {"title": message.title, "message": message.body}
    url = kept["address"].replace("json:", "http:")
    answer = httpx.post(url, json=body, headers={"Idempotency-Key": message.key}, trust_env=False)
    return MessageResult(problem="" if answer.is_success else f"it answered {answer.status_code}")


def news(session: Session, after: timedelta, count: int, project: str = "p1", kind: str = "create") -> None:
    """Entries are delivered at that time."""
    with clock_from(NOW + after):
        deliver(session, count, f"{project}-{kind}-{after.total_seconds():.0f}-", project, kind)


@pytest.mark.parametrize("text", BAD)
def test_a_bad_subscription_is_one_message_with_its_line(session: Session, file: Path, text: str) -> None:
    """File, line, key, and what to write instead."""
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        configured(session.settings)
    assert str(caught.value).startswith(f"{file}:")
    assert BAD[text] in str(caught.value)


def test_ten_thousand_changes_of_a_minute_are_one_digest(session: Session, sink: Sink) -> None:
    """With the first by name and how many more; records from before the subscription are not reported. By mail as well."""
    news(session, -HOUR, 3)
    with smtp_sink() as mail:
        add_to(session, sink)
        add_to(session, mail, "ops-mail")
        assert tick(session, timedelta()) == "nothing to send"
        for second in range(0, 50, 10):
            news(session, timedelta(seconds=second + 1), 2_000)
            assert tick(session, timedelta(seconds=second + 2)) == "nothing to send"
        assert tick(session, timedelta(seconds=62)) == "1 digest sent to ops; 1 digest sent to ops-mail"
        assert tick(session, 5 * MINUTE) == "nothing to send"
        assert [each.titles for each in (sink, mail)] == [["sync_pipeline: 10,000 new time entries"]] * 2
        lines = sink.messages[0][1].splitlines()
        assert lines[0] == "new time entry: p1-create-1-0 (Website, Acme), 2026-11-25 12:30 UTC"
        assert lines[50:53] == ["... and 9,950 more", "", "http://sync-1.localhost:8770/activity?changes=1"]
        assert mail.messages[0][1].splitlines()[0] == lines[0]
        assert len(sink.keys[0]) == 32


def test_a_record_is_one_line_of_a_digest(session: Session, sink: Sink) -> None:
    """Whatever it, its project and its client are called; a long name is cut."""
    add_to(session, sink)
    quick_tick(session, timedelta())
    key = {"connection": session.pair, "entity": "projects", "source_id": "p3", "read_no": 1}
    evil = "Evil\n... and 9 more\r\n\x1b[2J"
    with session.store.writing() as tx:
        row = insert(project_facts).values(**key, name=evil, client_id="c3", client_name=evil + "x" * 2_000_000)
        tx.execute(row)
    news(session, timedelta(seconds=1), 50, "p3")
    quick_tick(session, timedelta(seconds=62))
    ((_, text),) = sink.messages
    lines = text.splitlines()
    assert len([line for line in lines if line.startswith("new time entry: p3-create-1-")]) == 50
    assert [line for line in lines if line.startswith("... and")] == []
    assert "\x1b" not in text
    assert len(text) < 50_000


def test_subscriptions_are_filtered_and_sent_when_they_are_due(session: Session, sink: Sink, file: Path) -> None:
    """By client or project, to the destinations that are named, after the hour or the day has ended."""
    file.write_text("""
        subscriptions:
          acme: {about: new_entries, every: hourly, client: Acme, to: ops}
          garden: {about: [new_entries, new_projects], every: daily, project: Garden, to: [ops]}
          nowhere: {about: new_entries, every: at_once, to: [no-one]}
    """)
    with http_sink() as other:
        add_to(session, sink)
        add_to(session, other, "other")
        quick_tick(session, timedelta())
        news(session, MINUTE, 2)
        news(session, 2 * MINUTE, 3, "p2")
        news(session, 3 * MINUTE, 4, kind="update")
        assert sink.titles == []
        quick_tick(session, 10 * MINUTE)
        assert [title for title in sink.titles if "time" in title] == []
        quick_tick(session, 31 * MINUTE)
        assert sink.titles[-1] == "sync_pipeline: 2 new time entries"
        quick_tick(session, 13 * HOUR)
        assert sink.titles[-1] == "sync_pipeline: 3 new time entries"
        assert [title for title in other.titles if "time" in title] == []
    with clock_from(NOW + 13 * HOUR):
        (alert,) = open_alerts(session)
    assert "subscriptions.nowhere.to: names the destination 'no-one', which does not exist." in alert.detail
    assert len(set(sink.keys)) == len(sink.keys)


def test_a_destination_that_fails_gets_a_few_digests_later(session: Session, sink: Sink) -> None:
    """Not one for each minute of a week; it is an alert for the others, and dropped with the destination."""
    vault = add_to(session, sink)
    quick_tick(session, timedelta())
    sink.status = 500
    for number in range(1, MOST_WAITING + 4):
        news(session, number * HOUR, 1)
        quick_tick(session, number * HOUR + 2 * MINUTE)
    with clock_from(NOW + 50 * HOUR):
        assert len(waiting_digests(session.store, session.pair, NOW + 50 * HOUR)) == MOST_WAITING
        assert [alert.name for alert in open_alerts(session)] == ["destination_failing:ops"]
    sink.status = 200
    assert quick_tick(session, 50 * HOUR).startswith(f"{MOST_WAITING} digests sent to ops")
    quick_tick(session, 51 * HOUR)
    numbers = [int(title.split()[1]) for title in sink.titles if "time entr" in title]
    assert numbers == [1] * MOST_WAITING + [3]
    sink.status = 500
    news(session, 52 * HOUR, 1)
    quick_tick(session, 53 * HOUR)
    remove(vault, "ops", "ann (test)", NOW)
    assert waiting_digests(session.store, session.pair, NOW + 99 * HOUR) == []


def test_a_killed_process_loses_no_change(us: Team, file: Path) -> None:
    """Before and after each commit and each message: a digest that comes twice has the same key, so that it counts once."""
    with us.session(), http_sink() as sink:
        changes = {"SINK": sink.address.replace("json:", "http:"), "SYNC_ALERT_RULES_FILE": str(file)}
        program = [sys.executable, "-m", "sync_pipeline_tests.alerts.killed_digests"]
        environ = clean_environ(**us.environ, **changes)
        ended = subprocess.run(program, env=environ, capture_output=True, text=True, check=True)
        rounds = int(ended.stdout)
    assert rounds > 4
    once = dict(zip(sink.keys, (text for _, text in sink.messages), strict=True))
    assert len(once) < len(sink.messages)
    lines = [line for text in once.values() for line in text.splitlines() if line.startswith("new time entry: round")]
    named = sorted(line.split()[3].rstrip(",") for line in lines)
    assert named == sorted(f"round{number}-{each}" for number in range(1, rounds + 1) for each in range(2))


def test_new_and_changed_records_of_a_real_sync_are_reported(us: Team, file: Path, sink: Sink) -> None:
    """As they are called at the source: an entry of a client's project, a project, a location that is new and one that changed."""
    topics = "[new_entries, new_projects, new_locations, changed_locations]"
    file.write_text(f"subscriptions: {{all: {{about: {topics}, every: hourly}}}}")
    us.changes["SYNC_ALERT_RULES_FILE"] = str(file)
    us.sync()
    with us.session() as session:
        add_to(session, sink)
        send_alerts(session)
    client = us.clients()[0]
    project = us.clockify("POST", "/projects", {"name": "Orchard", "clientId": client["id"]})
    us.add_entry(us.users()[0]["id"], morning(1), description="Plan the trees", projectId=project["id"])
    us.put_location("loc-new", location_name="Hill Farm", address="1 Hill")
    us.sync()
    us.put_location("loc-new", location_name="Hill Farm & Sons", address="1 Hill")
    us.sync("locations")
    with us.session() as session, clock_from(session.now() + HOUR):
        send_alerts(session)
    ((title, text),) = [each for each in sink.messages if "new" in each[0]]
    assert title == "sync_pipeline: 1 new location, 1 changed location, 1 new project, 1 new time entry"
    assert f"new project: Orchard ({client['name']})" in text
    assert f"new time entry: Plan the trees (Orchard, {client['name']})" in text
    assert "changed location: Hill Farm & Sons" in text
