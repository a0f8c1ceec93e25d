"""Which alerts the facts open: a table of facts and alerts, without a store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sync_pipeline.alerts.derive import (
    EXPIRES_SOON,
    INHIBITED_BY,
    STALE,
    CredentialFact,
    PipelineFacts,
    derive,
)
from sync_pipeline.alerts.kinds import KINDS, path_of, title_of
from sync_pipeline.session.health import UNCOMPARED
from sync_pipeline.store.alert_notices import FailingDestination
from sync_pipeline.store.approvals import Approval
from sync_pipeline.store.health import Health
from sync_pipeline.store.rate import Budget
from sync_pipeline.store.rejects import RejectedRecords
from sync_pipeline.store.syncs import Failing, Sync

NOW = datetime(2026, 11, 25, 15, 7, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FACTS = PipelineFacts(now=NOW, entities=("users", "projects"), is_live=True, live_since=NOW - DAY)


def health(system: str, code: str, ago: timedelta = HOUR) -> dict[str, Health]:
    """A failure that began so long ago."""
    return {system: Health(system, NOW - DAY, NOW - ago, code, f"{code}.")}


def failed(entity: str = "users", count: int = 1, category: str | None = None) -> dict[str, Failing]:
    """Syncs that failed in a row."""
    sync = replace(synced(NOW), outcome="failed", reason="The disk is full.", category=category)
    return {entity: Failing(count, NOW - 2 * HOUR, sync)}


def synced(at: datetime, **counts: Any) -> Sync:
    """A sync that succeeded."""
    return Sync(
        id=9,
        connection="here",
        entity="users",
        run_id="r9",
        partitions=None,
        fingerprint=None,
        read_no=9,
        observed_at=at,
        begun_at=at,
        loaded_at=at,
        finished_at=at,
        outcome="success",
        counts=counts,
        requests=1,
        reason=None,
    )


def request(number: int, guard: str, shown: int) -> Approval:
    """An open request."""
    open_ = (None, None, None, None)
    return Approval(number, "here", "users", "records", guard, None, shown, 0, NOW - HOUR, *open_)


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a refused key": ({"health": health("clockify", "key refused")}, "key_refused:clockify", "key refused."),
    "an outage": ({"health": health("snapshots", "not reachable")}, "not_reachable:snapshots", "not reachable."),
    "another server": ({"health": health("snapshots", "wrong address")}, "not_reachable:snapshots", "wrong address."),
    "no daemon": ({"nothing_syncs": "No daemon has reported."}, "no_heartbeat", "No daemon has reported."),
    "a failing run": (
        {"failing": failed(count=3)},
        "run_failed:users",
        "It failed 3 times in a row. The disk is full.",
    ),
    "a permission": ({"failing": failed(category="forbidden")}, "permission_missing:users", "The disk is full."),
    "no success": (
        {"last_success": {"users": synced(NOW - STALE - HOUR), "projects": synced(NOW)}, "live_since": NOW - 9 * DAY},
        "no_success:users",
        "No sync of users has succeeded since 2026-11-23 13:07 UTC. Run `sync-pipeline sync`.",
    ),
    "held records": (
        {"held": [request(7, "deletes", 12), request(8, "creates", 1)]},
        "held:users",
        "13 users are held (creates and deletes) until someone decides: look at `sync-pipeline approvals show 7`, "
        "then `approvals allow 7` or `approvals decline 7`.",
    ),
    "rejects": (
        {"rejects": {"users": RejectedRecords(2, NOW - DAY, NOW - HOUR), "other": RejectedRecords(1, NOW, NOW)}},
        "rejects:users",
        "2 of the users are not delivered: `sync-pipeline rejects list` says why. They are checked again at every sync.",
    ),
    "drift": (
        {"health": health("verify:users", "3 missing") | {"verify:gone": Health("verify:gone", None, NOW, "x", "x")}},
        "drift:users",
        "`verify` found 3 missing. Sync again, then check with `sync-pipeline verify`.",
    ),
    "a reset of the sandbox": (
        {"health": {"verify:users": Health("verify:users", NOW, NOW, UNCOMPARED, "The sandbox was reset.")}},
        "drift:users",
        "The sandbox was reset. Repair everything on the console's overview, or with `sync-pipeline verify --repair`.",
    ),
    "other fields at the source": (
        {"last_success": {"users": synced(NOW - HOUR, schema_changed="x is new")}},
        "schema_changed:users",
        "x is new. Map what is new or remove what is missing: `sync-pipeline mapping fields`.",
    ),
    "webhooks": (
        {"health": health("webhooks", "TAG is off")},
        "webhook_off",
        "TAG is off. Switch them on again: `sync-pipeline webhooks register --enable --url ...`.",
    ),
    "a mistake in the rules": (
        {"health": health("alert rules", "rules.yaml:3: rules.a: has no comparison. Give one.")},
        "rules_invalid:alert rules",
        "rules.yaml:3: rules.a: has no comparison. Give one.",
    ),
    "an old key": (
        {"credentials": [CredentialFact("clockify", NOW - 91 * DAY, None)], "max_age": 90 * DAY},
        "credentials_age:clockify",
        "The Clockify key was entered on 2026-08-26, more than 90 days ago (SYNC_KEY_MAX_AGE_DAYS). Replace it: "
        "`sync-pipeline credentials rotate`.",
    ),
    "a token that expires": (
        {"credentials": [CredentialFact("clockify", None, NOW + EXPIRES_SOON)]},
        "credentials_age:clockify",
        "The Clockify token expires on 2026-12-09. Replace it: `sync-pipeline credentials rotate`.",
    ),
    "no budget": (
        {"budgets": {"clockify": Budget(2, 3600, (int(NOW.timestamp() * 1e6),) * 2, 0, int(NOW.timestamp() * 1e6))}},
        "budget_used:clockify",
        "2 of 2 requests of this hour are used; runs wait. The next request is possible at 16:07 UTC, and all of them are free "
        "again at 16:07 UTC.",
    ),
    "a destination": (
        {"destinations": {"ops": FailingDestination(NOW - HOUR, 2, "it answered 404")}},
        "destination_failing:ops",
        "2 messages wait: it answered 404. Try it with `sync-pipeline alerts test ops`.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fact_opens_its_alert(case: str) -> None:
    """Just this one, with its cause and what to do; it has a title and a page."""
    changes, name, detail = CASES[case]
    (found,) = derive(replace(FACTS, **changes))
    assert (str(found.key), found.detail, found.is_inhibited) == (name, detail, False)
    assert "{" not in title_of(found.key) + path_of(found.key)
    assert found.since <= NOW


def test_every_kind_has_a_fact_that_opens_it() -> None:
    """The list is closed: no alert can open that is not in it, and none is there for nothing."""
    assert {name.partition(":")[0] for _, name, _ in CASES.values()} == set(KINDS)
    assert set(INHIBITED_BY) <= set(KINDS)


def test_without_facts_there_is_no_alert() -> None:
    """Nor are there any about what is well, young, or of another set-up."""
    assert derive(FACTS) == []
    well = replace(
        FACTS,
        health={"clockify": Health("clockify", NOW, None, None, None), **health("clockify-2", "key refused", DAY)},
        last_success={"users": synced(NOW - STALE), "projects": synced(NOW)},
        credentials=[CredentialFact("clockify-2", NOW - HOUR, NOW + EXPIRES_SOON + DAY)],
        failing=failed("entity_switched_off"),
        max_age=DAY,
    )
    assert derive(well) == []
    old = {"users": synced(NOW - 9 * DAY)}
    assert derive(replace(FACTS, is_live=False, live_since=None, last_success=old)) == []


def test_a_cause_silences_what_follows_from_it() -> None:
    """Of the same system or entity; the worst is first."""
    everything = replace(
        FACTS,
        health=health("clockify", "key refused"),
        failing=failed("users") | failed("projects"),
        last_success={"users": synced(NOW - 9 * DAY)},
        live_since=NOW - 9 * DAY,
        rejects={"users": RejectedRecords(1, NOW, NOW)},
    )
    found = derive(everything)
    assert [str(each.key) for each in found if not each.is_inhibited] == ["key_refused:clockify", "rejects:users"]
    assert len(found) == 6
    one = derive(replace(FACTS, failing=failed("users"), live_since=NOW - 9 * DAY))
    assert [str(each.key) for each in one if not each.is_inhibited] == ["run_failed:users", "no_success:projects"]


def test_a_cause_is_bounded() -> None:
    """However much a vendor sends."""
    (found,) = derive(replace(FACTS, nothing_syncs="x" * 10_000))
    assert len(found.detail) == 600
