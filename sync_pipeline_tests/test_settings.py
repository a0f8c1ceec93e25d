"""The settings table: what is parsed, what is refused and how, where a value comes from, what is never shown."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date
from pathlib import Path

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.session.session import open_session
from sync_pipeline.settings import (
    SANDBOX_CLOCKIFY_KEY,
    SANDBOX_SNAPSHOTS_KEY,
    SETTINGS,
    Settings,
    describe_settings,
    load_given,
    load_settings,
    notice,
    project_root,
)

BOTH_SIDES = {
    "CLOCKIFY_API_KEY": "key-one",
    "CLOCKIFY_WORKSPACE_ID": "w1",
    "SNAPSHOTS_BASE_URL": "https://snapshots.example/api/",
    "SNAPSHOTS_API_KEY": "key-two",
}


def load(root: Path, **more: str) -> Settings:
    """Settings of both sides and these."""
    return load_settings({**BOTH_SIDES, **more}, root=root)


def refusal(root: Path, environ: dict[str, str]) -> str:
    """What the user reads."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ, root=root)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("env", "text", "name", "value"),
    [
        (
            "CLOCKIFY_BASE_URL",
            "https://euc1.clockify.me/api/v1/",
            "clockify_base_url",
            "https://euc1.clockify.me/api/v1",
        ),
        ("CLOCKIFY_PLAN", "paid", "clockify_plan", "paid"),
        ("CLOCKIFY_PAGE_SIZE", "1000", "clockify_page_size", 1000),
        ("CLOCKIFY_READER", "users", "clockify_reader", "users"),
        ("SYNC_START_DATE", "2025-02-28", "start_date", date(2025, 2, 28)),
        ("SYNC_MAX_REJECT_SHARE", "0", "max_reject_share", 0.0),
        ("SYNC_MAX_DELETE_SHARE", "1", "max_delete_share", 1.0),
        ("SYNC_MAX_ATTEMPTS", " 3 ", "max_attempts", 3),
        ("SYNC_MAX_ATTEMPTS", "  ", "max_attempts", 6),
    ],
)
def test_values(tmp_path: Path, env: str, text: str, name: str, value: object) -> None:
    """Each text becomes its value; spaces around it do not count, and nothing but spaces is the default."""
    assert getattr(load(tmp_path, **{env: text}), name) == value


