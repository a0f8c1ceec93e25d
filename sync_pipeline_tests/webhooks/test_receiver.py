"""The receiver keeps what Clockify signed and nothing else, and reports what it did."""

from __future__ import annotations

import socket
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import column, table, update

from sync_pipeline.errors import ConfigError, NewerSchema
from sync_pipeline.store.credentials import open_keyring
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.schema import HEAD, VERSION_TABLE
from sync_pipeline.webhooks import receiver, server
from sync_pipeline.webhooks.hooks import OVERLAP, REREAD_SECONDS, HookStore
from sync_pipeline.webhooks.receiver import REFUSALS, ReceiverOptions
from sync_pipeline.webhooks.server import running, serve
from sync_pipeline_tests.scenarios.commands import wait_until
from sync_pipeline_tests.webhooks.sending import (
    HERE,
    UPDATED,
    WORKSPACE,
    Clock,
    Sender,
    add_hook,
    delivering,
    delivery_headers,
    entry,
)

DELETED = "TIME_ENTRY_DELETED"
PATIENCE = 60.0


def test_a_delivery_is_kept_before_it_is_answered(sender: Sender) -> None:
    """200 means committed: another connection sees it immediately, body and all."""
    answer = sender.send(entry("e1", description="Grüße"))

    assert (answer.status_code, answer.json()) == (200, {"status": "stored"})
    (found,) = sender.inbox()
    assert (found.kind, found.source_id, found.attempts) == (UPDATED, "e1", 0)
    assert "Gr\\u00fc\\u00dfe" in found.payload


def test_a_replayed_delivery_is_answered_and_dropped(sender: Sender) -> None:
    """The same body under another attempt's key, its keys in another order."""
    first = sender.send(entry("e1"))
    again = sender.send(dict(reversed(entry("e1").items())), idempotency_key="attempt-1")

    assert [one.json()["status"] for one in (first, again)] == ["stored", "duplicate"]
    assert len(sender.inbox()) == 1
    assert sender.figures()["duplicate_total"] == 1


def test_the_event_type_is_part_of_what_is_said(sender: Sender) -> None:
    """An update and a delete may have the same body."""
    sender.send(entry("e1"))
    sender.send(entry("e1"), event=DELETED)

    assert [one.kind for one in sender.inbox()] == [UPDATED, DELETED]


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "wrong token": ("signature", {"token": "forged"}),
    "no token": ("signature", {"token": ""}),
    "a token that is not ASCII": ("signature", {"clockify_signature": "f\u00f6rged"}),
    "a body that is no JSON": ("not_json", {"content": b"{"}),
    "an empty body": ("not_json", {"content": b""}),
    "a body that is not UTF-8": ("not_json", {"content": b'{"id":"\xff"}'}),
    "a list": ("not_json", {"body": [1]}),
    "nested without end": ("not_json", {"content": b'{"a":' * 900 + b"1" + b"}" * 900}),
    "a giant body": ("too_large", {"content": b" " * 20_001}),
    "no content type": ("content_type", {"content_type": ""}),
    "a form": ("content_type", {"content_type": "application/x-www-form-urlencoded"}),
    "no event": ("event", {"event": ""}),
    "an event that cannot be one": ("event", {"event": "x" * 100}),
    "an event of another workspace": ("other_workspace", {"body": entry("e1", workspaceId="w2")}),
    "another workspace's path": ("workspace", {"path": "/hooks/w2/TIME_ENTRY_UPDATED/secret"}),
    "a guessed path": ("path", {"path": "/hooks/w1/TIME_ENTRY_UPDATED/guess"}),
    "a hook we do not have": ("path", {"path": "/hooks/w1/NEW_PROJECT/guess"}),
    "a hook there cannot be": ("path", {"path": "/hooks/w1/oauth/guess"}),
    "an endless token": ("path", {"token": "x" * 9000}),
}


