"""Settings with a set-up file: what wins, what is refused and where, and what a half-finished set-up lacks."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from sync_pipeline.errors import ConfigError, MappingFileError
from sync_pipeline.settings import SANDBOX_CLOCKIFY_KEY, SETTINGS, Settings, load_settings

REAL = """\
clockify:
  base_url: https://euc1.clockify.me/api/v1
  reports_url: https://euc1.clockify.me/report/v1
  workspace_id: w1
  plan: paid
snapshots:
  base_url: https://snapshots.example/v1
  auth: client_credentials
  client_id: me
  scopes: [saas/location.read, users.write]
entities: [locations, users]
start_date: 2026-02-01
"""
SANDBOX = "clockify: {base_url: sandbox, workspace_id: w1}\nsnapshots: {base_url: sandbox}\n"


def load(root: Path, text: str, **environ: str) -> Settings:
    """The settings of a home with this set-up file."""
    home = root / "home"
    home.mkdir(exist_ok=True)
    (home / "setup.yaml").write_text(text)
    return load_settings({"SYNC_HOME": "home", **environ}, root=root)


def test_what_the_file_says(tmp_path: Path) -> None:
    """Every key becomes its setting; the accounts are stored ones, on real systems, and nothing is missing."""
    found = load(tmp_path, REAL)
    assert (found.stored, found.sandbox, found.missing) == (True, False, ())
    assert (found.clockify_base_url, found.clockify_reports_url, found.clockify_workspace_id, found.clockify_plan) == (
        "https://euc1.clockify.me/api/v1",
        "https://euc1.clockify.me/report/v1",
        "w1",
        "paid",
    )
    assert (found.snapshots_base_url, found.auth, found.snapshots_client_id) == (
        "https://snapshots.example/v1",
        "client_credentials",
        "me",
    )
    assert found.snapshots_scopes == ("saas/location.read", "users.write")
    assert (found.entities, found.start_date) == (("locations", "users"), date(2026, 2, 1))
    assert found.setup_file == tmp_path.resolve() / "home" / "setup.yaml"


def test_precedence(tmp_path: Path) -> None:
    """A variable of the environment wins over the file, the file over the default; an empty variable is none."""
    found = load(tmp_path, REAL, CLOCKIFY_WORKSPACE_ID="w2", CLOCKIFY_API_KEY="key-one", CLOCKIFY_PLAN=" ")
    assert (found.clockify_workspace_id, found.clockify_api_key, found.clockify_plan) == ("w2", "key-one", "paid")
    assert (found.stored, found.clockify_page_size) == (True, 200)


def test_dot_env_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` counts as the environment, and a variable of the process wins over both."""
    load(tmp_path, REAL)
    (tmp_path / ".env").write_text("SYNC_HOME=home\nCLOCKIFY_PLAN=free\nSNAPSHOTS_ACCOUNT=north\n")
    for setting in SETTINGS:
        monkeypatch.delenv(setting.metadata["env"], raising=False)
    monkeypatch.setenv("SNAPSHOTS_ACCOUNT", "south")
    found = load_settings(root=tmp_path)
    assert (found.clockify_plan, found.snapshots_account) == ("free", "south")


