"""Which alerts are open: a pure function of facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from sync_pipeline.alerts import kinds
from sync_pipeline.connectors.error_category import ErrorCategory
from sync_pipeline.session.health import CODES, FIGURE_RULES, REFUSED, SUBSCRIPTIONS, UNCOMPARED, VERIFY, WEBHOOKS
from sync_pipeline.store.alert_notices import FailingDestination
from sync_pipeline.store.alerts import AlertKey
from sync_pipeline.store.approvals import Approval
from sync_pipeline.store.health import Health
from sync_pipeline.store.rate import Budget
from sync_pipeline.store.rejects import RejectedRecords
from sync_pipeline.store.syncs import SCHEMA_CHANGED, Failing, Sync

STALE = timedelta(days=2, hours=1)
"""Two nightly turns and an hour: without a success for so long, an entity is not kept in step."""
EXPIRES_SOON = timedelta(days=14)
LONGEST = 600
"""Characters of a cause that are kept."""
INHIBITED_BY: Mapping[str, tuple[str, ...]] = {
    kinds.NOT_REACHABLE: (kinds.KEY_REFUSED,),
    kinds.PERMISSION_MISSING: (kinds.KEY_REFUSED,),
    kinds.RUN_FAILED: (kinds.KEY_REFUSED, kinds.NOT_REACHABLE, kinds.PERMISSION_MISSING),
    kinds.NO_SUCCESS: (
        kinds.KEY_REFUSED,
        kinds.NO_HEARTBEAT,
        kinds.NOT_REACHABLE,
        kinds.PERMISSION_MISSING,
        kinds.RUN_FAILED,
        kinds.HELD,
    ),
}
"""What explains an alert: while that is open as well, of the same entity or system or of all, it says nothing new."""


@dataclass(frozen=True, slots=True)
class CredentialFact:
    """One secret in use: when it was entered, and until when it is valid, as far as known."""

    system: str
    entered_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class PipelineFacts:
    """What is known about the pipeline now."""

    now: datetime
    entities: Sequence[str] = ()
    health: Mapping[str, Health] = field(default_factory=dict)
    nothing_syncs: str = ""
    """Why nothing is syncing although live syncing is on."""
    is_live: bool = False
    """Whether sensors and schedules sync these accounts; the untouched sandbox needs no one's attention for that."""
    live_since: datetime | None = None
    """Since when the switch is on; None also where the environment decides."""
    failing: Mapping[str, Failing] = field(default_factory=dict)
    last_success: Mapping[str, Sync] = field(default_factory=dict)
    held: Sequence[Approval] = ()
    rejects: Mapping[str, RejectedRecords] = field(default_factory=dict)
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    credentials: Sequence[CredentialFact] = ()
    max_age: timedelta | None = None
    destinations: Mapping[str, FailingDestination] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DerivedAlert:
    """One alert that is open, and the fact that opened it."""

    key: AlertKey
    since: datetime
    detail: str
    """The cause in one sentence, with the fix."""
    count: int = 1
    news: datetime | None = None
    """When it last got worse; None: it has not since it began."""
    subject: str = ""
    """The run or the request it is about, by its id."""
    is_inhibited: bool = False
    """Whether another open alert explains it: it is neither shown nor opened, and not resolved by that."""


def derive(facts: PipelineFacts) -> list[DerivedAlert]:
    """Every alert that the facts open, worst first."""
    found = [each for rule in RULES for each in rule(facts)]
    found.sort(key=lambda each: (kinds.ORDER[each.key.kind], each.since))
    keys = {each.key for each in found}
    return [
        replace(each, is_inhibited=_is_explained(each.key, keys), detail=each.detail[:LONGEST].strip())
        for each in found
    ]


def _is_explained(key: AlertKey, open_keys: set[AlertKey]) -> bool:
    causes = INHIBITED_BY.get(key.kind, ())
    return any(other.kind in causes and _is_about_the_same(key, other) for other in open_keys)


def _is_about_the_same(one: AlertKey, other: AlertKey) -> bool:
    return all(mine == its for mine, its in zip(one[1:], other[1:], strict=True) if mine and its)


