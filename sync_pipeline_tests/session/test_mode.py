"""Sandbox, dry run or live: every row of the table in ``stages/mode.py``."""

from __future__ import annotations

import pytest

from sync_pipeline.session.mode import decide
from sync_pipeline.settings import Settings

NONE, SANDBOX, STORED, ENVIRON = (
    {"sandbox": True},
    {"sandbox": True, "stored": True},
    {"stored": True},
    {"clockify_api_key": "k"},
)

ROWS = [
    # SYNC_MODE, accounts, switch -> mode, acts by itself, may write
    ("sandbox", NONE, False, "sandbox", True, True),
    ("sandbox", NONE, True, "sandbox", True, True),
    ("", NONE, False, "sandbox", True, True),
    ("", NONE, True, "sandbox", True, True),
    ("", SANDBOX, True, "sandbox", True, True),
    ("", SANDBOX, False, "sandbox", False, True),
    ("", STORED, True, "live", True, True),
    ("", STORED, False, "dry_run", False, False),
    ("", ENVIRON, False, "live", False, True),
    ("", ENVIRON, True, "live", False, True),
    ("dry_run", NONE, True, "dry_run", False, False),
    ("dry_run", SANDBOX, True, "dry_run", False, False),
    ("dry_run", STORED, True, "dry_run", False, False),
    ("dry_run", ENVIRON, True, "dry_run", False, False),
    ("live", SANDBOX, False, "sandbox", True, True),
    ("live", STORED, False, "live", True, True),
    ("live", ENVIRON, False, "live", True, True),
]


@pytest.mark.parametrize(("variable", "accounts", "switch", "name", "automatic", "writes"), ROWS)
def test_a_row(
    variable: str, accounts: dict[str, bool], switch: bool, name: str, automatic: bool, writes: bool
) -> None:
    """The mode, whether anything happens by itself, whether anything may be written, and a reason for people."""
    settings = Settings(mode=variable, **accounts)  # type: ignore[arg-type]
    mode = decide(settings, switched_on=switch)
    assert (mode.name, mode.automatic, mode.writes) == (name, automatic, writes)
    assert mode.why
    assert mode.guard.writes is writes
    assert mode.guard.only_loopback is settings.sandbox


def test_what_is_off_says_how_to_turn_it_on() -> None:
    """The reason names the command and the variable."""
    assert "`sync-pipeline live on`" in decide(Settings(stored=True), switched_on=False).why
    assert "SYNC_MODE=live" in decide(Settings(), switched_on=True).why
    assert "SYNC_MODE is dry_run" in decide(Settings(mode="dry_run"), switched_on=True).why
