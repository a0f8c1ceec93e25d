"""The account on the Snapshots side, as the settings name it."""

from __future__ import annotations

from sync_pipeline.connectors.limiter import RateLimits
from sync_pipeline.connectors.ports import AccountAddress, ConnectedSystem
from sync_pipeline.connectors.profile import BaseProfile
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.settings import Settings


def snapshots_account(settings: Settings) -> str:
    """What distinguishes one account from another: the base URL, and the account's name where several share one."""
    return " ".join(
        filter(None, (settings.snapshots_base_url, settings.snapshots_account, settings.snapshots_location))
    )


def snapshots_limits(settings: Settings, profile: BaseProfile) -> RateLimits:
    """The rate limits of the account."""
    return RateLimits(f"snapshots:{snapshots_account(settings)}", profile.windows)


def agency_limits(settings: Settings, profile: BaseProfile) -> RateLimits:
    """The rate limits of the agency that the account is part of."""
    company = settings.snapshots_company or f"that of {settings.snapshots_location}"
    return RateLimits(f"snapshots:{settings.snapshots_base_url} {company}", profile.windows)


def address(settings: Settings) -> AccountAddress:
    """Where the account is."""
    return AccountAddress(
        vendor=settings.snapshots_profile,
        base_url=settings.snapshots_base_url,
        parts=(settings.snapshots_profile, settings.snapshots_base_url, settings.snapshots_account),
        account=settings.snapshots_location,
        names={"account": settings.snapshots_account},
    )


def describe(settings: Settings, profile: BaseProfile | None = None) -> ConnectedSystem:
    """The account that these settings name, with what its profile says."""
    profile, has_consent = profile or load_profile(settings.snapshots_profile), settings.auth == "authorization_code"
    return ConnectedSystem(
        system="snapshots",
        title=profile.title,
        short_title=profile.system,
        named=profile.named,
        plan=f"profile {profile.profile}",
        limits=snapshots_limits(settings, profile),
        secrets=("snapshots_api_key",) if settings.auth == "api_key" else ("snapshots_client_secret",),
        can_authorize=settings.stored and has_consent and bool(settings.snapshots_client_id),
        prepares=profile.prepares,
        has_scopes=True,
    )
