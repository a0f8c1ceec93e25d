"""The tags by which people filter runs: which entity, what started it, who asked for it, and how much it changed."""

from __future__ import annotations

import dagster as dg
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARENT_RUN_ID_TAG, RETRY_NUMBER_TAG

from sync_pipeline.store.syncs import Cause, Trigger

ENTITY_TAG = "sync_pipeline/entity"
TRIGGER_TAG = "sync_pipeline/trigger"
REQUESTED_BY_TAG = "sync_pipeline/requested_by"
CHANGED_TAG = "sync_pipeline/changed"
"""How many records the run has written; a run that wrote nothing does not have it."""
LAUNCHED_BY = "user"
"""Dagster's UI shows it in the column *Launched by*, where it would say "Manually launched"."""
UNKNOWN = "unknown"


def requested(trigger: Trigger, by: str = "") -> dict[str, str]:
    """The tags of a run that is asked for; ``by`` is the person, where one did."""
    return {TRIGGER_TAG: trigger, **({REQUESTED_BY_TAG: by, LAUNCHED_BY: by} if by else {})}


def at_start(run: dg.DagsterRun) -> dict[str, str]:
    """The tags that a run still lacks when it starts, and those that it has copied from the run it repeats."""
    tags: dict[str, str] = {}
    is_manual = PARENT_RUN_ID_TAG in run.tags and RETRY_NUMBER_TAG not in run.tags
    if TRIGGER_TAG not in run.tags or is_manual:
        tags |= requested("backfill" if BACKFILL_ID_TAG in run.tags else "by hand")
    if is_manual:  # Dagster removes no tag from a run
        tags |= {name: UNKNOWN for name in (REQUESTED_BY_TAG, LAUNCHED_BY) if name in run.tags}
    if PARENT_RUN_ID_TAG in run.tags and CHANGED_TAG in run.tags:
        tags[CHANGED_TAG] = UNKNOWN
    assets = run.asset_selection or frozenset()
    if ENTITY_TAG not in run.tags and len(assets) == 1:
        tags[ENTITY_TAG] = next(iter(assets)).path[-1]
    return tags


def cause_of(run: dg.DagsterRun) -> Cause:
    """What started a run, and who asked for it."""
    tags = {**run.tags, **at_start(run)}
    by = tags.get(REQUESTED_BY_TAG, "")
    return Cause(tags.get(TRIGGER_TAG, ""), "" if by == UNKNOWN else by)
