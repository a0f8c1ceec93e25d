"""Every page, in light and dark, on a desk and on a phone: axe finds nothing serious, and no page scrolls sideways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from sync_pipeline_tests.console.browsing import PAGES, consoling
from sync_pipeline_tests.console.walk import Walker, walking
from sync_pipeline_tests.harness import Team, morning

FOLD_OUT = "() => [...document.querySelectorAll('details')].slice(0, 3).forEach((one) => one.open = true)"


@pytest.fixture(scope="module")
def ana(chrome: Browser, tmp_path_factory: pytest.TempPathFactory, office: Team) -> Iterator[Walker]:
    """Somebody who is signed in; nothing is set up."""
    with (
        consoling(tmp_path_factory.mktemp("console") / "home") as console,
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
    ana.sees("Everything that was looked at")
    ana.audit()
    ana.begin_consent()
    ana.audit()


def test_mistakes_at_forms(ana: Walker) -> None:
    """What a refused form looks like."""
    ana.try_snapshots_key("nobody-ever-made-this-key-" + "x" * 200)
    ana.is_refused_at("api_key", "401")
    ana.audit()
    ana.to("/fields/users/new?source=name")
    ana.page.get_by_label("Name at the target").fill("nick")
    ana.page.get_by_label("Transforms", exact=True).fill("nonsense")
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
