"""`operations`, typed: the catalogue, and running one operation."""

from __future__ import annotations

import csv

import pytest

from sync_pipeline.clock import unix_time
from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.store.rate import note_sent
from sync_pipeline_tests.cli.shell import Shell


def test_the_catalogue(shell: Shell) -> None:
    """Found by two words, shown with its inputs; events with the entity that they wake here."""
    found = shell("operations", "search", "project", "template", "--json", code=0).document["operations"]
    assert found[0]["name"] == "clockify.projects.from-template"
    shown = shell("operations", "show", found[0]["name"], code=0).out
    assert ["templateProjectId", "body", "yes", "string"] in [line.split() for line in shown.splitlines()]
    assert "https://docs.clockify.me/#tag/Project" in shown
    held = shell("operations", "list", "--kind", "held", "--system", "highlevel", "--json", code=0).document
    assert {one["held"] for one in held["operations"]} == {
        "It is about money",
        "It is about users and their roles",
        "It is about tokens and who receives data",
        "It is about whole accounts",
        "It changes many records at once",
    }
    events = shell("operations", "list", "--triggers", "--json", code=0).document["events"]
    assert len(events) == 109
    assert {one["name"]: one["wakes"] for one in events}["NEW_CLIENT"] == "locations"
    assert "OpportunityStatusUpdate" in shell("operations", "search", "opportunity status", "--triggers", code=0).out
    assert "Did you mean clockify.tags.create" in shell("operations", "show", "clockify.tag.create", code=2).message
    assert "There is no event NOTHING" in shell("operations", "show", "NOTHING", "--triggers", code=2).message


def test_a_write_shows_its_request_and_asks(shell: Shell) -> None:
    """Nothing leaves with --dry-run, nor without a yes; with one it is sent, and once for a key."""
    words = ("operations", "run", "clockify.tags.create", "-f", "name=typed")
    dry = shell(*words, "--dry-run", code=0)
    assert dry.out.splitlines()[0].endswith("/tags")
    assert '"name": "typed"' in dry.out
    assert shell(*words, "--dry-run", "--json", code=0).document["sent"] is False
    assert "add --yes" in shell(*words, "--json", code=2).err
    assert shell.team.clockify("GET", "/tags", name="typed") == []
    made = shell(*words, "--yes", "--once", "a key", "--json", code=0).document
    assert (made["sent"], made["status"], made["answer"]["name"]) == (True, 201, "typed")
    again = shell(*words, "--yes", "--once", "a key", "--json", code=0).document
    assert (again["sent"], again["id"], again["earlier"]["state"]) == (False, made["id"], "done")
    for _ in range(2):  # what was refused is no success for its key either
        shell(*words, "--yes", "--once", "another key", "--json", code=1)
    assert "name: is required" in shell("operations", "run", "clockify.tags.create", "--yes", code=2).message
    assert "has no value" in shell(*words[:3], "-f", "name", code=2).err
    delete = ("operations", "run", "clockify.tags.delete", "-f", f"id={made['id']}")
    for wrong in (("--yes",), ("--delete", "clockify.tags.create")):
        assert "add --delete clockify.tags.delete" in shell(*delete, *wrong, "--json", code=2).err
    shell(*delete, "--delete", "clockify.tags.delete", code=0)
    assert shell.team.clockify("GET", "/tags", name="typed") == []
    trail = [line["what"] for line in shell("audit", "list", "--json", code=0).document["changes"]]
    assert trail.count("operation done") == 2


def test_what_is_not_sent_says_why(shell: Shell) -> None:
    """Held back, not among those that can be run, a dry run, and a list that has no pages."""
    held = ("operations", "run", "clockify.users.hourly-rate.update", "-f", "userId=u", "-f", "amount=1")
    assert "is held back: it is about money" in shell(*held, "--yes", code=1).message
    assert '"amount": 1' in shell(*held, "--dry-run", code=0).out
    other = (
        "operations",
        "run",
        "clockify.holidays.delete",
        "-f",
        "holidayId=h",
        "--delete",
        "clockify.holidays.delete",
    )
    assert "described here, but not sent" in shell(*other, code=1).message
    dry = shell.with_(SYNC_MODE="dry_run")
    create = ("operations", "run", "clockify.tags.create", "-f", "name=never", "--yes")
    assert "SYNC_MODE is dry_run" in dry(*create, code=1).message
    assert "has no pages" in shell("operations", "run", "clockify.user.get", "--all", code=2).message
    assert "--all is for lists" in shell(*create, "--all", code=2).err
    assert shell.team.clockify("GET", "/tags", name="never") == []


def test_the_last_tenth_of_the_budget(shell: Shell) -> None:
    """It is announced before it is used."""
    free = shell.with_(CLOCKIFY_PLAN="free")
    words = ("operations", "run", "clockify.tags.list", "--json")
    assert free(*words, code=0).warnings == []
    with shell.team.session(SYNC_HOME=str(shell.home), CLOCKIFY_PLAN="free") as session:
        note_sent(session.store, session.clockify.account.bucket, PLANS["free"].windows, unix_time(), 26)
    assert free(*words, code=0).warnings == ["Of the 30 requests of this hour 3 are left."]


@pytest.mark.parametrize("size", ["1", "50"])
def test_every_page_of_a_list(shell: Shell, size: str) -> None:
    """However large a page is; as a table, as CSV without formulas, and as JSON."""
    names = {"=1+1", "plain", *(tag["name"] for tag in shell.team.clockify("GET", "/tags"))}
    for name in names - {tag["name"] for tag in shell.team.clockify("GET", "/tags")}:
        shell.team.clockify("POST", "/tags", {"name": name})
    words = ("operations", "run", "clockify.tags.list", "-f", f"page-size={size}", "--all")
    rows = list(csv.DictReader(shell(*words, "--format", "csv", code=0).out.splitlines()))
    assert {row["name"].removeprefix("'") for row in rows} == names
    assert "'=1+1" in {row["name"] for row in rows}
    assert {row["name"] for row in shell(*words, "--json", code=0).document["answer"]} == names
    assert f"Rows: {len(names)}." in shell(*words, code=0).out


@pytest.mark.undocumented  # Clockify has no such field
def test_a_field_that_is_called_like_a_formula_is_none(shell: Shell) -> None:
    """In the first line of a CSV file, too: the names of fields come from the answer."""
    shell.team.fault("status", "GET */tags", status=200, body=[{"=1+1": "@x"}])
    assert shell("operations", "run", "clockify.tags.list", "--format", "csv", code=0).out == "'=1+1\n'@x\n"
