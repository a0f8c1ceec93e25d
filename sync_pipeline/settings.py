"""Every setting there is, in one table: the environment variable, its type, default and help.

``.env.example`` and the table in ``docs/settings.md`` are generated from it. Nothing else in the project reads the
environment. What the console and ``sync-pipeline init`` have stored is in the database, over which the environment
wins. With no accounts at all, everything runs on the embedded sandbox.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import yaml
from dotenv import dotenv_values

from sync_pipeline import setting_types as kind
from sync_pipeline.errors import ConfigError
from sync_pipeline.private_files import readable_by_others, require_trusted
from sync_pipeline.yaml_source import Node, closest, read_file, read_text, refuse

SANDBOX_CLOCKIFY_KEY = "sandbox-clockify-key"
SANDBOX_SNAPSHOTS_KEY = "sandbox-snapshots-key"
SANDBOX_URL = "sandbox"
"""In place of a base URL in the set-up: the embedded sandbox's."""
ONE_KIND = "one kind of account for both sides (both real, or both the sandbox)"
"""What is missing when one side is the sandbox and the other is not."""
AUTH_KINDS = ("api_key", "client_credentials", "authorization_code")
MAPPINGS = "mappings"
"""The section of the set-up that is laid over the entities' mappings."""
ALERTS = "alerts"
"""The section of the set-up with rules on figures and subscriptions."""
SETUP = "set-up"
"""What errors call the stored set-up; a file has its own name."""
PROJECT_FILE = "workspace.yaml"  # the directory that holds it is the project's root
log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())  # commands show what is logged here; Dagster names the `.env` it reads itself


def setting(
    env: str,
    help_: str,
    parse: Callable[[str], Any] = kind.text,
    default: Any = "",
    *,
    secret: bool = False,
    at: str = "",
) -> Any:
    """One row of the table: ``env`` is the variable, ``parse`` turns its text into the value or raises ValueError.

    ``at`` is its place in the set-up, for those that may be there.
    """
    metadata = {"env": env, "help": help_, "parse": parse, "secret": secret, "at": at}
    return field(default=default, repr=not secret, metadata=metadata)


