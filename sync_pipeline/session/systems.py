"""The systems of a session: their accounts, credentials and limits, as the settings name them; and what was measured there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from sync_pipeline.connectors.clockify.account import PLANS, Account
from sync_pipeline.connectors.clockify.api import Clockify
from sync_pipeline.connectors.clockify.entries import ReaderChoice, ReaderSetting
from sync_pipeline.connectors.guard import RequestGuard
from sync_pipeline.connectors.http import ClientOptions, OnResult, RetryPolicy
from sync_pipeline.connectors.limiter import RateLimits, RateWindow, Sleep, store_limiter
from sync_pipeline.connectors.policy import Origin
from sync_pipeline.connectors.ports import SnapshotsSystem, System
from sync_pipeline.connectors.preparation import Measured
from sync_pipeline.connectors.profile import BaseProfile
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.registry import VENDORS, address_of, connected_systems, limits_of, open_snapshots
from sync_pipeline.connectors.snapshots.account import agency_limits, snapshots_account, snapshots_limits
from sync_pipeline.connectors.snapshots.api import AgencyKey, Credentials, needed_scopes
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import Progress, Report
from sync_pipeline.session.secrets import (
    AGENCY_KEY,
    CLOCKIFY_KEY,
    CLOCKIFY_TOKEN,
    SNAPSHOTS_CLIENT,
    SNAPSHOTS_KEY,
    Slot,
    Unlocked,
    Vault,
    place,
)
from sync_pipeline.settings import Settings, load_settings
from sync_pipeline.store.engine import Store
from sync_pipeline.store.health import note_test, read_facts
from sync_pipeline.store.names import StoredNames
from sync_pipeline.store.rate import Budget, budget
from sync_pipeline.store.scope import pair_key
from sync_pipeline.store.setup import current_documents

MEASURED, UNREAD = "measured", "unread"
FELL_BACK = "the new key was not accepted, so the one before it is used. Rotate it again, or retire the old one."


@dataclass(frozen=True, slots=True)
class Opening:
    """What the systems of a session are opened with."""

    unlocked: Unlocked
    specs: Mapping[str, EntitySpec]
    profile: BaseProfile
    store: Store
    guard: RequestGuard
    report: Report
    sleep: Sleep

    def clockify(self, workspace: str, names: StoredNames, on_result: OnResult) -> Clockify:
        """The Clockify workspace."""
        unlocked, settings = self.unlocked, self.unlocked.settings
        slot, plan = CLOCKIFY_TOKEN if settings.clockify_addon_token else CLOCKIFY_KEY, PLANS[settings.clockify_plan]
        account = clockify_account(settings, workspace, unlocked.previous.get(slot.setting, ""), unlocked.origin(slot))
        entity = next((name for name, spec in self.specs.items() if spec.source.reader), "")
        options = self._options("Clockify", account.limits, plan.label, on_result)
        return Clockify(
            account,
            replace(
                options,
                on_rejected=self._on_rejected(slot),
                retry_policy=replace(plan.retry_policy, attempts=settings.max_attempts),
            ),
            reader=cast("ReaderSetting", settings.clockify_reader),
            page_size=settings.clockify_page_size,
            on_choice=lambda choice: self.report(Progress(entity, "plan", note=_chosen(choice))),
            names=names,
        )

    def snapshots(self, on_result: OnResult) -> SnapshotsSystem:
        """The account on the Snapshots side."""
        unlocked, settings = self.unlocked, self.unlocked.settings
        profile = self.profile.as_measured([one.facts for one in read_measured(self.store, settings)])
        label = f"The rate limit of {profile.system}"
        options = self._options(profile.system, snapshots_limits(settings, profile), label, on_result)
        agency = self._options(profile.system, agency_limits(settings, profile), label, on_result)
        credentials = snapshots_credentials(
            unlocked,
            self.specs,
            profile,
            self.store,
            replace(agency, on_rejected=self._on_rejected(AGENCY_KEY)),
        )
        options = replace(options, on_rejected=self._on_rejected(SNAPSHOTS_KEY))
        return open_snapshots(profile, settings.snapshots_base_url, credentials, options)

    def others(self) -> dict[str, System]:
        """The registered systems that the entities name."""
        opened: dict[str, System] = {}
        for name, account in other_accounts(self.unlocked.settings, self.specs).items():
            vendor = VENDORS[name]
            options = self._options(vendor.facts.label, limits_of(name, account), f"The limit of {name}")
            opened[name] = vendor.open(self.unlocked.settings, options)
        return opened

    def _options(
        self,
        system: str,
        limits: RateLimits,
        label: str,
        on_result: OnResult | None = None,
    ) -> ClientOptions:
        say: Callable[[str], None] = lambda text: self.report(Progress(system, "wait", note=text))  # noqa: E731
        return ClientOptions(
            limiter=store_limiter(
                self.store, limits.bucket, limits.windows, label=label, on_wait=say, sleep=self.sleep
            ),
            guard=self.guard,
            retry_policy=RetryPolicy(attempts=self.unlocked.settings.max_attempts),
            on_wait=say,
            on_fallback=lambda: say(FELL_BACK),
            on_result=on_result,
            sleep=self.sleep,
        )

    def _on_rejected(self, slot: Slot) -> Callable[[], None]:
        return lambda: self.unlocked.rejected.append(slot)


def pair_of(settings: Settings, profile: BaseProfile, workspace: str, others: Mapping[str, str] | None = None) -> str:
    """The accounts that are synced, in words; everything about them is stored under the key that the store has for these."""
    more = "".join(f" {name}:{account}" for name, account in (others or {}).items())
    return f"clockify:{workspace} {profile.profile}:{snapshots_account(settings)}{more}"


def other_setups(store: Store, settings: Settings) -> list[Settings]:
    """The settings of the other set-ups that share the database, as far as these are valid."""
    found = []
    for name, document in current_documents(store, besides=settings.setup_name).items():
        with suppress(SyncError):
            found.append(load_settings({"SYNC_SETUP_NAME": name}, root=settings.home, document=document))
    return found


def pairs_of_others(store: Store, settings: Settings) -> set[str]:
    """The keys of the pairs that only other set-ups of the database are for."""
    return _pairs_of(store, other_setups(store, settings)) - _pairs_of(store, [settings])


def _pairs_of(store: Store, setups: Iterable[Settings]) -> set[str]:
    """The keys of the pairs that these settings are for."""
    found = set()
    for settings in setups:
        with suppress(SyncError):
            profile, specs = (
                load_profile(settings.snapshots_profile),
                switched_on(specs_of(settings), settings.entities),
            )
            others = other_accounts(settings, specs)
            found.add(pair_key(store, pair_of(settings, profile, settings.clockify_workspace_id, others)))
    return found


def other_accounts(settings: Settings, specs: Mapping[str, EntitySpec]) -> dict[str, str]:
    """The accounts of registered systems that the entities name."""
    named = {system for spec in specs.values() for system in (spec.source.system, spec.target.system)}
    return {name: VENDORS[name].account(settings) for name in sorted(named & VENDORS.keys())}


def facts_place(settings: Settings, system: str) -> str:
    """Under what facts about a system are kept: its address, and the account there."""
    return f"{place(settings, system)} {address_of(system, settings).account}".strip()


def limits_in(settings: Settings, profile: BaseProfile, others: Mapping[str, str]) -> dict[str, RateLimits]:
    """The rate limits of every system of a session, by the name that mappings give it; ``others`` are those registered."""
    both = {name: system.limits for name, system in connected_systems(settings, profile).items()}
    return {**both, **{name: limits_of(name, account) for name, account in others.items()}}


def hourly_budget(store: Store, limits: RateLimits, now: datetime) -> Budget | None:
    """What is left of an account's requests of this hour; None without an hourly limit."""
    return limits.hourly and seen_budget(store, limits.bucket, limits.hourly, now)


