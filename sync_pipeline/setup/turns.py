"""When each entity is read again whatever the polling has found: the times of the schedules, in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.settings import Settings

RESCAN = {"paid": "17 * * * *", "free": "17 */6 * * *"}
FIRST_NIGHTLY, APART = 2 * 60 + 2, 10
"""Minutes after midnight of the first entity that is read nightly, and between two of them."""


def turns(specs: Iterable[EntitySpec], settings: Settings) -> dict[str, str]:
    """Each entity's cron expression: recent days often, whole lists nightly, no two at the same time."""
    found: dict[str, str] = {}
    for spec in specs:
        minute = FIRST_NIGHTLY + APART * len([cron for cron in found.values() if cron not in RESCAN.values()])
        nightly = f"{minute % 60} {minute // 60} * * *"
        found[spec.entity] = RESCAN[settings.clockify_plan] if spec.partitioned else nightly
    return found


def next_turn(cron: str, now: datetime) -> datetime:
    """The first minute after now at which minute and hour are those of an expression of ours."""
    minutes, hours = cron.split()[:2]
    at = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while not (_fits(minutes, at.minute) and _fits(hours, at.hour)):
        at += timedelta(minutes=1)
    return at


def _fits(field: str, value: int) -> bool:
    if field.startswith("*/"):
        return value % int(field[2:]) == 0
    return field in ("*", str(value))
