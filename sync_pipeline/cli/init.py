"""`init`: the same questions as the console, in the terminal or answered by options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson

from sync_pipeline import terminal
from sync_pipeline.cli.options import json_option, may_ask
from sync_pipeline.cli.prepare import run as prepare
from sync_pipeline.cli.questions import Asker, SecretSource, secret_options
from sync_pipeline.connectors.profile import TokenFacts
from sync_pipeline.connectors.profile_files import built_in_profiles, load_profile
from sync_pipeline.connectors.registry import connected_systems
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.private_files import private_file
from sync_pipeline.session.secrets import (
    AGENCY_KEY,
    CLOCKIFY_KEY,
    CLOCKIFY_TOKEN,
    SNAPSHOTS_CLIENT,
    SNAPSHOTS_KEY,
    Slot,
)
from sync_pipeline.settings import ONE_KIND
from sync_pipeline.setup.clockify import (
    ClockifyAccount,
    ClockifyForm,
    connect_clockify,
    is_named_sandbox,
    look_at_clockify,
    region_of,
)
from sync_pipeline.setup.connections import connections, switch_entities
from sync_pipeline.setup.consent import begin_authorization, finish_authorization, listening, redirect_uri, stored_form
from sync_pipeline.setup.draft import sandbox_if
from sync_pipeline.setup.prepare import is_needed
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.setup.snapshots import (
    SnapshotsForm,
    connect_snapshots,
    draft_of,
    look_at_accounts,
    profile_tokens,
)

REGION_NAMES = ("sandbox", "global", "eu", "usa", "uk", "au", "custom")
AUTH_NAMES = ("api_key", "client_credentials", "authorization_code")
BY_TOKENS_OR_APP = "How you sign in: two tokens (api_key), or an app of your own (authorization_code)"
ANSWERS = "init.json"
"""The file in SYNC_HOME that keeps the answers of an unfinished `init`."""
APP_PORT = 8777
"""The default port for the redirect after the consent to an app: its address is registered there."""


@click.command()
@click.option("--clockify-region", type=click.Choice(REGION_NAMES), help="Where Clockify keeps your workspace.")
@click.option("--clockify-base-url", metavar="URL", help="Clockify's API, for the region `custom`.")
@click.option("--clockify-reports-url", metavar="URL", help="Clockify's reports API, for the region `custom`.")
@click.option("--clockify-kind", type=click.Choice(["api_key", "addon_token"]), help="What kind of key you have.")
@secret_options("clockify-key-", "the Clockify key or token")
@click.option("--clockify-workspace", metavar="ID", help="The workspace to keep in step: its id or its name.")
@click.option(
    "--clockify-plan", type=click.Choice(["free", "paid"]), help="The workspace's plan. [default: as it says]"
)
@click.option(
    "--snapshots-region", type=click.Choice(["sandbox", "custom"]), help="The sandbox, or an address of yours."
)
@click.option("--snapshots-profile", metavar="NAME", help="What your locations are in: highlevel, generic, or a file.")
@click.option("--snapshots-base-url", metavar="URL", help="The base URL of the Snapshots API.")
@click.option("--snapshots-account", metavar="NAME", help="A name, when several accounts share one base URL.")
@click.option("--snapshots-auth", type=click.Choice(AUTH_NAMES), help="How you sign in there.")
@click.option("--snapshots-client-id", metavar="ID", help="The id of your OAuth client.")
@click.option("--snapshots-scopes", metavar="SCOPES", help="The scopes to ask for. [default: those that are needed]")
@click.option("--snapshots-location", metavar="ID", help="HighLevel: the sub-account. [default: the only one]")
@secret_options(
    "snapshots-key-", "the Snapshots API key, the secret of the OAuth client or app, or the sub-account token"
)
@secret_options("snapshots-agency-key-", "HighLevel's agency token")
@click.option("--entities", metavar="NAMES", help="What to sync. [default: everything]")
@click.option(
    "--callback-port",
    type=click.IntRange(1, 65535),
    help="Where the browser comes back to. [default: any; with an app at HighLevel: 8777]",
)
@click.option("--no-input", is_flag=True, help="Ask nothing: values that no option sets stay unchanged.")
@json_option
def init(no_input: bool, as_json: bool, entities: str | None, **options: Any) -> None:
    """Connect Clockify and the Snapshots API. Step by step; run again, it continues where it was left.

    With --json or --no-input nothing is asked. From standard input, the Clockify key comes on the first line.
    """
    reads_input = options["clockify_key_stdin"] or options["snapshots_key_stdin"]
    setup, asks = SetupService(actor("terminal")), may_ask() and not (no_input or as_json or reads_input)
    with _answers(setup, is_asked=asks) as answers:
        asker = Asker(asks, answers)
        _clockify(setup, asker, options)
        _entities(setup, asker, entities)
        _snapshots(setup, asker, options)
        _of_one_kind(setup, asker, options)
    settings = setup.settings()
    needs_preparation = is_needed(settings) and not settings.missing
    if needs_preparation and asker.asks:
        prepare(setup, dry_run=False, yes=False)
    sides = connections(setup)
    missing = [side.system for side in sides if side.state == "not set up"]
    has_answers = asks or any(value for name, value in options.items() if name.startswith(tuple(CONNECT)))
    unanswered = [] if has_answers else missing
    rows = {side.system: _connection_row(side) for side in sides}
    now = setup.settings()
    document = {"file": str(now.setup_file), "version": now.setup_version, "connections": rows}
    terminal.emit(as_json, document, lambda: _show_connections(setup, rows))
    _refuse(setup, unanswered)
    if not as_json:
        terminal.hint(_next_step(missing, now.missing, needs_preparation=needs_preparation and not asker.asks))


def _show_connections(setup: SetupService, rows: Mapping[str, Mapping[str, str]]) -> None:
    terminal.table("Connections", [{"system": name, **row} for name, row in rows.items()], optional=("detail",))
    terminal.hint(f"Stored in the database as version {setup.revision() or 'none'}; secrets are kept encrypted.")


def _next_step(unconnected: Sequence[str], rest: Sequence[str], *, needs_preparation: bool) -> str:
    if unconnected:
        return f"Not connected yet: {' and '.join(unconnected)}. Run `sync-pipeline init` again, or give the options in its --help."
    if rest:
        return f"Not finished: {' and '.join(rest)} {'is' if len(rest) == 1 else 'are'} missing. Run `sync-pipeline init` again."
    if needs_preparation:
        return "Next: `sync-pipeline prepare` makes what is needed there; then `sync-pipeline preview`."
    return "Next: `sync-pipeline preview` shows what a sync would do; then `sync-pipeline live on`."


def _of_one_kind(setup: SetupService, asker: Asker, options: dict[str, Any]) -> None:
    """One side is the sandbox and the other is not: a person may connect one of them again."""
    while asker.asks and ONE_KIND in setup.settings().missing:
        terminal.warning(f"{_mixed(setup)} Choose the same for both.")
        system = asker.choice("Connect which one again", "", None, (*CONNECT, "none"), "none")
        if system == "none":
            return
        unanswered = {name: None if name.startswith(f"{system}_") else value for name, value in options.items()}
        CONNECT[system](setup, asker, unanswered)


def _refuse(setup: SetupService, unconnected: Sequence[str]) -> None:
    """Refuse a set-up that was stored but cannot be synced, and one for which nothing was given."""
    if ONE_KIND in setup.settings().missing:
        raise ConfigError(_mixed(setup), fix="Run `sync-pipeline init` again, and choose the same for both.")
    if unconnected:
        options = " and ".join(f"--{system}-region" for system in unconnected)
        raise ConfigError(
            f"Not connected yet: {' and '.join(unconnected)}.",
            fix=f"Run `sync-pipeline init` on a terminal, or give {options}, and the other options in its --help.",
        )


@contextmanager
def _answers(setup: SetupService, *, is_asked: bool) -> Iterator[dict[str, str]]:
    """The answers of an unfinished `init`, unless the set-up has changed since; kept until an `init` finishes."""
    if not is_asked:
        yield {}
        return
    file, answers = setup.given().home / ANSWERS, dict[str, str]()
    with suppress(OSError, ValueError, KeyError):
        found = orjson.loads(file.read_bytes())
        answers |= found["answers"] if found["since"] == setup.revision() else {}
    try:
        yield answers
    except BaseException:
        if answers:
            private_file(file)
            file.write_bytes(orjson.dumps({"since": setup.revision(), "answers": answers}))
        raise
    file.unlink(missing_ok=True)


def _mixed(setup: SetupService) -> str:
    named = is_named_sandbox(setup.settings(), "clockify_base_url")
    clockify, snapshots = connected_systems(setup.settings()).values()
    one, other = (clockify, snapshots) if named else (snapshots, clockify)
    return f"{one.at_start} is the sandbox and {other.named} is a real account, so nothing can be synced between them."


def _connection_row(side: Any) -> dict[str, str]:
    names = ("state", "where", "who", "workspace", "detail")
    return {name: getattr(side, name) for name in names}


def _clockify(setup: SetupService, asker: Asker, options: dict[str, Any]) -> None:
    """Region, key, workspace; skipped when no one is asked and nothing of it was given."""
    given = {name: value for name, value in options.items() if name.startswith("clockify_") and value}
    if not asker.asks and not given:
        return
    since = setup.revision()
    form, account = asker.again(lambda: _clockify_form(setup, asker, options))
    workspace = _workspace(setup, asker, options, account)
    with terminal.progress(is_timed=False):
        connect_clockify(setup, form, workspace, options["clockify_plan"] or "", since=since)


def _clockify_form(setup: SetupService, asker: Asker, options: dict[str, Any]) -> tuple[ClockifyForm, ClockifyAccount]:
    now = setup.settings()
    is_set_up = now.stored and bool(now.clockify_workspace_id)
    region = asker.choice(
        "Clockify's region",
        "--clockify-region",
        options["clockify_region"],
        REGION_NAMES,
        region_of(now) if is_set_up else "",
    )
    base, reports = "", ""
    if region == "custom":
        base = asker.text(
            "Clockify's base URL", "--clockify-base-url", options["clockify_base_url"], now.clockify_base_url
        )
        reports = asker.text(
            "The base URL of its reports",
            "--clockify-reports-url",
            options["clockify_reports_url"],
            now.clockify_reports_url,
        )
    with setup.vault() as vault:
        is_there, has_token = vault.has(CLOCKIFY_KEY) or vault.has(CLOCKIFY_TOKEN), vault.has(CLOCKIFY_TOKEN)
    kinds = ("api_key", "addon_token")
    kind = asker.choice("Kind of key", "--clockify-kind", options["clockify_kind"], kinds, kinds[has_token])
    secret = ""
    if not setup.is_given("CLOCKIFY_API_KEY" if kind == "api_key" else "CLOCKIFY_ADDON_TOKEN"):
        source = _source(options, "clockify_key_")
        secret = asker.secret("Clockify key", source, is_there=is_there or region == "sandbox")
    form = ClockifyForm(region=region, base_url=base, reports_url=reports, kind=kind, secret=secret)  # type: ignore[arg-type]
    with terminal.progress(is_timed=False):
        return form, look_at_clockify(setup, form)


def _workspace(setup: SetupService, asker: Asker, options: dict[str, Any], account: ClockifyAccount) -> str:
    """Its id, picked from what the key sees; with one only, that one."""
    now, there = setup.settings().clockify_workspace_id, account.workspaces
    default = now if now in {each.id for each in there} else there[0].id if len(there) == 1 else ""
    if asker.asks:
        rows = [{"id": each.id, "workspace": each.name, "plan": each.plan, "you are": each.role} for each in there]
        terminal.table(f"{account.name} <{account.email}> sees", rows)
    ids = [each.id for each in there]
    answer = asker.text("Workspace", "--clockify-workspace", options["clockify_workspace"], default, among=ids)
    return next((each.id for each in there if answer in (each.id, each.name)), answer)


def _snapshots(setup: SetupService, asker: Asker, options: dict[str, Any]) -> None:
    """Address, profile, credentials and - with OAuth's authorization code - a person's consent."""
    given = {name: value for name, value in options.items() if name.startswith("snapshots_") and value}
    if not asker.asks and not given:
        return

    def connect() -> None:
        since = setup.revision()
        form = _snapshots_form(setup, asker, options)
        if form.auth == "authorization_code":
            form, since = _authorize(setup, form, options["callback_port"], since), setup.revision()
            if profile_tokens(form.profile) is None:
                return
            form = _with_account(setup, asker, replace(form, location=options["snapshots_location"] or ""))
        with terminal.progress(is_timed=False):
            connect_snapshots(setup, form, since=since)

    asker.again(connect)


CONNECT = {"clockify": _clockify, "snapshots": _snapshots}
"""What asks about a system and connects it, by system."""


def _snapshots_form(setup: SetupService, asker: Asker, options: dict[str, Any]) -> SnapshotsForm:
    now = stored_form(setup.settings())
    is_set_up = setup.settings().stored and bool(now.base_url)

    def text(question: str, name: str, present: str, *, may_be_empty: bool = False) -> str:
        option = f"--snapshots-{name.replace('_', '-')}"
        return asker.text(question, option, options[f"snapshots_{name}"], present, may_be_empty=may_be_empty)

    profile = asker.choice(
        "The system with your locations",
        "--snapshots-profile",
        options["snapshots_profile"],
        tuple({now.profile: ""} | built_in_profiles()),
        now.profile,
    )
    region = asker.choice(
        "The sandbox, or your own account (custom)",
        "--snapshots-region",
        options["snapshots_region"] or ("custom" if options["snapshots_base_url"] else None),
        ("sandbox", "custom"),
        now.region if is_set_up else "",
    )
    on_sandbox = region == "sandbox"
    if (tokens := profile_tokens(profile)) is not None:
        ways = (AUTH_NAMES[0], AUTH_NAMES[2]) if tokens.app else AUTH_NAMES[:1]
        is_same = now.profile == profile and now.auth in ways
        given = options["snapshots_auth"] or (None if asker.asks and tokens.app else now.auth if is_same else ways[0])
        auth = asker.choice(BY_TOKENS_OR_APP, "--snapshots-auth", given, ways, now.auth if is_same else ways[0])
        form = SnapshotsForm(region=region, profile=profile, auth=auth)
        if auth == "api_key":
            return _by_tokens(setup, asker, options, form, tokens)
        return _by_app(setup, asker, options, form)
    of_other = now.region != "custom" or now.profile != profile
    base = "" if on_sandbox else text("Its base URL", "base_url", "" if of_other else now.base_url)
    account = "" if on_sandbox else text("Account name (usually none)", "account", now.account, may_be_empty=True)
    auth = asker.choice("How you sign in", "--snapshots-auth", options["snapshots_auth"], AUTH_NAMES, now.auth)
    is_key = auth == "api_key"
    client = "" if is_key else text("OAuth client id", "client_id", now.client_id)
    scopes = "" if is_key else text("Scopes (none: what is needed)", "scopes", " ".join(now.scopes), may_be_empty=True)
    with setup.vault() as vault:
        is_there = vault.has(SNAPSHOTS_KEY if is_key else SNAPSHOTS_CLIENT)
    secret = ""
    if not setup.is_given("SNAPSHOTS_API_KEY" if is_key else "SNAPSHOTS_CLIENT_SECRET"):
        question = "Snapshots API key" if is_key else "OAuth client secret"
        secret = asker.secret(
            question, _source(options, "snapshots_key_"), is_there=is_there or (is_key and on_sandbox)
        )
    return SnapshotsForm(
        region=region,
        profile=profile,
        base_url=base,
        account=account,
        auth=auth,
        api_key=secret if is_key else "",
        client_id=client,
        client_secret="" if is_key else secret,
        scopes=tuple(scopes.replace(",", " ").split()),
    )


def _by_tokens(
    setup: SetupService, asker: Asker, options: dict[str, Any], form: SnapshotsForm, tokens: TokenFacts
) -> SnapshotsForm:
    """The two tokens, after the scopes that each needs; then the account, of those that the token is for."""
    scopes = load_profile(form.profile).token_scopes
    on_sandbox = form.region == "sandbox"

    def token(label: str, which: str, slot: Slot, prefix: str) -> str:
        if setup.is_given(slot.variable):
            return ""
        if asker.asks:
            terminal.notice(f"{label}. {tokens.hints[which]} Scopes to tick: {' '.join(scopes[which])}")
        with setup.vault() as vault:
            return asker.secret(label, _source(options, prefix), is_there=vault.has(slot) or on_sandbox)

    if asker.asks:
        terminal.notice(tokens.where)
    form = replace(
        form,
        agency_key=token(tokens.agency_key, "agency", AGENCY_KEY, "snapshots_agency_key_"),
        api_key=token(tokens.key, "account", SNAPSHOTS_KEY, "snapshots_key_"),
        location=options["snapshots_location"] or "",
    )
    return _with_account(setup, asker, form)


def _by_app(setup: SetupService, asker: Asker, options: dict[str, Any], form: SnapshotsForm) -> SnapshotsForm:
    """An app of the person's own, after what has to be entered there; the account is chosen after the consent."""
    profile, now = load_profile(form.profile), stored_form(setup.settings())
    before = now if now.profile == form.profile else form
    app = dict(profile.sandbox.app) if profile.sandbox and form.region == "sandbox" else {}
    if asker.asks and profile.tokens and profile.auth.oauth:
        terminal.notice(profile.tokens.app)
        terminal.notice(f"Scopes to tick in the app: {' '.join(profile.auth.oauth.scopes)}")
        terminal.notice(f"Return address: {redirect_uri(options['callback_port'] or APP_PORT)}")
    if asker.asks and app:
        terminal.notice(f"The sandbox's app is {app['id']} with the secret {app['secret']}.")
    present = before.client_id or app.get("id", "")
    client = asker.text("Id of the app", "--snapshots-client-id", options["snapshots_client_id"], present)
    scopes = asker.text(
        "Scopes to ask for (none: all of these)",
        "--snapshots-scopes",
        options["snapshots_scopes"],
        " ".join(before.scopes),
        may_be_empty=True,
    )
    secret = ""
    if not setup.is_given(SNAPSHOTS_CLIENT.variable):
        with setup.vault() as vault:
            is_there = vault.has(SNAPSHOTS_CLIENT)
        secret = asker.secret("Secret of the app", _source(options, "snapshots_key_"), is_there=is_there)
    asked = tuple(scopes.replace(",", " ").split())
    return replace(form, client_id=client, client_secret=secret, scopes=asked, location=before.location)


