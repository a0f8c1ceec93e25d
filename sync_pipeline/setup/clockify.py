"""Connecting Clockify: key or add-on token, region or custom address, and the workspace picked from a list."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.connectors.clockify.api import Clockify
from sync_pipeline.connectors.http import ClientOptions, OnResult
from sync_pipeline.connectors.limiter import memory_limiter
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.policy import Origin
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import CLOCKIFY_KEY, CLOCKIFY_TOKEN, Slot, Vault
from sync_pipeline.session.systems import clockify_account, facts_place, hourly_budget
from sync_pipeline.settings import SANDBOX_CLOCKIFY_KEY, SANDBOX_URL, Settings, read_setup
from sync_pipeline.setup.draft import (
    ONE_ATTEMPT,
    ask,
    base_url,
    counting,
    looking,
    origin_of,
    refuse_given,
    sandbox_if,
    secret_for,
)
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.health import note_names
from sync_pipeline.store.rate import Budget, note_sent

Kind = Literal["api_key", "addon_token"]
SLOT_OF: dict[str, Slot] = {"api_key": CLOCKIFY_KEY, "addon_token": CLOCKIFY_TOKEN}
SECRET_OF = {"api_key": "The Clockify API key", "addon_token": "The Clockify add-on token"}
ADMIN, MEMBER = "admin", "member"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace the key can see: its plan as a setting has it, and whether the key is an admin's there."""

    id: str
    name: str
    plan: Literal["free", "paid"]
    role: str


@dataclass(frozen=True, slots=True)
class ClockifyAccount:
    """The owner of the key, and the workspaces to choose from."""

    name: str
    email: str
    workspaces: tuple[Workspace, ...]

    @property
    def label(self) -> str:
        """The person, in words."""
        return f"{self.name} ({self.email})" if self.name and self.email else self.name or self.email


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockifyForm:
    """What was entered; an empty secret means the stored one."""

    region: str
    base_url: str = ""
    reports_url: str = ""
    kind: Kind = "api_key"
    secret: str = field(default="", repr=False)


def may_connect(workspace: Workspace, kind: Kind) -> bool:
    """Whether a key of this kind sees all of a workspace and may write to it; an add-on always has an admin's rights."""
    return workspace.role == ADMIN or kind == "addon_token"


def look_at_clockify(setup: SetupService, form: ClockifyForm) -> ClockifyAccount:
    """Ask Clockify for the owner of the key and what it can see. Nothing is stored; SyncError says what is wrong."""
    draft, _ = _draft(setup, form)
    return _look(setup, draft, form)


def requests_left(setup: SetupService) -> Budget | None:
    """What is left of this hour's requests; None before a workspace is connected, or on a plan without such a limit."""
    settings = setup.settings()
    if not settings.clockify_workspace_id:
        return None
    with setup.store() as store:
        return hourly_budget(store, clockify_account(settings, settings.clockify_workspace_id).limits, setup.now())


def connect_clockify(
    setup: SetupService, form: ClockifyForm, workspace_id: str, plan: str = "", *, since: str | None
) -> None:
    """Look again, then keep workspace, address and secret; an empty ``plan`` is what the workspace says of itself.

    ChangedMeanwhile when the set-up is not what it was; nothing is stored then.
    """
    draft, secret = _draft(setup, form)
    account = _look(setup, draft, form)
    workspace = _chosen(account, workspace_id, form)
    plan = plan or workspace.plan
    refuse_given(setup, {"clockify_workspace_id": workspace.id, "clockify_plan": plan})
    on_sandbox = form.region == SANDBOX.name
    values = {
        "clockify.base_url": SANDBOX.base_url if on_sandbox else draft.clockify_base_url,
        "clockify.reports_url": None if on_sandbox else draft.clockify_reports_url,
        "clockify.workspace_id": workspace.id,
        "clockify.plan": plan,
    }
    detail = f"workspace {workspace.name} ({workspace.id}) at {draft.clockify_base_url}, {form.kind} of {account.email}"
    with setup.vault(draft) as vault:
        vault.prove()

        def keep() -> None:
            if not setup.is_given(SLOT_OF[form.kind].variable):
                _keep(vault, form.kind, secret, setup)
            here = replace(draft, clockify_workspace_id=workspace.id)
            note_names(vault.store, facts_place(here, "clockify"), account.label, workspace.name)

        setup.change(values, "clockify connected", detail, since=since, then=keep)


