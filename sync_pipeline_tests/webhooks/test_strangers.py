"""What a stranger costs the receiver, and what someone does who knows the secret of one hook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from sync_pipeline.store import events
from sync_pipeline.store.engine import Store
from sync_pipeline.store.events import ROW_BYTES
from sync_pipeline.webhooks.hooks import REREAD_SECONDS, HookStore, new_hook
from sync_pipeline.webhooks.inbox import PAUSE_SECONDS, InboxLimits
from sync_pipeline.webhooks.receiver import COUNTED_SECONDS, ReceiverOptions
from sync_pipeline_tests.strangers import answer, connect, crowd, ends
from sync_pipeline_tests.webhooks.sending import (
    START,
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


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """What the database is asked during the block."""
    seen: list[str] = []

    def see(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement != "BEGIN":  # SQLite's
            seen.append(statement)

    event.listen(store.engine, "before_cursor_execute", see)
    try:
        yield seen
    finally:
        event.remove(store.engine, "before_cursor_execute", see)


def reads(table: str, seen: list[str]) -> int:
    """How many of them read a table."""
    return sum(f"FROM {table}" in one for one in seen)


def head(sender: Sender, **fields: str) -> bytes:
    """A genuine delivery as far as the end of its headers."""
    lines = {"host": "x", **delivery_headers(sender.hook.token), "content-length": "1000", **fields}
    said = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {sender.hook.path(WORKSPACE)} HTTP/1.1\r\n{said}\r\n".encode()


GUESSES: dict[str, dict[str, Any]] = {
    "a token": {"token": "guess"},
    "a path": {"path": f"/hooks/{WORKSPACE}/{UPDATED}/guess"},
    "a hook that is not there": {"path": f"/hooks/{WORKSPACE}/NEW_PROJECT/guess"},
    "the add-on's path": {"path": f"/hooks/{WORKSPACE}/ADDON/guess"},
    "another workspace": {"path": f"/hooks/w2/{UPDATED}/guess"},
    "a hook there cannot be": {"path": f"/hooks/{WORKSPACE}/OAUTH/guess"},
}


def test_all_guesses_together_cost_one_read_in_five_seconds(sender: Sender, clock: Clock) -> None:
    """However many senders, hooks and secrets; after minutes, too, when what was read has to be read again anyway."""
    with statements(sender.hooks.store) as seen:
        for round_ in range(1, 30):
            for guess in [*GUESSES.values()] * 3:
                assert sender.send(**guess).status_code in (401, 404)
            assert reads("credentials", seen) == round_
            clock.pass_(timedelta(seconds=REREAD_SECONDS))
        assert len(seen) == reads("credentials", seen)  # and nothing else was asked


def test_guesses_at_the_same_moment_cost_one_read(sender: Sender) -> None:
    """The first one reads while the others wait for it."""
    guess = head(sender, **{"clockify-signature": "guess"})
    with statements(sender.hooks.store) as seen, crowd(sender.url, 50, guess) as guessing:
        assert {answer(one) for one in guessing} == {401}
    assert reads("credentials", seen) == 1


def test_genuine_deliveries_are_known_without_a_read(sender: Sender, clock: Clock) -> None:
    """While someone guesses; what is known is read again every ten seconds."""
    with statements(sender.hooks.store) as seen:
        for number in range(20):
            assert sender.send(entry(f"e{number}")).status_code == 200
        assert reads("credentials", seen) == 1
        clock.pass_(timedelta(seconds=10))
        assert sender.send(entry("later")).status_code == 200
        assert reads("credentials", seen) == 2


def test_a_new_hook_is_known_while_someone_guesses(sender: Sender, clock: Clock) -> None:
    """With the first delivery five seconds after the last read that a guess caused: Clockify repeats the ones before."""
    assert sender.send(token="guess").status_code == 401
    fresh = add_hook(sender.hooks, DELETED, "another-secret")
    path = fresh.path(WORKSPACE)

    assert sender.send(event=DELETED, path=path, token="another-secret").status_code == 404
    clock.pass_(timedelta(seconds=REREAD_SECONDS))
    assert sender.send(event=DELETED, path=path, token="another-secret").status_code == 200


def test_a_hook_that_cannot_be_read_does_not_stop_the_others(sender: Sender) -> None:
    """Encrypted with a key that is lost: its deliveries are asked to come back."""
    other = add_hook(sender.hooks, DELETED)
    with sender.hooks.store.writing() as own:
        own.exec_driver_sql("UPDATE credentials SET key_id = 'lost' WHERE name = 'webhook:TIME_ENTRY_DELETED'")

    assert sender.send().status_code == 200
    assert sender.send(event=DELETED, path=other.path(WORKSPACE)).status_code == 503


def test_health_costs_one_count_a_second(sender: Sender, clock: Clock) -> None:
    """It is open to everyone."""
    with statements(sender.hooks.store) as seen:
        for _ in range(20):
            assert sender.client.get(f"{sender.url}/healthz").json()["inbox_open"] == 0
            assert sender.figures()["store_up"] == 1
        assert reads("events", seen) == 1
        sender.send()
        clock.pass_(timedelta(seconds=COUNTED_SECONDS))
        assert sender.client.get(f"{sender.url}/healthz").json()["inbox_open"] == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_stranger_leaves_nothing_in_the_database(sender: Sender) -> None:
    """Not one statement that writes."""
    with statements(sender.hooks.store) as seen:
        for guess in GUESSES.values():
            sender.send(**guess)
    assert [one for one in seen if not one.startswith(("SELECT", "PRAGMA"))] == []
    assert sender.kept() == 0


STRANGERS = {
    "silent": b"",
    "slow": b"POST /hooks/",
    "refused": b"POST /hooks/w1/x/y HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
    "guessing": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("said", STRANGERS.values(), ids=STRANGERS.keys())
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_delivery_is_answered_next_to_1100_strangers(hooks: HookStore, said: bytes) -> None:
    """All from one address, which is what they have behind a tunnel."""
    with delivering(hooks, add_hook(hooks, UPDATED)) as sender, crowd(sender.url, 1100, said):
        assert sender.send().json() == {"status": "stored"}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_delivery_is_answered_next_to_1100_unfinished_ones(hooks: HookStore) -> None:
    """They know path and token, and do not send their bodies."""
    with delivering(hooks, add_hook(hooks, UPDATED)) as sender, crowd(sender.url, 1100, head(sender) + b"{") as others:
        assert sender.send().json() == {"status": "stored"}
        assert ends(others[0])
        assert len(sender.inbox()) == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_bodies_that_are_being_read_are_bounded_together(hooks: HookStore) -> None:
    """Memory is for so many bytes, finished or not; who comes then is asked to come back."""
    options = ReceiverOptions(workspace=WORKSPACE, limits=InboxLimits(bytes=2_000))
    with delivering(hooks, add_hook(hooks, UPDATED), options) as sender:
        unfinished = head(sender) + b"x" * 999
        with crowd(sender.url, 2, unfinished), connect(sender.url, unfinished) as third:
            assert answer(third) == 503
        assert sender.send().status_code == 200


def big(number: int) -> bytes:
    """An event of 1,500 bytes with what its row takes, most of them of characters that take two."""
    start = json.dumps(entry(f"e{number:04}")).removesuffix("}")
    left = 1500 - ROW_BYTES - len(start) - len(', "note": ""}')
    return f'{start}, "note": "{"x" * (left % 2)}{"ü" * (left // 2)}"}}'.encode()


@pytest.fixture
def narrow(hooks: HookStore, clock: Clock) -> Iterator[Sender]:
    """A receiver with room for ten such events a hook, one of them freed at a time."""
    options = ReceiverOptions(workspace=WORKSPACE, hook_bytes=15_000)
    with delivering(hooks, add_hook(hooks, UPDATED), options, clock) as sender:
        yield sender


def test_a_hook_fills_only_its_share_of_the_disk(narrow: Sender, clock: Clock) -> None:
    """What no run has processed is kept, more is asked to come back; other hooks are not affected."""
    other = add_hook(narrow.hooks, DELETED)
    statuses = [narrow.send(content=big(number)).status_code for number in range(12)]

    assert statuses == [200] * 10 + [503] * 2
    assert narrow.kept() == 10
    assert narrow.send(content=big(1), event=DELETED, path=other.path(WORKSPACE)).status_code == 200

    events.close(narrow.hooks.store, [narrow.inbox()[0].id], "run", clock.now())
    clock.pass_(timedelta(seconds=PAUSE_SECONDS))
    assert narrow.send(content=big(20)).status_code == 200


def test_closed_events_make_room_oldest_first(narrow: Sender, clock: Clock) -> None:
    """A hook continues forever; what is still to do stays."""
    narrow.send(content=big(0))
    for number in range(1, 50):
        assert narrow.send(content=big(number)).status_code == 200
        events.close(
            narrow.hooks.store, [one.id for one in narrow.inbox() if one.source_id != "e0000"], "r", clock.now()
        )

    assert narrow.kept() <= 10
    assert [one.source_id for one in narrow.inbox()] == ["e0000"]


def test_what_was_there_before_a_restart_counts(narrow: Sender, clock: Clock) -> None:
    """A receiver that starts again begins with what is in the database."""
    for number in range(10):
        narrow.send(content=big(number))
    options = ReceiverOptions(workspace=WORKSPACE, hook_bytes=15_000)
    with delivering(narrow.hooks, narrow.hook, options, clock) as again:
        assert again.send(content=big(11)).status_code == 503


def test_repeats_take_no_room(narrow: Sender) -> None:
    """What there is is counted again before anything is refused."""
    assert {narrow.send(content=big(1)).status_code for _ in range(30)} == {200}
    assert narrow.kept() == 1


def test_there_are_only_so_many_hooks(sender: Sender) -> None:
    """A name that Clockify has no event for is no hook, whatever is in the database."""
    sender.hooks.save(replace(new_hook("OTHER"), token="t"), START)

    assert set(sender.hooks.readable()) == {UPDATED}