def _operation_names(value: str) -> tuple[str, ...]:
    """Names of operations, each once."""
    from sync_pipeline.operations.catalogue import operations  # late: few set it

    found = kind.words(value)
    if not operations().keys() >= set(found):
        raise ValueError("a list of operations, such as `clockify.users.hourly-rate.update`")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one process. Secrets are left out of ``repr``."""

    clockify_api_key: str = setting("CLOCKIFY_API_KEY", "Your Clockify API key (of a workspace admin).", secret=True)
    clockify_addon_token: str = setting(
        "CLOCKIFY_ADDON_TOKEN", "The token of a Clockify add-on, instead of an API key.", secret=True
    )
    clockify_workspace_id: str = setting(
        "CLOCKIFY_WORKSPACE_ID", "The Clockify workspace to keep in step.", at="clockify.workspace_id"
    )
    clockify_base_url: str = setting(
        "CLOCKIFY_BASE_URL",
        "Clockify's API; regional workspaces have their own.",
        kind.url,
        "https://api.clockify.me/api/v1",
        at="clockify.base_url",
    )
    clockify_reports_url: str = setting(
        "CLOCKIFY_REPORTS_URL",
        "Clockify's reports API.",
        kind.url,
        "https://reports.api.clockify.me/v1",
        at="clockify.reports_url",
    )
    clockify_plan: str = setting(
        "CLOCKIFY_PLAN",
        "Your Clockify plan sets the request budget: `free` is 30 requests an hour, `paid` 50 a second.",
        kind.one_of("free", "paid"),
        "free",
        at="clockify.plan",
    )
    clockify_page_size: int = setting(
        "CLOCKIFY_PAGE_SIZE", "Rows a page. 200 is safe everywhere; larger means fewer requests.", kind.count, 200
    )
    clockify_reader: str = setting(
        "CLOCKIFY_READER",
        "How time entries are read: `report` (one report of all users), `users` (one list a user; for those who left, the "
        "report) or `auto` (the cheaper).",
        kind.one_of("auto", "report", "users"),
        "auto",
    )
    clockify_addon_public_key: Path | None = setting(
        "CLOCKIFY_ADDON_PUBLIC_KEY",
        "A PEM file with Clockify's public key, where webhooks come from an add-on.",
        kind.file,
        None,
    )
    snapshots_profile: str = setting(
        "SNAPSHOTS_PROFILE",
        "The flavour of the Snapshots API: a built-in profile or the path of a YAML file.",
        kind.profile,
        "generic",
        at="snapshots.profile",
    )
    snapshots_base_url: str = setting(
        "SNAPSHOTS_BASE_URL",
        "The base URL of your Snapshots API. Default: the profile's, where it has one.",
        kind.url,
        at="snapshots.base_url",
    )
    snapshots_account: str = setting(
        "SNAPSHOTS_ACCOUNT",
        "A name for your account, when several accounts share one base URL: each has its own state and rate limit.",
        at="snapshots.account",
    )
    snapshots_auth: str = setting(
        "SNAPSHOTS_AUTH",
        "How to authenticate at the Snapshots API: `api_key`, or OAuth's `client_credentials` or `authorization_code` (a person "
        "consents in the console). Default: what fits the credentials.",
        kind.one_of(*AUTH_KINDS),
        at="snapshots.auth",
    )
    snapshots_api_key: str = setting("SNAPSHOTS_API_KEY", "Your Snapshots API key or access token.", secret=True)
    snapshots_client_id: str = setting(
        "SNAPSHOTS_CLIENT_ID", "OAuth client id, instead of an API key.", at="snapshots.client_id"
    )
    snapshots_client_secret: str = setting("SNAPSHOTS_CLIENT_SECRET", "OAuth client secret.", secret=True)
    snapshots_scopes: tuple[str, ...] = setting(
        "SNAPSHOTS_SCOPES",
        "The OAuth scopes to ask for. Default: those that the entities switched on need.",
        kind.words,
        (),
        at="snapshots.scopes",
    )
    snapshots_webhook_key: str = setting(
        "SNAPSHOTS_WEBHOOK_KEY",
        "The public key that verifies the webhooks of the Snapshots API's vendor, in base64. Default: the profile's.",
        kind.public_key,
    )
    snapshots_currency: str = setting(
        "SNAPSHOTS_CURRENCY",
        "The currency of revenue where the Snapshots API does not name it, such as `EUR`. Default: unknown.",
        kind.currency,
    )
    snapshots_agency_key: str = setting(
        "HIGHLEVEL_AGENCY_KEY",
        "With the profile `highlevel`: the agency's Private Integration token, which reads all its locations. SNAPSHOTS_API_KEY is "
        "that of one location (sub-account). Default: only that location is read.",
        secret=True,
    )
    snapshots_location: str = setting(
        "HIGHLEVEL_LOCATION_ID",
        "With the profile `highlevel`: the location (sub-account) in which records are kept.",
        kind.vendor_id,
        at="snapshots.location",
    )
    snapshots_company: str = setting(
        "HIGHLEVEL_COMPANY_ID",
        "With the profile `highlevel`: the id of the agency. Default: HighLevel is asked.",
        kind.vendor_id,
        at="snapshots.company",
    )
    snapshots_customer: str = setting(
        "HIGHLEVEL_SAAS_CUSTOMER",
        "With the profile `highlevel`: sync only the locations of this SaaS customer (a Stripe customer id). Takes HIGHLEVEL_SAAS_SUBSCRIPTION "
        "and the scope `saas/location.read`. Default: all locations.",
        kind.id_like("cus_"),
        at="snapshots.customer",
    )
    snapshots_subscription: str = setting(
        "HIGHLEVEL_SAAS_SUBSCRIPTION",
        "With HIGHLEVEL_SAAS_CUSTOMER: the customer's subscription (a Stripe subscription id).",
        kind.id_like("sub_"),
        at="snapshots.subscription",
    )
    snapshots_owners: bool = setting(
        "HIGHLEVEL_OWNERS",
        "With the profile `highlevel`: whether new records of users and time entries get an owner, the HighLevel user with the Clockify user's "
        "e-mail address. Takes the scope `users.readonly`.",
        kind.flag,
        False,
        at="snapshots.owners",
    )
    entities: tuple[str, ...] = setting(
        "SYNC_ENTITIES", "The entities to sync. Default: all there are.", kind.words, (), at="entities"
    )
    automations: tuple[str, ...] = setting(
        "SYNC_AUTOMATIONS",
        "The automations that are switched on, in addition to the entities. Use `sync-pipeline automations on` instead: it leaves existing records alone.",
        kind.words,
        (),
        at="automations",
    )
    mode: str = setting(
        "SYNC_MODE",
        "`sandbox`, `dry_run` (nothing is written to the accounts) or `live` (sensors and schedules act). Default: the sandbox "
        "without accounts; what the console's switch says; with accounts from the environment, only a `sync` that you start.",
        kind.one_of("sandbox", "dry_run", "live"),
    )
    setup_file: Path = setting(
        "SYNC_SETUP_FILE",
        "A set-up of an earlier version, or one to begin with: imported when the database is made or upgraded, then renamed. "
        "Relative to SYNC_HOME.",
        Path,
        Path("setup.yaml"),
    )
    setup_name: str = setting(
        "SYNC_SETUP_NAME",
        "Which set-up of the database to use, where several homes with different accounts share one. Default: the only one.",
        kind.label,
    )
    database_url: str = setting(
        "SYNC_DATABASE_URL",
        "Where sync_pipeline remembers what it delivered: SQLite or PostgreSQL. Default: sync.db in SYNC_HOME.",
        secret=True,  # a PostgreSQL URL carries a password
    )
    broker_url: str = setting(
        "SYNC_BROKER_URL",
        "The Valkey or Redis server from which workers on other machines take runs, such as `redis://broker:6379/0`. Default: runs "
        "start on the machine of Dagster's daemon.",
        kind.broker,
        secret=True,  # it may carry a password
    )
    start_date: date = setting(
        "SYNC_START_DATE",
        "Time entries before this UTC day are left alone.",
        kind.day,
        date(2026, 1, 1),
        at="start_date",
    )
    mappings_dir: Path | None = setting(
        "SYNC_MAPPINGS_DIR",
        "A directory with your own mapping YAML files, merged over the built-in ones.",
        kind.directory,
        None,
    )
    home: Path = setting(
        "SYNC_HOME", "Where state is kept: database, sandbox, batches, Dagster's history.", Path, Path(".sync")
    )
    encryption_key: str = setting(
        "SYNC_ENCRYPTION_KEY",
        "Key of the secrets in the database; several, newest first, to change it. Default: encryption.key in SYNC_HOME.",
        kind.keys,
        secret=True,
    )
    encryption_key_given: Path | None = setting(
        "SYNC_ENCRYPTION_KEY_FILE",
        "A file with that key, such as a secret that Docker or Kubernetes mounts, instead of SYNC_ENCRYPTION_KEY.",
        kind.file,
        None,
    )
    days_per_run: int = setting(
        # Three ranges of 31 days, the longest Clockify's report takes on the Free plan: no request is wasted.
        "SYNC_DAYS_PER_RUN",
        "How many days of time entries one Dagster run may cover.",
        kind.days,
        93,
    )
    sensor_seconds: int = setting(
        "SYNC_SENSOR_SECONDS", "How often, in seconds, the sensors look into the webhook inbox.", kind.count, 30
    )
    poll_seconds: int | None = setting(
        "SYNC_POLL_SECONDS",
        "How often, in seconds, changes are asked for. Default: what the plan's request budget allows.",
        kind.count,
        None,
    )
    snapshots_poll_seconds: int = setting(
        "SYNC_SNAPSHOTS_POLL_SECONDS",
        "How often, in seconds, the Snapshots API is asked for new and changed locations.",
        kind.count,
        60,
    )
    rescan_days: int = setting(
        "SYNC_RESCAN_DAYS",
        "How many days back the rolling re-scan of time entries reaches, today included.",
        kind.days,
        7,
        at="rescan_days",
    )
    max_reject_share: float = setting(
        "SYNC_MAX_REJECT_SHARE",
        "A check blocks the load when it fails for more than this share of a batch.",
        kind.share,
        0.1,
    )
    min_blocking_rejects: int = setting(
        # In a batch of five one bad record is 20 %, but no catastrophe.
        "SYNC_MIN_BLOCKING_REJECTS",
        "A check that fails for fewer records than this never blocks the load, whatever their share.",
        kind.count,
        10,
    )
    max_delete_share: float = setting(
        "SYNC_MAX_DELETE_SHARE",
        "Deletes beyond this share of what is known are held until a person approves them.",
        kind.share,
        0.2,
    )
    max_rewrite_share: float = setting(
        "SYNC_MAX_REWRITE_SHARE",
        "Rewrites by a changed mapping beyond this share are held until a person approves them.",
        kind.share,
        0.5,
    )
    max_creates: int | None = setting(
        # Off by default: at first, and with each new team, many creates are right, and no share of known records is a limit.
        "SYNC_MAX_CREATES",
        "When one read would create more records than this, they are held until a person approves them. Default: no limit.",
        kind.count,
        None,
    )
    personal_labels: bool = setting(
        "SYNC_PERSONAL_LABELS",
        "Whether records are also stored under what people call them where that is personal: the names of users, the "
        "descriptions of time entries.",
        kind.flag,
        True,
    )
    max_confirmations: int = setting(
        "SYNC_MAX_CONFIRMATIONS",
        "How many records missing at the source one run may look up before it deletes them.",
        kind.count,
        200,
    )
    max_attempts: int = setting(
        "SYNC_MAX_ATTEMPTS", "How often a request is tried while the API is busy, broken or unreachable.", kind.count, 6
    )
    max_answer_mb: int = setting(
        "SYNC_MAX_ANSWER_MB",
        "The largest answer of an API that is read, in megabytes, unpacked. A larger one ends the run with an error.",
        kind.count,
        64,
    )
    max_answer_seconds: int = setting(
        "SYNC_MAX_ANSWER_SECONDS",
        "How long one attempt of a request may take, from connecting to the last byte of the answer.",
        kind.count,
        300,
    )
    allow_http: tuple[str, ...] = setting(
        "SYNC_ALLOW_HTTP",
        "Addresses of other machines that may be asked over plain http, such as `http://snapshots.internal:8080`: keys travel "
        "there unencrypted. All others have to be https.",
        kind.http_origins,
        (),
    )
    operations_allow: tuple[str, ...] = setting(
        "SYNC_OPERATIONS_ALLOW",
        "Operations that are held back and may be run all the same, by name, such as `clockify.users.hourly-rate.update`.",
        _operation_names,
        (),
    )
    lock_seconds: int = setting(
        "SYNC_LOCK_SECONDS", "How long to wait while another program has locked the database.", kind.count, 30
    )
    keep_batches_days: int = setting(
        "SYNC_KEEP_BATCHES_DAYS",
        "How long the staged batches of a failed run are kept for re-execution.",
        kind.days,
        3,
    )
    keep_events_days: int = setting(
        "SYNC_KEEP_EVENTS_DAYS", "How long webhook events are kept after they were processed.", kind.days, 30
    )
    keep_runs_days: int = setting(
        "SYNC_KEEP_RUNS_DAYS",
        "How long Dagster's runs are kept; those that hold the newest state of a day or a check stay.",
        kind.days,
        30,
    )
    keep_previews_days: int = setting(
        "SYNC_KEEP_PREVIEWS_DAYS",
        "How long the reports of trials are kept; the newest passed one stays.",
        kind.days,
        30,
    )
    keep_syncs_days: int = setting(
        "SYNC_KEEP_SYNCS_DAYS",
        "How long the history of syncs is kept; those that a delivery names stay as long as that.",
        kind.days,
        90,
    )
    keep_approvals_days: int = setting(
        "SYNC_KEEP_APPROVALS_DAYS", "How long decided approvals are kept.", kind.days, 90
    )
    keep_deliveries_days: int = setting(
        "SYNC_KEEP_DELIVERIES_DAYS",
        "How long the audit of writes is kept; the newest delivery of each record stays.",
        kind.days,
        365,
    )
    keep_audit_days: int = setting(
        "SYNC_KEEP_AUDIT_DAYS", "How long the audit trail of the set-up is kept.", kind.days, 365
    )
    keep_tombstones_days: int = setting(
        "SYNC_KEEP_TOMBSTONES_DAYS",
        "How long it is remembered that a record which was never synced does not exist.",
        kind.days,
        7,
    )
    key_max_age_days: int | None = setting(
        "SYNC_KEY_MAX_AGE_DAYS",
        "An alert opens when a stored key was entered more than so many days ago. Default: keys may grow old.",
        kind.days,
        None,
    )
    alert_group_seconds: int = setting(
        "SYNC_ALERT_GROUP_SECONDS",
        "How long alerts are gathered before a destination gets them as one message.",
        kind.count,
        60,
    )
    alert_repeat_hours: int = setting(
        "SYNC_ALERT_REPEAT_HOURS",
        "How often, in hours, a message about an open alert is repeated until it is acknowledged, silenced or resolved.",
        kind.count,
        24,
    )
    alert_rules_file: Path | None = setting(
        "SYNC_ALERT_RULES_FILE",
        "A YAML file with rules on figures, such as a budget that is used up, and subscriptions. Default: those of the console.",
        kind.file,
        None,
    )
    heartbeat_url: str = setting(
        "SYNC_HEARTBEAT_URL",
        "An address of yours that the daemon asks for after each good evaluation of the alerts, such as a check of healthchecks.io: "
        "when it no longer does, that service notifies you. Default: none.",
        kind.heartbeat,
        secret=True,
    )
    keep_alerts_days: int = setting(
        "SYNC_KEEP_ALERTS_DAYS", "How long alerts are kept after they were resolved.", kind.days, 90
    )
    report_time_zone: str = setting(
        "SYNC_REPORT_TIME_ZONE",
        "The time zone in which days, weeks and months of reports begin.",
        kind.zone,
        "UTC",
    )
    report_week_start: str = setting(
        "SYNC_REPORT_WEEK_START",
        "The day on which weeks of reports begin.",
        kind.one_of("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
        "monday",
    )
    report_currency: str = setting(
        "SYNC_REPORT_CURRENCY",
        "The currency in reports of entries for which Clockify names none. Default: unknown.",
        kind.currency,
    )
    report_rounding: tuple[str, int] | None = setting(
        "SYNC_REPORT_ROUNDING",
        "How the hours of each entry are rounded in reports, such as `nearest 15` or `up 6` minutes; amounts stay exact. Default: "
        "not at all.",
        kind.rounding,
        None,
    )
    dashboard_people: bool = setting(
        "SYNC_DASHBOARD_PEOPLE",
        "Whether a link with the role `dashboard` shows people: their names, hours and utilisation.",
        kind.flag,
        True,
    )
    keep_copies_days: int = setting(
        "SYNC_KEEP_COPIES_DAYS",
        "How long the copy of an SQLite database from before an upgrade is kept.",
        kind.days,
        30,
    )
    console_host: str = setting(
        "SYNC_CONSOLE_HOST",
        "The host name of console and Dagster UI. Default: sync-<8 hex digits>.localhost, made once; 127.0.0.1 for a browser "
        "that does not find names below localhost.",
        kind.local_name,
    )
    console_url: str = setting(
        "SYNC_CONSOLE_URL",
        "Where people find the console: runs and assets in the Dagster UI lead there. `dev` sets it.",
        kind.page,
    )
    public_url: str = setting(
        "SYNC_PUBLIC_URL",
        "Where browsers reach the console through your reverse proxy, such as `https://sync.example.com`. Default: this machine only.",
        kind.public_origin,
    )
    dagster_url: str = setting(
        "SYNC_DAGSTER_URL",
        "Where browsers reach the Dagster UI through your reverse proxy, such as `https://dagster.example.com`.",
        kind.public_origin,
    )
    dagster_internal_url: str = setting(
        "SYNC_DAGSTER_INTERNAL_URL",
        "Where the console itself reaches the Dagster UI to load changed definitions, such as `http://webserver:3000`.",
        kind.page,
    )
    trusted_proxies: tuple[kind.Network, ...] = setting(
        "SYNC_TRUSTED_PROXIES",
        "Addresses and networks of your reverse proxy, such as `10.0.0.7 10.1.0.0/16`: headers about the browser and its user are "
        "read from there only.",
        kind.networks,
        (),
    )
    user_header: str = setting(
        "SYNC_USER_HEADER",
        "The header in which your reverse proxy names the user it has signed in, such as `X-Forwarded-User`. Default: users sign in "
        "with links.",
        kind.header,
    )
    user_roles: tuple[str, ...] = setting(
        "SYNC_USER_ROLES",
        "The role of each user whom the proxy names, as it names them, such as `ana@example.com=admin *=viewer`; without `*` others "
        "have none.",
        kind.user_roles,
        (),
    )
    metrics_token: str = setting(
        "SYNC_METRICS_TOKEN",
        "The bearer token with which Prometheus reads the console's `/metrics`. Default: no one may read them.",
        kind.token,
        secret=True,
    )
    time_zone: str = setting(
        "SYNC_TIME_ZONE",
        "The time zone in which the console shows times, such as `Europe/Berlin`. Default: the browser's.",
        kind.zone,
        at="time_zone",
    )
    date_form: str = setting(
        "SYNC_DATE_FORM",
        "How the console writes days: `iso` (2026-01-31), `eu` (31.01.2026) or `us` (01/31/2026).",
        kind.one_of("iso", "eu", "us"),
        "iso",
        at="date_form",
    )
    sandbox_port: int = setting("SYNC_SANDBOX_PORT", "The port of the embedded sandbox.", kind.port, 8750)
    sandbox: bool = False
    """Both systems are the embedded sandbox's."""
    stored: bool = False
    """The accounts come from the set-up: a switch that people turn decides whether they are written to."""
    missing: tuple[str, ...] = ()
    """What the set-up still lacks; nothing can be synced before it is there."""
    setup_version: int = 0
    """The number of the set-up's version that these settings were made from; 0 when there is none."""
    setup_document: str = field(default="", repr=False)
    """That version, or another text in its place."""
    setup_draft: int = 0
    """The number of the draft that these settings were made from; 0 when they are the current ones."""

    @property
    def always_live(self) -> bool:
        """Whether sensors and schedules act whatever the stored switch says; on the untouched sandbox they may."""
        return self.mode == "live" or (self.sandbox and not self.stored)

    @property
    def prepares_sandbox(self) -> bool:
        """Whether the untouched sandbox gets the custom objects that a set-up would make there."""
        return self.sandbox and not self.stored and bool(self.snapshots_location)

    @property
    def auth(self) -> str:
        """How to authenticate at the Snapshots API."""
        return self.snapshots_auth or ("client_credentials" if self.snapshots_client_id else "api_key")

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL of the store."""
        return self.database_url or f"sqlite:///{self.home / 'sync.db'}"

    @property
    def encryption_key_file(self) -> Path:
        """The key when SYNC_ENCRYPTION_KEY is not set; made on first use."""
        return self.home / "encryption.key"

    @property
    def sandbox_file(self) -> Path:
        """Where the embedded sandbox keeps its data."""
        return self.home / "sandbox.db"

    @property
    def sandbox_url(self) -> str:
        """The embedded sandbox's address."""
        return f"http://127.0.0.1:{self.sandbox_port}"

    @property
    def sandbox_urls(self) -> tuple[str, str, str]:
        """The embedded sandbox's Clockify, reports and Snapshots API, the last one as the profile's vendor speaks it."""
        base, path = (
            self.sandbox_url,
            _profile_facts(self.snapshots_profile).get("sandbox", {}).get("path", "/snapshots"),
        )
        return f"{base}/clockify/api/v1", f"{base}/clockify/report/v1", base + path

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
        """The variables with a URL that keys are sent to unencrypted, because SYNC_ALLOW_HTTP names it."""
        urls = {f.metadata["env"]: getattr(self, f.name) for f in SETTINGS if f.metadata["parse"] is kind.url}
        return [env for env, url in urls.items() if url.startswith("http://") and kind.origin(url) in self.allow_http]


