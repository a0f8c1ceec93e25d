"""Every setting there is, in one table: the environment variable, its type, default and help.

``.env.example`` and the table in ``docs/settings.md`` are generated from it. Nothing else in the project reads the
environment. With no credentials at all, everything runs on the embedded sandbox.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values

from sync_pipeline.errors import ConfigError

SANDBOX_CLOCKIFY_KEY = "sandbox-clockify-key"
SANDBOX_SNAPSHOTS_KEY = "sandbox-snapshots-key"
PROJECT_FILE = "workspace.yaml"  # the directory that holds it is the project's root


def _text(value: str) -> str:
    return value


def _url(value: str) -> str:
    if not re.match(r"https?://[^/?#]", value):
        raise ValueError("a URL that starts with http:// or https:// and names a host")
    if "@" in urlsplit(value).netloc or "?" in value or "#" in value:
        raise ValueError("a plain base URL, without user:password@, `?` and `#` (it is shown in tables and logs)")
    return value.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _day(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError("a date like 2026-01-31") from None


def _count(value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise ValueError("a whole number from 1")
    return int(value)


def _port(value: str) -> int:
    if not value.isdigit() or not 1 <= int(value) <= 65_535:
        raise ValueError("a port from 1 to 65535")
    return int(value)


def _flag(value: str) -> bool:
    if value.lower() not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise ValueError("true or false")
    return value.lower() in {"true", "1", "yes", "on"}


def _share(value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise ValueError("a share from 0 to 1")
    return share


def _directory(value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_dir():
        raise ValueError("an existing directory")
    return path


def _file(value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_file():
        raise ValueError("an existing file")
    return path


def _keys(value: str) -> str:
    try:
        lengths = {len(base64.b64decode(key.strip(), altchars=b"-_", validate=True)) for key in value.split(",")}
    except ValueError:
        lengths = set()
    if lengths != {32}:
        raise ValueError("one or more keys of 32 bytes in URL-safe base64, separated by commas")
    return value


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return parse


def setting(
    env: str, help_: str, parse: Callable[[str], Any] = _text, default: Any = "", *, secret: bool = False
) -> Any:
    """One row of the table: ``env`` is the variable, ``parse`` turns its text into the value or raises ValueError."""
    metadata = {"env": env, "help": help_, "parse": parse, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one process. Secrets are left out of ``repr``."""

    clockify_api_key: str = setting("CLOCKIFY_API_KEY", "Your Clockify API key (of a workspace admin).", secret=True)
    clockify_workspace_id: str = setting("CLOCKIFY_WORKSPACE_ID", "The Clockify workspace to keep in step.")
    clockify_base_url: str = setting(
        "CLOCKIFY_BASE_URL",
        "Clockify's API; regional workspaces have their own.",
        _url,
        "https://api.clockify.me/api/v1",
    )
    clockify_reports_url: str = setting(
        "CLOCKIFY_REPORTS_URL", "Clockify's reports API.", _url, "https://reports.api.clockify.me/v1"
    )
    clockify_plan: str = setting(
        "CLOCKIFY_PLAN",
        "Your Clockify plan sets the request budget: `free` is 30 requests an hour, `paid` 50 a second.",
        _one_of("free", "paid"),
        "free",
    )
    clockify_page_size: int = setting(
        "CLOCKIFY_PAGE_SIZE", "Rows a page. 200 is safe everywhere; larger means fewer requests.", _count, 200
    )
    clockify_reader: str = setting(
        "CLOCKIFY_READER",
        "How time entries are read: `report` (all users at once), `users` (one list a user) or `auto` (the cheaper).",
        _one_of("auto", "report", "users"),
        "auto",
    )
    clockify_addon_public_key: Path | None = setting(
        "CLOCKIFY_ADDON_PUBLIC_KEY",
        "A PEM file with Clockify's public key, where webhooks come from an add-on.",
        _file,
        None,
    )
    snapshots_profile: str = setting(
        "SNAPSHOTS_PROFILE",
        "The flavour of the Snapshots API: a built-in profile or the path of a YAML file.",
        _text,
        "generic",
    )
    snapshots_base_url: str = setting("SNAPSHOTS_BASE_URL", "The base URL of your Snapshots API.", _url)
    snapshots_account: str = setting(
        "SNAPSHOTS_ACCOUNT",
        "A name for your account, when several accounts share one base URL: each has its own state and rate limit.",
    )
    snapshots_api_key: str = setting("SNAPSHOTS_API_KEY", "Your Snapshots API key or access token.", secret=True)
    snapshots_client_id: str = setting("SNAPSHOTS_CLIENT_ID", "OAuth client id, instead of an API key.")
    snapshots_client_secret: str = setting("SNAPSHOTS_CLIENT_SECRET", "OAuth client secret.", secret=True)
    database_url: str = setting(
        "SYNC_DATABASE_URL",
        "Where sync_pipeline remembers what it delivered: SQLite or PostgreSQL. Default: sync.db in SYNC_HOME.",
        secret=True,  # a PostgreSQL URL carries a password
    )
    start_date: date = setting(
        "SYNC_START_DATE", "Time entries before this UTC day are left alone.", _day, date(2026, 1, 1)
    )
    mappings_dir: Path | None = setting(
        "SYNC_MAPPINGS_DIR",
        "A directory with your own mapping YAML files, merged over the built-in ones.",
        _directory,
        None,
    )
    home: Path = setting(
        "SYNC_HOME", "Where state is kept: database, sandbox, batches, Dagster's history.", Path, Path(".sync")
    )
    encryption_key: str = setting(
        "SYNC_ENCRYPTION_KEY",
        "Key of the secrets in the database; several, newest first, to change it. Default: encryption.key in SYNC_HOME.",
        _keys,
        secret=True,
    )
    days_per_run: int = setting(
        # Three ranges of 31 days, the longest Clockify's report takes on the Free plan: no request is wasted.
        "SYNC_DAYS_PER_RUN",
        "How many days of time entries one Dagster run may cover.",
        _count,
        93,
    )
    live: bool = setting(
        "SYNC_LIVE", "`true` switches the sensors and schedules on, as soon as a Dagster daemon runs.", _flag, False
    )
    sensor_seconds: int = setting(
        "SYNC_SENSOR_SECONDS", "How often, in seconds, the sensors look into the webhook inbox.", _count, 30
    )
    poll_seconds: int | None = setting(
        "SYNC_POLL_SECONDS",
        "How often, in seconds, changes are asked for. Default: what the plan's request budget allows.",
        _count,
        None,
    )
    rescan_days: int = setting(
        "SYNC_RESCAN_DAYS", "How many days back the rolling re-scan of time entries reaches, today included.", _count, 7
    )
    max_reject_share: float = setting(
        "SYNC_MAX_REJECT_SHARE",
        "A check blocks the load when it fails for more than this share of a batch.",
        _share,
        0.1,
    )
    min_blocking_rejects: int = setting(
        # In a batch of five one bad record is 20 %, but no catastrophe.
        "SYNC_MIN_BLOCKING_REJECTS",
        "A check that fails for fewer records than this never blocks the load, whatever their share.",
        _count,
        10,
    )
    max_delete_share: float = setting(
        "SYNC_MAX_DELETE_SHARE",
        "A run that would delete more than this share of what is known is blocked.",
        _share,
        0.2,
    )
    max_rewrite_share: float = setting(
        "SYNC_MAX_REWRITE_SHARE",
        "A changed mapping that would rewrite more than this share needs `--accept-rewrite`.",
        _share,
        0.5,
    )
    max_confirmations: int = setting(
        "SYNC_MAX_CONFIRMATIONS", "How many vanished records one run may look up before it deletes them.", _count, 200
    )
    max_attempts: int = setting(
        "SYNC_MAX_ATTEMPTS", "How often a request is tried while the other side is busy, broken or away.", _count, 6
    )
    lock_seconds: int = setting(
        "SYNC_LOCK_SECONDS", "How long to wait while another program has locked the database.", _count, 30
    )
    keep_batches_days: int = setting(
        "SYNC_KEEP_BATCHES_DAYS", "How long the staged batches of a failed run are kept for re-execution.", _count, 3
    )
    sandbox_port: int = setting("SYNC_SANDBOX_PORT", "The port of the embedded sandbox.", _port, 8750)
    sandbox: bool = False

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL of the store."""
        return self.database_url or f"sqlite:///{self.home / 'sync.db'}"

    @property
    def encryption_key_file(self) -> Path:
        """The key when SYNC_ENCRYPTION_KEY is not set; made on first use."""
        return self.home / "encryption.key"

    @property
    def sandbox_url(self) -> str:
        """The embedded sandbox's address."""
        return f"http://127.0.0.1:{self.sandbox_port}"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own state: run history, schedules, logs."""
        return self.home / "dagster"

    @property
    def batches(self) -> Path:
        """Where the batches between ops are staged."""
        return self.home / "batches"

    @property
    def is_remote(self) -> bool:
        """Whether any endpoint is a real account elsewhere, so that first contact is a preview."""
        urls = (self.clockify_base_url, self.clockify_reports_url, self.snapshots_base_url)
        return not all(urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"} for url in urls)

    @property
    def in_clear(self) -> list[str]:
        """The variables whose URL sends keys over a network unencrypted: plain http to another machine."""
        urls = {f.metadata["env"]: urlsplit(getattr(self, f.name)) for f in SETTINGS if f.metadata["parse"] is _url}
        return [env for env, url in urls.items() if url.scheme == "http" and not _is_loopback(url.hostname or "")]


SETTINGS = tuple(f for f in fields(Settings) if f.metadata)
CREDENTIALS = {
    "Clockify": ("CLOCKIFY_API_KEY", "CLOCKIFY_WORKSPACE_ID"),
    "Snapshots": ("SNAPSHOTS_BASE_URL", "SNAPSHOTS_API_KEY"),
}


def project_root(start: Path | None = None) -> Path:
    """The nearest directory upwards that holds workspace.yaml; else the current one."""
    here = (start or Path.cwd()).resolve()
    return next((p for p in (here, *here.parents) if (p / PROJECT_FILE).exists()), here)


def load_settings(environ: Mapping[str, str] | None = None, *, root: Path | None = None) -> Settings:
    """Read the environment (over ``.env`` in the project's root) into Settings.

    Raises ConfigError naming the variable, what was found and what was expected; or what is missing when only one
    side has credentials.
    """
    root = root or project_root()
    if environ is None:
        environ = {**dotenv(root), **os.environ}
    found = {
        f.metadata["env"]: environ[f.metadata["env"]].strip()
        for f in SETTINGS
        if environ.get(f.metadata["env"], "").strip()
    }
    values = {f.name: _parse(f, found[f.metadata["env"]]) for f in SETTINGS if f.metadata["env"] in found}
    settings = Settings(**values)
    settings = replace(settings, home=(root / settings.home).resolve())
    return _on_sandbox(settings, found) if _without_credentials(found) else settings


def describe_settings() -> list[dict[str, str]]:
    """The table for ``.env.example`` and the docs: env, default, help, secret."""
    return [
        {
            "env": f.metadata["env"],
            "default": "" if f.default in ("", None, MISSING) else _shown(f.default),
            "help": f.metadata["help"],
            "secret": "yes" if f.metadata["secret"] else "",
        }
        for f in SETTINGS
    ]


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def dotenv(root: Path) -> dict[str, str]:
    """The variables of ``.env`` in the project's root; none when there is no such file."""
    return {k: v for k, v in dotenv_values(root / ".env").items() if v is not None}


def _parse(spec: Any, text: str) -> Any:
    try:
        return spec.metadata["parse"](text)
    except ValueError as error:
        hidden = spec.metadata["secret"] or re.search("[@?#]", text)  # a URL with a password or a key in it
        shown = "its value" if hidden else f"`{text}`"
        raise ConfigError(
            f"{spec.metadata['env']}: {shown} is not {error}.", fix="Mend it in the environment or in .env."
        ) from None


def _without_credentials(found: Mapping[str, str]) -> bool:
    """True when no credential is set; raises when only some are."""
    oauth = "SNAPSHOTS_CLIENT_ID" in found and "SNAPSHOTS_CLIENT_SECRET" in found
    wanted = [name for names in CREDENTIALS.values() for name in names]
    present = [name for name in wanted if name in found] + ["SNAPSHOTS_CLIENT_ID"] * ("SNAPSHOTS_CLIENT_ID" in found)
    if not present:
        return True
    missing = [name for name in wanted if name not in found and not (oauth and name == "SNAPSHOTS_API_KEY")]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing, but {', '.join(present)} "
            f"{'is' if len(present) == 1 else 'are'} set.",
            fix="Set what is missing in the environment or in .env; or unset all of them to use the sandbox.",
        )
    return False


def _on_sandbox(settings: Settings, found: Mapping[str, str]) -> Settings:
    base = settings.sandbox_url
    return replace(
        settings,
        sandbox=True,
        clockify_api_key=SANDBOX_CLOCKIFY_KEY,
        clockify_base_url=f"{base}/clockify/api/v1",
        clockify_reports_url=f"{base}/clockify/report/v1",
        clockify_plan=found.get("CLOCKIFY_PLAN", "paid"),
        snapshots_base_url=f"{base}/snapshots",
        snapshots_api_key=SANDBOX_SNAPSHOTS_KEY,
    )