def _keep(vault: Vault, kind: Kind, secret: str, setup: SetupService) -> None:
    """The same secret again is no new one; of key and token only one is kept."""
    slot, other = SLOT_OF[kind], SLOT_OF["addon_token" if kind == "api_key" else "api_key"]
    held = vault.get(slot)
    if held is None or held.value != secret:
        vault.enter(slot, secret, setup.now())
    vault.remove(other)


def _draft(setup: SetupService, form: ClockifyForm) -> tuple[Settings, str]:
    """The settings the form would make, with its secret in them."""
    now = setup.settings()
    base, reports = _addresses(now, form)
    refuse_given(setup, {"clockify_base_url": base, "clockify_reports_url": reports})
    draft = replace(
        now,
        clockify_base_url=base,
        clockify_reports_url=reports,
        clockify_api_key="",
        clockify_addon_token="",
        stored=True,
    )
    if form.kind not in SLOT_OF:
        raise ConfigError(f"There is no kind of key {form.kind!r}.", fix=f"There are {', '.join(SLOT_OF)}.")
    slot, what = SLOT_OF[form.kind], SECRET_OF[form.kind]
    is_known = (form.region in KNOWN and form.region != SANDBOX.name) or setup.is_given("CLOCKIFY_BASE_URL")
    secret = secret_for(setup, draft, slot, form.secret, what, is_known=is_known)
    if not secret and form.region == SANDBOX.name and form.kind == "api_key":
        secret = SANDBOX_CLOCKIFY_KEY
    if not secret:
        raise ConfigError(f"{what} is missing: none is stored for {base}.", fix="Enter it.")
    return replace(draft, **{slot.setting: secret}), secret  # type: ignore[arg-type]  # both are text


def _addresses(now: Settings, form: ClockifyForm) -> tuple[str, str]:
    if form.region == SANDBOX.name:
        return now.sandbox_urls[:2]
    if form.region in KNOWN:
        return KNOWN[form.region].base_url, KNOWN[form.region].reports_url
    if form.region != CUSTOM:
        raise ConfigError(f"There is no region {form.region!r}.", fix=f"There are {', '.join([*KNOWN, CUSTOM])}.")
    return (
        base_url(form.base_url, "Clockify's base URL"),
        base_url(form.reports_url, "The base URL of Clockify's reports"),
    )


def _look(setup: SetupService, draft: Settings, form: ClockifyForm) -> ClockifyAccount:
    on_sandbox, sent = form.region == SANDBOX.name, 0
    origin, on_result = origin_of(setup, SLOT_OF[form.kind], form.secret), counting("Clockify")

    async def look() -> ClockifyAccount:
        nonlocal sent
        async with _clockify(draft, "", origin, on_sandbox, on_result) as clockify:
            me = await clockify.me()
            if form.kind == "api_key":
                administered = {str(row.get("id")) for row in await clockify.workspaces(administered=True)}
                listed = [_workspace(row, administered) for row in await clockify.workspaces() if row.get("id")]
                sent = clockify.requests.total()
                return _account(me, listed)
        # An add-on may list no workspaces: its token is for the one in which it is installed, with an admin's rights.
        async with _clockify(draft, str(me.get("activeWorkspace")), origin, on_sandbox, on_result) as clockify:
            row = await clockify.workspace()
            sent = 1 + clockify.requests.total()
            return _account(me, [_workspace(row, {str(row.get("id"))})])

    with sandbox_if(on_sandbox, draft):
        account = ask(look)
    _count(setup, draft, account, sent)
    return account


