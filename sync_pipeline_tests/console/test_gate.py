"""The gate: requests that other sites make a browser send, and requests no page of ours sends."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from sync_pipeline.console.gate import HEADERS, MAX_BODY
from sync_pipeline.console.server import RunningConsole
from sync_pipeline_tests.console.browsing import PAGES, Browser, Page

FORMS = (
    "/setup/clockify",
    "/setup/snapshots",
    "/mapping",
    "/mapping/users",
    "/mapping/drop/users",
    "/setup/preview",
    "/setup/live",
    "/check",
    "/rejects/users",
    "/secrets/rotate",
    "/secrets/retire",
    "/secrets/encrypt-again",
)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8770", "127.0.0.2", "0.0.0.0"]
)
def test_a_foreign_host_is_refused(browser: Browser, host: str) -> None:
    """A name that someone else's DNS points at loopback reaches nothing, not even the sign-in."""
    assert browser.get("/", host=host).status_code == 421
    assert browser.get("/static/console.css", host=host).status_code == 421
    assert browser.get("/sign-in?token=x", host=host).status_code == 421


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_names_of_loopback_lead_to_the_host(browser: Browser, name: str) -> None:
    """By another name of this machine a browser gets a link, and nothing else: not even its cookie is looked at."""
    port = urlsplit(browser.console.url).port
    answer = browser.get("/trail?x=%22%3E%3Cb%3E", host=f"{name}:{port}")

    assert answer.status_code == 421
    (link,) = [found["href"] for found in Page(answer.text).all("a") if "://" in found["href"]]
    assert link == f"{browser.console.url}/trail?x=%22%3E%3Cb%3E"
    assert browser.post("/live", {"on": "1"}, host=f"{name}:{port}").status_code == 421
    assert browser.get("/static/console.css", host=f"{name}:{port}").status_code == 200  # that page needs it


@pytest.mark.parametrize("path", ["/", "/trail", "/static/console.css"])
def test_other_sites_read_nothing(browser: Browser, path: str) -> None:
    """A link that a person follows leads here; what a page loads by itself does not, whatever the cookie holds."""
    link = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    for site in ("cross-site", "same-site"):
        assert browser.get(path, sec_fetch_site=site, **link).status_code == 200
        assert (
            browser.get(path, sec_fetch_site=site, sec_fetch_mode="no-cors", sec_fetch_dest="image").status_code == 403
        )
        assert browser.get(path, sec_fetch_site=site, **{**link, "sec_fetch_dest": "iframe"}).status_code == 403
    assert browser.get(path, origin="https://evil.example").status_code == 403


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
    ids=str,
)
def test_a_form_of_another_site_is_refused(browser: Browser, form: str, headers: dict[str, str]) -> None:
    """Even with the right token: nothing is changed."""
    answer = browser.post(form, {"on": "1"}, **headers)

    assert answer.status_code == 403
    assert "Nothing was changed" in answer.text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("token", ["", "wrong", "ü"])
def test_a_form_without_the_sessions_token_is_refused(browser: Browser, form: str, token: str) -> None:
    """Each form carries the token of its session."""
    assert browser.post(form, {"csrf": token}).status_code == 403


def test_a_token_of_another_session_is_refused(browser: Browser) -> None:
    """Two signed-in browsers cannot send each other's forms."""
    theirs = browser.page("/mapping").value("csrf")
    browser.sign_in()

    assert browser.post("/live", {"csrf": theirs}).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(browser: Browser, method: str) -> None:
    """The console reads and takes forms."""
    assert browser.client.request(method, browser.console.url + "/setup/live").status_code == 405


@pytest.mark.parametrize("form", ["/", "/trail", "/nope"])
def test_forms_go_only_where_there_is_one(browser: Browser, form: str) -> None:
    """Elsewhere a POST gets that answer on a page."""
    answer = browser.post(form)

    assert answer.status_code in {404, 405}
    assert "<h1>" in answer.text


def test_huge_forms_are_refused(browser: Browser) -> None:
    """Announced or not, what no set-up needs is not read to its end."""
    assert browser.post("/setup/clockify", {"secret": "x" * MAX_BODY}).status_code == 413
    assert browser.post("/setup/clockify", {f"f{n}": "" for n in range(1000)}).status_code == 400

    def chunks() -> object:
        yield from (b"secret=" + b"x" * 9000 for _ in range(10))

    kind = {"content-type": "application/x-www-form-urlencoded", "origin": browser.console.url}
    sent = browser.client.post(browser.console.url + "/setup/clockify", content=chunks(), headers=kind)  # type: ignore[arg-type]  # a generator of bytes
    assert sent.status_code == 413


def test_headers_have_an_end(console: RunningConsole) -> None:
    """Who sends headers forever is cut off, signed in or not."""
    port = urlsplit(console.url).port
    line = b"x: " + b"y" * 1000 + b"\r\n"
    with (
        socket.create_connection(("127.0.0.1", port or 0), timeout=30) as one,
        pytest.raises(OSError, match=r"reset|[Bb]roken pipe"),
    ):
        one.sendall(b"GET / HTTP/1.1\r\n" + line * 20_000)  # 20 MB


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data; boundary=x", b"--x--"),
        ("application/json", b"{}"),
        ("text/plain", b"csrf=1"),
        ("", b"csrf=1"),
        ("application/x-www-form-urlencoded", b"\xff\xfe=1"),
    ],
)
def test_what_is_no_form_is_refused(browser: Browser, kind: str, content: bytes) -> None:
    """With a page that states it."""
    headers = {"content-type": kind, "origin": browser.console.url}
    answer = browser.client.post(browser.console.url + "/live", content=content, headers=headers)

    assert answer.status_code in {400, 403, 415}
    assert "Nothing was changed" in answer.text


def test_empty_forms_are_answered_with_a_page(browser: Browser) -> None:
    """No form breaks the console by being empty."""
    for form in FORMS:
        assert browser.post(form).status_code in {200, 409, 422}, form


@pytest.mark.parametrize("path", [*PAGES, "/static/console.js", "/nope", "/sign-in"])
def test_every_answer_carries_the_headers(browser: Browser, path: str) -> None:
    """No caching, no framing, nothing from other hosts, no script or style but our files."""
    answer = browser.get(path)

    assert HEADERS.items() <= {name.title(): value for name, value in answer.headers.items()}.items() | {
        (name, answer.headers.get(name)) for name in HEADERS
    }
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(browser: Browser, path: str) -> None:
    """Scripts and styles are files of ours; no attribute runs or styles anything."""
    page: Page = browser.page(path)

    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    for found in page.all("script", "link", "img"):
        assert (found.get("src") or found.get("href") or "").startswith("/static/")
    for found in page.all("form"):
        assert found["action"].startswith("/")
    assert not page.all("style")


def test_paths_lead_out_of_no_directory(browser: Browser) -> None:
    """Static files are those of the package."""
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "//evil.example", "/static/"):
        assert browser.get(path).status_code == 404


def test_it_listens_on_loopback_alone(console: RunningConsole) -> None:
    """Another address of this machine is refused."""
    port = urlsplit(console.url).port
    with socket.socket() as other:
        other.settimeout(5)
        assert other.connect_ex(("127.0.0.2", port)) != 0
