"""Which webhooks the workspace's plan keeps: a downgrade switches some off, an upgrade switches them on again."""

from __future__ import annotations

from sync_pipeline.sandbox.world import World

# plan -> webhooks per user, webhooks per workspace
LIMITS = {"free": (3, 3), "paid": (10, 100)}
# Events of features a free workspace does not have.
PAID = ("APPROVAL", "ASSIGNMENT", "BALANCE", "EXPENSE", "INVOICE", "_RATE_", "TIME_OFF", "LIMITED_USERS")


def in_plan(world: World) -> set[str]:
    """Ids of the webhooks within the plan: the oldest ones, on the free plan none about paid features."""
    plan = world.options.plan
    rows = world.db.execute("SELECT id, event FROM webhooks ORDER BY id").fetchall()
    kept = [row["id"] for row in rows if plan == "paid" or not _paid(row["event"])]
    return set(kept[: LIMITS[plan][1]])


def _paid(event: str) -> bool:
    return any(word in event for word in PAID)
