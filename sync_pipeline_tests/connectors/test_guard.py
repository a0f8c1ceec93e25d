"""The last door, seen from the target of it: real servers that record what reaches them."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sync_pipeline.connectors.clockify.account import Account
from sync_pipeline.connectors.clockify.api import Clockify
from sync_pipeline.connectors.clockify.source import ClockifySource
from sync_pipeline.connectors.consent import begin_consent, finish_consent, prove_redirect
from sync_pipeline.connectors.guard import RequestGuard
from sync_pipeline.connectors.http import ClientOptions
from sync_pipeline.connectors.limiter import memory_limiter
from sync_pipeline.connectors.profile import Profile
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.snapshots.api import Credentials, Snapshots
from sync_pipeline.connectors.transport import Limits
from sync_pipeline.connectors.window import Window
from sync_pipeline.diagnose.connection_test import diagnose
from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.session.session import open_session
from sync_pipeline.settings import load_settings
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.preview import preview
from sync_pipeline.stages.verify import verify
from sync_pipeline_tests.connectors.at_sandbox import ENTRIES, clients_of, clockify_at, snapshots_at
from sync_pipeline_tests.connectors.clients import run, snapshots
from sync_pipeline_tests.connectors.scripted import in_turn, reply, scripted
from sync_pipeline_tests.harness import Team, at_once, team

pytestmark = pytest.mark.clock

SANDBOXED = RequestGuard(only_loopback=True)
DRY = RequestGuard(writes=False, why="live syncing is off")
ELSEWHERE = "real.test"
"""A name that is another machine's; the tests send it through a proxy of their own, which answers for it."""


@dataclass(slots=True)
class Proxy:
    """What of the outside world was asked for."""

    url: str
    reached: list[str] = field(default_factory=list)


