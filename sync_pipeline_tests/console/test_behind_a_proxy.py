"""Two consoles over one database behind a proxy: whichever one answers, a browser does not notice."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.fernet import Fernet
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sync_pipeline.console.dagster import gated
from sync_pipeline.console.server import ConsoleOptions, RunningConsole, sign_in_at
from sync_pipeline.console.sharing import SignIn
from sync_pipeline.console.site import site_of
from sync_pipeline.console.work import TEST
from sync_pipeline.errors import ConfigError
from sync_pipeline.serving import READ_ONLY, ServerLimits, bounded_server, in_thread, listen
from sync_pipeline.store import browser_sessions, console_work
from sync_pipeline.store.audit import changes
from sync_pipeline_tests.console.browsing import Browser, Page, Time, consoling
from sync_pipeline_tests.console.proxying import NAME, Proxy, proxying
from sync_pipeline_tests.console.setting_up import authorize, choose, decide, look
from sync_pipeline_tests.harness import CLOCKIFY_KEY, Team
from sync_pipeline_tests.scenarios.developing import local_client
from sync_pipeline_tests.store.conftest import postgres, sqlite_template, url

__all__ = ["postgres", "sqlite_template", "url"]  # fixtures of the store's tests

WITH_USERS = {
    "SYNC_USER_HEADER": "X-Forwarded-User",
    "SYNC_USER_ROLES": "ana@example.com=admin ben=viewer eva=operator",
}
STRANGER = "127.0.0.2"
"""An address of this machine that is not the proxy's."""


