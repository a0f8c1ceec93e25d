"""A flood loses nothing that was accepted, doubles nothing, and does not fill the memory."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence

import pytest

from sync_pipeline.store.events import Received
from sync_pipeline.webhooks.hooks import HookStore
from sync_pipeline.webhooks.inbox import Busy, Inbox, InboxLimits
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline_tests.webhooks.sending import (
    START,
    UPDATED,
    WORKSPACE,
    Sender,
    add_hook,
    delivering,
    delivery_headers,
    entry,
)

EVENTS = 2_000
CONNECTIONS = 50


async def flood(sender: Sender, bodies: Sequence[bytes], connections: int) -> Counter[str]:
    """Deliver all bodies over so many connections in parallel; how often each answer came."""
    host, port = sender.url.removeprefix("http://").split(":")
    fields = {"host": "x", **delivery_headers(sender.hook.token)}
    head = f"POST {sender.hook.path(WORKSPACE)} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())

    async def connection(share: Sequence[bytes]) -> Counter[str]:
        answers: Counter[str] = Counter()
        reader, writer = await asyncio.open_connection(host, int(port))
        for body in share:
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(answer.lower().partition("content-length: ")[2].split("\r\n")[0])
            said = json.loads(await reader.readexactly(length))
            answers[said.get("status") or said["refused"]] += 1
        writer.close()
        await writer.wait_closed()
        return answers

    shares = [bodies[n::connections] for n in range(connections)]
    return sum(await asyncio.gather(*(connection(share) for share in shares)), Counter())


def test_a_flood_loses_nothing_and_doubles_nothing(sender: Sender) -> None:
    """Thousands of events from many connections, a quarter of them sent twice: each is in the inbox once."""
    bodies = [json.dumps(entry(f"e{n}")).encode() for n in range(EVENTS)]

    answers = asyncio.run(flood(sender, bodies + bodies[: EVENTS // 4], CONNECTIONS))

    assert answers == {"stored": EVENTS, "duplicate": EVENTS // 4}
    assert sorted(one.source_id or "" for one in sender.inbox()) == sorted(f"e{n}" for n in range(EVENTS))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_does_not_fit_is_asked_to_come_back(hooks: HookStore) -> None:
    """With room for few, accepted and kept are the same number; the others are answered 503, and come back."""
    hook = add_hook(hooks, UPDATED)
    limits = InboxLimits(events=5, batch=5)
    with delivering(hooks, hook, ReceiverOptions(workspace=WORKSPACE, limits=limits)) as sender:
        bodies = [json.dumps(entry(f"e{n}")).encode() for n in range(400)]
        first = asyncio.run(flood(sender, bodies, 40))

        assert first["busy"] > 0
        assert first["stored"] == len(sender.inbox())
        assert sum(first.values()) == len(bodies)

        later = asyncio.run(flood(sender, bodies, 5))
        assert later == {"duplicate": first["stored"], "stored": first["busy"]}


def event(number: int, size: int = 1) -> Received:
    """One event."""
    return Received(f"c{number}", UPDATED, "time_entries", f"e{number}", "x" * size, START)


def test_requests_that_wait_together_are_one_transaction() -> None:
    """As many as fit into a batch, in the order they came."""
    batches: list[list[str]] = []

    def write(batch: Sequence[Received]) -> list[bool]:
        batches.append([one.content for one in batch])
        return [True] * len(batch)

    async def story() -> None:
        async with Inbox(write, InboxLimits(batch=3)) as inbox:
            assert await asyncio.gather(*(inbox.put(event(n)) for n in range(5))) == [True] * 5

    asyncio.run(story())

    assert batches[:2] == [["c0", "c1", "c2"], ["c3", "c4"]]


def test_memory_is_bounded_by_bytes_as_well() -> None:
    """Few large bodies fill the inbox like many small ones; what was written makes room."""

    async def story() -> None:
        async with Inbox(lambda batch: [True] * len(batch), InboxLimits(bytes=100)) as inbox:
            first = asyncio.create_task(inbox.put(event(1, 80)))
            await asyncio.sleep(0)  # let it take its place
            with pytest.raises(Busy):
                await inbox.put(event(2, 30))
            assert await first
            assert await inbox.put(event(2, 30))

    asyncio.run(story())


def test_a_writer_that_fails_answers_everybody(caplog: pytest.LogCaptureFixture) -> None:
    """No one waits forever, and the next batch is written."""
    seen: list[str] = []

    def write(batch: Sequence[Received]) -> list[bool]:
        seen.extend(one.content for one in batch)
        return [len(seen) // (len(seen) - 1) > 0] * len(batch)  # divides by zero the first time

    async def story() -> None:
        async with Inbox(write) as inbox:
            with pytest.raises(Busy):
                await inbox.put(event(1))
            assert await inbox.put(event(1))

    asyncio.run(story())

    assert "their senders will send them again" in caplog.text


def test_what_waits_at_the_end_is_written() -> None:
    """Stopping the receiver loses nothing it took in."""
    written: list[str] = []

    def write(batch: Sequence[Received]) -> list[bool]:
        written.extend(one.content for one in batch)
        return [True] * len(batch)

    async def story() -> None:
        async with Inbox(write, InboxLimits(batch=2)) as inbox:
            waiting = [asyncio.create_task(inbox.put(event(n))) for n in range(5)]
            await asyncio.sleep(0)  # let them take their places
        assert await asyncio.gather(*waiting) == [True] * 5

    asyncio.run(story())

    assert written == [f"c{n}" for n in range(5)]