def seen_budget(store: Store, bucket: str, window: RateWindow, now: datetime) -> Budget:
    """What is left of one window, with times of this process' clock, as ``now`` is."""
    ahead = store.ahead
    return budget(store, bucket, window, now.timestamp() + ahead).by_clock(ahead)


def clockify_account(
    settings: Settings, workspace: str, fallback: str = "", origin: Origin = Origin.ENVIRONMENT
) -> Account:
    """The Clockify account of these settings; ``fallback`` is the former key."""
    token = settings.clockify_addon_token
    return Account(
        api_key="" if token else settings.clockify_api_key,
        addon_token=token,
        fallback=fallback,
        workspace=workspace,
        base_url=settings.clockify_base_url,
        reports_url=settings.clockify_reports_url,
        plan=settings.clockify_plan,
        origin=origin,
    )


def snapshots_credentials(
    unlocked: Unlocked,
    specs: Mapping[str, EntitySpec],
    profile: BaseProfile,
    store: Store,
    agency: ClientOptions | None = None,
) -> Credentials:
    """How these settings sign in; a person's consent is kept in the store. ``agency`` is how a second key is used."""
    settings = unlocked.settings
    account = Credentials(
        location=settings.snapshots_location,
        company=settings.snapshots_company,
        customer=settings.snapshots_customer,
        subscription=settings.snapshots_subscription,
        owners=settings.snapshots_owners,
    )
    if settings.auth == "api_key":
        return replace(
            account,
            api_key=settings.snapshots_api_key,
            fallback=unlocked.previous.get(SNAPSHOTS_KEY.setting, ""),
            origin=unlocked.origin(SNAPSHOTS_KEY),
            agency=_agency_key(unlocked, agency),
        )
    vault, is_consent = Vault(store, settings), settings.auth == "authorization_code"
    return replace(
        account,
        client_id=settings.snapshots_client_id,
        client_secret=settings.snapshots_client_secret,
        scopes=settings.snapshots_scopes or needed_scopes(specs, profile),
        vault=vault.tokens if is_consent else None,
        minted=vault.account_tokens if is_consent and settings.snapshots_location else None,
        origin=unlocked.origin(SNAPSHOTS_CLIENT),
        agency=None if agency is None else AgencyKey("", agency),
    )


