"""Who is asking: Clockify's two credential headers and its three different 401 answers."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from sync_pipeline.sandbox.clockify.http import Caller, Refusal
from sync_pipeline.sandbox.world import World


def authenticate(world: World, headers: Mapping[str, str]) -> Caller:
    """The caller behind the request's one credential; a bearer token counts as none."""
    key, token = headers.get("x-api-key"), headers.get("x-addon-token")
    if bool(key) == bool(token):
        raise Refusal(401, 1000, "Multiple or none auth tokens present")
    kind = "key" if key else "addon"
    row = world.db.execute(
        "SELECT u.id, u.body FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.key = ? AND k.kind = ?",
        (key or token, kind),
    ).fetchone()
    if row is None:
        raise Refusal(401, 4003, "Api key does not exist") if key else Refusal(401, 4017, "Token is not valid")
    return Caller(
        user_id=row["id"],
        zone=(orjson.loads(row["body"]).get("settings") or {}).get("timeZone", "UTC"),
        admin=kind == "addon" or is_admin(world, row["id"]),
        addon=kind == "addon",
    )


def is_admin(world: World, user_id: str) -> bool:
    """Whether the user is an owner or admin of the workspace."""
    found = world.db.execute(
        "SELECT 1 FROM roles WHERE user_id = ? AND role IN ('OWNER', 'WORKSPACE_ADMIN') LIMIT 1", (user_id,)
    ).fetchone()
    return found is not None
