"""Which connectors there are: those that a profile can name, and further systems, which each session opens that needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sync_pipeline.connectors.clockify import account as clockify
from sync_pipeline.connectors.highlevel.account import HighLevel
from sync_pipeline.connectors.http import ClientOptions
from sync_pipeline.connectors.limiter import RateLimits, RateWindow
from sync_pipeline.connectors.ports import AccountAddress, ConnectedSystem, Pace, SnapshotsSystem, System
from sync_pipeline.connectors.profile import BaseProfile
from sync_pipeline.connectors.snapshots import account as snapshots
from sync_pipeline.connectors.snapshots.api import Credentials, Snapshots
from sync_pipeline.mapping.systems import SYSTEMS, SystemDescription
from sync_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Vendor:
    """One more system."""

    facts: SystemDescription
    """What a mapping has to know of it."""
    account: Callable[[Settings], str]
    """Which account of it the settings name: records of another account are never mixed with these."""
    open: Callable[[Settings, ClientOptions], System]
    windows: Sequence[RateWindow] = ()
    """Its rate limit."""
    pace: Pace = Pace()


VENDORS: dict[str, Vendor] = {}


def register(name: str, vendor: Vendor) -> None:
    """Let mappings name this system as source or target."""
    VENDORS[name] = vendor
    SYSTEMS[name] = vendor.facts


def unregister(name: str) -> None:
    """Undo ``register``."""
    del VENDORS[name], SYSTEMS[name]


CONNECTORS: Mapping[str, Callable[[Any, str, Credentials, ClientOptions], SnapshotsSystem]] = {
    "rest": Snapshots,
    "highlevel": HighLevel,
}
"""What opens an account on the Snapshots side, by the connector that a profile names."""


PACES: Mapping[str, Callable[[Settings], Pace]] = {"clockify": clockify.pace}
"""The paces of the two systems of a set-up that depend on its settings, by system."""
ADDRESSES: Mapping[str, Callable[[Settings], AccountAddress]] = {
    "clockify": clockify.address,
    "snapshots": snapshots.address,
}
"""Where the accounts of these two systems are."""


def open_snapshots(
    profile: BaseProfile, base_url: str, credentials: Credentials, options: ClientOptions
) -> SnapshotsSystem:
    """The account on the Snapshots side, through the connector that the profile names. Nothing is requested yet."""
    return CONNECTORS[profile.connector](profile, base_url, credentials, options)


def connected_systems(settings: Settings, profile: BaseProfile | None = None) -> dict[str, ConnectedSystem]:
    """The two systems that a set-up connects; ``profile`` where it is read already."""
    return {one.system: one for one in (clockify.describe(settings), snapshots.describe(settings, profile))}


def limits_of(system: str, account: str) -> RateLimits:
    """The rate limits of an account of a registered system."""
    return RateLimits(f"{system}:{account}", VENDORS[system].windows)


def pace_of(system: str, settings: Settings) -> Pace:
    """How often, and for how much, live syncing asks a system. Needs no profile: one that is invalid hides no schedule."""
    if system in VENDORS:
        return VENDORS[system].pace
    return PACES[system](settings) if system in PACES else Pace()


def address_of(system: str, settings: Settings) -> AccountAddress:
    """Where the account of a system is."""
    if system in VENDORS:
        return AccountAddress(vendor=system, account=VENDORS[system].account(settings))
    return ADDRESSES[system](settings)


def page_names(settings: Settings) -> dict[str, str]:
    """What the `pages` of an entity can name, besides the record."""
    return {name: value for address in ADDRESSES.values() for name, value in address(settings).names.items()}


def name_of(system: str, settings: Settings) -> str:
    """What people call a system within a sentence: the vendor by its own name."""
    both = connected_systems(settings)
    return both[system].named if system in both else SYSTEMS[system].label
