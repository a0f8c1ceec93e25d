"""What people, other sites and other tabs get wrong, in a real browser: nothing is run, nothing is lost, nothing leads away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from sync_pipeline.console.gate import MAX_BODY
from sync_pipeline.console.server import RunningConsole
from sync_pipeline_tests.console.browsing import consoling
from sync_pipeline_tests.console.setting_up import decide
from sync_pipeline_tests.console.walk import Walker, walking
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, Team

SCRIPT = "\"><img src=x onerror=alert(1)><script>alert(2)</script>'"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A console for all tests here; each begins where the one before ended, as people do."""
    with consoling(tmp_path_factory.mktemp("console") / "home") as found:
        yield found


@pytest.fixture
def ana(chrome: Browser, console: RunningConsole, office: Team) -> Iterator[Walker]:
    """Someone who is signed in."""
    with walking(chrome, console.link(), office) as walker:
        yield walker


def test_secrets_are_pasted_with_what_clings_to_them(ana: Walker) -> None:
    """Blanks and quotes around a key are no part of it, and no key ever comes back to the page."""
    ana.look_up(f'  "{CLOCKIFY_KEY}"  ')
    ana.sees("Signed in as")
    ana.press("Connect this workspace")
    ana.sees_notice("Clockify is connected.")
    ana.try_snapshots_key(f" '{SNAPSHOTS_KEY}' ")
    ana.sees_notice("The Snapshots API is connected.")
    for path in ("/clockify", "/snapshots"):
        ana.to(path)
        ana.sees(re.compile(r"Stored on \d{4}-\d\d-\d\d"))
        assert set(ana.page.locator("input[type=password]").evaluate_all("all => all.map(one => one.value)")) == {""}


def test_a_whole_step_by_keyboard(ana: Walker) -> None:
    """Step 1 with Tab, arrows and Enter alone; wherever the focus is, it can be seen."""
    page = ana.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    ana.tabs_to(page.get_by_role("link", name=re.compile("^(1 )?Clockify")))
    page.keyboard.press("Enter")
    expect(ana.heading).to_have_text("Step 1: Clockify")
    ana.tabs_to(page.get_by_label("Key or token"))
    page.keyboard.type("nobody-ever-made-this-key")
    page.keyboard.press("Enter")
    ana.is_refused_at("secret", "does not exist")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Key or token")).to_be_focused()
    page.keyboard.type(CLOCKIFY_KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Signed in as")).to_be_visible()
    ana.tabs_to(page.get_by_role("radio").first)
    page.keyboard.press("Space")
    ana.tabs_to(page.get_by_role("button", name="Connect this workspace"))
    page.keyboard.press("Enter")
    ana.sees_notice("Clockify is connected.")
    ana.is_at("/setup/snapshots")


def test_scripts_are_text(ana: Walker) -> None:
    """In every field of every form, and in the names of records: shown unchanged, never executed."""
    assert ana.us is not None
    ana.us.clockify("POST", "/projects", {"name": SCRIPT})
    ana.connect_clockify()
    ana.connect_snapshots()
    ana.to("/mapping/new/projects")
    for label in ("Name at the target", "Source field", "Argument of the new transform"):
        ana.page.get_by_label(label, exact=True).fill(SCRIPT)
    expect(ana.page.locator("[data-verdict]")).to_have_text("Not valid yet.")
    ana.press("Save the field")
    expect(ana.page.get_by_label("Source field")).to_have_value(SCRIPT)

    ana.to("/mapping/new/projects?source=name")
    ana.page.get_by_label("Name at the target").fill("title")
    expect(ana.page.locator("[data-verdict]")).to_have_text("Valid.")
    ana.to("/mapping/projects/project_name")
    ana.page.get_by_label("New transform", exact=True).select_option("prefix")
    ana.page.get_by_label("Argument of the new transform").fill("<b>")
    expect(ana.page.locator("[data-verdict]")).to_have_text("Valid.")
    expect(ana.page.locator("#preview ins").filter(has_text="<b>").first).to_be_visible()

    ana.try_it()
    expect(ana.page.get_by_text(SCRIPT).first).to_be_attached()
    ana.to(f"/mapping/{SCRIPT}")
    ana.to(f"/snapshots/callback?error={SCRIPT}&error_description={SCRIPT}&state={SCRIPT}")
    ana.fill_snapshots("OAuth client credentials")
    ana.page.get_by_label("Client id", exact=True).fill(SCRIPT)
    ana.page.get_by_label("Client secret", exact=True).fill(SCRIPT)
    ana.page.get_by_label("Name of the account").fill(SCRIPT)
    ana.press("Connect")
    expect(ana.page.get_by_label("Client id", exact=True)).to_have_value(SCRIPT)
    assert ana.watch.dialogs == []
    assert ana.page.locator("img, main script, main b").count() == 0


def test_two_tabs_in_parallel(ana: Walker) -> None:
    """The second to save gets a notice, keeps what was typed, has overwritten nothing, and can save again."""
    first, second = ana.page, ana.page.context.new_page()
    for page, name in ((first, "of_the_first"), (second, "of_the_second")):
        page.goto(f"{ana.url}/mapping/new/users?source=name")
        page.get_by_label("Name at the target").fill(name)
    first.get_by_role("button", name="Save the field").click()
    expect(first.get_by_role("status")).to_contain_text("of_the_first is saved")

    second.get_by_role("button", name="Save the field").click()
    expect(second.locator(".errors")).to_contain_text("changed in the meantime")
    expect(second.get_by_label("Name at the target")).to_have_value("of_the_second")
    first.reload()
    expect(first.get_by_role("rowheader", name="of_the_second")).to_have_count(0)
    second.get_by_role("button", name="Save the field").click()
    expect(second.get_by_role("rowheader", name=re.compile("of_the_second"))).to_be_visible()
    expect(second.get_by_role("rowheader", name=re.compile("of_the_first"))).to_be_visible()
    second.close()


def test_consent_is_answered_to_who_asked_once(ana: Walker, chrome: Browser, console: RunningConsole) -> None:
    """A changed state, no session, another session and a second time: each is refused, and connects nothing."""
    ana.begin_consent()
    link = ana.page.get_by_role("link", name="Go to the consent page").get_attribute("href")
    assert link is not None
    back = decide(link, "approve")

    ana.page.goto(re.sub("state=[^&]+", "state=tampered", back))
    expect(ana.heading).to_have_text("Not authorized")
    with walking(chrome, f"{ana.url}/sign-in") as other:
        other.page.goto(back)
        expect(other.heading).to_have_text("Signed out")
        other.page.goto(console.link())
        other.page.goto(back)
        expect(other.heading).to_have_text("Not authorized")
        other.audit()
    ana.to("/snapshots")
    ana.sees("no one has consented yet")

    ana.page.goto(back)
    ana.sees_notice("access was allowed")
    ana.page.goto(back)
    expect(ana.heading).to_have_text("Not authorized")
    ana.follow("Back to the step")
    ana.sees("Access is granted.")


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", r"/\\evil.example", "javascript:alert(1)"]
)
def test_nothing_leads_elsewhere(ana: Walker, console: RunningConsole, elsewhere: str) -> None:
    """Whatever an address or a form states about where to go next."""
    for name in ("next", "back", "url", "redirect_uri", "return_to"):
        ana.page.goto(f"{console.link()}&{name}={elsewhere}")
        ana.is_at("/")
    ana.to("/live")
    ana.page.locator("input[name=back]").evaluate("(one, value) => one.value = value", elsewhere)
    ana.page.get_by_role("switch").click()
    ana.is_at("/setup/live")
    ana.page.goto(f"{ana.url}/{elsewhere}")
    assert urlsplit(ana.page.url).netloc == urlsplit(ana.url).netloc