def _agency_key(unlocked: Unlocked, options: ClientOptions | None) -> AgencyKey | None:
    key, fallback = unlocked.settings.snapshots_agency_key, unlocked.previous.get(AGENCY_KEY.setting, "")
    return AgencyKey(key, options, fallback, unlocked.origin(AGENCY_KEY)) if key and options else None


def _chosen(choice: ReaderChoice) -> str:
    cost = "unknown" if choice.requests is None else choice.requests
    return f"read by `{choice.reader}` (expected requests: {cost}): {choice.reason}"


def measured_place(settings: Settings) -> str:
    """The key of what was measured: the address, and the account there."""
    return f"{facts_place(settings, 'snapshots')} {MEASURED}"


def unread_place(settings: Settings) -> str:
    """The key of the accounts below the address with figures that could not be read, and why."""
    return f"{facts_place(settings, 'snapshots')} {UNREAD}"


def all_facts_places(settings: Settings, system: str) -> tuple[str, ...]:
    """The keys of everything that is known of a system."""
    here = facts_place(settings, system)
    return here, f"{here} {MEASURED}", f"{here} {UNREAD}"


def note_measured(store: Store, settings: Settings, found: Sequence[Measured], at: datetime) -> None:
    """Store what was measured, replacing what was measured before."""
    note_test(store, measured_place(settings), [one._asdict() for one in found], at)


def read_measured(store: Store, settings: Settings) -> list[Measured]:
    """What was measured last; empty where nothing was, and where there is no account that it could be about."""
    if not settings.snapshots_location:
        return []
    return [Measured(**one) for one in read_facts(store, measured_place(settings)).findings]
