"""One connected system in detail: everything that is stored about it, for a page; no request is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.connectors.limiter import RateWindow
from sync_pipeline.connectors.profile import load_profile
from sync_pipeline.diagnose.finding import Finding, Status, stored_finding
from sync_pipeline.errors import NotAuthorized
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.health import WEBHOOKS
from sync_pipeline.session.secrets import CLOCKIFY_KEY, CLOCKIFY_TOKEN, SNAPSHOTS_CLIENT, SNAPSHOTS_KEY, Slot, Vault
from sync_pipeline.session.systems import clockify_account, facts_place, seen_budget, snapshots_bucket
from sync_pipeline.settings import SYSTEMS, Settings
from sync_pipeline.setup.connections import Connection, connections, current_pair, current_workspace
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.credentials import WEBHOOK, names
from sync_pipeline.store.engine import Store
from sync_pipeline.store.events import last_received
from sync_pipeline.store.health import Health, SystemFacts, read_facts, read_health
from sync_pipeline.store.rate import Budget


class Right(NamedTuple):
    """Whether something may be done with an entity, by the last test."""

    state: str
    """ok | missing | not known | not needed."""
    detail: str = ""
    """Why it is missing, with the fix."""


class Permission(NamedTuple):
    """What may be done with one entity."""

    entity: str
    read: Right
    write: Right


class HookStatus(NamedTuple):
    """One registered webhook, and when it last brought an event."""

    event: str
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class SystemDetails:
    """Everything that is stored about one system."""

    connection: Connection
    title: str
    health: Health | None
    facts: SystemFacts
    test: tuple[Finding, ...]
    """What the last test found; empty when there was none."""
    permissions: tuple[Permission, ...]
    plan: str
    limits: str
    budgets: tuple[Budget, ...]
    """Of each limit that is longer than a second."""
    hooks: tuple[HookStatus, ...]
    hook_health: Health | None
    slot: Slot | None
    """The stored secret that can be replaced; None when there is none, or the environment decides."""
    can_authorize: bool
    prepares: bool = False
    """Whether something has to exist there before records are written."""

    @property
    def name(self) -> str:
        """What the connected account is called: by the workspace's name, where that is known."""
        return self.facts.workspace or self.title


def titles(settings: Settings) -> dict[str, str]:
    """What people call the systems."""
    return {"clockify": "Clockify", "snapshots": load_profile(settings.snapshots_profile).title}


def system_names(settings: Settings) -> dict[str, str]:
    """The same in one word."""
    return {"clockify": "Clockify", "snapshots": load_profile(settings.snapshots_profile).system}


def begin_title(settings: Settings) -> str:
    """What the Snapshots side is called at the beginning of a sentence."""
    named = load_profile(settings.snapshots_profile).named
    return named[:1].upper() + named[1:]


def system_details(setup: SetupService, system: str) -> SystemDetails:
    """What is stored about a system in the current set-up."""
    settings = setup.settings()
    connection = next(one for one in connections(setup) if one.system == system)
    with setup.vault(settings) as vault:
        store, profile = vault.store, load_profile(settings.snapshots_profile)
        pair = current_pair(settings, store)
        health, facts = read_health(store, pair), read_facts(store, facts_place(settings, system))
        test = tuple(map(stored_finding, facts.findings))
        windows, bucket = _limits(settings, system)
        return SystemDetails(
            connection=connection,
            title=titles(settings)[system],
            health=health.get(system),
            facts=facts,
            test=test,
            permissions=tuple(_permissions(settings, system, test)),
            plan=settings.clockify_plan if system == "clockify" else f"profile {profile.profile}",
            limits=" and ".join(_in_words(window) for window in windows),
            budgets=tuple(_budgets(setup, store, bucket, windows)),
            hooks=tuple(_hooks(store, pair)) if system == "clockify" else (),
            hook_health=health.get(WEBHOOKS) if system == "clockify" else None,
            slot=_slot(setup, settings, vault, system),
            can_authorize=can_authorize(settings) and system == "snapshots",
            prepares=profile.prepares and system == "snapshots",
        )


def last_tests(setup: SetupService) -> Mapping[str, SystemFacts]:
    """What is known of each system from its last test."""
    settings = setup.settings()
    with setup.store() as store:
        return {system: read_facts(store, facts_place(settings, system)) for system in SYSTEMS}


def can_authorize(settings: Settings) -> bool:
    """Whether a person can be asked for consent, with what is stored."""
    return settings.stored and settings.auth == "authorization_code" and bool(settings.snapshots_client_id)


def _limits(settings: Settings, system: str) -> tuple[tuple[RateWindow, ...], str]:
    """The rate limits of a system, and the name of its budget."""
    if system == "clockify":
        account = clockify_account(settings, current_workspace(settings))
        return PLANS[settings.clockify_plan].windows, account.bucket
    return load_profile(settings.snapshots_profile).windows, snapshots_bucket(settings)


def _in_words(window: RateWindow) -> str:
    span = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour"}.get(window[1], f"in {window[1]:g} seconds")
    return f"{window[0]} requests {span}"


def _budgets(setup: SetupService, store: Store, bucket: str, windows: tuple[RateWindow, ...]) -> Iterator[Budget]:
    for window in windows:
        if window[1] > 1:
            yield seen_budget(store, bucket, window, setup.now())


def _permissions(settings: Settings, system: str, test: tuple[Finding, ...]) -> Iterator[Permission]:
    found = {finding.what: finding for finding in test}
    for spec in switched_on(specs_of(settings), settings.entities).values():
        if spec.target.once:
            continue
        read, write = (_right(system, spec, verb, found) for verb in ("Read", "Write"))
        if (read.state, write.state) != ("not needed", "not needed"):
            yield Permission(spec.entity, read, write)


def _right(system: str, spec: EntitySpec, verb: str, found: Mapping[str, Finding]) -> Right:
    """By the finding of that name. What is read at the target is for comparisons only."""
    is_needed = spec.target.system == system if verb == "Write" else system in (spec.source.system, spec.target.system)
    finding = found.get(f"{verb} {spec.entity} ({system})")
    if finding is None or finding.verdict is Status.SKIPPED:
        is_compared = verb == "Read" and system == "clockify" and spec.source.system != system
        return Right("not known" if is_needed and not is_compared else "not needed")
    if finding.verdict is Status.OK:
        return Right("ok")
    is_refused = finding.verdict is Status.WARNING or finding.exit_code == NotAuthorized.exit_code
    return Right("missing" if is_refused else "not known", finding.text)


def _hooks(store: Store, pair: str) -> Iterator[HookStatus]:
    for event in (name.removeprefix(WEBHOOK) for name in names(store, pair, WEBHOOK)):
        yield HookStatus(event, last_received(store, pair, event))


def _slot(setup: SetupService, settings: Settings, vault: Vault, system: str) -> Slot | None:
    if system == "clockify":
        slot = CLOCKIFY_KEY if vault.has(CLOCKIFY_KEY) else CLOCKIFY_TOKEN
    else:
        slot = SNAPSHOTS_KEY if settings.auth == "api_key" else SNAPSHOTS_CLIENT
    return slot if settings.stored and vault.has(slot) and not setup.is_given(slot.variable) else None
