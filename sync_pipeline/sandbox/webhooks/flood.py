"""Very many real deliveries over many connections, for measuring a receiver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import document
from sync_pipeline.sandbox.clockify.entry_rows import entry_body
from sync_pipeline.sandbox.clockify.http import Happened, Json
from sync_pipeline.sandbox.clockify.projects import SELECT_PROJECT, project_body
from sync_pipeline.sandbox.clockify.tasks import task_body
from sync_pipeline.sandbox.clockify.users import stored_user
from sync_pipeline.sandbox.webhooks.bodies import Bodies
from sync_pipeline.sandbox.webhooks.connection import Connection, Target
from sync_pipeline.sandbox.webhooks.courier import FAR, Delivery
from sync_pipeline.sandbox.webhooks.publish import active_hooks
from sync_pipeline.sandbox.world import World

MOST_CONNECTIONS = 1_000
PAGE = 200


def start_flood(world: World, event: str, count: int, connections: int) -> Json:
    """Start to deliver ``count`` events about stored records; the counters report the progress.

    No two bodies are equal, nor equal to one of an earlier flood or of a real event: each record has the number of its
    round in its text. So a receiver that drops repetitions can still be checked for losses. Refused deliveries take
    the way of all others.
    """
    if world.courier.counters.flood.get("running"):
        raise ValueError("a flood is under way")
    if count < 1 or not 0 < connections <= MOST_CONNECTIONS:
        raise ValueError(f"count is at least 1, connections from 1 to {MOST_CONNECTIONS}")
    hooks = active_hooks(world, event)
    if not hooks:
        raise ValueError(f"no active webhook asks for {event}")
    if not world.options.webhooks_anywhere and not all(Target.of(hook["url"]).local for hook in hooks):
        raise ValueError(FAR)
    if next(_records(world, _table(event)), None) is None:
        raise ValueError(f"there is no record {event} could be about")
    progress = {"asked": count, "sent": 0, "connections": connections, "seconds": 0.0, "running": True}
    world.courier.counters.flood = progress
    world.courier.flood(_flood(world, _deliveries(world, event, hooks, count), progress))
    return progress


async def _flood(world: World, deliveries: Iterator[Delivery], progress: dict[str, Any]) -> None:
    began = time.perf_counter()

    async def work() -> None:
        kept: dict[Target, Connection] = {}
        try:
            for delivery in deliveries:
                # Without the webhook nothing is sent, so nothing else would let other tasks run or a cancel arrive.
                await asyncio.sleep(0)
                target = Target.of(delivery.url)
                await world.courier.attempt(delivery, kept.setdefault(target, Connection(target)))
                progress["sent"] += 1
                progress["seconds"] = round(time.perf_counter() - began, 3)
        finally:
            for connection in kept.values():
                await connection.closed()

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(progress["connections"]):
                workers.create_task(work())
    finally:
        progress["running"] = False


def _deliveries(world: World, event: str, hooks: list[Json], count: int) -> Iterator[Delivery]:
    """Made one by one as the connections take them: a flood needs no memory of its own."""
    table = _table(event)
    text = "description" if table == "time_entries" else "name"
    made = 0
    for turn in world.courier.rounds:
        bodies = Bodies(world)
        for record in _records(world, table):
            body = bodies.of(Happened(event, table, record))
            body[text] = f"{body[text]} ({turn})"
            content = orjson.dumps(body)
            for hook in hooks:
                if made == count:
                    return
                made += 1
                if not world.courier.loses():
                    yield world.courier.delivery(hook, content)


def _records(world: World, table: str) -> Iterator[Json]:
    """Everything stored of that kind, a page at a time: others write while a flood runs."""
    select = f"SELECT * FROM {table} WHERE id > ? ORDER BY id"
    if table == "projects":
        select = f"{SELECT_PROJECT} WHERE p.id > ? ORDER BY p.id"
    last = ""
    while rows := world.db.execute(f"{select} LIMIT {PAGE}", (last,)).fetchall():
        for row in rows:
            if table == "time_entries":
                yield entry_body(row, world.workspace)
            elif table == "users":
                yield stored_user(row) | {"oldEmail": row["email"]}
            else:
                yield {"projects": project_body, "tasks": task_body}.get(table, document)(row)
        last = rows[-1]["id"]


def _table(event: str) -> str:
    """The table of the records an event is about."""
    for word, table in _TABLES:
        if word in event:
            return table
    raise ValueError(f"{event} is not about a record of this sandbox")


_TABLES = (
    ("TIME_ENTRY", "time_entries"), ("TIMER", "time_entries"), ("PROJECT", "projects"), ("CLIENT", "clients"),
    ("TASK", "tasks"), ("TAG", "tags"), ("USER_GROUP", "user_groups"), ("USER_", "users"),
)  # fmt: skip
