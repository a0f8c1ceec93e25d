"""The tags by which people filter runs: which entity, what started it, who asked for it, and how much it changed."""

from __future__ import annotations

from typing import Literal

import dagster as dg
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARENT_RUN_ID_TAG, RETRY_NUMBER_TAG

ENTITY_TAG = "sync_pipeline/entity"
TRIGGER_TAG = "sync_pipeline/trigger"
REQUESTED_BY_TAG = "sync_pipeline/requested_by"
CHANGED_TAG = "sync_pipeline/changed"
"""How many records the run has written; a run that wrote nothing does not have it."""
LAUNCHED_BY = "user"
"""Dagster's UI shows it in the column *Launched by*, where it would say "Manually launched"."""
UNKNOWN = "unknown"

Trigger = Literal["change", "schedule", "first sync", "backfill", "terminal", "by hand"]
"""``by hand``: launched in the Dagster UI, or by a program that uses Dagster itself."""


def requested(trigger: Trigger, by: str = "") -> dict[str, str]:
    """The tags of a run that is asked for; ``by`` is the person, where one did."""
    return {TRIGGER_TAG: trigger, **({REQUESTED_BY_TAG: by, LAUNCHED_BY: by} if by else {})}


def at_start(run: dg.DagsterRun) -> dict[str, str]:
    """The tags that a run still lacks when it starts, and those that it has copied from the run it repeats."""
    tags: dict[str, str] = {}
    by_hand = PARENT_RUN_ID_TAG in run.tags and RETRY_NUMBER_TAG not in run.tags
    if TRIGGER_TAG not in run.tags or by_hand:
        tags |= requested("backfill" if BACKFILL_ID_TAG in run.tags else "by hand")
    if by_hand:  # Dagster removes no tag from a run
        tags |= {name: UNKNOWN for name in (REQUESTED_BY_TAG, LAUNCHED_BY) if name in run.tags}
    if PARENT_RUN_ID_TAG in run.tags and CHANGED_TAG in run.tags:
        tags[CHANGED_TAG] = UNKNOWN
    assets = run.asset_selection or frozenset()
    if ENTITY_TAG not in run.tags and len(assets) == 1:
        tags[ENTITY_TAG] = next(iter(assets)).path[-1]
    return tags