def test_another_file(tmp_path: Path) -> None:
    """SYNC_SETUP_FILE names it, relative to SYNC_HOME."""
    (tmp_path / "team.yaml").write_text(REAL)
    assert load_settings({"SYNC_HOME": "home", "SYNC_SETUP_FILE": "../team.yaml"}, root=tmp_path).stored


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("clockify:\n  base_url: euc1\n", 2, "clockify.base_url: is not a URL that starts with http:// or https://"),
        ("clockify: {plan: gold}\n", 1, "clockify.plan: is not one of free, paid."),
        ("\n\nclockfy:\n  plan: paid\n", 3, "clockfy: is not a key of the set-up. Did you mean 'clockify.plan'?"),
        ("SYNC_START_DATE: 2026-02-01\n", 1, "SYNC_START_DATE: is not a key of the set-up. Did you mean 'start_date'?"),
        (
            "CLOCKIFY_API_KEY: s3cret\n",
            1,
            "CLOCKIFY_API_KEY: is not a key of the set-up. It is set in the environment or",
        ),
        ("snapshots:\n  profile: nonsense\n", 2, "snapshots.profile: is not a built-in profile (generic"),
        ("clockify:\n  plan: paid\n  api_key: s3cret\n", 3, "clockify.api_key: is not a key of the set-up."),
        ("snapshots:\n  base_url: https://me:s3cret@x/v1\n", 2, "snapshots.base_url: is not a plain base URL"),
        ("start_date: 2026-02-31\n", 1, "start_date: found '2026-02-31', which is no value."),
        ("start_date: soon\n", 1, "start_date: is not a date like 2026-01-31."),
        ("snapshots:\n  auth: magic\n", 2, "snapshots.auth: is not one of api_key, client_credentials"),
        ("clockify: {plan: paid\n", 1, "file: is not YAML"),
        ("", 1, "file: is empty"),
        ("- clockify\n", 1, "file: holds no mapping"),
    ],
)
def test_mistakes_are_shown_where_they_are(tmp_path: Path, text: str, line: int, expected: str) -> None:
    """File, line and key, what was expected; never the value where a secret may be in it."""
    with pytest.raises(MappingFileError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path.resolve()}/home/setup.yaml:{line}: {expected}")
    assert "s3cret" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("clockify: {workspace_id: w1}\n", ("the base URL of the Snapshots API",)),
        ("clockify: {base_url: sandbox, workspace_id: w1}\n", ("the base URL of the Snapshots API",)),
        ("snapshots: {base_url: 'https://x.example'}\n", ("the Clockify workspace",)),
        ("snapshots: {client_id: me}\n", ("the Clockify workspace", "the base URL of the Snapshots API")),
    ],
)
def test_half_a_set_up(tmp_path: Path, text: str, missing: tuple[str, ...]) -> None:
    """It loads, so that it can be continued, and reports what it lacks; it is not the sandbox."""
    found = load(tmp_path, text)
    assert (found.stored, found.sandbox, found.missing) == (True, False, missing)


def test_a_set_up_on_the_sandbox(tmp_path: Path) -> None:
    """The word `sandbox` means the embedded sandbox's addresses, whatever its port is."""
    found = load(tmp_path, SANDBOX, SYNC_SANDBOX_PORT="8765")
    assert (found.stored, found.sandbox, found.missing) == (True, True, ())
    assert found.clockify_base_url == "http://127.0.0.1:8765/clockify/api/v1"
    assert found.clockify_reports_url == "http://127.0.0.1:8765/clockify/report/v1"
    assert found.snapshots_base_url == "http://127.0.0.1:8765/snapshots"
    assert found.clockify_api_key == ""


@pytest.mark.parametrize(
    "text",
    [
        "clockify: {base_url: sandbox, workspace_id: w1}\nsnapshots: {base_url: 'https://x.example'}\n",
        "clockify: {workspace_id: w1}\nsnapshots: {base_url: sandbox}\n",
    ],
)
def test_the_sandbox_and_a_real_system_do_not_mix(tmp_path: Path, text: str) -> None:
    """Made-up data never meets real accounts: such a set-up is not finished."""
    found = load(tmp_path, text)
    assert not found.sandbox
    assert "both real, or both the sandbox" in found.missing[0]


def test_a_variable_cannot_mix_them_either(tmp_path: Path) -> None:
    """A real address in the environment, over a set-up on the sandbox."""
    found = load(tmp_path, SANDBOX, SNAPSHOTS_BASE_URL="https://x.example")
    assert not found.sandbox
    assert found.missing


def test_sandbox_mode_leaves_the_set_up_alone(tmp_path: Path) -> None:
    """SYNC_MODE=sandbox: nothing of the real accounts is used, neither address nor workspace nor client."""
    found = load(tmp_path, REAL, SYNC_MODE="sandbox", CLOCKIFY_API_KEY="key-one", SNAPSHOTS_API_KEY="key-two")
    assert (found.sandbox, found.stored, found.clockify_api_key) == (True, False, SANDBOX_CLOCKIFY_KEY)
    assert not found.is_remote
    assert (found.clockify_workspace_id, found.snapshots_client_id, found.snapshots_account) == ("", "", "")


@pytest.mark.parametrize("mode", ["dry_run", "live"])
def test_a_mode_without_accounts_is_refused(tmp_path: Path, mode: str) -> None:
    """There is nothing to be live with; the sentence states where accounts come from."""
    with pytest.raises(ConfigError, match=rf"SYNC_MODE is {mode}, but there are no accounts\. .*sync-pipeline init"):
        load_settings({"SYNC_MODE": mode}, root=tmp_path)


def test_a_file_without_accounts_changes_none(tmp_path: Path) -> None:
    """Entities and mappings alone make no set-up: it stays the sandbox, or the accounts of the environment."""
    assert load(tmp_path, "entities: [locations]\nmappings: {}\n").sandbox
    with pytest.raises(ConfigError, match="SNAPSHOTS_BASE_URL"):
        load(tmp_path, "entities: [locations]\n", CLOCKIFY_API_KEY="key-one", CLOCKIFY_WORKSPACE_ID="w1")
