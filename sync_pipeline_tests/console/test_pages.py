"""The pages: well-formed, labelled, titled, and safe whatever the data holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sync_pipeline_tests.console.browsing import PAGES, Browser, Page, browsing, consoling

SCRIPT = "<script>alert(1)</script>"


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_well_formed(browser: Browser, path: str) -> None:
    """Tags close in order, ids are unique, references lead to ids that are there."""
    answer = browser.get(path)
    page = Page(answer.text)
    ids = Counter(found["id"] for _, found in page.elements if "id" in found)
    named = [
        word
        for _, found in page.elements
        for key in ("aria-describedby", "aria-labelledby")
        for word in found.get(key, "").split()
    ]
    named += [found["href"][1:] for found in page.all("a") if found["href"].startswith("#")]

    assert answer.status_code == 200
    assert page.faults == []
    assert [one for one, count in ids.items() if count > 1] == []
    assert [one for one in named if one not in ids] == []


def test_an_empty_list_says_what_comes_next(setup_browser: Browser) -> None:
    """A sync of the sample data; the set-up where that is not finished; a viewer is offered neither."""
    empty = {"/records": "Nothing has been synced yet.", "/activity": "Nothing has happened yet."}
    for path, sentence in empty.items():
        page = setup_browser.page(path)
        assert f"{sentence} Sync now" in page.text
        assert page.faults == []
    with browsing(setup_browser.console) as viewer:
        viewer.get(setup_browser.console.link("viewer"))
        for path, sentence in empty.items():
            text = viewer.page(path).text
            assert sentence in text
            assert not {"Sync now", "Continue the set-up"} & {text.partition(f"{sentence} ")[2]}


@pytest.mark.parametrize("path", PAGES)
def test_every_field_has_a_label(browser: Browser, path: str) -> None:
    """By ``for``, so that a click and a screen reader find it."""
    page = browser.page(path)
    labels = {found.get("for") for found in page.all("label")}
    fields = [found for found in page.all("input", "select") if found.get("type") != "hidden"]

    assert [found["id"] for found in fields if found["id"] not in labels] == []


def test_every_page_has_a_title_of_its_own(browser: Browser) -> None:
    """One main heading, and a title that names the step."""
    titles = [browser.get(path).text.partition("<title>")[2].partition("<")[0] for path in PAGES if "?" not in path]

    assert [title for title, count in Counter(titles).items() if count > 1] == []
    assert {"Step 1: Clockify - sync_pipeline", "Step 5: Go live - sync_pipeline"} <= set(titles)


@pytest.mark.parametrize(
    "path",
    ["/nope", "/mapping/new/nope", "/mapping/nope", "/rejects/nope", "/mapping/users/nope", f"/mapping/{SCRIPT}"],
)
def test_what_does_not_exist_is_reported_on_a_page(browser: Browser, path: str) -> None:
    """With a sentence, never a traceback."""
    answer = browser.get(path)

    assert answer.status_code in {200, 404, 409}
    assert Page(answer.text).faults == []
    assert "Traceback" not in answer.text
    assert SCRIPT not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/activity/run/nope",
        "/approvals/999",
        "/approvals/nope",
        "/automations/nope",
        "/connections/nope",
        "/connections/nope/disconnect",
        "/dashboard/export/nope.csv",
        "/mapping/nope",
        "/mapping/nope/email",
        "/mapping/new/nope",
        "/records/nope/1",
        "/records/users/nope",
        "/requests/999",
        "/requests/nope",
        "/settings/operations/nope",
    ],
)
def test_an_unknown_id_is_not_found(browser: Browser, path: str) -> None:
    """404, on a page of the console that leads on."""
    answer = browser.get(path)

    page = Page(answer.text)
    assert (answer.status_code, page.faults) == (404, [])
    assert "Not found" in page.text
    assert {"/", "/activity", "/records"} <= {link["href"] for link in page.all("a")}


def test_scripts_in_fields_are_shown_as_text(browser: Browser) -> None:
    """Typed values come back escaped, in values and in sentences."""
    fields = {"is_new": "1", "name": SCRIPT, "source": f'">{SCRIPT}', "transform": SCRIPT, "description": SCRIPT}
    answer = browser.post("/mapping/users", fields)

    assert answer.status_code == 422
    assert SCRIPT not in answer.text
    assert Page(answer.text).value("name") == SCRIPT


def test_an_instant_check_says_what_is_wrong_and_shows_what_it_does(browser: Browser) -> None:
    """The answer names the input; the preview is escaped HTML of the record that is chosen, one of five."""
    wrong = browser.post(
        "/mapping/check/users", {"is_new": "1", "name": "nick", "source": "name", "transform": "nonsense"}
    ).json()
    entered = {"is_new": "1", "name": "nick", "source": "name", "transform": "upper"}
    right = [browser.post("/mapping/check/users", {**entered, "record": str(number)}).json() for number in range(5)]

    assert wrong["place"] == "transform"
    assert "nonsense" in wrong["problem"]
    assert {found["problem"] for found in right} == {""}
    assert [found["preview"].count("<article") for found in right] == [1] * 5
    assert len({found["preview"] for found in right}) == 5
    assert all(Page(found["preview"]).faults == [] for found in right)


def test_an_instant_check_warns_of_a_source_that_no_record_has(browser: Browser) -> None:
    """The field is valid all the same, since such a source may still appear."""
    entered = {"is_new": "1", "name": "nick", "source": "nmae"}
    found = browser.post("/mapping/check/users", entered).json()
    assert found["problem"] == ""
    assert found["warning"].startswith("users.nick: no record that was looked at has the source 'nmae'.")
    assert "Did you mean 'name'?" in found["warning"]
    assert browser.post("/mapping/check/users", {**entered, "source": "name"}).json()["warning"] == ""


def test_a_problem_is_linked_to_its_field(browser: Browser) -> None:
    """The summary on top leads to the input, which states that it is wrong and why."""
    page = Page(
        browser.post("/mapping/users", {"is_new": "1", "name": "nick", "source": "name", "transform": "nonsense"}).text
    )
    (marked,) = [found for found in page.all("input", "fieldset") if found.get("aria-invalid") == "true"]

    assert marked["id"] == "transform"
    assert "transform-problem" in marked["aria-describedby"]
    assert [found for found in page.all("a") if found["href"] == "#transform"]


def test_a_new_field_takes_no_others_place(browser: Browser) -> None:
    """A name that is there is refused for a new field."""
    answer = browser.post("/mapping/users", {"is_new": "1", "name": "email", "source": "name"})

    assert answer.status_code == 422
    assert "already exists" in answer.text


def test_a_mistake_of_ours_is_reported_without_a_traceback(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The page has a sentence; the log states where, but not what, which may hold anything."""
    monkeypatch.setattr(browser.console.console, "work", "a secret")
    answer = browser.get("/check")

    assert answer.status_code == 500
    assert "made a mistake" in answer.text
    assert Page(answer.text).faults == []
    assert "Traceback" not in answer.text
    assert "AttributeError at" in caplog.text
    assert "a secret" not in caplog.text + answer.text


def test_a_database_that_cannot_be_used_is_reported_on_the_page(tmp_path: Path) -> None:
    """With the sentence of the store, on every page that needs it."""
    with consoling(tmp_path / "home") as console, browsing(console) as browser:
        browser.sign_in()
        (tmp_path / "home" / "sync.db").write_text(
            "this is no database, but long enough to look like a file of some use"
        )
        for path in ("/trail", "/rejects/users"):
            answer = browser.get(path)
            assert answer.status_code == 503
            assert Page(answer.text).faults == []
            assert "sync.db" in answer.text