SETTINGS = tuple(f for f in fields(Settings) if f.metadata)
_BY_ENV: Mapping[str, Any] = {f.metadata["env"]: f for f in SETTINGS}
SECRETS = tuple(name for name, spec in _BY_ENV.items() if spec.metadata["secret"])
PREFIXES = ("SYNC_", "CLOCKIFY_", "SNAPSHOTS_", "HIGHLEVEL_")
"""Variables that begin like this are ours."""
SYSTEMS = ("clockify", "snapshots")
_OAUTH_CLIENT = ("SNAPSHOTS_CLIENT_ID", "SNAPSHOTS_CLIENT_SECRET")
CREDENTIALS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("CLOCKIFY_API_KEY",), ("CLOCKIFY_ADDON_TOKEN",)),
    (("CLOCKIFY_WORKSPACE_ID",),),
    (("SNAPSHOTS_BASE_URL",),),
    (("SNAPSHOTS_API_KEY",), _OAUTH_CLIENT),
)
"""What the environment must hold to name accounts: of each row, one of its ways."""
CREDENTIAL_NAMES = tuple(name for ways in CREDENTIALS for way in ways for name in way)


def project_root(start: Path | None = None) -> Path:
    """The nearest directory upwards, not above the home directory, that holds workspace.yaml; else the current one.

    Raises ConfigError when another user may have written that file.
    """
    try:
        here = (start or Path.cwd()).resolve()
    except FileNotFoundError:
        raise ConfigError("The current directory was removed.", fix="Change to a directory that exists.") from None
    home = _home_directory()
    for place in (here, *here.parents):
        if os.path.exists(file := place / PROJECT_FILE):  # noqa: PTH110 - False where we may not look
            require_trusted(file)
            return place
        if place == home:
            break
    return here


