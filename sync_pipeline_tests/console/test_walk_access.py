"""Every page, in light and dark, on a desktop and on a phone: axe finds nothing serious, and no page scrolls sideways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.approvals import Line
from sync_pipeline_tests.console.browsing import PAGES, consoling
from sync_pipeline_tests.console.walk import Walker, elsewhere, walking
from sync_pipeline_tests.harness import Team, morning

FOLD_OUT = "() => [...document.querySelectorAll('details')].slice(0, 3).forEach((one) => one.open = true)"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SYNC_HOME of the console."""
    return tmp_path_factory.mktemp("console") / "home"


@pytest.fixture(scope="module")
def ana(chrome: Browser, home: Path, office: Team) -> Iterator[Walker]:
    """Someone who is signed in; nothing is set up."""
    with (
        consoling(home) as console,
        walking(chrome, console.link(), office) as walker,
    ):
        yield walker


def test_before_anything_is_set_up(ana: Walker) -> None:
    """The first visit, and what a first mistake looks like."""
    for path in ("/", "/clockify", "/snapshots", "/live", "/nope"):
        ana.to(path)
        ana.audit()
    ana.look_up("nobody-ever-made-this-key")
    ana.is_refused_at("secret", "does not exist")
    ana.audit()


def test_every_page_of_a_set_up_that_was_tried(ana: Walker) -> None:
    """With records, a reject with a long name, the first of what is folded up folded out; and with a mistake at each form."""
    assert ana.us is not None
    user = ana.us.users()[0]["id"]
    ana.us.add_entry(user, morning(1), description="x" * 3000)
    ana.connect_clockify()
    ana.connect_snapshots()
    ana.try_it()
    for path in PAGES:
        ana.to(path)
        ana.page.evaluate(FOLD_OUT)
        ana.audit()
    ana.to("/check")
    ana.press("Test connection")
    ana.sees("Everything that was checked")
    ana.audit()
    ana.begin_consent()
    ana.audit()


def test_what_is_held(ana: Walker, home: Path) -> None:
    """Where something waits for a decision: no two of its buttons touch, and what a sync held is no wider than the page."""
    elsewhere(lambda: _hold_deletes(SetupService("a test", root=home.parent, environ={"SYNC_HOME": str(home)})))
    for path in ("/", "/approvals", "/approvals/1"):
        ana.to(path)
        expect(ana.page.get_by_role("button", name="Allow archiving 12 locations")).to_be_visible()
        ana.audit()


def _hold_deletes(setup: SetupService) -> None:
    lines = [Line(f"location-{number}", "archive", "before", None) for number in range(12)]
    with setup.reading() as session:
        session.ledger("locations").approvals.request_lines("deletes", lines, lambda _: True, session.now())
        at = session.now()
        sync = session.ledger("locations").syncs.begin(observed_at=at, at=at)
        session.ledger("locations").syncs.finish(
            sync, "success", {}, 1, at, reason="12 of 30 known locations are missing at the source."
        )


def test_mistakes_at_forms(ana: Walker) -> None:
    """What a refused form looks like."""
    ana.try_snapshots_key("nobody-ever-made-this-key-" + "x" * 200)
    ana.is_refused_at("api_key", "401")
    ana.audit()
    ana.to("/mapping/new/users?source=name")
    ana.page.get_by_label("Name at the target").fill("nick")
    ana.page.get_by_label("New transform", exact=True).select_option("truncate")
    ana.page.get_by_label("Argument of the new transform").fill("nonsense")
    expect(ana.page.locator("[data-verdict]")).to_have_text("Not valid yet.")
    ana.audit()
    ana.press("Save the field")
    ana.is_refused_at("transform", "nonsense")
    ana.audit()


def test_signed_out(chrome: Browser, ana: Walker) -> None:
    """A link that was used before."""
    with walking(chrome, f"{ana.url}/sign-in?token=used") as stranger:
        expect(stranger.heading).to_have_text("Sign in")
        stranger.audit()