@pytest.mark.parametrize(("reason", "sent"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_delivery_changes_nothing_and_is_counted(sender: Sender, reason: str, sent: dict[str, Any]) -> None:
    """Its reason's status, one more in its counter, nothing in the inbox; the next good one is taken in."""
    if "clockify_signature" in sent:
        sent = {"clockify_signature": sent["clockify_signature"].encode()}
    answer = sender.send(**sent)

    assert (answer.status_code, answer.json()) == (REFUSALS[reason], {"refused": reason})
    assert sender.kept() == 0
    figures = sender.figures()
    assert figures[f'refused_total{{reason="{reason}"}}'] == figures["received_total"] == 1
    assert sender.send().status_code == 200


def test_a_giant_body_without_a_length_is_cut_off(sender: Sender) -> None:
    """Chunks are counted as they come."""
    chunks = (b'{"id":"' + b"x" * 6000 for _ in range(4))
    answer = sender.client.post(
        sender.url + sender.hook.path(WORKSPACE),
        content=chunks,
        headers={
            "content-type": "application/json",
            "clockify-signature": sender.hook.token,
            "clockify-webhook-event-type": UPDATED,
        },
    )

    assert answer.json() == {"refused": "too_large"}


def test_a_body_that_breaks_off_changes_nothing(sender: Sender) -> None:
    """A sender that hangs up halfway has delivered nothing."""
    host, port = sender.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(
            f"POST {sender.hook.path(WORKSPACE)} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
            f"Content-Type: application/json\r\nclockify-signature: {sender.hook.token}\r\n"
            f"clockify-webhook-event-type: {UPDATED}\r\n\r\n{{".encode()
        )

    wait_until(lambda: 'refused_total{reason="incomplete"}' in sender.figures())  # when the connection's end arrives
    assert sender.kept() == 0


def test_a_get_is_no_delivery(sender: Sender) -> None:
    """A person who opens the address in a browser changes nothing."""
    assert sender.client.get(sender.url + sender.hook.path(WORKSPACE)).status_code == 405
    assert sender.figures()["received_total"] == 0


def test_an_unknown_event_is_kept_and_not_to_do(sender: Sender) -> None:
    """Clockify may add events: they can be looked at, no run waits for them."""
    assert sender.send({"id": "x1"}, event="SOMETHING_NEW").json() == {"status": "stored"}
    assert sender.kept() == 1
    assert "inbox_open" not in "".join(name for name in sender.figures() if "{" in name)


@pytest.mark.parametrize("bad", [None, 7, "", "../users", "x" * 65, "nul\0"])
def test_an_id_that_cannot_be_asked_for_is_none(sender: Sender, bad: object) -> None:
    """The event still reports that something of its entity changed."""
    assert sender.send(entry("e1") | {"id": bad}).status_code == 200
    assert [one.source_id for one in sender.inbox()] == [None]


def test_a_body_need_not_name_the_workspace(sender: Sender) -> None:
    """Those about people do not: the path names it."""
    assert sender.send({"id": "u1", "email": "a@example.com"}, event="USER_UPDATED").status_code == 200
    assert [one.source_id for one in sender.inbox("users")] == ["u1"]


def test_both_tokens_are_good_after_a_rotation(sender: Sender, clock: Clock) -> None:
    """The new one immediately, the old one for an hour, any older one never; without a restart."""
    sender.send(entry("e1"))
    rotated = sender.hook.with_token("second", clock.now())
    sender.hooks.save(rotated, clock.now())

    answers = [sender.send(entry(f"e-{token}"), token=token) for token in ("second", "signing-secret")]
    assert [one.status_code for one in answers] == [200, 200]

    clock.pass_(OVERLAP)
    assert sender.send(entry("late"), token="signing-secret").status_code == 401
    assert sender.send(entry("late"), token="second").status_code == 200

    sender.hooks.save(rotated.with_token("third", clock.now()), clock.now())
    clock.pass_(timedelta(seconds=REREAD_SECONDS))  # since a wrong token was sent a moment ago
    assert sender.send(entry("later"), token="third").status_code == 200
    assert sender.send(entry("later"), token="signing-secret").status_code == 401


def test_a_hook_registered_meanwhile_is_known_immediately(sender: Sender) -> None:
    """The receiver runs before anything is subscribed."""
    fresh = add_hook(sender.hooks, DELETED, "another-secret")

    assert sender.send(event=DELETED, path=fresh.path(WORKSPACE), token="another-secret").status_code == 200
    assert sender.send(event=DELETED, path=fresh.path(WORKSPACE)).status_code == 401


def test_a_removed_hook_is_soon_forgotten(sender: Sender, clock: Clock) -> None:
    """What is remembered to spare the database is remembered for seconds."""
    sender.send(entry("e1"))
    sender.hooks.remove(UPDATED)
    clock.pass_(timedelta(seconds=11))

    assert sender.send(entry("e2")).status_code == 404


def test_a_restart_keeps_what_was_accepted(sender: Sender, hooks: HookStore) -> None:
    """The inbox is in the database; a repeat after the restart is still a repeat."""
    sender.send(entry("e1"))
    with delivering(hooks, sender.hook) as other:
        assert other.send(entry("e1")).json() == {"status": "duplicate"}
        assert [one.source_id for one in other.inbox()] == ["e1"]


def test_health_and_metrics(sender: Sender) -> None:
    """Both report whether the database answers and what is to do."""
    sender.send(entry("e1"))
    sender.send({"id": "p1"}, event="PROJECT_UPDATED")

    health = sender.client.get(f"{sender.url}/healthz")
    assert (health.status_code, health.json()) == (200, {"status": "ok", "inbox_open": 2})
    figures = sender.figures()
    assert (figures["stored_total"], figures["store_up"]) == (2, 1)
    assert figures['inbox_open{entity="time_entries"}'] == figures['inbox_open{entity="projects"}'] == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_database_that_is_locked_costs_no_event(store: Store, tmp_path: Path) -> None:
    """503 and Retry-After while another program holds it; the next attempt is taken in."""
    impatient = open_store(f"sqlite:///{store.path}", timeout=0.05)
    hooks = HookStore(impatient, open_keyring("", tmp_path / "encryption.key"), HERE)
    with delivering(hooks, add_hook(hooks, UPDATED)) as sender:
        with store.writing():
            answer = sender.send()
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "15")
        assert sender.send().json() == {"status": "stored"}
    impatient.close()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_missing_database_is_reported(store: Store, tmp_path: Path) -> None:
    """/healthz turns 503, /metrics still answers, a delivery is asked to come back; nothing reveals the cause."""
    hooks = HookStore(store, open_keyring("", tmp_path / "encryption.key"), HERE)
    with delivering(hooks, add_hook(hooks, UPDATED)) as sender:
        store.engine.dispose()
        assert store.path is not None
        for suffix in ("", "-wal", "-shm"):
            Path(f"{store.path}{suffix}").unlink(missing_ok=True)
        store.path.write_bytes(b"no database at all" * 1000)

        health = sender.client.get(f"{sender.url}/healthz")
        assert (health.status_code, health.json()) == (503, {"status": "the database does not answer"})
        assert sender.figures()["store_up"] == 0
        assert sender.send().status_code == 503


def test_a_wrong_key_is_reported_at_the_start(hooks: HookStore, tmp_path: Path) -> None:
    """Not at the first delivery."""
    add_hook(hooks, UPDATED)
    other = HookStore(hooks.store, open_keyring("", tmp_path / "other.key"), HERE)

    with pytest.raises(ConfigError, match="encrypted with another key"):
        serve(other, ReceiverOptions(workspace=WORKSPACE), port=0)


def test_a_port_in_use_is_reported(sender: Sender, hooks: HookStore) -> None:
    """With the way out."""
    port = int(sender.url.rpartition(":")[2])

    with pytest.raises(ConfigError, match=f"cannot be received on 127.0.0.1 port {port}"):
        serve(hooks, ReceiverOptions(workspace=WORKSPACE), port=port)


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}], ids=str)
def test_a_page_of_another_site_learns_nothing(sender: Sender, path: str, headers: dict[str, str]) -> None:
    """What it makes a browser ask for costs no look into the database."""
    assert sender.client.get(sender.url + path, headers=headers).status_code == 403


