"""One connected system in detail: everything that is stored about it, for a page; no request is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from sync_pipeline.connectors.limiter import RateWindow
from sync_pipeline.connectors.ports import ConnectedSystem
from sync_pipeline.connectors.registry import connected_systems
from sync_pipeline.diagnose.finding import Finding, Status, stored_finding
from sync_pipeline.errors import NotAuthorized
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.health import WEBHOOKS
from sync_pipeline.session.secrets import SLOTS, Slot, Vault
from sync_pipeline.session.systems import facts_place, seen_budget
from sync_pipeline.settings import SYSTEMS, Settings
from sync_pipeline.setup.connections import SystemConnection, connections, current_pair, current_workspace
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

    system: ConnectedSystem
    connection: SystemConnection
    health: Health | None
    facts: SystemFacts
    test: tuple[Finding, ...]
    """What the last test found; empty when there was none."""
    permissions: tuple[Permission, ...]
    limits: str
    budgets: tuple[Budget, ...]
    """Of each limit that is longer than a second."""
    hooks: tuple[HookStatus, ...]
    hook_health: Health | None
    slot: Slot | None
    """The stored secret that can be replaced; None when there is none, or the environment decides."""

    @property
    def name(self) -> str:
        """What the connected account is called: by the workspace's name, where that is known."""
        return self.facts.workspace or self.system.title


def system_details(setup: SetupService, system: str) -> SystemDetails:
    """What is stored about a system in the current set-up."""
    settings = setup.settings()
    there = connected_systems(replace(settings, clockify_workspace_id=current_workspace(settings)))[system]
    connection = next(one for one in connections(setup) if one.system == there.system)
    with setup.vault(settings) as vault:
        store, pair = vault.store, current_pair(settings, vault.store)
        health, facts = read_health(store, pair), read_facts(store, facts_place(settings, system))
        test = tuple(map(stored_finding, facts.findings))
        return SystemDetails(
            system=there,
            connection=connection,
            health=health.get(system),
            facts=facts,
            test=test,
            permissions=tuple(_permissions(settings, there, test)),
            limits=" and ".join(_in_words(window) for window in there.limits.windows),
            budgets=tuple(_budgets(setup, store, there)),
            hooks=tuple(_hooks(store, pair)) if there.has_hooks else (),
            hook_health=health.get(WEBHOOKS) if there.has_hooks else None,
            slot=_slot(setup, settings, vault, there),
        )


def last_tests(setup: SetupService) -> Mapping[str, SystemFacts]:
    """What is known of each system from its last test."""
    settings = setup.settings()
    with setup.store() as store:
        return {system: read_facts(store, facts_place(settings, system)) for system in SYSTEMS}


def _in_words(window: RateWindow) -> str:
    span = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour"}.get(window[1], f"in {window[1]:g} seconds")
    return f"{window[0]} requests {span}"


def _budgets(setup: SetupService, store: Store, there: ConnectedSystem) -> Iterator[Budget]:
    for window in there.limits.windows:
        if window[1] > 1:
            yield seen_budget(store, there.limits.bucket, window, setup.now())


def _permissions(settings: Settings, there: ConnectedSystem, test: tuple[Finding, ...]) -> Iterator[Permission]:
    found = {finding.what: finding for finding in test}
    for spec in switched_on(specs_of(settings), settings.entities).values():
        if spec.target.once:
            continue
        read, write = (_right(there, spec, verb, found) for verb in ("Read", "Write"))
        if (read.state, write.state) != ("not needed", "not needed"):
            yield Permission(spec.entity, read, write)


def _right(there: ConnectedSystem, spec: EntitySpec, verb: str, found: Mapping[str, Finding]) -> Right:
    """By the finding of that name. What is read at the target is for comparisons only."""
    is_source, is_target = spec.source.system == there.system, spec.target.system == there.system
    finding = found.get(f"{verb} {spec.entity} ({there.system})")
    if finding is None or finding.verdict is Status.SKIPPED:
        is_needed = is_target if verb == "Write" else is_source or (is_target and there.has_scopes)
        return Right("not known" if is_needed else "not needed")
    if finding.verdict is Status.OK:
        return Right("ok")
    is_refused = finding.verdict is Status.WARNING or finding.exit_code == NotAuthorized.exit_code
    return Right("missing" if is_refused else "not known", finding.text)


def _hooks(store: Store, pair: str) -> Iterator[HookStatus]:
    for event in (name.removeprefix(WEBHOOK) for name in names(store, pair, WEBHOOK)):
        yield HookStatus(event, last_received(store, pair, event))


def _slot(setup: SetupService, settings: Settings, vault: Vault, there: ConnectedSystem) -> Slot | None:
    slot = next((slot for slot in SLOTS if slot.setting in there.secrets and vault.has(slot)), None)
    return slot if settings.stored and slot and not setup.is_given(slot.variable) else None
