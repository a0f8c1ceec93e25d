"""The Dagster UI of a running `dev`, and every other port of it: for who is signed in, and for no page of another site."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sync_pipeline.clock import unix_time
from sync_pipeline.console.sign_in_links import fresh_link
from sync_pipeline_tests.browser import chromium
from sync_pipeline_tests.scenarios.developing import Developing, developing, local_client, wait_for

EVIL = "evil.example"
SENSORS = (
    "{repositoriesOrError{... on RepositoryConnection{nodes{sensors{id name sensorState{id selectorId status}}}}}}"
)
STOP = 'mutation{stopSensor(id:"%s"){__typename}}'
SUBSCRIPTION = "subscription{locationStateChangeEvents{event{eventType}}}"
FOREIGN = [
    {"Origin": f"https://{EVIL}"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
]
UI_MS = 60_000


@pytest.fixture(scope="module")
def us(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Developing]:
    """A running `dev`, with a signed-in client."""
    with developing(tmp_path_factory.mktemp("dev")) as found:
        yield found


@pytest.fixture
def stranger() -> Iterator[httpx.Client]:
    """A client that is not signed in."""
    with local_client() as client:
        yield client


def sensor(us: Developing) -> dict[str, Any]:
    """A sensor, as Dagster has it."""
    (repository,) = us.graphql(SENSORS)["repositoriesOrError"]["nodes"]
    found: dict[str, Any] = next(one for one in repository["sensors"] if one["name"] == "users")
    return found


def stop(us: Developing) -> str:
    """The mutation that silently ends the syncing of users."""
    return STOP % str(sensor(us)["sensorState"]["id"])


def cookie(us: Developing) -> str:
    """What the signed-in client sends."""
    return "; ".join(f"{one.name}={one.value}" for one in us.client.cookies.jar)


def link(us: Developing) -> str:
    """A fresh link."""
    return fresh_link(us.home, unix_time)


def test_who_is_not_signed_in_sees_nothing(us: Developing, stranger: httpx.Client) -> None:
    """No page, no query, no event stream: each answer states how to get a link, with the console's own headers."""
    query = {"query": "{version}"}
    answers = [
        stranger.get(us.ui),
        stranger.get(f"{us.ui}/server_info"),
        stranger.get(f"{us.ui}/graphql", params=query),
        stranger.post(f"{us.ui}/graphql", json=query),
        stranger.post(f"{us.ui}/report_asset_materialization/users", json={}),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert all("sync-pipeline console link" in answer.text for answer in answers)
    assert answers[0].headers["content-security-policy"].startswith("default-src 'self'")
    assert stranger.get(f"{us.ui}/static/console.css").is_success
    with pytest.raises(InvalidStatus):
        subscribe(us, Origin=us.ui)


def test_one_session_for_console_and_ui(us: Developing, stranger: httpx.Client) -> None:
    """Either signs in for both, each link once, never by HEAD; signing out ends it for both."""
    token = link(us).partition("?")[2]
    at_ui = f"{us.ui}/sign-in?{token}"
    assert stranger.head(at_ui).status_code == 405
    assert stranger.get(at_ui, headers={"Sec-Purpose": "prefetch"}).status_code == 503
    assert stranger.get(at_ui).headers["location"] == "/"
    with local_client() as other:
        assert other.get(at_ui).status_code == 403

    assert "__NEXT_DATA__" in stranger.get(us.ui).text
    home = stranger.get(us.console)
    assert f'href="{us.ui}"' in home.text
    csrf = re.search(r'name="csrf" value="([^"]*)"', home.text)
    assert csrf is not None
    assert stranger.post(f"{us.console}/sign-out", data={"csrf": csrf[1]}).status_code == 303
    assert stranger.get(us.ui).status_code == 401


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_site_commands_nothing(us: Developing, headers: dict[str, str]) -> None:
    """Even with the session's cookie: by a form, by a script, by an image."""
    query, url = stop(us), f"{us.ui}/graphql"
    for answer in (
        us.client.post(url, json={"query": query}, headers=headers),
        us.client.post(url, params={"query": query}, headers=headers),
        us.client.get(url, params={"query": query}, headers=headers),
        us.client.get(us.ui, headers=headers),
    ):
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    assert sensor(us)["sensorState"]["status"] == "RUNNING"


@pytest.mark.parametrize("query", ["%s", "query a{version} %s", SUBSCRIPTION, "mutation{", "{" * 5_000])
def test_a_get_only_reads(us: Developing, query: str) -> None:
    """Also one of a signed-in person who follows a link: queries are answered, nothing else."""
    query = query.replace("%s", stop(us))
    answer = us.client.get(f"{us.ui}/graphql", params={"query": query, "operationName": ""})
    assert answer.status_code == 405
    assert us.client.get(f"{us.ui}/graphql", params={"query": "{version}"}).json()["data"]["version"]
    assert sensor(us)["sensorState"]["status"] == "RUNNING"


def test_dns_rebinding_reaches_nothing(us: Developing) -> None:
    """Under a foreign name no port reads or changes anything; a foreign name of ours least of all."""
    for name in (EVIL, f"{us.host}.{EVIL}", "other.localhost"):
        host = {"Host": f"{name}:{us.ports['ui']}", "Cookie": cookie(us)}
        assert us.client.get(us.ui, headers=host).status_code == 421
        assert us.client.post(f"{us.ui}/graphql", json={"query": stop(us)}, headers=host).status_code == 421
        with pytest.raises(InvalidStatus):
            subscribe(us, **host, Origin=f"http://{host['Host']}")
    host = {"Host": EVIL}
    refused = [f"{us.console}/", f"{us.sandbox}/", f"{us.sandbox}/_control/stats", f"{us.receiver}/metrics"]
    assert {us.client.get(url, headers=host).status_code for url in refused} == {421}
    assert "inbox_open" not in us.client.get(f"{us.receiver}/healthz", headers=host).text


def test_loopback_leads_to_the_host(us: Developing, stranger: httpx.Client) -> None:
    """What people have bookmarked shows where it is now."""
    for name in ("127.0.0.1", "localhost"):
        answer = stranger.get(f"http://127.0.0.1:{us.ports['ui']}/runs", headers={"Host": f"{name}:{us.ports['ui']}"})
        assert answer.status_code == 421
        assert f'href="{us.ui}/runs"' in answer.text


def subscribe(us: Developing, **headers: str) -> dict[str, Any]:
    """What GraphQL answers to a subscription over a WebSocket, as a browser opens it."""
    ui = us.ports["ui"]
    sent = {"Host": f"{us.host}:{ui}", **headers}
    origin = sent.pop("Origin", None)
    with connect(
        f"ws://{sent.pop('Host')}/graphql",
        additional_headers=sent,
        origin=origin,  # type: ignore[arg-type]  # a NewType of str
        subprotocols=["graphql-ws"],  # type: ignore[list-item]  # a NewType of str
        sock=local_socket(ui),
        proxy=None,
    ) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        found: dict[str, Any] = json.loads(socket.recv(30))
        return found


def local_socket(port: int) -> Any:
    """A connection to a port of this machine."""
    import socket

    return socket.create_connection(("127.0.0.1", port))


def test_a_web_socket_is_for_our_own_pages(us: Developing) -> None:
    """With session and Origin it answers; with one of them wrong it is not opened."""
    us.graphql("{version}")
    assert subscribe(us, Origin=us.ui, Cookie=cookie(us)) == {"type": "connection_ack"}
    for origin in (f"https://{EVIL}", us.console, f"http://127.0.0.1:{us.ports['ui']}", "null"):
        with pytest.raises(InvalidStatus):
            subscribe(us, Origin=origin, Cookie=cookie(us))


# -- a real browser -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rebinding() -> Iterator[Browser]:
    """A browser to which every name of the attacker's is this machine, as after DNS rebinding."""
    with chromium(f"--host-resolver-rules=MAP *.{EVIL} 127.0.0.1, MAP {EVIL} 127.0.0.1") as found:
        yield found


@contextmanager
def foreign_page() -> Iterator[tuple[int, list[str]]]:
    """An attacker's web server on this machine: its port, and the cookies that browsers have sent to it."""
    cookies: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """An empty page."""
            cookies.append(self.headers.get("Cookie", ""))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>x</title>")

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], cookies
        server.shutdown()