@pytest.mark.parametrize(
    ("env", "text", "expected"),
    [
        ("CLOCKIFY_BASE_URL", "api.clockify.me", "a URL that starts with http:// or https:// and names a host"),
        ("CLOCKIFY_REPORTS_URL", "https:///v1", "a URL that starts with http:// or https:// and names a host"),
        ("SNAPSHOTS_BASE_URL", "ftp://x", "a URL that starts with http:// or https:// and names a host"),
        ("CLOCKIFY_PLAN", "Free", "one of free, paid"),
        ("SYNC_MIN_BLOCKING_REJECTS", "0", "a whole number from 1 to 1000000"),
        ("CLOCKIFY_READER", "fast", "one of auto, report, users"),
        ("CLOCKIFY_PAGE_SIZE", "0", "a whole number from 1 to 1000000"),
        ("CLOCKIFY_PAGE_SIZE", "-5", "a whole number from 1 to 1000000"),
        ("CLOCKIFY_PAGE_SIZE", "\N{SUPERSCRIPT TWO}", "a whole number from 1 to 1000000"),
        ("SYNC_MAX_ANSWER_MB", "9" * 20, "a whole number from 1 to 1000000"),
        ("SYNC_MAX_ATTEMPTS", "9" * 25, "a whole number from 1 to 1000000"),
        ("SYNC_LOCK_SECONDS", "1000001", "a whole number from 1 to 1000000"),
        ("SYNC_DAYS_PER_RUN", "99999999999999999", "a whole number from 1 to 36500"),
        ("SYNC_KEEP_RUNS_DAYS", "9999999999", "a whole number from 1 to 36500"),
        ("SYNC_START_DATE", "0001-01-01", "a date from 2000-01-01 to 2999-12-31"),
        ("SYNC_START_DATE", "9999-12-31", "a date from 2000-01-01 to 2999-12-31"),
        ("SYNC_SANDBOX_PORT", "many", "a port from 1 to 65535"),
        ("SYNC_SANDBOX_PORT", "99999", "a port from 1 to 65535"),
        ("SYNC_START_DATE", "2026-02-30", "a date like 2026-01-31"),
        ("SYNC_START_DATE", "20260131x", "a date like 2026-01-31"),
        ("SYNC_MAX_REJECT_SHARE", "10%", "a share from 0 to 1"),
        ("SYNC_MAX_DELETE_SHARE", "1.5", "a share from 0 to 1"),
        ("SYNC_MAX_DELETE_SHARE", "nan", "a share from 0 to 1"),
        ("SYNC_MAPPINGS_DIR", "/nowhere/at/all", "an existing directory"),
        (
            "SYNC_OPERATIONS_ALLOW",
            "clockify.tags.delete clockify.tag.create",
            "a list of operations, such as `clockify.users.hourly-rate.update`",
        ),
        (
            "SNAPSHOTS_PROFILE",
            "/nowhere/at/all.yaml",
            "a built-in profile (generic, highlevel) or an existing YAML file",
        ),
    ],
)
def test_refused_values(tmp_path: Path, env: str, text: str, expected: str) -> None:
    """The variable, what was found, what was expected, and where to correct it."""
    assert refusal(tmp_path, {**BOTH_SIDES, env: text}) == (
        f"{env}: `{text}` is not {expected}. Correct it in the environment or in .env."
    )


FREE_TEXT = {
    *("CLOCKIFY_API_KEY", "CLOCKIFY_ADDON_TOKEN", "CLOCKIFY_WORKSPACE_ID", "SNAPSHOTS_API_KEY", "SNAPSHOTS_ACCOUNT"),
    *(
        "SNAPSHOTS_CLIENT_ID",
        "SNAPSHOTS_CLIENT_SECRET",
        "SNAPSHOTS_SCOPES",
        "HIGHLEVEL_AGENCY_KEY",
        "HIGHLEVEL_LOCATION_ID",
        "HIGHLEVEL_COMPANY_ID",
        "SYNC_SETUP_FILE",
        "SYNC_SETUP_NAME",
        "SYNC_USER_HEADER",
        "SYNC_HOME",
    ),
}
"""What may be anything: only the system it is sent to knows whether it is right, or it is the name of a new file."""


@pytest.mark.parametrize("place", ["environment", ".env"])
@pytest.mark.parametrize("env", [spec.metadata["env"] for spec in SETTINGS if spec.metadata["env"] not in FREE_TEXT])
def test_a_value_that_cannot_be_is_refused_on_the_sandbox_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: str, place: str
) -> None:
    """Also where it would not be used, so that it is noticed before it is; wherever it was set."""
    for spec in SETTINGS:
        monkeypatch.delenv(spec.metadata["env"], raising=False)
    given = {"SYNC_HOME": str(tmp_path / "home"), "SYNC_MODE": "sandbox", env: "nonsense"}
    if place == ".env":
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    else:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught, open_session(load_settings(root=tmp_path)):
        pass
    assert caught.value.exit_code == 2
    assert env in str(caught.value) or "nonsense" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("SYNC_HOEM", "SYNC_HOME"),
        ("CLOCKIFY_TOKEN", "CLOCKIFY_ADDON_TOKEN"),
        ("SNAPSHOTS_URL", "SNAPSHOTS_BASE_URL"),
        ("sync_rescan_days", "SYNC_RESCAN_DAYS"),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_an_unknown_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    nearest: str,
    place: str,
) -> None:
    """It is named once in a process, with where it is and the nearest name there is; the rest counts."""
    notice.cache_clear()
    if place == ".env":
        (tmp_path / ".env").write_text(f"{name}=1\nSYNC_HOME=home\n")
    else:
        monkeypatch.setenv(name, "1")
        monkeypatch.setenv("SYNC_HOME", "home")
    for _ in range(2):
        assert load_settings(root=tmp_path).home == tmp_path.resolve() / "home"
    where = f"in {tmp_path / '.env'}" if place == ".env" else "of the environment"
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"The variable {name} {where} is not a setting. Did you mean {nearest}?"]


