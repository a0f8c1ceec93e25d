"""Law 8 over the whole path: recognisable secrets are planted everywhere, and then looked for in everything."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from sync_pipeline.clock import utc_now
from sync_pipeline.console.server import ConsoleOptions, RunningConsole
from sync_pipeline.console.server import running as console_running
from sync_pipeline.errors import SyncError
from sync_pipeline.session.session import open_session
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.schema import metadata
from sync_pipeline.store.tokens import Tokens
from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.server import running as receiving
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.console.browsing import PAGES, Browser, browsing
from sync_pipeline_tests.console.setting_up import authorize, choose, decide, look, snapshots
from sync_pipeline_tests.harness import Team, morning, team
from sync_pipeline_tests.impostor import Part, impostor
from sync_pipeline_tests.scenarios import planting
from sync_pipeline_tests.scenarios.commands import wait_until
from sync_pipeline_tests.scenarios.planting import Hunt, echo, plant, query_of
from sync_pipeline_tests.store.conftest import Server, postgres

__all__ = ["postgres"]  # a fixture

ACCOUNTS = ("CLOCKIFY_API_KEY", "CLOCKIFY_WORKSPACE_ID", "CLOCKIFY_BASE_URL", "CLOCKIFY_REPORTS_URL", "CLOCKIFY_PLAN")
NOTHING: dict[str, str | None] = dict.fromkeys((*ACCOUNTS, "SNAPSHOTS_BASE_URL", "SNAPSHOTS_API_KEY"))
ECHOES = [(401, ""), (400, ""), (403, ""), (500, ""), (429, ""), (302, ""), (200, "html")]


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """Both systems, which accept what is planted."""
    with team(tmp_path / "office", users=2, projects=2, locations=2, entries=5) as opened:
        plant(opened)
        yield opened


@pytest.fixture
def hunt(caplog: pytest.LogCaptureFixture) -> Hunt:
    """Every logger logs at its lowest level."""
    _listen_to_everything(caplog)
    return Hunt()


@pytest.fixture
def shell(us: Team, tmp_path: Path) -> Iterator[Shell]:
    """A home without any account."""
    with shell_for(us, tmp_path / "there", **NOTHING, SYNC_ENCRYPTION_KEY=planting.ENCRYPTION[0]) as typed:
        yield typed


def _listen_to_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, name)


def _typed(hunt: Hunt, shell: Shell, *words: str, code: int | None = 0) -> Any:
    """Type a command and keep its output."""
    ended = shell(*words)
    hunt.look(f"the output of {' '.join(words)}", ended.out + ended.err)
    assert code is None or ended.code == code, ended
    return ended


def _init(us: Team, tmp_path: Path) -> list[str]:
    (tmp_path / "clockify").write_text(f' "{planting.OLD_KEY}"\n')
    (tmp_path / "snapshots").write_text(f"{planting.SNAPSHOTS_OLD}\n")
    return [
        *("init", "--json", "--clockify-region", "custom", "--clockify-base-url", us.sandbox.clockify),
        *("--clockify-reports-url", us.sandbox.reports, "--clockify-key-file", str(tmp_path / "clockify")),
        *("--snapshots-base-url", us.sandbox.snapshots, "--snapshots-key-file", str(tmp_path / "snapshots")),
    ]


def _settle(hunt: Hunt, shell: Shell, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Keep all that is left behind: log lines, both outputs, every table and every file."""
    hunt.look("the log", _ours(caplog.text))
    said = capfd.readouterr()
    hunt.look("standard output", said.out)
    hunt.look("standard error", said.err)
    store = open_store(f"sqlite:///{shell.home / 'sync.db'}")
    try:
        with store.reading() as own:
            for name in metadata.tables:
                hunt.look(f"the table {name}", repr(own.execute(text(f"SELECT * FROM {name}")).fetchall()))
    finally:
        store.close()
    assert hunt.look_into_files(shell.home) > 5
    assert hunt.found() == []