@dataclass
class Two:
    """Two consoles behind a proxy, and a browser before it."""

    proxy: Proxy
    consoles: tuple[RunningConsole, RunningConsole]
    browser: Browser
    time: Time

    def use(self, number: int) -> Browser:
        """The browser, whose requests go to this console from now on."""
        self.proxy.target = self.consoles[number].address
        return self.browser

    def direct(self, peer: str = "127.0.0.1", path: str = "/", method: str = "GET", **headers: str) -> httpx.Response:
        """Ask the first console without the proxy, from this address."""
        sent = {
            "host": urlsplit(self.proxy.url).netloc,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        with httpx.Client(transport=httpx.HTTPTransport(local_address=peer), trust_env=False, timeout=60) as client:
            return client.request(method, self.consoles[0].address + path, headers=sent)


@contextmanager
def two_consoles(root: Path, url: str, **more: str) -> Iterator[Two]:
    """Both on homes of their own, as on two machines."""
    time = Time()
    with proxying(root) as proxy:
        environ = {
            "SYNC_DATABASE_URL": url,
            "SYNC_PUBLIC_URL": proxy.url,
            "SYNC_TRUSTED_PROXIES": "127.0.0.1",
            "SYNC_ENCRYPTION_KEY": Fernet.generate_key().decode(),
            **more,
        }
        with (
            consoling(root / "one", time, **environ) as one,
            consoling(root / "two", time, **environ) as two,
            local_client(follow_redirects=True, timeout=60, verify=False) as client,
        ):
            proxy.target = one.address
            yield Two(proxy, (one, two), Browser(one, client), time)


@pytest.fixture
def two(tmp_path: Path, url: str) -> Iterator[Two]:
    """Users sign in with links."""
    with two_consoles(tmp_path, url) as found:
        yield found


@pytest.fixture
def with_users(tmp_path: Path, sqlite_url: str) -> Iterator[Two]:
    """The proxy signs users in."""
    with two_consoles(tmp_path, sqlite_url, **WITH_USERS) as found:
        yield found


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database that is not made yet."""
    return f"sqlite:///{tmp_path / 'shared.db'}"


def test_both_consoles_know_a_browser(two: Two) -> None:
    """A link of one signs in at the other, once; a form of one is accepted by the other; signing out ends it at both."""
    first, second = two.consoles
    link = first.link("operator")
    answer = two.use(1).get(link)
    assert answer.url.path == "/"
    flags = answer.history[0].headers["set-cookie"]
    assert flags.startswith("__Host-sync_session=")
    assert all(flag in flags for flag in ("; HttpOnly", "; Secure", "; SameSite=lax", "; Path=/"))
    assert "Domain" not in flags
    with local_client(verify=False) as other:
        assert other.get(link).status_code == 403

    assert "signed in" not in two.use(0).page("/").text
    hidden = {"csrf": two.browser.page("/connections").value("csrf")}
    assert two.use(1).send("/connections", hidden).url.path == "/connections"
    assert two.use(1).send("/connections", {**hidden, "csrf": "another"}).status_code == 403
    two.use(0).send("/sign-out", hidden)
    assert two.use(1).get("/").status_code == 401
    assert two.use(0).get("/").status_code == 401
    assert second.link() != first.link()


def test_a_session_ends_when_it_is_not_used(two: Two) -> None:
    """Use at one counts for the other; pages that look for news by themselves do not."""
    two.use(0).sign_in()
    for console in (1, 0, 1):
        two.time.at += 7000
        assert two.use(console).get("/").status_code == 200
    two.time.at += 7000
    two.use(0).get("/overview/progress")
    two.time.at += 300
    assert two.use(1).get("/").status_code == 401
    link = two.consoles[0].link()
    two.time.at += 3601
    assert two.use(0).get(link).status_code == 403


def test_a_session_that_another_version_has_kept_is_over(two: Two) -> None:
    """While a new version is rolled out an instance may not understand it: the browser signs in again."""
    two.use(0).sign_in()
    cookie = two.browser.client.cookies["__Host-sync_session"]
    with two.consoles[0].console.setup.store() as store:
        browser_sessions.keep_changes(store, cookie, {"notices": {"of": "another version"}})
    assert two.use(1).get("/").status_code == 401
    assert two.use(1).sign_in().status_code == 200


def test_what_is_started_at_one_ends_at_the_other(two: Two, office: Team) -> None:
    """A key that was typed, the workspace chosen, and a consent that comes back: once, whichever process redeems it."""
    two.use(0).sign_in()
    look(two.use(0), office)
    page = two.use(1).get("/clockify")
    assert office.sandbox.workspace in page.text
    assert CLOCKIFY_KEY not in page.text
    assert choose(two.use(1), office).url.path == "/setup/snapshots"

    client = {"client_id": "public", "client_secret": "s3cret"}
    office.control("POST", "clients", {**client, "redirect_uris": [f"{two.proxy.url}/snapshots/callback"]})
    back = decide(authorize(two.use(0), office, **client), "approve")
    assert back.startswith(f"{two.proxy.url}/snapshots/callback?")
    two.use(1)
    state = parse_qs(urlsplit(back).query)["state"][0]
    with local_client(verify=False) as other:  # who is not signed in redeems nothing, but may bring it back
        assert other.get(back).headers["location"] == f"{two.proxy.url}/snapshots/authorized?state={state}"
        assert other.get(f"{two.proxy.url}/snapshots/authorized?state={state}").status_code == 401
    answer = two.use(0).get(f"{two.proxy.url}/snapshots/authorized?state={state}")
    assert "access was allowed" in answer.text
    for number in (0, 1):
        assert two.use(number).get(f"{two.proxy.url}/snapshots/authorized?state={state}").status_code == 400
        assert two.use(number).get(back).status_code == 400


def test_work_of_one_is_seen_at_the_other(two: Two) -> None:
    """While a third instance tests the connections: both show how far it is and begin none; when it is killed, both report it."""
    two.use(0).sign_in()
    first, second = (each.console for each in two.consoles)
    at = first.setup.now()
    found = {"begun_at": at.isoformat(), "findings": [], "systems": ["clockify"], "problem": "", "is_done": False}
    with first.setup.store() as store, ExitStack() as held:
        assert console_work.take(store, "", TEST, held)
        console_work.note(store, "", TEST, console_work.WorkProgress(at, found))
        for number in (0, 1):
            shown = two.use(number).get("/connections/progress")
            assert (shown.headers["x-under-way"], "0 findings so far" in shown.text) == ("yes", True)
        second.work.begin_test()
        kept = console_work.read(store, "", TEST)
        assert kept is not None
        assert kept.state == found
        held.close()
        for number in (0, 1):
            shown = two.use(number).get("/connections/progress")
            assert (shown.headers["x-under-way"], "cut off with the console" in shown.text) == ("no", True)


def test_the_database_alone_signs_no_one_in(two: Two, office: Team, sqlite_url: str) -> None:
    """Neither cookie nor link nor a key that was typed can be read from it."""
    two.use(0).sign_in()
    look(two.browser, office)
    token = parse_qs(urlsplit(two.consoles[0].link()).query)["token"][0]
    (cookie,) = [each.value for each in two.browser.client.cookies.jar]
    with two.consoles[0].console.setup.store() as store, store.reading() as tx:
        kept = "".join(
            str([bytes(value) if isinstance(value, bytes | memoryview) else value for value in row])
            for table in ("browser_sessions", "one_time_tokens")
            for row in tx.exec_driver_sql(f"SELECT * FROM {table}")
        )
    assert cookie
    assert all(secret not in kept for secret in (cookie or "", token, CLOCKIFY_KEY, "csrf"))
    assert sqlite_url


def test_users_whom_the_proxy_names(with_users: Two) -> None:
    """Each has the role of the setting, at both consoles, and is named in the audit trail; others have none."""
    two, browser = with_users, with_users.browser
    two.proxy.user = "ana@example.com"
    assert two.use(0).get("/settings/secrets").status_code == 200
    hidden = two.browser.hidden("/settings/general")
    assert two.use(1).send("/settings/general", hidden, {"date_form": "eu"}).status_code == 200
    with two.consoles[0].console.setup.store() as store:
        assert any(line.by.startswith("ana@example.com, session ") for line in changes(store))

    two.proxy.user = "ben"  # with the cookie of Ana's session
    assert browser.get("/settings/secrets").status_code == 403
    assert browser.send("/settings/general", hidden).status_code == 403
    for name, said in (
        ("carl", "carl, who has no role"),
        ("*", "no role"),
        ("<b>", "&lt;b&gt;"),
        ("", "not signed in"),
    ):
        two.proxy.user = name
        answer = browser.get("/")
        assert answer.status_code == 401
        assert said in answer.text
    two.proxy.user = "ben"
    link = two.consoles[1].link("admin")
    assert browser.get(link).url.path == "/"  # a link gives its own role, to the user who opens it
    assert browser.get("/settings/secrets").status_code == 200
    two.proxy.user = "eva"
    assert browser.get("/settings/secrets").status_code == 403


def test_a_user_is_named_by_the_proxy_alone(with_users: Two) -> None:
    """From another address the header means nothing, nor under another name; two names are none."""
    two, ana = with_users, "ana@example.com"
    assert two.direct(X_Forwarded_User=ana).status_code == 200
    assert two.direct(STRANGER, X_Forwarded_User=ana).status_code == 401
    assert two.direct(STRANGER, X_Forwarded_User=ana, X_Forwarded_For="127.0.0.1").status_code == 401
    assert two.direct(**{"x-FORWARDED-user": ana}).status_code == 200
    with httpx.Client(trust_env=False) as client:
        host = ("host", urlsplit(two.proxy.url).netloc)
        doubled = [host, ("X-Forwarded-User", ana), ("x-forwarded-USER", "ben")]
        assert client.get(two.consoles[0].address, headers=doubled).status_code == 400
        assert client.get(two.consoles[0].address, headers=[host, ("X_Forwarded_User", ana)]).status_code == 401
        for name in (f"{ana}, ben".encode(), f"ben,{ana}".encode(), b"x" * 201, f"\xa0{ana}".encode(), b"ana\xff"):
            sent = [(b"host", host[1].encode()), (b"X-Forwarded-User", name)]
            assert client.get(two.consoles[0].address, headers=sent).status_code == 400
    two.proxy.user, two.proxy.more = "ben", [("X-Forwarded-User", ana)]
    answer = two.use(0).get("/")
    assert answer.status_code == 400
    assert "replace the header" in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"host": "evil.example"}, 421),
        ({"host": f"{NAME}:1"}, 421),
        ({"host": NAME}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"x_forwarded_host": "evil.example"}, 421),
        ({"host": "internal:8770", "x_forwarded_host": "{public}"}, 401),
        ({"x_forwarded_host": "{public}, evil.example"}, 421),
        ({"x_forwarded_proto": "https"}, 401),
        ({"x_forwarded_proto": "http"}, 421),
        ({"x_forwarded_proto": "https, http"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://{public}"}, 403),
        ({"origin": "https://{public}"}, 401),
        ({"sec_fetch_site": "cross-site"}, 403),
    ],
    ids=str,
)
def test_only_the_public_address_is_ours(shared_two: Two, headers: Mapping[str, str], status: int) -> None:
    """By Host, or what the proxy forwards of it; pages of other origins get no answer, and no page leads elsewhere."""
    public = urlsplit(shared_two.proxy.url).netloc
    answer = shared_two.direct(**{name: value.format(public=public) for name, value in headers.items()})
    assert answer.status_code == status
    assert "evil.example" not in answer.text
    assert "access-control-allow-origin" not in answer.headers


@pytest.fixture(scope="module")
def shared_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Consoles that no test changes."""
    root = tmp_path_factory.mktemp("two")
    with two_consoles(root, f"sqlite:///{root / 'shared.db'}", SYNC_METRICS_TOKEN="m" * 20) as found:
        yield found


def test_a_stranger_forwards_nothing(shared_two: Two) -> None:
    """What any other sender states about the browser is ignored, true or not."""
    public = urlsplit(shared_two.proxy.url).netloc
    assert shared_two.direct(STRANGER, host="internal:8770", x_forwarded_host=public).status_code == 421
    assert shared_two.direct(STRANGER, x_forwarded_host="evil.example", x_forwarded_proto="http").status_code == 401


def test_programs_ask_under_any_name(shared_two: Two) -> None:
    """A probe knows the address of a container only; no page does, and not for more than that."""
    for host in ("10.1.2.3:8770", "console", "127.0.0.1"):
        assert shared_two.direct(host=host, path="/healthz").status_code == 200
        assert shared_two.direct(host=host, path="/metrics").status_code == 401
        assert shared_two.direct(host=host, path="/healthz", sec_fetch_site="cross-site").status_code == 403
        assert shared_two.direct(host=host, path="/static/console.css").status_code == 421
        assert shared_two.direct(host=host, path="/healthz", method="POST").status_code == 421


def test_signed_out_pages_explain(shared_two: Two) -> None:
    """Wherever a browser comes from: how to sign in."""
    answer = shared_two.use(0).get("/setup/live")
    assert answer.status_code == 401
    assert "sync-pipeline console link" in Page(answer.text).text


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SYNC_USER_HEADER": "X-User"}, "SYNC_PUBLIC_URL"),
        ({"SYNC_TRUSTED_PROXIES": "10.0.0.1"}, "SYNC_PUBLIC_URL"),
        ({"SYNC_PUBLIC_URL": "https://a.example", "SYNC_USER_HEADER": "X-User"}, "SYNC_TRUSTED_PROXIES"),
        (
            {"SYNC_PUBLIC_URL": "https://a.example", "SYNC_USER_HEADER": "X-User", "SYNC_TRUSTED_PROXIES": "::1"},
            "SYNC_USER_ROLES",
        ),
        ({"SYNC_PUBLIC_URL": "http://a.example"}, "unencrypted"),
        ({"SYNC_PUBLIC_URL": "https://a.example/console"}, "without a path"),
        ({"SYNC_TRUSTED_PROXIES": "0.0.0.0/0"}, "not every address"),
        ({"SYNC_USER_HEADER": "Cookie"}, "only a proxy sets"),
        ({"SYNC_USER_ROLES": "ana=root"}, "roles: dashboard"),
        ({"SYNC_USER_ROLES": "ana=admin ana=viewer"}, "each once"),
    ],
    ids=str,
)
def test_what_would_let_anyone_in_is_refused(tmp_path: Path, environ: Mapping[str, str], said: str) -> None:
    """At the start, with what to set."""
    with pytest.raises(ConfigError, match=said), consoling(tmp_path / "home", None, **environ):
        pass


