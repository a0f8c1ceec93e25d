"""What was probably meant by an address or a key that does not work."""

from __future__ import annotations

import pytest

from sync_pipeline.diagnose.contact import core_url, reports_url, snapshots_url, wrong_key

CORE, REPORTS = "https://api.clockify.me/api/v1", "https://reports.api.clockify.me/v1"
EUROPE = "https://euc1.clockify.me"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        (CORE, ""),
        (f"{EUROPE}/api/v1", ""),
        ("http://127.0.0.1:8750/clockify/api/v1", ""),
        ("https://api.clockify.me", CORE),
        ("https://api.clockify.me/api", CORE),
        ("https://api.clockify.me/v1", CORE),
        ("https://api.clockify.me/api/v1/workspaces/64a687e2", CORE),
        ("https://api.clockify.me/api/v1/user", CORE),
        ("https://app.clockify.me/tracker", CORE),
        ("https://clockify.me", CORE),
        (REPORTS, CORE),
        (EUROPE, f"{EUROPE}/api/v1"),
        (f"{EUROPE}/report/v1", f"{EUROPE}/api/v1"),
        ("http://127.0.0.1:8750/clockify", "http://127.0.0.1:8750/clockify/api/v1"),
    ],
)
def test_core_address(url: str, meant: str) -> None:
    """A missing or trailing path, the reports' address, a web page: the address that was meant; "" for a good one."""
    assert core_url(url) == meant


@pytest.mark.parametrize(
    ("url", "core", "meant"),
    [
        (REPORTS, CORE, ""),
        (f"{EUROPE}/report/v1", f"{EUROPE}/api/v1", ""),
        ("https://reports.api.clockify.me", CORE, REPORTS),
        (CORE, CORE, REPORTS),
        (REPORTS, f"{EUROPE}/api/v1", f"{EUROPE}/report/v1"),
        (f"{EUROPE}/reports/v1", f"{EUROPE}/api/v1", f"{EUROPE}/report/v1"),
        (f"{EUROPE}/v1", f"{EUROPE}/api/v1", f"{EUROPE}/report/v1"),
        (f"{EUROPE}/api/v1", f"{EUROPE}/api/v1", f"{EUROPE}/report/v1"),
        ("http://127.0.0.1/clockify/api/v1", "http://127.0.0.1/clockify/api/v1", "http://127.0.0.1/clockify/report/v1"),
    ],
)
def test_reports_address(url: str, core: str, meant: str) -> None:
    """The reports' address that belongs to the core's, global or of a region."""
    assert reports_url(url, core) == meant


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("https://api.example.com/v2", ""),
        ("https://api.example.com/v2/locations", "https://api.example.com/v2"),
        ("https://api.example.com/openapi.json", "https://api.example.com"),
    ],
)
def test_snapshots_address(url: str, meant: str) -> None:
    """An entity's list or the document instead of what is before them."""
    assert snapshots_url(url, ["locations", "users"]) == meant


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("NmE3ZDU2Y2MtZjBkOS00", ""),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "It has the form of a token (a JWT)"),
        ("Bearer abcdef", "It begins with a word that belongs to the header"),
        ("'NmE3ZDU2Y2MtZjBkOS00'", "It is set between quotes"),
        ("sandbox-clockify-key", "It is a key of the sandbox."),
        ("the-other-key", "The same key is set for both systems."),
    ],
)
def test_wrong_kind_of_key(key: str, said: str) -> None:
    """What kind of key it is instead, by its form alone; the key is not in the sentence."""
    hint = wrong_key(key, "the-other-key", remote=True)
    assert hint.startswith(said)
    assert bool(hint) == bool(said)
    assert key not in hint
