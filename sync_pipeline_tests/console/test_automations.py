"""The pages of automations: what each does, a preview of what exists, and the switch."""

from __future__ import annotations

import re

import pytest

from sync_pipeline.console.server import RunningConsole
from sync_pipeline_tests.console.browsing import Browser, Page, browsing

HERE = "/automations/starter_projects"
TEMPLATE = "set.templateProjectId"


def test_the_catalogue_leads_to_the_automation(browser: Browser) -> None:
    """Two words find the operation and what does it by itself; the operation's page names it, too."""
    found = browser.get("/settings/operations?q=project+template").text
    operation = "/settings/operations/clockify.projects.from-template"
    assert found.index(operation) < found.index(f'href="{HERE}"')
    assert f'href="{HERE}"' in browser.get(operation).text
    assert 'href="/automations"' in browser.get("/mapping").text


def test_what_exists_is_shown_before_it_is_switched_on(browser: Browser) -> None:
    """The template is chosen from a list; a preview counts what is left alone; then it is on, until it is switched off."""
    listed = browser.page("/automations").text
    assert "A location is new → , then make a project from a template" in listed
    assert "An opportunity is won" in listed
    page = browser.page(HERE)
    records = "/records?entity=starter_projects"
    assert records not in [each.get("href") for each in page.all("a")], "there are none of it while it is off"
    for words in ("once for each record", "What a person removes stays removed", "At most 25 are made in one sync"):
        assert words in page.text
    (template,) = [each["value"] for each in page.all("option") if len(each["value"]) == 24]

    missing = browser.post(f"{HERE}/preview", of=HERE)
    assert missing.status_code == 422
    assert "Choose or enter a value" in missing.text
    previewed = Page(browser.post(f"{HERE}/preview", {TEMPLATE: template}, of=HERE).text)
    assert "30 locations exist and are left alone, unless you include them" in previewed.text
    assert template in previewed.text, "an example of what would be sent"
    assert "off" in browser.page("/automations").text.split("An opportunity")[0]

    on = {"on": "1", TEMPLATE: template, "existing": "leave"}
    assert browser.post(HERE, {**on, "since": "0"}, of=HERE).status_code == 422, "changed in the meantime"
    done = Page(browser.post(HERE, on, of=HERE).text).text
    assert "It is switched on. What exists already, 30 locations, is left alone." in done
    assert f"templateProjectId {template}" in done
    assert "Last 7 days: 0 made . None rejected." in browser.page("/automations").text
    assert records in [each.get("href") for each in browser.page(HERE).all("a")]
    assert browser.get(records).status_code == 200
    mapping = browser.page("/mapping")
    assert "starter_projects" not in [each.get("value") for each in mapping.all("input")], "no entity to choose"
    assert "This record is rejected" not in browser.page("/mapping/starter_projects").text
    off = Page(browser.post(HERE, {"on": ""}, of=HERE).text).text
    assert "It is switched off. What it has made stays." in off
    assert re.search("automation on.*starter_projects", browser.page("/settings/audit").text)


@pytest.mark.parametrize(("role", "forms"), [("viewer", []), ("operator", [f"{HERE}/preview"])])
def test_only_admins_switch_one(console: RunningConsole, role: str, forms: list[str]) -> None:
    """Operators look at the preview; viewers read what it does."""
    with browsing(console) as browser:
        browser.get(console.link(role))  # type: ignore[arg-type]  # one of the roles
        page = browser.page(HERE)
        assert [each["action"] for each in page.all("form") if "automations" in each["action"]] == forms
        assert "What exists when you switch it on is left alone" in page.text