# -- the Dagster UI -----------------------------------------------------------------------------------------------------


async def _ui(scope: Scope, receive: Receive, send: Send) -> None:
    """In place of Dagster's pages: states whether it may only be read."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": str(scope[READ_ONLY])})
        await send({"type": "websocket.close"})
    elif scope["type"] == "http":
        await PlainTextResponse(str(scope[READ_ONLY]))(scope, receive, send)


@pytest.fixture(scope="module")
def ui(shared_two: Two) -> Iterator[tuple[int, SignIn]]:
    """The gate of the UI on the consoles' database: its port, and how another instance of it signs in."""
    settings = shared_two.consoles[0].console.setup.settings()
    settings = replace(settings, user_header="x-forwarded-user", user_roles=("ana=admin", "*=viewer"))
    site = site_of(settings, "https://dagster.example", "SYNC_DAGSTER_URL")
    one, two = (sign_in_at(site, each.console.setup, settings, ConsoleOptions(), "") for each in shared_two.consoles)
    listener = listen("127.0.0.1", 0, "", "")
    server = bounded_server("ui", gated(_ui, site, one), ServerLimits(), websockets=True, proxy_headers=False)
    with in_thread(server, listener, "ui"):
        yield listener.getsockname()[1], two


def test_the_ui_knows_users_and_sessions(ui: tuple[int, SignIn]) -> None:
    """Only admins change something; a link that another instance made signs in; nothing is revealed to strangers."""
    port, other = ui
    url, host = f"http://127.0.0.1:{port}", {"host": "dagster.example"}
    ana, ben = ({**host, "x-forwarded-user": name} for name in ("ana", "ben"))
    with httpx.Client(trust_env=False) as client:
        assert client.get(url, headers=host).status_code == 401
        assert [client.get(url, headers=user).text for user in (ana, ben)] == ["False", "True"]
        assert client.post(f"{url}/report_asset_check/users", headers=ben).status_code == 403
        assert client.get(f"{url}/graphql", params={"query": "mutation{a}"}, headers=ana).status_code == 405
        assert client.post(url, headers={**ana, "origin": "https://evil.example"}).status_code == 403
        assert client.get(url, headers={**ana, "host": "evil.example"}).status_code == 421
        assert client.get(f"{url}/healthz", headers={"host": "10.0.0.9:3000"}).json() == {"status": "ok"}
        signed_in = client.get(f"{url}/sign-in", params={"token": other.links.issue("viewer")}, headers=host)
        name, _, value = signed_in.headers["set-cookie"].partition(";")[0].partition("=")
        assert name == "__Host-sync_session"
        assert client.get(url, headers={**host, "cookie": f"{name}={value}"}).text == "True"
        assert client.get(url, headers={**ana, "cookie": f"{name}={value}"}).text == "False", "it is not Ana's session"
        other.sessions.close(value)
        assert client.get(url, headers={**host, "cookie": f"{name}={value}"}).status_code == 401
    with httpx.Client(trust_env=False, transport=httpx.HTTPTransport(local_address=STRANGER)) as client:
        assert client.get(url, headers=ana).status_code == 401