def test_names_of_others_and_empty_ones_are_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is reported about what does not begin like ours, nor of what is not set."""
    notice.cache_clear()
    monkeypatch.setenv("RSYNC_HOEM", "1")
    monkeypatch.setenv("SYNC_HOEM", " ")
    load_settings(root=tmp_path)
    assert not caplog.records


@pytest.mark.parametrize("env", ["CLOCKIFY_BASE_URL", "CLOCKIFY_REPORTS_URL", "SNAPSHOTS_BASE_URL"])
@pytest.mark.parametrize(
    "text",
    [
        "https://x.example/v1?key=key-six",
        "https://x.example?",
        "https://x.example/v1#key-six",
        "https://me:key-six@x/v1",
    ],
)
def test_a_base_url_is_plain(tmp_path: Path, env: str, text: str) -> None:
    """No query, no fragment, no user: paths are appended to it, and it is shown; what was found is not."""
    assert refusal(tmp_path, {**BOTH_SIDES, env: text}) == (
        f"{env}: its value is not a plain base URL, without user:password@, `?` and `#` (it is shown in tables and "
        "logs). Correct it in the environment or in .env."
    )


@pytest.mark.parametrize(
    ("url", "in_clear"),
    [
        ("https://x.example/v1", False),
        ("http://x.example/v1", True),
        ("http://10.0.0.7/v1", True),
        ("http://localhost.example/v1", True),
        ("http://localhost:8750/v1", False),
        ("http://127.8.0.1/v1", False),
        ("http://[::1]:8750/v1", False),
    ],
)
def test_keys_in_clear(tmp_path: Path, url: str, in_clear: bool) -> None:
    """Plain http that was allowed is reported; what is not named, or stays on this machine, sends no key over a network."""
    allowed = "http://X.example:80/ http://10.0.0.7 http://localhost.example, http://localhost:8751"
    assert load(tmp_path, SNAPSHOTS_BASE_URL=url).in_clear == []
    found = load(tmp_path, SNAPSHOTS_BASE_URL=url, SYNC_ALLOW_HTTP=allowed).in_clear
    assert found == (["SNAPSHOTS_BASE_URL"] if in_clear else [])


@pytest.mark.parametrize(
    "text", ["x.example", "https://x.example", "http://", "http://x.example/v1", "http://me@x", "*"]
)
def test_only_addresses_are_allowed_plain_http(tmp_path: Path, text: str) -> None:
    """Host and port with their scheme: neither a pattern nor a path."""
    with pytest.raises(ConfigError, match=r"SYNC_ALLOW_HTTP: .* is not a list of addresses like http://snap"):
        load(tmp_path, SNAPSHOTS_BASE_URL="http://x.example", SYNC_ALLOW_HTTP=text)


@pytest.mark.parametrize("missing", BOTH_SIDES)
def test_one_sided_credentials(tmp_path: Path, missing: str) -> None:
    """What is missing is named, and what is set; no value is shown."""
    environ = {name: value for name, value in BOTH_SIDES.items() if name != missing}
    message = refusal(tmp_path, environ)
    assert message.startswith(f"{missing} is missing, but {', '.join(environ)} are set.")
    assert "key-" not in message


def test_an_oauth_client_replaces_the_key(tmp_path: Path) -> None:
    """Client id and secret are enough; one of them alone is not."""
    environ = {k: v for k, v in BOTH_SIDES.items() if k != "SNAPSHOTS_API_KEY"} | {"SNAPSHOTS_CLIENT_ID": "me"}
    assert "SNAPSHOTS_API_KEY is missing" in refusal(tmp_path, environ)
    settings = load_settings({**environ, "SNAPSHOTS_CLIENT_SECRET": "key-three"}, root=tmp_path)
    assert not settings.sandbox


def test_without_credentials_it_is_the_sandbox(tmp_path: Path) -> None:
    """No credential at all: every address and key is the sandbox's, on its port; nothing real can be reached."""
    settings = load_settings({"SYNC_SANDBOX_PORT": "8765"}, root=tmp_path)
    assert settings.sandbox
    assert not settings.is_remote
    assert settings.clockify_base_url == "http://127.0.0.1:8765/clockify/api/v1"
    assert settings.clockify_reports_url == "http://127.0.0.1:8765/clockify/report/v1"
    assert settings.snapshots_base_url == "http://127.0.0.1:8765/snapshots"
    assert (settings.clockify_api_key, settings.snapshots_api_key) == (SANDBOX_CLOCKIFY_KEY, SANDBOX_SNAPSHOTS_KEY)
    assert settings.clockify_plan == "paid"


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("http://127.0.0.1:8750/snapshots", False),
        ("http://localhost/x", False),
        ("http://[::1]:8750/x", False),
        ("https://api.example/v1", True),
        ("http://127.0.0.1.example/x", True),
        ("http://localhost.example/x", True),
        ("http://10.0.0.7/x", True),
    ],
)
def test_remote(url: str, remote: bool) -> None:
    """One address elsewhere is enough to make first contact a preview."""
    names = ("clockify_base_url", "clockify_reports_url", "snapshots_base_url")
    here = Settings(**dict.fromkeys(names, "http://127.0.0.1:1/x"))  # type: ignore[arg-type]
    for name in names:
        assert replace(here, **{name: url}).is_remote is remote  # type: ignore[arg-type]


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` in the project's root is read, from any directory below; a variable of the environment wins."""
    (tmp_path / "workspace.yaml").touch()
    (tmp_path / ".env").write_text("".join(f"{k}={v}\n" for k, v in BOTH_SIDES.items()) + "CLOCKIFY_PLAN=paid\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.metadata["env"], raising=False)
    monkeypatch.setenv("CLOCKIFY_WORKSPACE_ID", "from the environment")
    settings = load_settings()
    assert settings.clockify_workspace_id == "from the environment"
    assert (settings.clockify_plan, settings.snapshots_api_key) == ("paid", "key-two")
    assert project_root() == tmp_path.resolve()
    assert settings.home == tmp_path.resolve() / ".sync"
    assert settings.store_url == f"sqlite:///{tmp_path.resolve()}/.sync/sync.db"


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Neither keys nor a database URL appear in `repr`, and a secret's default is never described."""
    given = {"SYNC_DATABASE_URL": "postgresql://me:key-four@db/x", "SNAPSHOTS_CLIENT_SECRET": "key-five"}
    assert "key-" not in repr(load_given(given, root=tmp_path))
    secret = {row["env"] for row in describe_settings() if row["secret"]}
    assert secret >= {"CLOCKIFY_API_KEY", "SNAPSHOTS_API_KEY", "SNAPSHOTS_CLIENT_SECRET", "SYNC_DATABASE_URL"}


def test_the_table_is_complete() -> None:
    """Every field but what follows from others is a setting with a help text and a variable of its own."""
    assert {f.name for f in fields(Settings)} - {s.name for s in SETTINGS} == {
        "sandbox", "stored", "missing", "setup_version", "setup_document", "setup_draft",
    }  # fmt: skip
    rows = describe_settings()
    assert len({row["env"] for row in rows}) == len(rows) == len(SETTINGS)
    assert all(row["help"] for row in rows)