def _count(setup: SetupService, draft: Settings, account: ClockifyAccount, sent: int) -> None:
    """Count the look-ups against the hourly budget of each workspace they may have used, so that a sync takes them into account."""
    with setup.store() as store:
        for workspace in account.workspaces:
            bucket = clockify_account(draft, workspace.id).bucket
            note_sent(store, bucket, PLANS["free"].windows, setup.now().timestamp() + store.ahead, sent)


def _clockify(draft: Settings, workspace: str, origin: Origin, on_sandbox: bool, on_result: OnResult) -> Clockify:
    account, guard = clockify_account(draft, workspace, origin=origin), looking(draft, on_sandbox=on_sandbox)
    options = ClientOptions(limiter=memory_limiter(), guard=guard, retry_policy=ONE_ATTEMPT, on_result=on_result)
    return Clockify(account, options)


def _account(me: Record, workspaces: list[Workspace]) -> ClockifyAccount:
    return ClockifyAccount(str(me.get("name") or ""), str(me.get("email") or ""), tuple(workspaces))


def _workspace(row: Record, administered: set[str]) -> Workspace:
    key = str(row.get("id"))
    is_free = str(row.get("featureSubscriptionType") or "FREE").upper() == "FREE"
    role = ADMIN if key in administered else MEMBER
    return Workspace(key, str(row.get("name") or key), "free" if is_free else "paid", role)


def _chosen(account: ClockifyAccount, workspace_id: str, form: ClockifyForm) -> Workspace:
    found = next((each for each in account.workspaces if each.id == workspace_id), None)
    if found is None:
        there = ", ".join(f"{each.name} ({each.id})" for each in account.workspaces) or "none"
        raise ConfigError(f"This key sees no workspace {workspace_id[:40]!r}.", fix=f"It sees: {there}.")
    if not may_connect(found, form.kind):
        raise ConfigError(
            f"This key belongs to a plain member of {found.name}, who does not see everything that is there.",
            fix="Use the key of an admin or the owner.",
        )
    return found


@dataclass(frozen=True, slots=True)
class Region:
    """One of Clockify's homes; ``base_url`` as the set-up file has it."""

    name: str
    label: str
    base_url: str
    reports_url: str


SANDBOX = Region("sandbox", "The sandbox on this machine, with sample data", SANDBOX_URL, SANDBOX_URL)
CUSTOM = "custom"


def _regional(name: str, label: str, prefix: str) -> Region:
    return Region(name, label, f"https://{prefix}.clockify.me/api/v1", f"https://{prefix}.clockify.me/report/v1")


REGIONS: tuple[Region, ...] = (
    SANDBOX,
    Region("global", "Global", "https://api.clockify.me/api/v1", "https://reports.api.clockify.me/v1"),
    _regional("eu", "European Union (Germany)", "euc1"),
    _regional("usa", "USA", "use2"),
    _regional("uk", "United Kingdom", "euw2"),
    _regional("au", "Australia", "apse2"),
)
KNOWN = {region.name: region for region in REGIONS}


def region_of(settings: Settings) -> str:
    """The name of the region these settings point at; ``custom`` for any other address."""
    here = (settings.clockify_base_url, settings.clockify_reports_url)
    if here == settings.sandbox_urls[:2] and is_named_sandbox(settings, "clockify_base_url"):
        return SANDBOX.name
    return next((region.name for region in REGIONS if here == (region.base_url, region.reports_url)), CUSTOM)


def is_named_sandbox(settings: Settings, field: str) -> bool:
    """Whether an address is the sandbox's because it was chosen, not because the same one was typed."""
    if not settings.stored:
        return settings.sandbox
    return bool(read_setup(settings.setup_document).get(field) == SANDBOX_URL)
