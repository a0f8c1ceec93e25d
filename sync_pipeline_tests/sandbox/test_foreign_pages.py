"""The sandbox is for programs and its own pages: what a page of another site makes a browser send is refused."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from sync_pipeline.sandbox.server import Running, running
from sync_pipeline.sandbox.world import Options
from sync_pipeline_tests.harness import CLOCKIFY_KEY

SMALL = Options(users=3, projects=2, clients=1, locations=2, entries=5)
EVIL = "https://evil.example"
FOREIGN = [
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]
READ, WRITE = ("GET", "/_control/stats"), ("POST", "/_control/stats/reset")
KEYED, TOKEN = ("GET", "/clockify/api/v1/user"), ("POST", "/oauth/token")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sandbox with a little data."""
    with running(tmp_path_factory.mktemp("sandbox") / "sandbox.db", SMALL) as found:
        yield found


def ask(sandbox: Running, asked: tuple[str, str], **headers: str) -> int:
    """One request with the sandbox's key, as a program sends it unless headers are given."""
    method, path = asked
    headers = {"X-Api-Key": CLOCKIFY_KEY, **headers}
    return httpx.request(method, sandbox.url + path, headers=headers, trust_env=False).status_code


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("asked", [READ, WRITE, KEYED, TOKEN], ids=str)
def test_a_page_of_another_site_is_refused(sandbox: Running, asked: tuple[str, str], headers: dict[str, str]) -> None:
    """It commands nothing and reads nothing."""
    assert ask(sandbox, asked, **headers) == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8750", "127.0.0.1.evil.example", "localhost.", "a@localhost"]
)
@pytest.mark.parametrize("asked", [READ, WRITE, KEYED, TOKEN, ("GET", "/")], ids=str)
def test_dns_rebinding_is_refused(sandbox: Running, asked: tuple[str, str], host: str) -> None:
    """A name of someone else's reaches nothing, although to the browser the page is of the same origin."""
    assert ask(sandbox, asked, Host=host) == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "sandbox.localhost:8750", "[::1]:8750"])
def test_programs_and_own_pages_go_on(sandbox: Running, host: str) -> None:
    """By whatever name of this machine; with the headers a browser sends from the sandbox's own pages, too."""
    assert ask(sandbox, READ, Host=host) == 200
    assert ask(sandbox, WRITE, Host=host) == 200
    assert ask(sandbox, KEYED, Host=host) == 200
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert ask(sandbox, WRITE, **own) == 200


def test_a_link_may_lead_to_its_pages(sandbox: Running) -> None:
    """A person comes from the console to the consent page."""
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(sandbox, ("GET", "/"), **link) == 200
    assert ask(sandbox, WRITE, **link) == 403