def _home_directory() -> Path | None:
    try:
        return Path.home().resolve()
    except RuntimeError:  # a user without a name, as containers have
        return None


def load_settings(
    environ: Mapping[str, str] | None = None, *, root: Path | None = None, document: str | None = None
) -> Settings:
    """Read the environment, over ``.env`` in the project's root, over the stored set-up, into Settings.

    ``document`` is a set-up in place of the stored one. Raises ConfigError naming the variable or the line, what was found and what was expected; or what is missing when
    only one side has credentials in the environment. What a set-up lacks is in ``missing``: it may be under way.
    """
    found, values = _given(environ, root)
    version, document = _stored(Settings(**values)) if document is None else (0, document)
    stored = read_setup(document)
    settings = Settings(**{**stored, **values, "setup_version": version, "setup_document": document})
    facts = _profile_facts(settings.snapshots_profile)
    if not settings.snapshots_base_url and (base_url := facts.get("base_url")):
        settings = replace(settings, snapshots_base_url=base_url)
        found = found | {"SNAPSHOTS_BASE_URL": base_url} if "SNAPSHOTS_API_KEY" in found else found
    return _with_accounts(settings, found, has_setup=any(name.startswith(SYSTEMS) for name in stored))


def load_given(environ: Mapping[str, str] | None = None, *, root: Path | None = None) -> Settings:
    """The settings of the environment alone: what can be known where the stored set-up has a mistake."""
    return Settings(**_given(environ, root)[1])


