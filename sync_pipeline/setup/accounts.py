"""Stand-in of the accounts' side of the set-up, until the real one is merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sync_pipeline.connectors.consent import Consent, read_callback
from sync_pipeline.errors import ConfigError
from sync_pipeline.settings import SANDBOX_URL, Settings
from sync_pipeline.setup.desk import Desk
from sync_pipeline.stages.probes.finding import Finding
from sync_pipeline.stages.vault import CLOCKIFY_KEY, SNAPSHOTS_KEY

__all__ = ["CUSTOM", "REGIONS", "Consent", "Finding", "read_callback"]
CUSTOM = "custom"


@dataclass(frozen=True, slots=True)
class Region:
    """Where a Clockify account lives."""

    name: str
    label: str
    base_url: str
    reports_url: str


REGIONS = (
    Region("sandbox", "Sandbox on this machine", SANDBOX_URL, SANDBOX_URL),
    Region("global", "Global", "https://api.clockify.me/api/v1", "https://reports.api.clockify.me/v1"),
)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace of the account."""

    id: str
    name: str
    plan: str
    role: str


@dataclass(frozen=True, slots=True)
class ClockifyAccount:
    """Whose key it is."""

    name: str
    email: str
    workspaces: tuple[Workspace, ...]


@dataclass(frozen=True, slots=True)
class ClockifyForm:
    """What was entered."""

    region: str
    base_url: str = ""
    reports_url: str = ""
    kind: str = "api_key"
    secret: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotsForm:
    """What was entered."""

    region: str
    profile: str = "generic"
    base_url: str = ""
    account: str = ""
    auth: str = "api_key"
    api_key: str = ""
    client_id: str = ""
    client_secret: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Connection:
    """How one system is connected."""

    system: str
    where: str
    who: str
    workspace: str
    state: str
    since: str = ""
    detail: str = ""


def look_at_clockify(desk: Desk, form: ClockifyForm) -> ClockifyAccount:
    """Ask Clockify."""
    with desk.session(desk.settings(SYNC_MODE="sandbox")) as session:
        return ClockifyAccount(
            "Ada", "ada@example.com", (Workspace(session.clockify.account.workspace, "Acme", "PRO", "OWNER"),)
        )


def connect_clockify(desk: Desk, form: ClockifyForm, workspace_id: str, plan: str, *, since: str | None) -> None:
    """Store."""
    desk.change(
        {"clockify.base_url": SANDBOX_URL, "clockify.workspace_id": workspace_id, "clockify.plan": plan},
        "clockify",
        "connected",
        since=since,
    )
    with desk.vault() as vault:
        vault.enter(CLOCKIFY_KEY, form.secret, desk.now())


def connect_snapshots(desk: Desk, form: SnapshotsForm, *, since: str | None) -> list[Finding]:
    """Store."""
    desk.change({"snapshots.base_url": SANDBOX_URL}, "snapshots", "connected", since=since)
    with desk.vault() as vault:
        vault.enter(SNAPSHOTS_KEY, form.api_key, desk.now())
    return []


def begin_authorization(desk: Desk, form: SnapshotsForm, redirect_uri: str, *, since: str | None) -> Consent:
    """Ask."""
    raise ConfigError("Not built yet.")


def finish_authorization(desk: Desk, consent: Consent, redirect_uri: str, code: str) -> list[Finding]:
    """Redeem."""
    raise ConfigError("Not built yet.")


def needed_scopes(settings: Settings) -> tuple[str, ...]:
    """The scopes."""
    return ("saas/location.read",)


def stored_form(settings: Settings) -> SnapshotsForm:
    """The form."""
    return SnapshotsForm("custom", auth=settings.auth)


def region_of(settings: Settings) -> str:
    """The region."""
    return "sandbox" if settings.clockify_base_url == settings.sandbox_urls[0] else "custom"


def switch_entities(desk: Desk, names: Sequence[str], *, since: str | None) -> None:
    """Switch."""
    desk.change({"entities": list(names)}, "entities", ", ".join(names), since=since)


def disconnect(desk: Desk, system: str, *, since: str | None) -> None:
    """Forget."""
    desk.change({system: None}, system, "disconnected", since=since)


def connections(desk: Desk) -> tuple[Connection, Connection]:
    """Both."""
    s = desk.settings()
    state = "connected" if s.stored else "not set up"
    return (
        Connection("clockify", s.clockify_base_url, "", s.clockify_workspace_id, state),
        Connection("snapshots", s.snapshots_base_url, "", "", state if s.snapshots_base_url else "not set up"),
    )