@pytest.mark.parametrize(
    ("headers", "peer", "said"),
    [
        ([("X-Forwarded-User", "ana")], "127.0.0.1", "False"),
        ([("X-Forwarded-User", "ben"), ("X-Forwarded-Proto", "wss")], "127.0.0.1", "True"),
        ([], "127.0.0.1", None),
        ([("X-Forwarded-User", "ana")], STRANGER, None),
        ([("X-Forwarded-User", "ana"), ("X-Forwarded-User", "ben")], "127.0.0.1", None),
        ([("X-Forwarded-User", "ana"), ("X-Forwarded-Proto", "ws")], "127.0.0.1", None),
        ([("X-Forwarded-User", "ana"), ("X-Forwarded-Host", "evil.example")], "127.0.0.1", None),
        ([("X-Forwarded-User", "ana"), ("Origin", "https://evil.example")], "127.0.0.1", None),
    ],
    ids=str,
)
def test_web_sockets_of_the_ui(ui: tuple[int, SignIn], headers: Any, peer: str, said: str | None) -> None:
    """They are opened by pages at the public address, for users whom the proxy names."""
    sent = dict(headers).get("Origin", "https://dagster.example")
    more = [each for each in headers if each[0] != "Origin"]
    place = socket.create_connection(("127.0.0.1", ui[0]), source_address=(peer, 0))
    with ExitStack() as held:
        if said is None:
            held.enter_context(pytest.raises(InvalidStatus))
        found = held.enter_context(
            connect("ws://dagster.example", additional_headers=more, origin=sent, sock=place, proxy=None)
        )
        assert found.recv(30) == said