@lru_cache(maxsize=16)
def _profile_facts(name: str) -> Mapping[str, Any]:
    """What a built-in profile says about settings; {} of any other: its base URL, what it needs, its account in the sandbox."""
    if name not in kind.PROFILES or name == _BY_ENV["SNAPSHOTS_PROFILE"].default:
        return {}
    return dict(yaml.safe_load(kind.PROFILE_FILES[name].read_text("utf-8")))


def _given(environ: Mapping[str, str] | None, root: Path | None) -> tuple[dict[str, str], dict[str, Any]]:
    """The variables that are set, and their values by the names of Settings."""
    root = root or project_root()
    environ = environment(root) if environ is None else environ
    found = {name: environ[name].strip() for name in _BY_ENV if environ.get(name, "").strip()}
    values = {_BY_ENV[name].name: _parse(_BY_ENV[name], text) for name, text in found.items()}
    if (given := values.get("encryption_key_given")) is not None:
        if "encryption_key" in values:
            raise ConfigError(
                "SYNC_ENCRYPTION_KEY and SYNC_ENCRYPTION_KEY_FILE are both set.", fix="Unset one of them."
            )
        values["encryption_key"] = _parse(_BY_ENV["SYNC_ENCRYPTION_KEY"], read_file(given).strip())
    values["home"] = (root / values.get("home", _BY_ENV["SYNC_HOME"].default)).resolve()
    values.setdefault("console_url", values.get("public_url", ""))
    file = values.get("setup_file", _BY_ENV["SYNC_SETUP_FILE"].default)
    return found, {**values, "setup_file": (values["home"] / file).resolve()}