ATTACK = """
async ([ui, query, urls]) => {
  const outcome = (promise) => promise.then(async (answer) => `${answer.type} ${answer.status}`, () => "refused");
  const found = {};
  for (const url of urls) found[url] = await outcome(fetch(url, {credentials: "include"}));
  const graphql = `${ui}/graphql?query=${encodeURIComponent(query)}`;
  await outcome(fetch(graphql, {mode: "no-cors", credentials: "include"}));
  await outcome(fetch(graphql, {mode: "no-cors", credentials: "include", method: "POST"}));
  const body = JSON.stringify({query});
  await outcome(fetch(`${ui}/graphql`, {mode: "no-cors", credentials: "include", method: "POST", body}));
  await new Promise((done) => { const image = new Image(); image.onerror = image.onload = done; image.src = graphql; });
  found.socket = await new Promise((done) => {
    const socket = new WebSocket(`${ui.replace("http", "ws")}/graphql`, "graphql-ws");
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  });
  return found;
}
"""


def test_the_ui_works_through_the_gate(us: Developing, rebinding: Browser) -> None:
    """Signed in at the console, the UI opens from its link, shows the assets and listens over a WebSocket."""
    context = rebinding.new_context()
    page = context.new_page()
    page.set_default_timeout(UI_MS)
    page.goto(link(us))
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(str(frame))))
    page.get_by_role("link", name=re.compile("Everything about runs")).click()
    expect(page).to_have_url(re.compile(re.escape(us.ui)), timeout=UI_MS)
    wait_for(lambda: page.title() and any("connection_ack" in frame for frame in frames), UI_MS / 1000)
    page.goto(f"{us.ui}/assets/time_entries")
    expect(page.get_by_text("time_entries").first).to_be_visible(timeout=UI_MS)
    page.goto(f"http://127.0.0.1:{us.ports['ui']}/assets")
    page.get_by_role("link", name=us.ui).click()
    expect(page).to_have_url(re.compile(re.escape(f"{us.ui}/assets")))
    attack_from_everywhere(us, page)
    context.close()


