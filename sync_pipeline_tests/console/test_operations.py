"""The pages of the catalogue: search, filters, one operation, events."""

from __future__ import annotations

import re

from sync_pipeline.operations.catalogue import search
from sync_pipeline_tests.console.browsing import Browser, Page

HERE = "/settings/operations"


def names(browser: Browser, address: str) -> list[str]:
    """The operations on a page, in order."""
    return re.findall(rf'href="{HERE}/([\w-]+\.[\w.-]+)">', browser.get(address).text)


def test_an_operation_is_found_by_two_words(browser: Browser) -> None:
    """The best comes first; filters narrow it down, and pages lead through everything."""
    assert names(browser, f"{HERE}?q=project+template")[0] == "clockify.projects.from-template"
    assert "No operation has all these words" in browser.page(f"{HERE}?q=no+such+words").text
    held = names(browser, f"{HERE}?system=highlevel&kind=held")
    assert held == [one.name for one in search("", system="highlevel", kind="held")]
    every, address = [], HERE
    while address:
        every += names(browser, address)
        older = re.search(r'href="([^"]+)" rel="next"', browser.get(address).text)
        address = older[1].replace("&amp;", "&") if older else ""
    assert sorted(every) == sorted(one.name for one in search(""))
    for wrong in ("from=-1", "from=99999", "from=x", "system=none", "kind=none", f"q={'x' * 5000}"):
        assert browser.get(f"{HERE}?{wrong}").status_code == 200


def test_reads_writes_and_deletes_look_different(browser: Browser) -> None:
    """In the list and on their pages; what is only described has no colour."""
    for name, colour in (("list", "good"), ("create", "busy"), ("delete", "poor")):
        kind = {"list": "read", "create": "write"}.get(name, name)
        badge = f'<span class="badge {colour}">{kind}</span>'
        assert badge in browser.get(f"{HERE}/clockify.tags.{name}").text
        assert badge in browser.get(f"{HERE}?q=clockify.tags.{name}").text
    assert '<span class="badge ">write</span>' in browser.get(f"{HERE}/clockify.holidays.create").text


def test_one_operation(browser: Browser) -> None:
    """What it takes, what it needs, the vendor's own page, and how it is run or why it is not."""
    page = browser.get(f"{HERE}/clockify.projects.from-template").text
    assert "POST /workspaces/{workspaceId}/projects/from-template" in page
    assert 'href="https://docs.clockify.me/#tag/Project"' in page
    run = "sync-pipeline operations run clockify.projects.from-template -f name=... -f templateProjectId=..."
    assert run in browser.page(f"{HERE}/clockify.projects.from-template").text
    assert "It is about money" in browser.page(f"{HERE}/clockify.users.hourly-rate.update").text
    assert "contacts.write" in browser.page(f"{HERE}/highlevel.contacts.tasks.create").text
    assert "described here, but not sent" in browser.page(f"{HERE}/clockify.holidays.create").text
    missing = browser.get(f"{HERE}/clockify.project.create")
    assert "Did you mean clockify.projects.create" in missing.text


def test_events(browser: Browser) -> None:
    """With the entity that each one wakes here."""
    page = browser.page(f"{HERE}/events?q=new_client").text
    assert "1 event" in page
    assert "locations" in page
    assert "58 events" in browser.page(f"{HERE}/events?system=highlevel").text
    assert "No event has all these words" in browser.page(f"{HERE}/events?q=nothing").text


def test_a_write_is_shown_before_it_is_sent(browser: Browser) -> None:
    """With its exact request; another one than the one that was shown is shown first, and a second click sends nothing."""
    here = f"{HERE}/clockify.tags.create"
    wrong = browser.post(here, {"in.name": ""})
    assert wrong.status_code == 422
    assert wrong.text.count("name: is required, string") == 2, "in the summary and beside the field"
    shown = browser.post(here, {"in.name": "From a page"})
    assert "From a page" in shown.text
    assert tags(browser) == []
    page = Page(shown.text)
    sure = {"shown": page.value("shown"), "once": page.value("once")}
    assert "Show the request" not in browser.post(here, {**sure, "in.name": "Another"}).text
    assert tags(browser) == []
    sent = browser.post(here, {**sure, "in.name": "From a page"})
    assert tags(browser) == ["From a page"]
    again = browser.post(here, {**sure, "in.name": "From a page"})
    assert "Nothing was sent" in again.text
    made = re.search(r'Id <code class="break">(\w+)</code>', sent.text)
    assert made is not None
    delete = f"{HERE}/clockify.tags.delete"
    page = Page(browser.post(delete, {"in.id": made[1]}).text)
    sure = {"shown": page.value("shown"), "once": page.value("once"), "in.id": made[1]}
    assert browser.post(delete, {**sure, "typed": "yes"}).status_code == 422
    assert tags(browser) == ["From a page"]
    browser.post(delete, {**sure, "typed": "clockify.tags.delete"})
    assert tags(browser) == []


def tags(browser: Browser) -> list[str]:
    """Those of these tests, as a page that reads them shows them."""
    here = f"{HERE}/clockify.tags.list"
    return re.findall(r"&#34;name&#34;: &#34;(From a page|Another)&#34;", browser.post(here).text)


def test_what_is_held_back_is_only_shown(browser: Browser) -> None:
    """Its request is, and why it is not sent; there is no button that sends it."""
    here = f"{HERE}/clockify.users.hourly-rate.update"
    answer = browser.post(here, {"in.userId": "u1", "in.amount": "100"})
    assert answer.status_code == 422
    assert "is held back: it is about money" in answer.text
    assert ">Send</button>" not in answer.text
    assert "&#34;amount&#34;: 100" in answer.text