def _stored(settings: Settings) -> tuple[int, str]:
    """Number and text of the stored set-up; where there is neither database nor file, nothing is opened."""
    file = settings.setup_file
    files = (file, retired(file), settings.home / "sync.db")
    if not (settings.database_url or any(each.exists() for each in files)):
        return 0, ""
    from sync_pipeline.store.setup_file import stored_setup

    return stored_setup(settings)


def retired(file: Path) -> Path:
    """What a set-up file is called once it was imported."""
    return file.with_name(f"{file.stem}.imported{file.suffix}")


def setup_text(file: Path) -> str:
    """The text of a set-up file; ConfigError when it cannot be read, or another user may have written it."""
    try:
        require_trusted(file)  # it names the addresses that keys are sent to
    except OSError as error:
        raise ConfigError(f"The file {file} cannot be read: {error.strerror}.", fix="Check its name.") from None
    return read_file(file)


def read_setup(document: str, place: str = SETUP) -> dict[str, Any]:
    """What a set-up says, by the names of Settings; ``place`` is what errors call it.

    Raises MappingFileError with the line of what is not understood.
    """
    return dict(_read_setup(document, place)) if document or place != SETUP else {}


@lru_cache(maxsize=16)
def _read_setup(document: str, place: str) -> Mapping[str, Any]:
    """Each page, sensor and command asks for the same few texts."""
    rows = {f.metadata["at"]: f for f in SETTINGS if f.metadata["at"]}
    values: dict[str, Any] = {}
    for key, node in _leaves(read_text(document, place), {at.split(".")[0] for at in rows if "." in at}):
        if key in (MAPPINGS, ALERTS) or node.value in (None, ""):
            continue
        if key not in rows:
            raise refuse(node, key, "is not a key of the set-up.", _instead_of(key, [*rows, MAPPINGS, ALERTS]))
        values[rows[key].name] = _stored_value(rows[key], key, node)
    return values


