"""What only a person may let a run do: it is held, named, can be looked at beforehand, and then goes through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import morning, team

BECAME = ("created", "adopted", "updated", "unchanged", "rejected", "excluded", "waiting", "held", "lagging")
DELETED = 12


@pytest.fixture
def emptied(tmp_path: Path) -> Iterator[Shell]:
    """Everything was synced; then many entries were deleted, and one was edited at the target."""
    with team(tmp_path) as us, shell_for(us, tmp_path) as shell:
        shell.sync()
        kept, *rest = [entry for entry in us.entries() if entry["timeInterval"]["end"]]
        for entry in rest[:DELETED]:
            us.clockify("DELETE", f"/time-entries/{entry['id']}")
        us.snapshots("PUT", f"/time_entries/{kept['id']}", {"description": "Somebody else's words"})
        us.forget_stats()
        yield shell


def test_a_sync_with_held_deletes_loads_the_rest_and_names_them(emptied: Shell) -> None:
    """Exit code 3, and what is held by name, in the table and in the document; everything else is synced."""
    late = emptied.team.add_entry(emptied.team.users()[0]["id"], morning(1))["id"]
    document = emptied.sync("--entity", "time_entries", code=3)
    counts = document["entities"]["time_entries"]
    assert counts["extracted"] == sum(counts[name] for name in BECAME)
    assert (document["success"], document["errors"]) == (False, [])
    assert (counts["held_deletes"], counts["deleted"], counts["created"]) == (DELETED, 0, 1)
    assert late in emptied.team.at_snapshots("time_entries")
    (held,) = document["held"]
    assert (held["guard"], held["what"], held["count"]) == ("deletes", f"deleting {DELETED} time entries", DELETED)
    assert held["records"] == sorted(held["records"])
    ended = emptied("sync", "--entity", "time_entries", code=3)
    assert ended.out.splitlines()[0].strip() == "Synced, except for what is held"
    assert "Held until approved" in ended.out
    assert all(record in "".join(ended.out.split()) for record in held["records"])
    assert emptied("sync", "--entity", "users", code=0).out.splitlines()[0].strip() == "Synced"


def test_what_is_held_is_allowed_or_declined_by_its_number(emptied: Shell) -> None:
    """`approvals list`, `show`, `decline`, `allow`: the sync after that does it, and the number is used up."""
    words = ("--entity", "time_entries")
    (held,) = emptied.sync(*words, code=3)["held"]
    number = str(held["approval"])
    (listed,) = emptied("approvals", "list", "--json", code=0).document["approvals"]
    assert (listed["id"], listed["state"], listed["shown"]) == (held["approval"], "open", DELETED)
    shown = emptied("approvals", "show", number, "--json", code=0).document
    assert [line["source_id"] for line in shown["records"]] == held["records"]
    assert all((line["action"], line["hash_after"]) == ("delete", None) for line in shown["records"])
    assert "Records" in emptied("approvals", "show", number, code=0).out
    assert "is declined" in emptied("approvals", "decline", number, code=0).out
    assert_declined(emptied, number)
    (declined,) = emptied.sync(*words, code=3)["held"]
    assert (declined["approval"], declined["declined"]) == (held["approval"], True)
    assert_declined(emptied, number)
    assert "is allowed, until" in emptied("approvals", "allow", number, code=0).out
    document = emptied.sync(*words)
    assert (document["entities"]["time_entries"]["deleted"], document["held"]) == (DELETED, [])
    assert emptied("approvals", "list", "--json", code=0).document["approvals"] == []
    (used,) = emptied("approvals", "list", "--all", "--json", code=0).document["approvals"]
    assert (used["state"], used["used"]) == ("used", DELETED)
    assert "is used" in emptied("approvals", "allow", number, code=1).message
    assert "There is no request 999" in emptied("approvals", "allow", "999", code=2).message
    assert f"only {number}" in emptied("approvals", "show", "999", code=2).message
    for word in ("NOSUCH", "9" * 30):
        for command in ("show", "allow", "decline"):
            message = emptied("approvals", command, word, code=2).message
            assert f"There is no request {word}" in message
            assert "`sync-pipeline approvals list" in message


def assert_declined(shell: Shell, number: str) -> None:
    """`status` states who declined it when and what happens next, before and after the next sync, and advises nothing."""
    (line,) = [one for one in shell("status", code=0).warnings if "time_entries, last sync held deletes: " in one]
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
    (approval,) = shell("approvals", "list", "--json", code=0).document["approvals"]
    then = f"what is held stays unchanged at the target until {moment}, then a sync asks again."
    again = f"`sync-pipeline approvals allow {number}` allows it after all."
    assert re.search(f"{re.escape(approval['by'])} declined it at {moment}: {then} {again}", line)
    assert "then allow it with" not in line


def test_a_repair_leaves_what_is_held_and_reports_what_differs(emptied: Shell) -> None:
    """The rest is repaired, and what is held is listed, as a table and as a document; allowed, it is repaired, too."""
    words = ("verify", "--entity", "time_entries", "--repair")
    document = emptied(*words, "--json", code=3).document["entities"]["time_entries"]
    assert (document["extra"], document["different"], document["repaired"]) == (DELETED, 0, 1)
    (held,) = document["held"]
    assert (held["guard"], held["count"], document["held_back"]) == ("deletes", DELETED, "")
    assert emptied.team.writes() == {"time_entries": 1}
    ended = emptied(*words, code=3)
    assert "Both sides" in ended.out
    assert ended.warnings == [f"Held: {held['reason']}"]
    allowed = emptied(*words, "--allow-deletes", "--json", code=0).document["entities"]["time_entries"]
    assert (allowed["repaired"], allowed["held"], allowed["extra"]) == (DELETED, [], 0)


def test_permissions_are_about_a_repair(emptied: Shell) -> None:
    """A verify that only looks has nothing to be allowed."""
    assert "Only --repair writes" in emptied("verify", "--allow-deletes", code=2).err


def test_what_a_permission_starts_can_be_looked_at(emptied: Shell) -> None:
    """`preview` takes the same flags as `sync`, and shows the very deletes that `sync` then sends."""
    words = ("--entity", "time_entries")
    document = emptied("preview", *words, "--json", code=3).document
    assert (document["blocked"], document["held"][0]["count"]) == ([], DELETED)
    held = [change for change in document["changes"]["time_entries"] if change["held"]]
    assert [change["action"] for change in held] == ["delete"] * DELETED
    assert "Held: " in emptied("preview", *words, code=3).err
    document = emptied("preview", *words, "--allow-deletes", "--json", code=0).document
    assert (document["entities"]["time_entries"]["deleted"], document["blocked"]) == (DELETED, [])
    assert document["held"] == []
    assert emptied.sync(*words)["entities"]["time_entries"]["deleted"] == DELETED  # what was allowed there is done here


def test_what_could_not_be_confirmed_is_reported(emptied: Shell) -> None:
    """More are missing than one run may look up: the rest stays and is named, though it was allowed, until it is proven."""
    words = ("sync", "--entity", "time_entries")
    few = emptied.with_(SYNC_MAX_CONFIRMATIONS="3", SYNC_MAX_DELETE_SHARE="0.9")
    expected = "time_entries: {} records are missing at the source and not confirmed as deleted: nothing was deleted for them; "
    (warning,) = few(*words, "--json", code=0).document["warnings"]
    assert warning.startswith(f"{expected.format(DELETED - 3)}the next sync looks again. Missing: ")
    missing = [key for key in emptied.team.at_snapshots("time_entries") if key in warning]
    assert len(missing) == DELETED - 3
    assert "not confirmed as deleted" not in emptied("sync", "--entity", "users", code=0).err
    left = DELETED - 3
    while left := max(0, left - 3):
        assert expected.format(left) in " ".join(few(*words, "--allow-deletes", code=0).err.split())
    assert "not confirmed as deleted" not in few(*words, "--allow-deletes", code=0).err
    assert emptied.team.writes() == {"time_entries": DELETED}
