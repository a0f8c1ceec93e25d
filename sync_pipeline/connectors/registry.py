"""Systems beside Clockify and the Snapshots API: an adapter registered here is opened by each session that needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sync_pipeline.connectors.http import ClientOptions
from sync_pipeline.connectors.limiter import RateWindow
from sync_pipeline.connectors.ports import System
from sync_pipeline.mapping.systems import SYSTEMS, SystemFacts
from sync_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Vendor:
    """One more system."""

    facts: SystemFacts
    """What a mapping has to know of it."""
    account: Callable[[Settings], str]
    """Which account of it the settings name: records of another account are never mixed with these."""
    open: Callable[[Settings, ClientOptions], System]
    windows: Sequence[RateWindow] = ()
    """Its rate limit."""


VENDORS: dict[str, Vendor] = {}


def register(name: str, vendor: Vendor) -> None:
    """Let mappings name this system as source or target."""
    VENDORS[name] = vendor
    SYSTEMS[name] = vendor.facts


def unregister(name: str) -> None:
    """Undo ``register``."""
    del VENDORS[name], SYSTEMS[name]