def test_dns_rebinding_learns_nothing(sender: Sender) -> None:
    """Under a name that is not this machine's there are no figures: it is that of a proxy, or of an attacker's page."""
    sender.send(entry("e1"))
    rebound = {"Host": "evil.example:8760"}
    assert sender.client.get(f"{sender.url}/metrics", headers=rebound).status_code == 421
    health = sender.client.get(f"{sender.url}/healthz", headers=rebound)
    assert (health.status_code, health.json()) == (200, {"status": "ok", "receiver": "sync_pipeline"})


def test_a_delivery_through_a_proxy_is_taken(sender: Sender) -> None:
    """Its Host is the public name; path and token verify it, whatever a browser would send with them."""
    assert sender.send(entry("e1"), Host="hooks.example.com").json() == {"status": "stored"}
    answer = sender.send(entry("e2"), token="guessed", Origin="https://evil.example", Sec_Fetch_Site="cross-site")
    assert answer.status_code == 401
    assert [one.source_id for one in sender.inbox()] == ["e1"]


def test_a_receiver_ends_when_a_newer_version_has_migrated_its_database(
    hooks: HookStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the database open for weeks, and would continue writing to it as it knows it."""
    monkeypatch.setattr(server, "SCHEMA_SECONDS", 0.01)
    with ThreadPoolExecutor(1) as pool:
        ready = Event()
        serving = pool.submit(
            serve, hooks, ReceiverOptions(workspace=WORKSPACE), port=0, on_ready=lambda _: ready.set()
        )
        assert ready.wait(PATIENCE)
        with hooks.store.writing() as tx:
            tx.execute(update(table(VERSION_TABLE, column("version_num"))).values(version_num="9999"))
        try:
            with pytest.raises(NewerSchema, match="has schema 9999, this version of sync_pipeline knows up to"):
                serving.result(PATIENCE)
        finally:
            with hooks.store.writing() as tx:  # the database is used by other tests
                tx.execute(update(table(VERSION_TABLE, column("version_num"))).values(version_num=HEAD))


def test_a_receiver_works_with_the_accounts_of_the_current_set_up(
    hooks: HookStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs for weeks; another workspace is connected meanwhile, and its first delivery comes in."""
    monkeypatch.setattr(receiver, "FOLLOW_SECONDS", 0.01)
    hook, changes = add_hook(hooks, UPDATED), deque([(hooks, ReceiverOptions(workspace="w2"))])
    is_changed = Event()

    def renewed() -> tuple[HookStore, ReceiverOptions] | None:
        return changes.popleft() if is_changed.is_set() and changes else None

    with running(hooks, ReceiverOptions(workspace=WORKSPACE), renewed=renewed) as started, httpx.Client() as client:

        def send(workspace: str) -> int:
            body, headers = entry("e1", workspaceId=workspace), delivery_headers(hook.token, UPDATED)
            return client.post(started.url + hook.path(workspace), json=body, headers=headers).status_code

        assert (send(WORKSPACE), send("w2")) == (200, 404)
        is_changed.set()
        wait_until(lambda: send("w2") == 200)
        assert send(WORKSPACE) == 404


# A socket that `serve` had no chance to close is closed with the process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("line", range(1, 16))
def test_ctrl_c_at_any_line_ends_the_receiver(hooks: HookStore, monkeypatch: pytest.MonkeyPatch, line: int) -> None:
    """Also between its start and the first request; what it has started does not keep the process alive."""
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_args, **_more: None)
    ended, is_over, lines = Event(), Event(), count(1)

    def watch(_current: object, _server: object, stop: Event, *_more: object) -> None:
        while not (stop.wait(0.05) or is_over.is_set()):  # after Ctrl-C `serve` may not come to set it
            pass

    monkeypatch.setattr(server, "_until_newer", watch)

    def interrupt(frame: FrameType, event: str, _of_event: object) -> Any:
        if frame.f_code is not serve.__code__:
            return None
        if event == "line" and next(lines) == line:
            raise KeyboardInterrupt
        return interrupt

    def receive() -> None:
        sys.settrace(interrupt)
        try:
            with suppress(KeyboardInterrupt):
                serve(hooks, ReceiverOptions(workspace=WORKSPACE), port=0)
        finally:
            sys.settrace(None)
            ended.set()

    Thread(target=receive, daemon=True).start()
    has_ended = ended.wait(PATIENCE)
    watching = [thread for thread in threading.enumerate() if thread.name.startswith("schema")]
    is_over.set()
    for thread in watching:
        thread.join(PATIENCE)
    assert has_ended
    assert all(thread.daemon for thread in watching)


def test_two_receivers_keep_an_event_once(sender: Sender, hooks: HookStore, clock: Clock) -> None:
    """What both get is one event; both verify, and a webhook that is rotated meanwhile is known to both."""
    with delivering(hooks, sender.hook, ReceiverOptions(workspace=WORKSPACE), clock) as other:
        assert sender.send().json() == {"status": "stored"}
        assert other.send().json() == {"status": "duplicate"}
        with ThreadPoolExecutor(8) as senders:
            bodies = [entry(f"e{number % 10}") for number in range(40)]
            said = list(senders.map(lambda way, body: way.send(body).json()["status"], [sender, other] * 20, bodies))
        assert said.count("stored") == 9
        assert sender.kept() == 10
        assert {one.send(token="guessed").status_code for one in (sender, other)} == {401}
        fresh = add_hook(hooks, UPDATED, "another-secret")
        clock.pass_(timedelta(seconds=REREAD_SECONDS))
        for one in (sender, other):
            answer = one.send(entry("e1"), token="another-secret", path=fresh.path(WORKSPACE))
            assert answer.json() == {"status": "duplicate"}