def attack_from_everywhere(us: Developing, page: Page) -> None:
    """In the signed-in browser: pages of other origins, and of rebound names, get nothing and change nothing."""
    query = stop(us)
    with foreign_page() as (port, cookies):
        for place in (f"http://127.0.0.1:{port}", f"http://localhost:{port}", f"http://{EVIL}:{port}"):
            page.goto(place)
            urls = [us.ui, us.console, f"{us.sandbox}/_control/stats", f"{us.receiver}/metrics"]
            found = page.evaluate(ATTACK, [us.ui, query, urls])
            assert set(found.values()) == {"refused"}, place
        assert set(cookies) == {""}, "the session's cookie is sent to no other program"
        page.goto(f"http://{us.host}:{port}")  # the same site, even the cookie's host: but not the origin
        assert set(page.evaluate(ATTACK, [us.ui, query, [us.ui, us.console]]).values()) == {"refused"}
    for name, path in (("ui", "/graphql?query={version}"), ("console", "/"), ("sandbox", "/_control/stats")):
        origin = f"http://{EVIL}:{us.ports[name]}"
        assert page.goto(origin).status == 421  # type: ignore[union-attr]  # it navigates
        found = page.evaluate(ATTACK, [origin, query, [origin + path]])
        assert found == {origin + path: "basic 421", "socket": "refused"}
    assert sensor(us)["sensorState"]["status"] == "RUNNING"
