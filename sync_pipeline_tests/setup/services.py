"""A set-up service in a home whose embedded sandbox runs already, small and in this process."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from sync_pipeline.clock import utc_now
from sync_pipeline.session.secrets import CLOCKIFY_KEY, SNAPSHOTS_KEY
from sync_pipeline.settings import Settings
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.setup import SetupChange, put_current, version_in
from sync_pipeline_tests import harness
from sync_pipeline_tests.harness import Team


def environ_of(team: Team, **more: str) -> dict[str, str]:
    """No account at all; the home is where the team's sandbox keeps its data, so that it is the embedded one."""
    port = str(urlsplit(team.sandbox.url).port)
    home = str(team.home.parent)
    return {
        "SYNC_HOME": home,
        "SYNC_SANDBOX_PORT": port,
        "SYNC_START_DATE": team.days.first.isoformat(),
        "SYNC_MAX_ATTEMPTS": "1",
        **more,
    }


def setup_of(team: Team, environ: Mapping[str, str] | None = None, by: str = "ann (test)") -> SetupService:
    """A set-up service where nothing is set up yet."""
    return SetupService(by, root=team.home.parent, environ=environ_of(team) if environ is None else environ)


def on_the_sandbox(setup: SetupService, team: Team) -> SetupService:
    """Set up on the embedded sandbox, without asking anyone."""
    return _set_up(setup, team, "sandbox", "sandbox", "sandbox")


def on_accounts(setup: SetupService, team: Team) -> SetupService:
    """Set up on "real" accounts: the same server, named by its address."""
    there = team.sandbox
    return _set_up(setup, team, there.clockify, there.reports, there.snapshots)


def _set_up(setup: SetupService, team: Team, clockify: str, reports: str, snapshots: str) -> SetupService:
    values = {
        "clockify.base_url": clockify,
        "clockify.reports_url": reports,
        "clockify.workspace_id": team.sandbox.workspace,
        "clockify.plan": "paid",
        "snapshots.base_url": snapshots,
    }
    setup.change(values, "set up", "for a test")
    with setup.vault() as vault:
        vault.enter(CLOCKIFY_KEY, harness.CLOCKIFY_KEY, setup.now())
        vault.enter(SNAPSHOTS_KEY, harness.SNAPSHOTS_KEY, setup.now())
    return setup


def write_document(settings: Settings, document: str, **change: str) -> None:
    """Make a text the current set-up, whatever it holds, as an earlier version may have left it."""
    with closing(open_store(settings.store_url)) as store:
        now = version_in(store, settings.setup_name, "current")
        made = SetupChange("bob (test)", utc_now(), "written for a test", **change)
        put_current(store, settings.setup_name, document, made, expected=now.id if now else 0)


def document_of(settings: Settings) -> str:
    """The text of the current set-up."""
    with closing(open_store(settings.store_url)) as store:
        now = version_in(store, settings.setup_name, "current")
    return now.document if now else ""


def files_below(directory: Path) -> list[Path]:
    """Every file in a home."""
    return [path for path in directory.rglob("*") if path.is_file()]
