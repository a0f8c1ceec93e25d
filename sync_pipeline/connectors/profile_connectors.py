"""The connectors that a profile can name: each speaks to the vendor behind the Snapshots side in its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sync_pipeline.connectors.highlevel.account import HighLevel
from sync_pipeline.connectors.highlevel.profile import HighLevelProfile
from sync_pipeline.connectors.http import ClientOptions
from sync_pipeline.connectors.ports import SnapshotsSystem
from sync_pipeline.connectors.profile import BaseProfile, Profile
from sync_pipeline.connectors.snapshots.api import Credentials, Snapshots
from sync_pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Connector:
    """One way to speak: the facts it needs, and what opens an account."""

    model: type[BaseProfile]
    open: Callable[[Any, str, Credentials, ClientOptions], SnapshotsSystem]


CONNECTORS: Mapping[str, Connector] = {
    "rest": Connector(Profile, Snapshots),
    "highlevel": Connector(HighLevelProfile, HighLevel),
}


def model_of(data: object, file: str) -> type[BaseProfile]:
    """The facts that a profile's file has to hold; ConfigError for a connector that there is not."""
    name = data.get("connector", "rest") if isinstance(data, dict) else "rest"
    if name not in CONNECTORS:
        known = ", ".join(sorted(CONNECTORS))
        raise ConfigError(f"{file}: connector: there is no {name!r}.", fix=f"There are: {known}.")
    return CONNECTORS[name].model


def open_snapshots(
    profile: BaseProfile, base_url: str, credentials: Credentials, options: ClientOptions
) -> SnapshotsSystem:
    """The account on the Snapshots side, through the connector that the profile names. Nothing is requested yet."""
    return CONNECTORS[profile.connector].open(profile, base_url, credentials, options)