def _instead_of(key: str, known: list[str]) -> str:
    """What was meant by a key that is not one; some write variables into the set-up file."""
    spec = _BY_ENV.get(key.rpartition(".")[2].upper())
    if spec is None:
        return closest(key, known)
    at = spec.metadata["at"]
    return f"Did you mean {at!r}?" if at else "It is set in the environment or in .env."


def _leaves(top: Node, sections: set[str]) -> Iterator[tuple[str, Node]]:
    for key, node in top.value.items():
        if key in sections and isinstance(node.value, dict):
            yield from ((f"{key}.{name}", child) for name, child in node.value.items())
        else:
            yield key, node


def _stored_value(spec: Any, key: str, node: Node) -> Any:
    value = node.plain
    if value == SANDBOX_URL and spec.metadata["parse"] is kind.url:
        return value
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    try:
        return spec.metadata["parse"](text)
    except ValueError as error:
        raise refuse(node, key, f"is not {error}.", "Correct it there, or in the console.") from None


def describe_settings() -> list[dict[str, str]]:
    """The table for ``.env.example`` and the docs: env, default, help, secret."""
    return [
        {
            "env": f.metadata["env"],
            "default": "" if f.default in ("", None, MISSING, ()) else _shown(f.default),
            "help": f.metadata["help"],
            "secret": "yes" if f.metadata["secret"] else "",
        }
        for f in SETTINGS
    ]


Source = Literal["environment", "file", "store", "default"]
"""A variable, a line of `.env`, what was set up, or the table."""


class InForce(NamedTuple):
    """A setting and its value in force; of a secret only whether it is set."""

    name: str
    value: str
    source: Source
    secret: bool


def settings_in_force(environ: Mapping[str, str] | None = None, root: Path | None = None) -> list[InForce]:
    """Every setting with its value and where that comes from: a variable, `.env`, what was set up, or the default."""
    root = root or project_root()
    now, given, in_file = (
        load_settings(environ, root=root),
        environment(root) if environ is None else environ,
        dotenv(root),
    )
    found, stored = [], read_setup(now.setup_document)
    for spec in SETTINGS:
        name, value = spec.metadata["env"], getattr(now, spec.name)
        is_default = value == spec.default
        is_stored = spec.name in stored and not is_default
        source: Source = "store" if is_stored else "default"
        if given.get(name, "").strip():
            source = "file" if in_file.get(name) and name not in os.environ else "environment"
        shown = ("set" if value else "") if spec.metadata["secret"] else _in_words(value)
        found.append(InForce(name, shown, source, spec.metadata["secret"]))
    return found