def _ours(log: str) -> str:
    """The log without what the sender of webhooks logs about its own requests: in this process that is the sandbox."""
    return "\n".join(line for line in log.splitlines() if "HTTP Request: POST" not in line or "/hooks/" not in line)


def test_the_path_in_the_terminal_shows_no_secret(
    us: Team,
    shell: Shell,
    hunt: Hunt,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """init, check, trial, live, a Dagster run, rotation, a rejected key and its fallback, webhooks, another encryption key."""
    for words in (
        _init(us, tmp_path),
        ["check"],
        ["trial", "--json"],
        ["live", "on"],
        ["sync", "--json"],
        ["check", "--json"],
    ):
        _typed(hunt, shell, *words)
    (tmp_path / "new").write_text(planting.NEW_KEY)
    _typed(hunt, shell, "credentials", "rotate", "clockify.api_key", "--file", str(tmp_path / "new"))
    us.sandbox.world.db.execute("DELETE FROM api_keys WHERE key = ?", (planting.NEW_KEY,))
    _typed(hunt, shell, "sync")  # with the fallback
    _webhooks(us, shell, hunt)
    us.sandbox.world.db.execute("DELETE FROM api_keys WHERE key = ?", (planting.OLD_KEY,))
    _typed(hunt, shell, "sync", code=4)
    _typed(hunt, shell, "check", "--json", code=4)
    both = shell.with_(SYNC_ENCRYPTION_KEY=",".join(reversed(planting.ENCRYPTION)))
    _typed(hunt, shell.with_(SYNC_ENCRYPTION_KEY=planting.ENCRYPTION[1]), "credentials", "list", code=2)
    _typed(hunt, both, "credentials", "encrypt-again")
    new = shell.with_(SYNC_ENCRYPTION_KEY=planting.ENCRYPTION[1])
    for words in (
        ["credentials", "list", "--json"],
        ["deliveries", "--json"],
        ["rejects", "list"],
    ):
        _typed(hunt, new, *words)
    _typed(hunt, new, "status", "--json", code=4)  # the key was refused
    _typed(hunt, new, "credentials", "rotate", "snapshots.api_key", "--env", "NO_SUCH_VARIABLE", code=2)
    _typed(hunt, new, "disconnect", "clockify", "--yes")
    _settle(hunt, new, caplog, capfd)


def _webhooks(us: Team, shell: Shell, hunt: Hunt) -> None:
    """Subscribe, receive an edit, and turn away who does not know path or token."""
    setup = SetupService("ana", root=shell.root, environ={k: v for k, v in shell.environ.items() if v is not None})
    with open_session(setup.settings()) as session:
        hooks = open_hooks(session)
        with receiving(hooks, ReceiverOptions(workspace=us.sandbox.workspace)) as receiver:
            _typed(hunt, shell, "webhooks", "register", "--url", receiver.url, "--json")
            _typed(hunt, shell, "webhooks", "list")
            assert _typed(hunt, shell, "trail", "--json").document["changes"][0]["what"] == "webhooks registered"
            hunt.learn(*(secret for hook in hooks.all().values() for secret in (hook.secret, hook.token)))
            us.add_entry(us.users()[0]["id"], morning(1))
            wait_until(lambda: b"stored_total 0" not in httpx.get(f"{receiver.url}/metrics", trust_env=False).content)
            for hook in hooks.all().values():
                path = receiver.url + hook.path(us.sandbox.workspace)
                for token, body in ((planting.WRONG, b"{}"), (hook.token, b"{"), (hook.token, b'{"id": "x"}')):
                    headers = {"clockify-signature": token, "content-type": "application/json"}
                    answer = httpx.post(
                        path,
                        content=body,
                        trust_env=False,
                        headers=headers | {"clockify-webhook-event-type": hook.name},
                    )
                    hunt.look("an answer of the receiver", f"{answer.headers} {answer.text}")
            for path in ("/metrics", "/healthz", "/nothing"):
                answer = httpx.get(receiver.url + path, trust_env=False)
                hunt.look(f"the receiver's {path}", f"{answer.headers} {answer.text}")


@pytest.mark.parametrize(("status", "kind"), ECHOES)
def test_a_server_that_repeats_what_it_was_sent(
    us: Team,
    shell: Shell,
    hunt: Hunt,
    status: int,
    kind: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In code, message and headers, cut off in the middle of it or encoded: nothing of it is shown or kept."""
    for system, variable, key in (
        ("clockify", "CLOCKIFY_API_KEY", planting.OLD_KEY),
        ("snapshots", "SNAPSHOTS_API_KEY", planting.SNAPSHOTS_OLD),
        ("snapshots", "SNAPSHOTS_CLIENT_SECRET", planting.CLIENT_SECRET),
    ):
        headers = {"X-Request-Id": key, "WWW-Authenticate": f"Bearer {key}", "Location": f"/sign/in/{key}?key={key}"}
        body = f"<html>{key}</html>" if kind else httpx.Response(200, json=echo(key)).text
        with impostor(Part(status, body.encode(), "text/html" if kind else "application/json", headers)) as there:
            given = {name: us.environ[name] for name in (*ACCOUNTS, "SNAPSHOTS_BASE_URL", "SNAPSHOTS_API_KEY")}
            given |= {variable: key, f"{system.upper()}_BASE_URL": there, "SYNC_MODE": "live"}
            if variable == "SNAPSHOTS_CLIENT_SECRET":
                given |= {"SNAPSHOTS_API_KEY": "", "SNAPSHOTS_CLIENT_ID": planting.CLIENT}
            echoed = shell.with_(**given)
            assert _typed(hunt, echoed, "check", code=None).code in (1, 4)
            assert _typed(hunt, echoed, "sync", "--json", code=None).code in (1, 4)
            environ = {name: value for name, value in echoed.environ.items() if value is not None}
            with open_session(SetupService("ana", root=shell.root, environ=environ).settings()) as session:
                for ask in (session.clockify.me, lambda s=session: s.snapshots.get("users", "u1")):
                    try:
                        session.call(ask)
                    except SyncError as error:
                        hunt.look_at_error("an error", error)
    _settle(hunt, shell, caplog, capfd)


def test_the_path_in_the_console_shows_no_secret(
    us: Team, shell: Shell, hunt: Hunt, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every page and every refusal, consent and a refresh, wrong keys, a handler that breaks."""
    clock = BrokenClock()
    environ = {name: value for name, value in shell.environ.items() if value is not None}
    setup = SetupService("Ana (console)", root=shell.root, environ=environ, now=clock)
    with console_running(setup, ConsoleOptions(port=0)) as console, browsing(console) as browser:
        _listen_to_everything(caplog)
        hunt.look("reprs", repr(console))
        _sign_in(console, browser, hunt)
        _enter_wrong_and_right(us, browser)
        _consent(us, browser, hunt)
        _refresh(setup, hunt)
        assert browser.post("/try", {"kind": "dry_run"}).url.path == "/setup/preview"
        browser.wait("/try/progress")
        assert browser.post("/live", {"on": "1"}).url.path == "/setup/live"
        browser.post("/check")
        browser.wait("/check/progress")
        for path in (
            *PAGES,
            "/nothing",
            "/rejects/nothing",
            "/mapping/nothing",
            "/static/../app.py",
            "/sign-in?token=x",
        ):
            browser.get(path)
        hidden = browser.hidden()
        clock.is_broken = True
        assert browser.send("/try", hidden, {"kind": "dry_run"}).status_code == 500
        clock.is_broken = False
        _typed(hunt, shell, "sync")
        browser.post("/clockify/disconnect", {"name": "Clockify"}, of="/connections/clockify/disconnect")
        hunt.look("reprs", repr(console))
    hunt.look("the console's answers", "\n".join(browser.seen))
    _settle(hunt, shell, caplog, capfd)


class BrokenClock:
    """Tells the time until it breaks, with a message no one may ever see."""

    is_broken = False

    def __call__(self) -> datetime:
        """The time."""
        if self.is_broken:
            raise RuntimeError(f"the clock is broken: {planting.WRONG}")
        return utc_now()


def _sign_in(console: RunningConsole, browser: Browser, hunt: Hunt) -> None:
    link = console.link()
    hunt.learn(query_of(link, "token"))
    assert browser.get(link).status_code == 200
    (cookie,) = browser.client.cookies.jar
    assert cookie.value
    # The one place for it is the header that sets it.
    browser.seen = [seen.replace(cookie.value, "") for seen in browser.seen]
    hunt.learn(cookie.value)
    assert browser.get(link).status_code == 200, "spent, but we are signed in"


def _enter_wrong_and_right(us: Team, browser: Browser) -> None:
    for wrong in (planting.WRONG, f"{planting.WRONG} {planting.WRONG}", planting.WRONG + "é"):
        assert look(browser, us, secret=wrong).status_code == 422
        assert snapshots(browser, us, api_key=wrong).status_code == 422
    assert look(browser, us, secret=f" '{planting.OLD_KEY}' ").status_code == 200
    assert choose(browser, us).url.path == "/setup/snapshots"
    assert snapshots(browser, us, api_key=planting.SNAPSHOTS_OLD).url.path == "/mapping"


def _consent(us: Team, browser: Browser, hunt: Hunt) -> None:
    """Denied, answered with a code of no one's, and allowed."""
    client = {"client_id": planting.CLIENT, "client_secret": planting.CLIENT_SECRET}
    assert browser.get(decide(authorize(browser, us, **client), "deny")).status_code == 422
    state = query_of(authorize(browser, us, **client), "state")
    assert browser.get(f"/snapshots/callback?code={planting.WRONG}&state={state}").status_code == 422
    back = decide(authorize(browser, us, **client), "approve")
    hunt.learn(query_of(back, "code"))
    assert browser.get(back).url.path == "/mapping"
    # The requests of the browser itself, which carries codes, are in no answer.
    assert browser.get(back).status_code == 400, "used before"


def _refresh(setup: SetupService, hunt: Hunt) -> None:
    """The access token ends: the next request renews the pair."""
    with setup.vault() as vault:
        tokens = vault.tokens.read()
        assert isinstance(tokens, Tokens)
        hunt.learn(*tokens.secrets)
        vault.tokens.keep(replace(tokens, expires_at=0.0))
        with setup.session() as session:
            session.call(session.snapshots.probe, "users")
        fresh = vault.tokens.read()
        assert isinstance(fresh, Tokens)
        assert fresh.access_token != tokens.access_token
        hunt.learn(*fresh.secrets)


@pytest.mark.parametrize("is_right", [True, False])
def test_a_databases_password_is_shown_nowhere(
    postgres: Server,
    us: Team,
    shell: Shell,
    hunt: Hunt,
    is_right: bool,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither when it is right nor when the server refuses it or is away."""
    url = postgres.create().replace("postgres@", f"postgres:{planting.PASSWORD}@", 1)
    assert planting.PASSWORD in url or not url
    given = {name: us.environ[name] for name in (*ACCOUNTS, "SNAPSHOTS_BASE_URL", "SNAPSHOTS_API_KEY")}
    there = shell.with_(
        **given, SYNC_DATABASE_URL=url if is_right else f"postgresql://ana:{planting.PASSWORD}@127.0.0.1:1/x"
    )
    code = 0 if is_right else 2
    for words in (["check"], ["sync", "--yes"], ["status", "--json"], ["credentials", "list", "--json"]):
        _typed(hunt, there, *words, code=None if not is_right else code)
    hunt.look("the log", caplog.text)
    said = capfd.readouterr()
    hunt.look("the outputs", said.out + said.err)
    hunt.look_into_files(shell.home)
    with suppress(SyncError):
        open_store(f"postgresql://ana:{planting.PASSWORD}@127.0.0.1:1/x")
    assert hunt.found() == []
