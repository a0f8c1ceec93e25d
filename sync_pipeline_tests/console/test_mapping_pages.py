"""The mapping's pages: one table, a field next to its preview, a draft that is published, versions, and a patch for a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sync_pipeline.mapping.load import specs_of
from sync_pipeline.setting_types import Role
from sync_pipeline.setup.drafts import mapping_setup, read_draft
from sync_pipeline.setup.fields import change_field, check_drop, field_form
from sync_pipeline.setup.switching import read_live_status
from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.setting_up import connect
from sync_pipeline_tests.harness import Team

OURS = "# ours\nentity: projects\n\nfields:\n  note: drop # not needed\n"


@pytest.fixture
def live(setup_browser: Browser, office: Team) -> Browser:
    """A browser at a console that is live."""
    connect(setup_browser, office)
    setup_browser.post("/try", {"kind": "dry_run"})
    setup_browser.wait("/try/progress")
    setup_browser.post("/live", {"on": "1"})
    return setup_browser


def test_one_table_from_source_to_result(setup_browser: Browser, office: Team) -> None:
    """Of a record that can be chosen: what it has, the steps, and what the target gets."""
    browser = setup_browser
    connect(browser, office)
    emails = [str(user["email"]) for user in office.users()]
    pages = [browser.page(f"/mapping/users?record={number}") for number in range(len(emails))]
    assert all("Source Example Steps Target Result" in page.text for page in pages)
    for page in pages:
        (shown,) = [
            email
            for email in emails
            if f"{email} " in page.text.partition("Not mapped")[0].partition("Source Example")[2]
        ]
        emails.remove(shown)
        assert page.faults == []
    assert "Add as a field : activeWorkspace" in pages[0].text
    assert "active_workspace" in pages[0].text


def test_what_something_else_needs_has_no_button_to_remove_it(setup_browser: Browser, office: Team) -> None:
    """A lock with the reason in its place; each button that is there works."""
    connect(setup_browser, office)
    reasons = {"users": "the target knows a record by it", "time_entries": "a rule compares it with another field"}
    for entity, spec in specs_of(setup_browser.console.console.setup.settings()).items():
        page = setup_browser.page(f"/mapping/{entity}")
        locked = {field.name for field in spec.fields if f"Remove {field.name}" not in page.text}
        refused = {
            field.name for field in spec.fields if check_drop(setup_browser.console.console.setup, entity, field.name)
        }
        assert locked == refused
        assert f"Locked: {reasons.get(entity, '')}" in page.text
        assert page.faults == []


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_who_may_not_change_a_field_sees_it_in_full(setup_browser: Browser, office: Team, role: Role) -> None:
    """Where its value comes from, each transform and rule, and the preview of the chosen record; nothing to fill in or press."""
    connect(setup_browser, office)
    changed = {"name": "email", "source": "email", "transform": "trim | lower", "type": "email", "required": "1"}
    assert setup_browser.post("/mapping/users", changed | {"max_length": "200"}, of="/mapping/users/email").is_success
    with browsing(setup_browser.console) as browser:
        browser.get(setup_browser.console.link(role))
        table, page = browser.page("/mapping/users"), browser.page("/mapping/users/email?record=1")
        new = browser.get("/mapping/new/users")
    assert page.faults == []
    for said in ("Source field email", "Transforms trim | lower", "Type email", "Required yes", "Maximum length 200"):
        assert said in page.text
    assert {field.get("name") for field in page.all("input", "select", "textarea")} <= {"csrf", "q", "record"}
    assert (
        len([user for user in office.users() if str(user["email"]).lower() in page.text.partition("Preview")[2]]) == 1
    )
    assert ("Show email" in table.text, "Change email" in table.text, "Add a" in table.text) == (True, False, False)
    assert new.status_code == 403


def test_a_field_is_previewed_with_the_chosen_record(setup_browser: Browser, office: Team) -> None:
    """Without a script, by the button; what was chosen stays chosen."""
    browser = setup_browser
    connect(browser, office)
    form = {"is_new": "1", "name": "nick", "source": "name", "transform": "upper", "action": "look"}
    seen = [
        Page(browser.post("/mapping/users", {**form, "record": str(number)}, of="/mapping/new/users").text)
        for number in range(2)
    ]
    names = {str(user["name"]).upper() for user in office.users()}
    found = [{name for name in names if name in page.text} for page in seen]
    assert [len(each) for each in found] == [1, 1]
    assert found[0] != found[1]
    chosen = [next(found["value"] for found in page.all("option") if "selected" in found) for page in seen]
    assert chosen == ["0", "1"]


def test_transforms_are_rows_that_work_without_a_script(setup_browser: Browser, office: Team) -> None:
    """Added, moved and removed by buttons that store nothing; the source field is found by a filter and picked; then it is saved."""
    browser = setup_browser
    connect(browser, office)
    form: dict[str, Any] = {"is_new": "1", "name": "nick", "source": "name", "type": "text"}

    def sent(action: str, *rows: tuple[str, str], **more: str) -> Page:
        steps = {"step": [name for name, _ in rows], "argument": [argument for _, argument in rows]}
        return Page(
            browser.post("/mapping/users", {**form, **steps, **more, "action": action}, of="/mapping/new/users").text
        )

    def rows_of(page: Page) -> list[tuple[str, str]]:
        arguments = [found["value"] for found in page.all("input") if found.get("name") == "argument"]
        chosen = [found["value"] for found in page.all("option") if "selected" in found]
        steps = [value for value in chosen if value in ("trim", "upper", "prefix")]
        return list(zip(steps, arguments, strict=False))

    trim, prefix, none = ("trim", ""), ("prefix", "'id: '"), ("", "")
    before = browser.console.console.setup.settings().setup_version
    assert rows_of(sent("add", trim, prefix)) == [trim, prefix]
    assert rows_of(sent("up:1", trim, prefix, none)) == [prefix, trim]
    assert rows_of(sent("down:0", trim, prefix, none)) == [prefix, trim]
    assert rows_of(sent("remove:0", trim, prefix, none)) == [prefix]
    assert rows_of(sent("remove:99", trim, none)) == [trim]
    found = sent("find", trim, find="ZONE")
    offered = [each["value"] for each in found.all("button") if each.get("value", "").startswith("pick:")]
    assert offered
    assert all("zone" in each.lower() for each in offered)
    assert sent(offered[0], trim).value("source") == offered[0].removeprefix("pick:")
    assert "There is no transform" in sent("look", ("trin", ""), none).text
    looked = sent("look", trim, prefix, none)
    assert f"id: {office.users()[0]['name']}" in looked.text
    assert looked.faults == []
    assert browser.console.console.setup.settings().setup_version == before
    assert "The field nick is saved" in sent("save", trim, prefix, none).text
    assert field_form(browser.console.console.setup, "users", "nick").transform == "trim | prefix: 'id: '"
    assert rows_of(browser.page("/mapping/users/nick")) == [trim, prefix]


def test_three_ways_on_from_a_draft_that_rewrites_much(live: Browser, office: Team) -> None:
    """Rewrite, only new and changed ones, or cancel, which changes nothing; the second writes nothing for the mapping alone."""
    setup = live.console.console.setup
    with setup.session() as session:
        for entity in session.specs:
            office.sync_one(session, entity)
    form = field_form(mapping_setup(setup, "projects"), "projects", "project_name")
    change_field(mapping_setup(setup, "projects"), "projects", replace(form, transform="upper"), since=None)
    live.post("/draft/preview", of="/draft")
    live.wait("/try/progress")
    ways = "Publish and rewrite 5 projects Publish for new and changed records only"
    page = live.page("/draft")
    assert ways in page.text
    assert "Cancel" in page.text
    assert "Publishing asks about it, above." in page.text
    assert "approvals show" not in page.text
    assert "--accept-rewrite" not in page.text
    assert page.faults == []
    live.page("/mapping")
    assert ways in live.page("/draft").text
    done = live.post("/draft/publish", {"rewrite": "1", "only_changed": "1"}, of="/draft")
    assert "The changes are published" in done.text
    office.forget_stats()
    with setup.session() as session:
        office.sync_one(session, "projects")
    assert office.writes() == {}
    assert read_live_status(setup).is_live


def test_changes_gather_until_they_are_published(live: Browser) -> None:
    """The bar is on every page, live syncing continues; published, it continues with the changes."""
    setup = live.console.console.setup
    saved = live.post("/mapping/drop/users", {"name": "time_zone"}, of="/mapping/users")
    assert "in the draft: it takes effect when you publish it" in saved.text
    live.post("/mapping/users", {"is_new": "1", "name": "nick", "source": "name"}, of="/mapping/new/users")
    for path in ("/", "/help", "/mapping/users"):
        assert "2 unpublished changes. See them Preview effect Publish Discard" in live.page(path).text
    assert "time_zone" not in setup.settings().setup_document
    assert read_live_status(setup).is_live

    early = live.post("/draft/publish", of="/draft")
    assert early.status_code == 422
    assert "they have not been previewed yet" in early.text
    assert live.post("/draft/preview", of="/draft").url.path == "/draft"
    live.wait("/try/progress")
    ready = live.page("/draft")
    assert "mappings.users.fields.nick" in ready.text
    assert "passed Dry run on the accounts" in ready.text
    assert ready.faults == []

    done = live.post("/draft/publish", of="/draft")
    assert "The changes are published" in done.text
    assert "are rewritten by this request" in done.text
    assert re.fullmatch(r"/requests/\d+", done.url.path)
    assert "unpublished" not in live.page("/").text
    assert "time_zone: drop" in setup.settings().setup_document
    assert read_live_status(setup).is_live
    assert "mapping published" in live.page("/settings/audit").text


def test_back_to_a_version(live: Browser) -> None:
    """The list states who changed what; going back is a draft that can be discarded."""
    setup = live.console.console.setup
    before = setup.settings().setup_version
    setup.change({"mappings.users.fields.time_zone": "drop"}, "mapping changed", "by a script")
    page = live.page("/versions")
    assert f"Version {before + 1} current mapping changed: by a script" in page.text
    assert "mappings.users.fields.time_zone" in page.text
    back = live.post(f"/versions/{before}", of="/versions")
    assert back.url.path == "/draft"
    assert f"This is what going back to version {before} changes" in back.text
    assert "There is no version 999" in live.post("/versions/999", of="/versions").text
    assert "The changes were discarded" in live.post("/draft/discard", of="/draft").text
    assert read_draft(setup) is None


def test_of_two_windows_one_is_refused(live: Browser) -> None:
    """Publishing and discarding count for the draft that was looked at; a stale field form keeps what was typed."""
    stale = live.page("/mapping/new/users").value("since")
    live.post("/mapping/drop/users", {"name": "time_zone"}, of="/mapping/users")
    seen = live.page("/draft").value("since")
    late = live.post("/mapping/users", {"is_new": "1", "name": "nick", "source": "name", "since": stale})
    assert late.status_code == 422
    assert "changed in the meantime" in late.text
    assert Page(late.text).value("name") == "nick"
    live.post("/mapping/drop/users", {"name": "status"}, of="/mapping/users")
    for path in ("/draft/publish", "/draft/discard"):
        answer = live.post(path, {"since": seen})
        assert answer.status_code == 422
        assert "changed in the meantime" in answer.text
    draft = read_draft(live.console.console.setup)
    assert draft is not None
    assert len(draft.changes) == 2


@pytest.fixture
def files(tmp_path: Path, office: Team) -> Iterator[tuple[Browser, Path]]:
    """A console whose user has a file of projects."""
    directory = tmp_path / "mappings"
    directory.mkdir(mode=0o755)
    (directory / "projects.yaml").write_text(OURS)
    with consoling(tmp_path / "home", SYNC_MAPPINGS_DIR=str(directory)) as console, browsing(console) as browser:
        browser.sign_in()
        connect(browser, office)
        yield browser, directory / "projects.yaml"


def test_a_file_is_not_changed_and_gets_a_patch(files: tuple[Browser, Path]) -> None:
    """The file decides: nothing is stored, the page shows the lines to change, and comments stay in it."""
    browser, file = files
    page = browser.page("/mapping/projects")
    assert "decides about this entity" in page.text
    assert not [found for found in page.all("form") if "/mapping/drop/" in str(found.get("action"))]
    before = browser.console.console.setup.settings().setup_version
    form = {"name": "project_name", "source": "name", "transform": "upper", "required": "1", "max_length": "255"}
    answer = Page(
        browser.post("/mapping/projects", {**form, "action": "save"}, of="/mapping/projects/project_name").text
    )
    for line in ("--- a/projects.yaml", "+++ b/projects.yaml", "+ project_name:", "note: drop # not needed"):
        assert line in answer.text
    assert answer.faults == []
    assert file.read_text() == OURS
    assert browser.console.console.setup.settings().setup_version == before
    assert "decides about this entity" not in browser.page("/mapping/users").text
