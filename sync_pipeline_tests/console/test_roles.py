"""Roles: what a viewer, an operator and an admin may ask for, over every route; and what pages show to each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sync_pipeline.clock import unix_time
from sync_pipeline.console.app import FORMS, LEAST_ROLES, PAGE_ROLES, PAGES
from sync_pipeline.console.roles import ROLES, Role, may, without_forms
from sync_pipeline.console.server import RunningConsole
from sync_pipeline.console.sign_in_links import SignInLinks, fresh_link
from sync_pipeline_tests.console.browsing import PAGES as SHOWN
from sync_pipeline_tests.console.browsing import Browser, Page, browsing
from sync_pipeline_tests.console.setting_up import connect
from sync_pipeline_tests.harness import Team

FILLED = {"entity": "users", "number": "999", "name": "email", "source_id": "x", "run": "x", "system": "clockify"}


def filled(path: str) -> str:
    """The address of a route."""
    return path.replace(":path", "").format(**FILLED)


@contextmanager
def signed_in(console: RunningConsole, role: Role) -> Iterator[Browser]:
    """A browser that has signed in with a link of this role."""
    with browsing(console) as browser:
        assert browser.get(console.link(role)).status_code == 200
        yield browser


def test_every_form_names_its_least_role() -> None:
    """One that does not keeps the console from starting; no page is named that does not exist."""
    assert set(FORMS) | {"/sign-out"} == set(LEAST_ROLES)
    assert set(PAGE_ROLES) <= set(PAGES)
    assert [path for path, role in LEAST_ROLES.items() if role in ("dashboard", "viewer")] == ["/sign-out"]
    assert {path for path, role in PAGE_ROLES.items() if role == "dashboard"} == {
        path for path in PAGES if path.startswith("/dashboard")
    }


@pytest.mark.parametrize("role", ROLES)
def test_each_route_refuses_who_may_not(console: RunningConsole, role: Role) -> None:
    """403, a page with a sentence that names the required role; a user who has it is not refused."""
    with signed_in(console, role) as browser:
        csrf = {"csrf": browser.page("/dashboard").value("csrf")}
        for path, least in LEAST_ROLES.items():
            if path == "/sign-out":
                continue
            answer = browser.send(filled(path), csrf)
            refused = f"needs the role {least}" in answer.text
            assert (answer.status_code == 403 and refused) is not may(role, least), (path, answer.status_code)
        for path in PAGES:
            if path == "/" and role == "dashboard":
                assert browser.get(path).url.path == "/dashboard"
                continue
            refused = "This needs the role" in browser.get(filled(path)).text
            assert refused is not may(role, PAGE_ROLES.get(path, "viewer")), path


@pytest.mark.parametrize("role", ROLES)
def test_the_dagster_ui_asks_who_may_look(console: RunningConsole, role: Role) -> None:
    """It sees the role, and of those who may see the dashboard only that they are not signed in."""
    with signed_in(console, role) as browser:
        cookies = {cookie.name: cookie.value for cookie in browser.client.cookies.jar}
        assert console.console.sign_in.answer({"cookies": cookies}) == (None if role == "dashboard" else role)


def test_a_refusal_is_audited_once_a_session(console: RunningConsole) -> None:
    """Who, what, and with which role; a script that continues does not fill the audit trail."""
    with signed_in(console, "viewer") as browser:
        csrf = {"csrf": browser.page("/requests").value("csrf")}
        before = browser.page("/settings/audit").text.count("POST /setup/live needs the role admin")
        for _ in range(3):
            assert browser.send("/live", csrf, {"on": "1"}).status_code == 403
        trail = browser.page("/settings/audit").text
    assert trail.count("POST /setup/live needs the role admin") == before + 1
    assert ", viewer@" in trail


@pytest.mark.parametrize("role", ROLES[1:])
def test_pages_show_the_forms_that_a_role_may_send(setup_browser: Browser, office: Team, role: Role) -> None:
    """No others; what is left is correct HTML, and everyone can sign out."""
    connect(setup_browser, office)
    with signed_in(setup_browser.console, role) as browser:
        for path in SHOWN:
            page = browser.page(path)
            assert page.faults == [], path
            assert page.text, path
            actions = {form["action"] for form in page.all("form") if form["method"] == "post"}
            least = {action: _least(action) for action in actions}
            assert all(may(role, needed) for needed in least.values()), (path, least)
            assert "/sign-out" in actions
        home = {form["action"] for form in browser.page("/").all("form")}
    assert ("/requests" in home) is (role != "viewer")
    assert ("/setup/live" in home) is (role == "admin")


@pytest.mark.parametrize("role", ROLES[1:])
def test_only_admins_are_offered_the_set_up(
    console: RunningConsole, setup_browser: Browser, office: Team, role: Role
) -> None:
    """Others do not see its buttons: not before anything is connected, and not afterwards."""
    is_admin = role == "admin"
    with signed_in(console, role) as browser:
        text = browser.page("/").text
        assert ("Connect accounts" in text) is is_admin
        assert ("Continue: Clockify" in text) is is_admin
        assert ("Edit mapping" in text) is is_admin
        assert "Connect accounts" not in browser.get("/overview/progress").text or is_admin
    connect(setup_browser, office)
    with signed_in(setup_browser.console, role) as browser:
        text = browser.page("/").text
        assert ("Edit mapping" in text) is is_admin
        assert ("Continue: Preview" in browser.page("/mapping").text) is is_admin


def _least(action: str) -> Role:
    parts = action.partition("?")[0].split("/")
    for path, role in sorted(LEAST_ROLES.items(), key=lambda item: item[0].count("{")):
        pattern = path.split("/")
        if len(pattern) == len(parts) and all(a == b or a.startswith("{") for a, b in zip(pattern, parts, strict=True)):
            return role
    raise AssertionError(f"no route for {action}")


def test_an_operator_may_not_send_what_a_page_of_an_admin_holds(console: RunningConsole) -> None:
    """The page is there to read; the secrets page is not."""
    with signed_in(console, "operator") as browser:
        assert browser.get("/clockify").status_code == 200
        assert "/clockify" not in {form["action"] for form in browser.page("/clockify").all("form")}
        answer = browser.get("/settings/secrets")
        assert answer.status_code == 403
        assert "console link --role admin" in Page(answer.text).text
        assert "/settings/secrets" not in {link["href"] for link in browser.page("/settings/audit").all("a")}


def test_a_link_keeps_its_role(console: RunningConsole) -> None:
    """Signed with it: another role cannot be written into a token; each link counts once."""
    home = console.console.setup.settings().home
    with browsing(console) as browser:
        link = fresh_link(home, unix_time, role="viewer")
        assert browser.get(link.replace(".viewer.", ".admin.")).status_code == 403
        assert browser.get(link).status_code == 200
        assert "Viewer" in browser.page("/").text
    links = SignInLinks("key", unix_time)
    token = links.issue("operator")
    assert links.redeem(token) == "operator"
    assert links.redeem(token) is None


def test_a_form_of_an_unknown_address_is_for_admins() -> None:
    """What no table names is not shown to others."""
    page = '<p>a</p><form class="x" method="post" action="/x"><button>b</button></form><p>c</p>'
    assert without_forms(page, "operator", lambda _: "admin") == "<p>a</p><p>c</p>"
    assert without_forms(page, "admin", lambda _: "admin") == page
    search = '<form method="get" action="/x"><button>b</button></form>'
    assert without_forms(search, "viewer", lambda _: "admin") == search
