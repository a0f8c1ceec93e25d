"""Signing in: by a link that works once, into a session that ends by itself."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import pytest

from sync_pipeline.clock import unix_time
from sync_pipeline.console.server import RunningConsole
from sync_pipeline.console.sessions import IDLE_SECONDS
from sync_pipeline.console.sign_in_links import LINK_SECONDS, SignInLinks, announced, fresh_link, running_url
from sync_pipeline.console.site import host_of
from sync_pipeline.errors import ConfigError
from sync_pipeline.settings import load_settings
from sync_pipeline_tests.console.browsing import PAGES, Browser, Time, browsing, consoling


def test_a_link_signs_in_once(console: RunningConsole) -> None:
    """The second browser that opens the same link stays outside and sees how to get another one."""
    link = console.link()
    with browsing(console) as first, browsing(console) as second:
        assert first.get(link).url.path == "/"
        assert second.get(link).status_code == 403
        assert "sync-pipeline console link" in second.get("/").text
        assert first.get("/trail").status_code == 200


def test_the_cookie_is_hidden_from_scripts_and_other_sites(stranger: Browser) -> None:
    """HttpOnly, SameSite=Lax, no expiry: it ends with the browser."""
    cookie = stranger.sign_in().history[0].headers["set-cookie"]

    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "expires" not in cookie.lower()
    assert "max-age" not in cookie.lower()


@pytest.mark.parametrize("purpose", ["prefetch", "prefetch;prerender"])
def test_a_browser_that_guesses_does_not_use_the_link_up(stranger: Browser, purpose: str) -> None:
    """Prefetching the link leaves it good."""
    link = stranger.console.link()

    assert stranger.get(link, sec_purpose=purpose).status_code == 503
    assert stranger.get(link).url.path == "/"


def test_a_program_that_looks_at_links_does_not_use_them_up(stranger: Browser) -> None:
    """HEAD gives out no session and leaves the link good."""
    link = stranger.console.link()
    answer = stranger.client.head(link)

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert "set-cookie" not in answer.headers
    assert stranger.get(link).url.path == "/"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.9999999999.deadbeef", "é.1.ü", "." * 50])
def test_no_other_token_signs_in(stranger: Browser, token: str) -> None:
    """What we did not sign is refused, whatever it looks like."""
    assert stranger.client.get(stranger.console.url + "/sign-in", params={"token": token}).status_code in {401, 403}
    assert stranger.get("/").status_code == 401


@pytest.mark.parametrize("path", [*PAGES, "/try/progress", "/check/progress", "/snapshots/authorized?state=y"])
def test_nothing_is_shown_to_who_is_not_signed_in(stranger: Browser, path: str) -> None:
    """Every page is the same page: how to get a link."""
    answer = stranger.get(path)

    assert answer.status_code == 401
    assert "sync-pipeline console link" in answer.text
    assert "csrf" not in answer.text


def test_a_form_of_who_is_signed_out_changes_nothing(stranger: Browser) -> None:
    """It is reported as well."""
    answer = stranger.client.post(stranger.console.url + "/live", data={"on": "1"})

    assert answer.status_code == 401
    assert "Nothing was changed" in answer.text


def test_signing_out_ends_the_session(browser: Browser) -> None:
    """The old cookie opens nothing any more."""
    cookies = dict(browser.client.cookies)
    browser.post("/sign-out")

    browser.client.cookies.update(cookies)
    assert browser.get("/").status_code == 401


def test_a_session_ends_without_use_and_a_link_with_time(tmp_path: Path) -> None:
    """Looking for news keeps no session alive; a link is good for an hour."""
    time = Time()
    with consoling(tmp_path / "home", time) as console, browsing(console) as browser:
        late = console.link()
        browser.sign_in()
        time.at += IDLE_SECONDS - 1
        assert browser.get("/trail").status_code == 200
        time.at += IDLE_SECONDS - 1
        assert browser.get("/check/progress").status_code == 200
        time.at += 2
        assert browser.get("/check/progress").status_code == 401
        assert "sync-pipeline console link" in browser.get("/").text

        assert browser.get(late).status_code == 403
        assert browser.sign_in().status_code == 200


def test_another_process_makes_links_by_a_private_file(tmp_path: Path) -> None:
    """`console link` signs one that works; the file is for its owner alone and is removed with the console."""
    home = tmp_path / "home"
    with consoling(home) as console, browsing(console) as browser:
        assert (home / "console.json").stat().st_mode & 0o777 == 0o600
        assert browser.get(fresh_link(home, unix_time)).url.path == "/"
    assert not (home / "console.json").exists()
    with pytest.raises(ConfigError, match="No console is running"):
        fresh_link(home, unix_time)


def test_an_installation_keeps_its_host(tmp_path: Path) -> None:
    """It is the same at every start, another one elsewhere, and only its owner can read which."""
    hosts = []
    for home in ("home", "home", "other"):
        with consoling(tmp_path / home) as console:
            hosts.append(urlsplit(console.url).hostname or "")
    assert hosts[0] == hosts[1] != hosts[2]
    assert all(re.fullmatch(r"sync-[0-9a-f]{8}\.localhost", host) for host in hosts)
    assert (tmp_path / "home" / "host").stat().st_mode & 0o777 == 0o600


def test_the_cookie_is_sent_to_no_other_program(browser: Browser) -> None:
    """Cookies ignore ports, so it is bound to the host: what listens on 127.0.0.1 or localhost does not get it."""
    for name in ("127.0.0.1", "localhost", "other.localhost"):
        request = browser.client.build_request("GET", f"http://{name}:1/")
        assert "cookie" not in request.headers
    assert "cookie" in browser.client.build_request("GET", f"{browser.console.url}/").headers


def test_a_browser_that_finds_no_names_below_localhost(tmp_path: Path) -> None:
    """With SYNC_CONSOLE_HOST the console serves at 127.0.0.1 directly, and leads there from localhost."""
    with consoling(tmp_path / "home", SYNC_CONSOLE_HOST="127.0.0.1") as console, browsing(console) as browser:
        port = urlsplit(console.url).port
        assert console.url == f"http://127.0.0.1:{port}"
        assert browser.sign_in().status_code == 200
        elsewhere = browser.get("/", host=f"localhost:{port}")
        assert (elsewhere.status_code, f'href="{console.url}/"' in elsewhere.text) == (421, True)


def test_a_host_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """A name that others can own is none; a damaged file states how to get another one."""
    with pytest.raises(ConfigError, match="SYNC_CONSOLE_HOST"):
        load_settings({"SYNC_CONSOLE_HOST": "console.example"}, root=tmp_path)
    settings = load_settings({}, root=tmp_path)
    settings.home.mkdir()
    (settings.home / "host").write_text("evil.example\n")
    with pytest.raises(ConfigError, match="Remove it"):
        host_of(settings)


def test_a_home_has_one_console(tmp_path: Path) -> None:
    """The second one states how to reach the first."""
    with (
        consoling(tmp_path / "home"),
        pytest.raises(ConfigError, match="console link"),
        consoling(tmp_path / "home"),
    ):
        pass


def test_links_of_another_console_do_not_fit() -> None:
    """Each run has a key of its own."""
    ours, theirs = SignInLinks("one", Time()), SignInLinks("two", Time())

    assert not ours.redeem(theirs.issue())
    assert ours.redeem(ours.issue())


def test_a_link_lives_an_hour_and_no_longer() -> None:
    """Spent links are forgotten only when they would be refused anyway."""
    time = Time()
    invitations = SignInLinks("key", time)
    used, unused = invitations.issue(), invitations.issue()

    assert invitations.redeem(used)
    time.at += LINK_SECONDS - 1
    assert not invitations.redeem(used)
    time.at += 2
    assert not invitations.redeem(unused)
    assert not invitations.redeem(used)


def test_a_look_for_a_console_does_not_keep_one_from_starting(tmp_path: Path) -> None:
    """`status`, `console link` and alerts look at any time, also while one starts; a second one is refused as before."""
    done = Event()

    def look() -> None:
        while not done.is_set():
            running_url(tmp_path)

    with ThreadPoolExecutor() as others:
        looks = others.submit(look)
        try:
            for number in range(20):
                with announced(tmp_path, f"http://localhost:{number}", "key"):
                    assert running_url(tmp_path) == f"http://localhost:{number}"
        finally:
            done.set()
        looks.result()
    with announced(tmp_path, "http://localhost", "key"), pytest.raises(ConfigError), announced(tmp_path, "", "other"):
        pass
