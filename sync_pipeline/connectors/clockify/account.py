"""The Clockify account, and what its subscription allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sync_pipeline.connectors.http import RetryPolicy
from sync_pipeline.connectors.limiter import RateLimits, RateWindow
from sync_pipeline.connectors.policy import Origin
from sync_pipeline.connectors.ports import AccountAddress, ConnectedSystem, Pace
from sync_pipeline.settings import Settings

KEY_SETTING = "CLOCKIFY_API_KEY"
ADDON_SETTING = "CLOCKIFY_ADDON_TOKEN"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a Clockify subscription allows."""

    windows: tuple[RateWindow, ...]
    label: str
    retry_policy: RetryPolicy
    pace: Pace
    hooks: tuple[int, int]
    """Webhooks per user, and per workspace."""


PACE = Pace(
    days_cost="2 to 4 requests to Clockify: a report page for each 200 entries, and the running timers",
    list_cost="1 request to Clockify for each 200 records; 1 more for each that is missing",
    full_cost="Clockify's whole list, as a sync reads it: for time entries a report page for each 200 entries, at least one "
    "for each 31 days",
)
PLANS: Mapping[str, Plan] = {
    "free": Plan(
        ((10, 1.0), (30, 3600.0)),
        "Clockify allows 30 requests an hour on the Free plan",
        # A 429 that names no time means that another client used the hour's budget: look again every few minutes.
        RetryPolicy(first_wait_after_429=300.0, longest_wait=900.0, longest_retry_after=3600.0, total_wait=4500.0),
        replace(
            PACE,
            poll_seconds=3600,
            list_poll_factor=3,
            feed_pages=5,
            days_seconds=None,
            reads_by_id=3,
            compares_by_id=1,
            rescan_hours=6,
            note="On the Free plan it shares the 30 requests an hour with everything else and waits for its turn.",
        ),
        hooks=(3, 3),
    ),
    "paid": Plan(
        ((50, 1.0),), "Clockify allows 50 requests a second on a paid plan", RetryPolicy(), PACE, hooks=(10, 100)
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account and its address, with an API key or an add-on token. Both are left out of ``repr``."""

    api_key: str = field(default="", repr=False)
    addon_token: str = field(default="", repr=False)
    fallback: str = field(default="", repr=False)
    """The former key or token, until it is retired."""
    workspace: str
    base_url: str = "https://api.clockify.me/api/v1"
    reports_url: str = "https://reports.api.clockify.me/v1"
    plan: str = "free"
    origin: Origin = Origin.ENVIRONMENT
    """Where the key or token came from."""

    @property
    def header(self) -> str:
        """The header that carries the key or token."""
        return "X-Addon-Token" if self.addon_token else "X-Api-Key"

    @property
    def setting(self) -> str:
        """Where the key or token comes from."""
        return ADDON_SETTING if self.addon_token else KEY_SETTING

    @property
    def bucket(self) -> str:
        """The name of the request budget, which all keys of a workspace share."""
        return f"clockify:{self.base_url.rstrip('/')}:{self.workspace}"

    @property
    def limits(self) -> RateLimits:
        """The rate limits of its plan."""
        return RateLimits(self.bucket, PLANS[self.plan].windows)


def pace(settings: Settings) -> Pace:
    """How often, and for how much, live syncing asks Clockify on the plan of these settings."""
    return PLANS[settings.clockify_plan].pace


def address(settings: Settings) -> AccountAddress:
    """Where the workspace is."""
    return AccountAddress(
        vendor="clockify",
        base_url=settings.clockify_base_url,
        parts=(settings.clockify_base_url, settings.clockify_reports_url),
        account=settings.clockify_workspace_id,
        names={"workspace": settings.clockify_workspace_id},
    )


def describe(settings: Settings) -> ConnectedSystem:
    """The workspace that these settings name."""
    account = Account(
        workspace=settings.clockify_workspace_id, base_url=settings.clockify_base_url, plan=settings.clockify_plan
    )
    return ConnectedSystem(
        system="clockify",
        title="Clockify",
        short_title="Clockify",
        named="Clockify",
        plan=settings.clockify_plan,
        limits=account.limits,
        is_shared=True,
        secrets=("clockify_api_key", "clockify_addon_token"),
        has_hooks=True,
    )
