"""From what a request did to deliveries: which webhooks want to know, and the one body they all get."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from sync_pipeline.sandbox.clockify.http import Happened, Json
from sync_pipeline.sandbox.clockify.webhooks import in_plan
from sync_pipeline.sandbox.webhooks.bodies import Bodies
from sync_pipeline.sandbox.world import World


def publish(world: World, happened: Sequence[Happened]) -> None:
    """Queue the deliveries of these events. Without a webhook for them it is one look into an empty table."""
    bodies: Bodies | None = None
    hooks = {event: active_hooks(world, event) for event in {one.event for one in happened}}
    for one in happened:
        wanting = [hook for hook in hooks[one.event] if _wants(hook, one, world.workspace)]
        if not wanting:
            continue
        bodies = bodies or Bodies(world)
        body = orjson.dumps(bodies.of(one))
        for hook in wanting:
            world.courier.put(world.courier.delivery(hook, body))


def active_hooks(world: World, event: str) -> list[Json]:
    """The webhooks for an event that are switched on, still trusted, and within the plan."""
    rows = world.db.execute("SELECT body FROM webhooks WHERE event = ? ORDER BY id", (event,)).fetchall()
    if not rows:
        return []
    allowed = in_plan(world)
    found = (orjson.loads(row["body"]) for row in rows)
    return [hook for hook in found if hook["enabled"] and hook["deliveryEnabled"] and hook["id"] in allowed]


def _wants(hook: Json, happened: Happened, workspace: str) -> bool:
    """Whether the event comes from one of the hook's sources; a workspace-wide hook need not name its workspace."""
    named = set(hook["triggerSource"])
    if hook["triggerSourceType"] == "WORKSPACE_ID":
        return not named or workspace in named
    return not named.isdisjoint(_sources(happened, hook["triggerSourceType"]))


# trigger source -> the table whose ids it names, the field other records refer to it by
_REFERENCES = {
    "PROJECT_ID": ("projects", "projectId"),
    "USER_ID": ("users", "userId"),
    "TASK_ID": ("tasks", "taskId"),
    "TAG_ID": ("tags", "tagIds"),
}


def _sources(happened: Happened, kind: str) -> list[str]:
    if kind not in _REFERENCES:
        return []
    table, field = _REFERENCES[kind]
    found = happened.record.get("id" if happened.table == table else field) or []
    return [found] if isinstance(found, str) else list(found)