def _with_account(setup: SetupService, asker: Asker, form: SnapshotsForm) -> SnapshotsForm:
    """With the account that is named, or chosen from those that the token or app is for."""
    tokens = profile_tokens(form.profile)
    if form.location or not asker.asks or tokens is None:
        return form
    with terminal.progress(is_timed=False):
        found = look_at_accounts(setup, draft_of(setup, form))
    what = f"The {tokens.key.lower()} is for" if form.auth == "api_key" else "The app is installed in"
    terminal.table(what, [{"id": one.id, tokens.account.lower(): one.name} for one in found])
    now = setup.settings().snapshots_location
    ids = [one.id for one in found]
    default = now if now in ids else ids[0] if len(ids) == 1 else ""
    return replace(form, location=asker.text(tokens.account, "--snapshots-location", None, default, among=ids))


def _authorize(setup: SetupService, form: SnapshotsForm, port: int | None, since: str) -> SnapshotsForm:
    """Show where to consent, and wait for the browser to come back; returns the form that is stored then."""
    if profile_tokens(form.profile) is not None:  # its return addresses are registered
        port = port or APP_PORT
    with listening(port or 0) as callback, sandbox_if(form.region == "sandbox", setup.settings()):
        consent = begin_authorization(setup, form, callback.redirect_uri, since=since)
        terminal.notice("Open this address in a browser on this machine, and allow access:")
        code = callback.wait(consent, terminal.notice)
        finish_authorization(setup, consent, callback.redirect_uri, code)
    return stored_form(setup.settings())


def _entities(setup: SetupService, asker: Asker, given: str | None) -> None:
    if setup.is_given("SYNC_ENTITIES") or (given is None and not asker.asks):
        return
    now = setup.settings()
    present = " ".join(now.entities or specs_of(now))

    def switch() -> None:
        names = asker.text("What to sync", "--entities", given, present).replace(",", " ").split()
        if " ".join(names) != present:
            switch_entities(setup, names, since=setup.revision())

    asker.again(switch)


def _source(options: dict[str, Any], prefix: str) -> SecretSource:
    file: Path | None = options[f"{prefix}file"]
    return SecretSource(options[f"{prefix}stdin"], file, options[f"{prefix}env"])