@contextmanager
def proxy() -> Iterator[Proxy]:
    """Takes the place of every host there is: whatever leaves this process for another machine arrives here."""

    class Handler(socketserver.StreamRequestHandler):
        """Records the first line and answers 200."""

        def handle(self) -> None:
            """Serve one connection."""
            seen.reached.append(self.rfile.readline().decode().strip())
            self.wfile.write(reply(200, {"data": [], "next_cursor": None}))

    class Server(socketserver.ThreadingTCPServer):
        """Accepts connections."""

        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        seen = Proxy(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Everyone but this machine, reached through a proxy that records."""
    with proxy() as outside:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, outside.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")
        yield outside


@pytest.fixture(scope="module")
def us(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Both systems."""
    with team(tmp_path_factory.mktemp("guarded")) as opened:
        yield opened


def ask(client: Any, work: str, *args: Any) -> Any:
    """Have a connector do one thing, and close it."""

    async def go() -> Any:
        async with getattr(client, "clockify", client):
            return await getattr(client, work)(*args)

    return run(go())


def test_the_recorder_records(world: Proxy) -> None:
    """Without a guard a request to another host arrives there: the silence below is the guard's doing."""
    open_ = RequestGuard(limits=Limits(plain_http=(f"http://{ELSEWHERE}",)))
    ask(snapshots(f"http://{ELSEWHERE}/v1", guard=open_), "probe", "users")
    assert len(world.reached) == 1
    assert world.reached[0].startswith(f"GET http://{ELSEWHERE}/v1/users?")


@pytest.mark.parametrize("host", [ELSEWHERE, "10.0.0.7", "127.0.0.1.nip.test", "localhost.test", "[2001:db8::1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_in_sandbox_mode_nothing_leaves_this_machine(world: Proxy, scheme: str, host: str) -> None:
    """Not a read, not a write, not a request for a token: no connection is even opened."""
    base = f"{scheme}://{host}/v1"
    oauth = Credentials(client_id="me", client_secret="s3cret")
    for client in (snapshots(base, guard=SANDBOXED), snapshots(base, credentials=oauth, guard=SANDBOXED)):
        for work in (("probe", "users"), ("upsert", "users", [{"user_id": "1"}]), ("delete", "users", "1")):
            with pytest.raises(ConfigError, match=r"In sandbox mode no request leaves this machine"):
                ask(client, *work)
    assert world.reached == []


def test_a_token_address_elsewhere_is_not_asked_either(us: Team, world: Proxy, tmp_path: Path) -> None:
    """A profile may name a token address of its own: in the sandbox it gets no client secret."""
    shipped = Path("sync_pipeline/connectors/profiles/generic.yaml").read_text()
    profile = tmp_path / "elsewhere.yaml"
    profile.write_text(shipped.replace("token_path: /oauth/token", f"token_path: https://{ELSEWHERE}/token"))
    loaded = load_profile(str(profile))
    assert isinstance(loaded, Profile)
    client = Snapshots(
        loaded,
        us.sandbox.snapshots,
        Credentials(client_id="sandbox-client", client_secret="sandbox-secret"),
        ClientOptions(limiter=memory_limiter(), guard=SANDBOXED),
    )
    with pytest.raises(ConfigError, match="In sandbox mode no request leaves"):
        ask(client, "probe", "users")
    assert world.reached == []


OAUTH = Credentials(client_id="me", client_secret="s3cret")


@pytest.mark.parametrize("credentials", [Credentials(api_key="s3cret"), OAUTH], ids=["key", "OAuth"])
@pytest.mark.parametrize("host", [ELSEWHERE, "10.0.0.7", "127.0.0.1.nip.test", "LOCALHOST.test:8080", "[2001:db8::1]"])
def test_plain_http_to_another_machine_carries_no_key(world: Proxy, host: str, credentials: Credentials) -> None:
    """No connection is opened; the message names the address, where it is set, and the setting that allows it."""
    allowed = RequestGuard(limits=Limits(plain_http=("http://another.test", f"http://{ELSEWHERE}:8080")))
    for guard in (RequestGuard(), allowed):
        with pytest.raises(ConfigError) as caught:
            ask(snapshots(f"http://{host}/v1", credentials=credentials, guard=guard), "probe", "users")
        assert str(caught.value) == (
            f"SNAPSHOTS_BASE_URL is http://{host.lower()}, plain http to another machine: keys could be read on the way, "
            f"so nothing was sent. Use https://, or set SYNC_ALLOW_HTTP=http://{host.lower()} if every network in between "
            "is yours."
        )
    assert world.reached == []


def test_no_consent_is_asked_for_in_clear(world: Proxy) -> None:
    """Neither the page on which a person consents, nor the address that takes the code."""
    facts = load_profile().auth.oauth
    assert facts is not None
    base = f"http://{ELSEWHERE}/v1"
    consent = begin_consent(facts, base, "me", (), "http://127.0.0.1:1/back")
    works: list[Coroutine[Any, Any, Any]] = [
        prove_redirect(consent),
        finish_consent(OAUTH.endpoint(facts, base), consent, "c0de"),
    ]
    for work in works:
        with pytest.raises(ConfigError, match=r"SNAPSHOTS_BASE_URL is http://real\.test, plain http"):
            run(work)
    assert world.reached == []


@pytest.mark.parametrize("system", ["clockify", "reports"])
def test_no_region_of_clockify_is_asked_in_clear(us: Team, world: Proxy, system: str) -> None:
    """Its own address and that of its reports, each named by its setting."""
    urls = {"clockify": us.sandbox.clockify, "reports": us.sandbox.reports, system: f"http://{ELSEWHERE}/v1"}
    account = Account(api_key="s3cret", workspace="w", base_url=urls["clockify"], reports_url=urls["reports"])
    client = Clockify(
        account, ClientOptions(limiter=memory_limiter()), reader="users" if system == "clockify" else "report"
    )
    day = datetime(2026, 1, 1, tzinfo=UTC)
    setting = "CLOCKIFY_BASE_URL" if system == "clockify" else "CLOCKIFY_REPORTS_URL"
    with pytest.raises(ConfigError, match=f"{setting} is http://real.test, plain http"):
        ask(ClockifySource(client, ENTRIES), "probe", Window(day, day + timedelta(days=1)), "u1")
    assert world.reached == []


def test_a_redirect_leads_nowhere(world: Proxy) -> None:
    """The sandbox's port answers with an address elsewhere: it is not followed."""
    with scripted(in_turn(reply(307, {}, location=f"http://{ELSEWHERE}/v1/users"))) as server:
        with pytest.raises(SyncError):
            ask(snapshots(server.url, guard=SANDBOXED), "probe", "users")
        assert len(server.asked) == 1
    assert world.reached == []


def test_sandbox_mode_over_a_real_set_up(us: Team, world: Proxy) -> None:
    """SYNC_MODE=sandbox over real accounts: a whole look at everything reaches the sandbox and no one else."""
    home = us.home.parent
    (home / "real.yaml").write_text(
        f"clockify: {{base_url: 'https://{ELSEWHERE}/api/v1', reports_url: 'https://{ELSEWHERE}/v1', workspace_id: w1}}\n"
        f"snapshots: {{base_url: 'https://{ELSEWHERE}/v1'}}\n"
    )
    environ = {
        "SYNC_HOME": str(home),
        "SYNC_SETUP_FILE": "real.yaml",
        "SYNC_MODE": "sandbox",
        "SYNC_SANDBOX_PORT": us.sandbox.url.rpartition(":")[2],
        "CLOCKIFY_API_KEY": "real-key",
        "SNAPSHOTS_API_KEY": "real-key",
        "SYNC_START_DATE": us.days.first.isoformat(),
    }
    us.forget_stats()
    with open_session(load_settings(environ, root=home), sleep=at_once) as session:
        assert session.mode.guard.only_loopback
        assert all(finding.ok for finding in diagnose(session))
    assert us.requests()
    assert world.reached == []


def test_in_a_dry_run_no_write_is_sent(us: Team) -> None:
    """Every write of both connectors: refused before it leaves, with the reason; reads pass."""
    clockify, there = clockify_at(us.sandbox, guard=DRY), snapshots_at(us.sandbox, guard=DRY)
    client = us.clients()[0]["id"]
    us.forget_stats()
    for system, *work in (
        (clients_of(clockify), "create", {"name": "New"}),
        (clients_of(clockify), "update", client, {"name": "Other"}),
        (clients_of(clockify), "remove", client),
        (there, "upsert", "users", [{"user_id": "u1", "name": "N"}]),
        (there, "delete", "users", "u1"),
    ):
        with pytest.raises(ConfigError, match=r"Nothing may be written now, so .* was not sent: live syncing is off\."):
            ask(system, *work)
    ask(there, "probe", "users")
    ask(there, "may_write", "users")
    assert ask(clockify, "me")["id"]
    assert us.writes() == {}
    assert not [route for route in us.requests() if route.startswith(("PUT", "DELETE", "PATCH"))]


def test_a_stored_set_up_that_is_off_only_looks(us: Team, tmp_path: Path) -> None:
    """Real accounts, not live: check, preview and verify read everything by both readers, and nothing is written."""
    environ = {**us.environ, "SYNC_HOME": str(tmp_path), "SYNC_MODE": "dry_run"}
    days = Days(us.days.first, us.days.last)
    us.forget_stats()
    for reader in ("report", "users"):
        settings = load_settings({**environ, "CLOCKIFY_READER": reader}, root=tmp_path)
        with open_session(settings, sleep=at_once) as session:
            assert all(finding.ok for finding in diagnose(session))
            for spec in session.specs.values():
                span = days if spec.partitioned else None
                assert preview(session, spec, span).total > 0
                assert not verify(session, spec, span).in_sync
    assert us.requests()["POST /clockify/report/v1/workspaces/{ws}/reports/detailed"] > 0, "a POST that only reads"
    assert us.writes() == {}


def test_a_dry_run_cannot_repair(us: Team, tmp_path: Path) -> None:
    """Whatever a stage may want: the write stops at the door, and nothing is remembered as delivered."""
    settings = load_settings({**us.environ, "SYNC_HOME": str(tmp_path), "SYNC_MODE": "dry_run"}, root=tmp_path)
    us.forget_stats()
    with (
        open_session(settings, sleep=at_once) as session,
        pytest.raises(ConfigError, match="Nothing may be written now"),
    ):
        verify(session, session.specs["users"], None, repair=True)
    assert us.writes() == {}
