"""A desk in a home whose embedded sandbox runs already, small and in this process."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from sync_pipeline.setup.desk import Desk
from sync_pipeline.stages.vault import CLOCKIFY_KEY, SNAPSHOTS_KEY
from sync_pipeline_tests import harness
from sync_pipeline_tests.harness import Team

START = (datetime.now(UTC) - timedelta(days=20)).date().isoformat()


def environ_of(team: Team, **more: str) -> dict[str, str]:
    """No account at all; the home is where the team's sandbox keeps its data, so that it is the embedded one."""
    port = str(urlsplit(team.sandbox.url).port)
    home = str(team.home.parent)
    return {
        "SYNC_HOME": home,
        "SYNC_SANDBOX_PORT": port,
        "SYNC_START_DATE": START,
        "SYNC_MAX_ATTEMPTS": "1",
        **more,
    }


def desk_of(team: Team, environ: Mapping[str, str] | None = None, by: str = "ann (test)") -> Desk:
    """A desk at which nothing is set up yet."""
    return Desk(by, root=team.home.parent, environ=environ_of(team) if environ is None else environ)


def on_the_sandbox(desk: Desk, team: Team) -> Desk:
    """Set up on the embedded sandbox, without asking anybody."""
    return _set_up(desk, team, "sandbox", "sandbox", "sandbox")


def on_accounts(desk: Desk, team: Team) -> Desk:
    """Set up on "real" accounts: the same server, named by its address."""
    there = team.sandbox
    return _set_up(desk, team, there.clockify, there.reports, there.snapshots)


def _set_up(desk: Desk, team: Team, clockify: str, reports: str, snapshots: str) -> Desk:
    values = {
        "clockify.base_url": clockify,
        "clockify.reports_url": reports,
        "clockify.workspace_id": team.sandbox.workspace,
        "clockify.plan": "paid",
        "snapshots.base_url": snapshots,
    }
    desk.change(values, "set up", "for a test")
    with desk.vault() as vault:
        vault.enter(CLOCKIFY_KEY, harness.CLOCKIFY_KEY, desk.now())
        vault.enter(SNAPSHOTS_KEY, harness.SNAPSHOTS_KEY, desk.now())
    return desk


def files_below(directory: Path) -> list[Path]:
    """Every file in a home."""
    return [path for path in directory.rglob("*") if path.is_file()]