def _in_words(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else _shown(value)


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def environment(root: Path | None = None) -> dict[str, str]:
    """The variables of this process, over those of ``.env`` in the project's root."""
    root = root or project_root()
    found = dotenv(root)
    for place, names in ((f"in {root / '.env'}", found), ("of the environment", os.environ)):
        for name in sorted(names):
            if name.upper().startswith(PREFIXES) and name not in _BY_ENV and names[name].strip():
                nearest = get_close_matches(name.upper(), _BY_ENV, n=1, cutoff=0)[0]
                notice(logging.WARNING, f"The variable {name} {place} is not a setting. Did you mean {nearest}?")
    return {**found, **os.environ}


def dotenv(root: Path) -> dict[str, str]:
    """The variables of ``.env`` in the project's root; none when there is no such file.

    Raises ConfigError when another user may have written it.
    """
    file = root / ".env"
    try:
        if not (file.is_file() or file.is_fifo()):  # some call their virtual environment .env
            return {}
        require_trusted(file)
        found = {name: value for name, value in dotenv_values(file).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError(f"{file} cannot be read: {why}.", fix="Check its permissions and its content.") from None
    notice(logging.INFO, f"Settings are read from {file}.")
    if any(found.get(name) for name in SECRETS) and readable_by_others(file):
        notice(
            logging.WARNING,
            f"{file} holds secrets and can be read by other users. Run: chmod go-rwx {quote(str(file))}",
        )
    return found


@lru_cache(maxsize=100)
def notice(level: int, text: str) -> None:
    """Log a line about where settings come from, once in each process."""
    log.log(level, text)


def _parse(spec: Any, text: str) -> Any:
    try:
        return spec.metadata["parse"](text)
    except ValueError as error:
        hidden = spec.metadata["secret"] or re.search("[@?#]", text)  # a URL with a password or a key in it
        shown = "its value" if hidden else f"`{text}`"
        raise ConfigError(
            f"{spec.metadata['env']}: {shown} is not {error}.", fix="Correct it in the environment or in .env."
        ) from None


def _with_accounts(settings: Settings, found: Mapping[str, str], *, has_setup: bool) -> Settings:
    """Add the accounts: those of the environment, of the set-up, or the sandbox's when there are none."""
    if settings.mode == "sandbox":
        return _on_sandbox(settings, found)
    if has_setup:
        return _as_set_up(settings)
    if not any(name in found for name in CREDENTIAL_NAMES):
        if settings.mode:
            raise ConfigError(
                f"SYNC_MODE is {settings.mode}, but there are no accounts.",
                fix="Set them up in the console or with `sync-pipeline init`; or unset SYNC_MODE to use the sandbox.",
            )
        return _on_sandbox(settings, found)
    _refuse_one_sided(found)
    for name, what in _profile_facts(settings.snapshots_profile).get("required", {}).items():
        if not getattr(settings, name):
            variable = next(f.metadata["env"] for f in SETTINGS if f.name == name)
            raise ConfigError(f"{variable} is missing: {what}.", fix="Set it in the environment or in .env.")
    return settings


def _refuse_one_sided(found: Mapping[str, str]) -> None:
    """Raise when only some of the credentials are in the environment."""
    missing = [" or ".join(ways[0]) for ways in CREDENTIALS if not any(set(way) <= found.keys() for way in ways)]
    present = [name for name in CREDENTIAL_NAMES if name in found]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing, but {', '.join(present)} "
            f"{'is' if len(present) == 1 else 'are'} set.",
            fix="Set what is missing in the environment or in .env; or unset all of them to use the sandbox.",
        )


def _as_set_up(settings: Settings) -> Settings:
    """The accounts of the set-up, the environment laid over them. They are both the sandbox's, or none is."""
    clockify, reports, snapshots = settings.sandbox_urls
    on_sandbox = {settings.clockify_base_url == SANDBOX_URL, settings.snapshots_base_url == SANDBOX_URL}
    missing = [] if settings.clockify_workspace_id else ["the Clockify workspace"]
    missing += [] if settings.snapshots_base_url else ["the base URL of the Snapshots API"]
    facts = _profile_facts(settings.snapshots_profile)
    missing += [what for name, what in facts.get("required", {}).items() if not getattr(settings, name)]
    if not missing and len(on_sandbox) == 2:
        missing.append(ONE_KIND)
    found = replace(settings, stored=True, sandbox=on_sandbox == {True}, missing=tuple(missing))
    if settings.clockify_base_url == SANDBOX_URL:
        found = replace(found, clockify_base_url=clockify, clockify_reports_url=reports)
    return replace(found, snapshots_base_url=snapshots) if settings.snapshots_base_url == SANDBOX_URL else found


_NO_ACCOUNT: Mapping[str, Any] = {
    "snapshots_api_key": SANDBOX_SNAPSHOTS_KEY,
    "snapshots_agency_key": "",
    "snapshots_location": "",
    "snapshots_company": "",
}
"""Of the Snapshots side in the sandbox, where the profile names none."""


def _on_sandbox(settings: Settings, found: Mapping[str, str]) -> Settings:
    profile = found.get("SNAPSHOTS_PROFILE", "")
    speaks = _profile_facts(profile).get("sandbox", {})
    settings = replace(settings, snapshots_profile=profile if speaks else _BY_ENV["SNAPSHOTS_PROFILE"].default)
    clockify, reports, snapshots = settings.sandbox_urls
    return replace(
        settings,
        sandbox=True,
        clockify_api_key=SANDBOX_CLOCKIFY_KEY,
        clockify_addon_token="",
        clockify_workspace_id="",
        clockify_base_url=clockify,
        clockify_reports_url=reports,
        clockify_plan=found.get("CLOCKIFY_PLAN", "paid"),
        snapshots_base_url=snapshots,
        snapshots_account="",
        snapshots_auth="api_key",
        snapshots_client_id="",
        snapshots_client_secret="",
        **{**_NO_ACCOUNT, **speaks.get("settings", {})},
    )