def _systems(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    entered = {each.system: each.entered_at for each in facts.credentials if each.entered_at is not None}
    for system, health in facts.health.items():
        if health.failed_at is None or health.code not in CODES.values():
            continue
        if system in entered and entered[system] > health.failed_at:
            continue  # it failed with the secret before this one
        kind = kinds.KEY_REFUSED if health.code == REFUSED else kinds.NOT_REACHABLE
        yield DerivedAlert(AlertKey(kind, system=system), health.failed_at, health.reason or "", news=health.failed_at)


def _heartbeat(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    if facts.nothing_syncs:
        daemon = facts.health.get("daemon")
        since = daemon.ok_at if daemon is not None else facts.live_since
        yield DerivedAlert(AlertKey(kinds.NO_HEARTBEAT), since or facts.now, facts.nothing_syncs)


def _failures(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    for entity, failing in facts.failing.items():
        if entity not in facts.entities:
            continue
        last = failing.last
        kind = kinds.PERMISSION_MISSING if last.category == ErrorCategory.FORBIDDEN else kinds.RUN_FAILED
        times = f"It failed {failing.count} times in a row. " if failing.count > 1 else ""
        reason = last.reason or "The run ended without a reason: its log in the Dagster UI has more."
        detail = f"{times}{reason}"
        yield DerivedAlert(AlertKey(kind, entity), failing.since, detail, failing.count, subject=last.run_id or "")


def _successes(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    for entity in facts.entities if facts.is_live else ():
        last = facts.last_success.get(entity)
        known = [at for at in (facts.live_since, last.begun_at if last is not None else None) if at is not None]
        if known and facts.now - (since := max(known)) > STALE:
            name = entity.replace("_", " ")
            detail = f"No sync of {name} has succeeded since {since:%Y-%m-%d %H:%M} UTC. Run `sync-pipeline sync`."
            yield DerivedAlert(AlertKey(kinds.NO_SUCCESS, entity), since, detail)


def _held(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    for entity in sorted({each.entity for each in facts.held}):
        mine = [each for each in facts.held if each.entity == entity]
        count = sum(each.shown for each in mine)
        guards = " and ".join(sorted({each.guard.replace("_", " ") for each in mine}))
        name, first = entity.replace("_", " "), mine[0].id
        detail = (
            f"{count:,} {name} are held ({guards}) until someone decides: look at `sync-pipeline approvals show {first}`, "
            f"then `approvals allow {first}` or `approvals decline {first}`."
        )
        asked = [each.requested_at for each in mine]
        subject = str(first) if len(mine) == 1 else ""
        yield DerivedAlert(AlertKey(kinds.HELD, entity), min(asked), detail, count, max(asked), subject)


def _rejects(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    for entity, found in facts.rejects.items():
        if entity in facts.entities:
            are, name = "is" if found.count == 1 else "are", entity.replace("_", " ")
            detail = (
                f"{found.count:,} of the {name} {are} not delivered: `sync-pipeline rejects list` says why. "
                "They are checked again at every sync."
            )
            yield DerivedAlert(AlertKey(kinds.REJECTS, entity), found.first_at, detail, found.count, found.newest_at)


def _findings(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    for about, health in facts.health.items():
        if health.failed_at is None:
            continue
        at, reason = health.failed_at, (health.reason or "").rstrip(".")
        entity = about.removeprefix(VERIFY)
        if about == WEBHOOKS:
            detail = f"{reason}. Switch them on again: `sync-pipeline webhooks register --enable --url ...`."
            yield DerivedAlert(AlertKey(kinds.WEBHOOK_OFF), at, detail, news=at)
        elif about in (FIGURE_RULES, SUBSCRIPTIONS):
            yield DerivedAlert(AlertKey(kinds.RULES_INVALID, system=about), at, f"{reason}.", news=at)
        elif entity in facts.entities and about != entity:
            detail = (
                f"{reason}. Repair everything on the console's overview, or with `sync-pipeline verify --repair`."
                if health.code == UNCOMPARED
                else f"`verify` found {reason}. Sync again, then check with `sync-pipeline verify`."
            )
            yield DerivedAlert(AlertKey(kinds.DRIFT, entity), at, detail, news=at)


def _schemas(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    for entity, sync in facts.last_success.items():
        if entity in facts.entities and (found := sync.counts.get(SCHEMA_CHANGED)):
            detail = f"{found}. Map what is new or remove what is missing: `sync-pipeline mapping fields`."
            yield DerivedAlert(AlertKey(kinds.SCHEMA_CHANGED, entity), sync.begun_at, detail)


def _credentials(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    for each in facts.credentials:
        name = each.system.capitalize()
        if each.expires_at is not None and each.expires_at - facts.now <= EXPIRES_SOON:
            verb = "expires" if each.expires_at > facts.now else "expired"
            detail = f"The {name} token {verb} on {each.expires_at:%Y-%m-%d}. Replace it: `sync-pipeline credentials rotate`."
            yield DerivedAlert(
                AlertKey(kinds.CREDENTIALS_AGE, system=each.system), each.expires_at - EXPIRES_SOON, detail
            )
        elif facts.max_age and each.entered_at is not None and facts.now - each.entered_at > facts.max_age:
            detail = (
                f"The {name} key was entered on {each.entered_at:%Y-%m-%d}, more than {facts.max_age.days} days ago "
                "(SYNC_KEY_MAX_AGE_DAYS). Replace it: `sync-pipeline credentials rotate`."
            )
            since = each.entered_at + facts.max_age
            yield DerivedAlert(AlertKey(kinds.CREDENTIALS_AGE, system=each.system), since, detail)


def _budgets(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    for system, budget in facts.budgets.items():
        if not budget.left:
            detail = (
                f"{budget.used} of {budget.limit} requests of this hour are used; runs wait. The next request is possible at "
                f"{datetime.fromtimestamp(budget.free_at(1), UTC):%H:%M} UTC, and all of them are free again at {budget.full_at:%H:%M} UTC."
            )
            yield DerivedAlert(AlertKey(kinds.BUDGET_USED, system=system), facts.now, detail)


def _destinations(facts: PipelineFacts) -> Iterator[DerivedAlert]:
    for name, failing in facts.destinations.items():
        detail = f"{failing.waiting} messages wait: {failing.problem}. Try it with `sync-pipeline alerts test {name}`."
        key = AlertKey(kinds.DESTINATION_FAILING, system=name)
        yield DerivedAlert(key, failing.since, detail, failing.waiting)


RULES: tuple[Callable[[PipelineFacts], Iterator[DerivedAlert]], ...] = (
    _systems,
    _heartbeat,
    _failures,
    _successes,
    _held,
    _rejects,
    _findings,
    _schemas,
    _credentials,
    _budgets,
    _destinations,
)
"""Each gives the alerts of some kinds."""