def test_huge_and_empty_forms(ana: Walker) -> None:
    """An empty form is answered with what it lacks, field by field; a huge one with its limit."""
    ana.to("/clockify?again=1")
    ana.page.get_by_label("Region").select_option("custom")
    for name in ("Base URL of the API", "Base URL of the reports API", "Key or token"):
        ana.page.get_by_label(name).fill("")
    ana.press("Look up workspaces")
    ana.is_refused_at("base_url", "Clockify's base URL")
    ana.fill_snapshots("OAuth client credentials")
    ana.page.get_by_label("Client id", exact=True).fill("")
    ana.press("Connect")
    ana.is_refused_at("client_id", "is missing")
    ana.to("/mapping/new/users")
    ana.page.locator("#name").evaluate("(one) => one.removeAttribute('required')")
    ana.press("Save the field")
    ana.is_refused_at("name", re.compile("."))
    ana.to("/mapping")
    for box in ana.page.get_by_role("checkbox").all():
        box.uncheck()
    ana.press("Save")
    ana.sees("There is a problem")

    ana.look_up("x" * 40_000)
    ana.is_refused_at("secret", re.compile("long"))
    ana.look_up("x" * MAX_BODY)
    expect(ana.heading).to_have_text("Too large")
    ana.follow("To the overview")
    ana.is_at("/")


def test_another_site_cannot_act_here(ana: Walker) -> None:
    """A form that a page of another origin sends with our cookie is refused."""
    ana.to("/live")
    other = ana.page.context.new_page()
    other.goto("about:blank")
    other.set_content(
        f'<form method="post" action="{ana.url}/setup/live"><input name="on" value="1"><button>Win</button></form>'
    )
    other.get_by_role("button", name="Win").click()
    expect(other.get_by_role("heading", level=1)).to_have_text("Refused")
    ana.page.reload()
    expect(ana.page.get_by_role("switch")).not_to_be_checked()
    other.close()
