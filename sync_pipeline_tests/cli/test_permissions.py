"""What only a person may let a run do: it is held back, says so, can be looked at beforehand, and then goes through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import team

BECAME = ("created", "adopted", "updated", "unchanged", "rejected", "excluded", "waiting")
GONE = 12


@pytest.fixture
def emptied(tmp_path: Path) -> Iterator[Shell]:
    """Everything was synced; then many entries were deleted, and one was edited at the target."""
    with team(tmp_path) as us, shell_for(us, tmp_path) as shell:
        shell.sync()
        kept, *rest = [entry for entry in us.entries() if entry["timeInterval"]["end"]]
        for entry in rest[:GONE]:
            us.clockify("DELETE", f"/time-entries/{entry['id']}")
        us.snapshots("PUT", f"/time_entries/{kept['id']}", {"description": "Somebody else's words"})
        us.forget_stats()
        yield shell


def test_a_blocked_sync_adds_up(emptied: Shell) -> None:
    """What would have been delivered waits, and nobody reads that it was synced."""
    counts = emptied.sync("--entity", "time_entries", code=1)["entities"]["time_entries"]
    assert counts["extracted"] == sum(counts[name] for name in BECAME)
    assert counts["waiting"] > 0
    table = emptied("sync", "--entity", "time_entries", code=1).out
    assert table.splitlines()[0].strip() == "Not synced in full"
    assert emptied("sync", "--entity", "users", code=0).out.splitlines()[0].strip() == "Synced"


def test_a_repair_that_is_held_back_still_tells_what_differs(emptied: Shell) -> None:
    """The verdict and why nothing was repaired, as a table and as a document; with the permission it is repaired."""
    words = ("verify", "--entity", "time_entries", "--repair")
    ended = emptied(*words, "--json", code=1)
    document = ended.document["entities"]["time_entries"]
    assert (document["extra"], document["different"], document["repaired"]) == (GONE, 1, 0)
    assert document["held_back"].startswith("time_entries cannot be repaired, since a check blocks the batch. volume: ")
    ended = emptied(*words, code=1)
    assert ended.message == document["held_back"]
    assert "Both sides" in ended.out
    assert emptied.team.writes() == {}
    allowed = emptied(*words, "--allow-deletes", "--json", code=0).document["entities"]["time_entries"]
    assert (allowed["repaired"], allowed["held_back"]) == (GONE + 1, "")


def test_permissions_are_about_a_repair(emptied: Shell) -> None:
    """A verify that only looks has nothing to be allowed."""
    assert "Only --repair writes" in emptied("verify", "--allow-deletes", code=2).err


def test_what_a_permission_starts_can_be_looked_at(emptied: Shell) -> None:
    """`preview` takes the same flags as `sync`, and shows the very deletes that `sync` then sends."""
    words = ("--entity", "time_entries")
    assert emptied("preview", *words, "--json", code=1).document["blocked"]
    document = emptied("preview", *words, "--allow-deletes", "--json", code=0).document
    assert (document["entities"]["time_entries"]["deleted"], document["blocked"]) == (GONE, [])
    assert emptied.sync(*words, "--allow-deletes")["entities"]["time_entries"]["deleted"] == GONE


def test_what_could_not_be_confirmed_is_told(emptied: Shell) -> None:
    """More vanished than one run may look up: the rest stays, and the table says so - until somebody allows it."""
    words = ("sync", "--entity", "time_entries")
    few = emptied.with_(SYNC_MAX_CONFIRMATIONS="3", SYNC_MAX_DELETE_SHARE="0.9")
    told = f"{GONE - 3} records vanished at the source and are not confirmed gone: nothing was deleted for them; "
    assert f"{told}the next sync looks again." in few(*words, code=0).out
    assert "not confirmed gone" not in emptied("sync", "--entity", "users", code=0).out
    assert "not confirmed gone" not in few(*words, "--allow-deletes", code=0).out
    assert emptied.team.writes() == {"time_entries": GONE}
