"""Records that are not as they must be: each is rejected with its reason, all others are delivered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import ENTITIES, Team, instant, morning, team

pytestmark = pytest.mark.undocumented

HUGE = "x" * 10_000_000


@pytest.fixture
def spoilt(tmp_path: Path) -> Iterator[Shell]:
    """Systems of its own, whose records a test may spoil."""
    with team(tmp_path) as us, shell_for(us, tmp_path) as shell:
        yield shell


def spoil(us: Team, statement: str, *values: object) -> None:
    """Change what Clockify has stored, past its own rules."""
    us.sandbox.world.db.execute(statement, values)


def ids(us: Team, table: str) -> list[str]:
    """The ids of one of Clockify's tables, stopped entries only."""
    where = " WHERE ended IS NOT NULL" if table == "time_entries" else ""
    return [row[0] for row in us.sandbox.world.db.execute(f"SELECT id FROM {table}{where} ORDER BY id")]


def rejected(shell: Shell) -> dict[str, tuple[str, str]]:
    """Rule and reason of every reject, by record."""
    rows = shell("rejects", "list", "--json", code=0).document["rejects"]
    return {row["source_id"]: (row["rule"], row["reason"]) for row in rows}


def test_bad_entries(spoilt: Shell) -> None:
    """Ten megabytes of description, an end before its start, a kind no one knows: rejects, and a sync that succeeded."""
    us = spoilt.team
    long, backwards, unknown, *_ = ids(us, "time_entries")
    spoil(
        us,
        "UPDATE time_entries SET shared = json_set('{' || shared || '}', '$.description', ?) WHERE id = ?",
        HUGE,
        long,
    )
    spoil(us, "UPDATE time_entries SET shared = substr(shared, 2, length(shared) - 2) WHERE id = ?", long)
    spoil(us, "UPDATE time_entries SET shared = replace(shared, '\"REGULAR\"', '\"NAP\"') WHERE id = ?", unknown)
    spoil(
        us,
        "UPDATE time_entries SET ended = started - 60, span = json_set('{' || span || '}', '$.end', "
        "strftime('%Y-%m-%dT%H:%M:%SZ', started - 60, 'unixepoch')) WHERE id = ?",
        backwards,
    )
    spoil(us, "UPDATE time_entries SET span = substr(span, 2, length(span) - 2) WHERE id = ?", backwards)
    document = spoilt.sync()
    counts = document["entities"]["time_entries"]
    assert counts["rejected"] == 3
    assert counts["created"] == counts["extracted"] - 3 - counts["excluded"]
    reasons = rejected(spoilt)
    assert set(reasons) == {long, backwards, unknown}
    assert {rule for rule, _ in reasons.values()} == {"valid_values"}
    shown = spoilt("rejects", "show", "time_entries", long, "--json", code=0)
    assert len(shown.out) < 2_000
    assert "3,000" in reasons[long][1]
    assert "NAP" in spoilt("rejects", "show", "time_entries", unknown, code=0).out
    assert spoilt("verify", "--json", code=0).document["entities"]["time_entries"]["rejected"] == 3
    spoil(us, "UPDATE time_entries SET shared = replace(shared, '\"NAP\"', '\"REGULAR\"') WHERE id = ?", unknown)
    assert spoilt.sync("--entity", "time_entries")["entities"]["time_entries"]["created"] == 1
    assert set(rejected(spoilt)) == {long, backwards}


def test_a_record_without_an_id(spoilt: Shell) -> None:
    """A null id: rejected as "(no id)" with its content; the others are delivered and nothing is deleted."""
    victim = ids(spoilt.team, "projects")[0]
    spoilt.sync("--entity", "projects")
    spoil(spoilt.team, "UPDATE projects SET body = json_set(body, '$.id', NULL) WHERE id = ?", victim)
    ended = spoilt("sync", "--entity", "projects", code=0)
    assert ended.warnings == ["projects: required_fields: 1 of 5 records fail"]
    assert rejected(spoilt)["(no id)"][0] == "required_fields"
    assert "`sync-pipeline rejects list` shows why." in ended.out


def test_one_id_twice(spoilt: Shell) -> None:
    """Two different records under one id, on different pages: neither is delivered, the reason names the rule."""
    first, _, third, *_ = [project["id"] for project in spoilt.team.projects()]
    spoil(spoilt.team, "UPDATE projects SET body = json_set(body, '$.id', ?) WHERE id = ?", first, third)
    document = spoilt.with_(CLOCKIFY_PAGE_SIZE="2").sync("--entity", "projects")
    assert document["entities"]["projects"]["rejected"] == 2
    assert document["entities"]["projects"]["created"] == 3
    assert rejected(spoilt) == {first: ("unique_ids", "two different records came under this id")}
    assert first not in spoilt.team.at_snapshots("projects")


def test_too_many_bad_records_block(spoilt: Shell) -> None:
    """More than the share allowed: the check blocks, reports how many, and not a byte of the batch is written."""
    us = spoilt.team
    spoil(us, "UPDATE time_entries SET shared = replace(shared, '\"REGULAR\"', '\"NAP\"')")
    spoilt.sync("--entity", "users")
    spoilt.sync("--entity", "projects")
    us.forget_stats()
    message = spoilt("sync", "--entity", "time_entries", code=1).message
    assert message.startswith("time_entries: valid_values: ")
    assert "more than 10%: nothing is loaded" in message
    assert us.writes() == {}
    for words in ((), ("--dry-run",)):
        counts = spoilt.sync("--entity", "time_entries", *words, code=1)["entities"]["time_entries"]
        assert counts["extracted"] == counts["rejected"] + counts["excluded"] > 30
    status = spoilt("status", "--json", code=1).document["entities"]["time_entries"]
    assert status["last_outcome"] == "blocked"
    assert status["rejects"] > 30
    assert message.startswith(f"time_entries: {status['reason']}")
    assert "Correct them at the source, or accept more with SYNC_MAX_REJECT_SHARE" in status["reason"]
    assert spoilt("status", code=1).warnings == [f"time_entries, last sync blocked: {status['reason']}"]


def test_how_many_bad_records_block_is_a_setting(spoilt: Shell) -> None:
    """Few bad records of few warn; a setting stops at a single one."""
    victim = ids(spoilt.team, "projects")[0]
    spoil(spoilt.team, "UPDATE projects SET body = json_set(body, '$.id', NULL) WHERE id = ?", victim)
    strict = spoilt.with_(SYNC_MIN_BLOCKING_REJECTS="1")
    assert (
        "required_fields: 1 of 5 records fail, more than 10%" in strict("sync", "--entity", "projects", code=1).message
    )
    assert spoilt.sync("--entity", "projects")["entities"]["projects"]["created"] == 4


def test_a_dry_run_says_what_it_read(spoilt: Shell) -> None:
    """Every entity, in several runs of days, too: what was read and what the checks made of it - as a sync has it."""
    victim = ids(spoilt.team, "time_entries")[0]
    spoil(
        spoilt.team, "UPDATE time_entries SET shared = replace(shared, '\"REGULAR\"', '\"NAP\"') WHERE id = ?", victim
    )
    dry = spoilt.with_(SYNC_DAYS_PER_RUN="10").sync("--dry-run")
    assert dry["dry_run"] is True
    assert set(dry["entities"]) == set(ENTITIES)
    assert dry["entities"]["time_entries"]["rejected"] == 1
    table = spoilt("sync", "--dry-run", code=0).out
    assert "Those that wait refer to records which are not at the target yet" in table
    for entity, counts in dry["entities"].items():
        assert counts["requests"] > 0
        columns = [str(counts[name]) for name in ("extracted", "rejected", "excluded", "waiting")]
        assert re.search(rf"^ {entity} +{' +'.join(columns)} ", table, re.MULTILINE), table
    wet = spoilt.sync()["entities"]
    for entity, counts in dry["entities"].items():
        reported = {name: counts[name] for name in ("extracted", "rejected", "excluded")}
        assert reported == {name: wet[entity][name] for name in reported}


def test_entries_that_moved_between_the_runs_of_one_sync(spoilt: Shell) -> None:
    """They are missing from the first run's days, which is tried again once the other days have been read."""
    us = spoilt.team
    shell = spoilt.with_(SYNC_DAYS_PER_RUN="10")
    user = us.users()[0]["id"]
    entries = [us.add_entry(user, morning(14, hour)) for hour in range(1, 13)]
    shell.sync()
    for hour, entry in enumerate(entries, 1):
        us.change_entry(entry, start=instant(morning(3, hour)), end=instant(morning(3, hour + 1)))
    document = shell.sync("--entity", "time_entries")
    counts = document["entities"]["time_entries"]
    assert (document["success"], counts["updated"], counts["deleted"]) == (True, 12, 0)
    parts = ("created", "adopted", "updated", "unchanged", "rejected", "excluded", "waiting")
    assert counts["extracted"] == sum(counts[part] for part in parts)
    for entry in entries:
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
    document = shell.sync("--entity", "time_entries", code=3)
    (held,) = document["held"]
    assert (document["errors"], held["guard"], held["records"]) == (
        [],
        "deletes",
        sorted(entry["id"] for entry in entries),
    )
    assert {entry["id"] for entry in entries} <= us.at_snapshots("time_entries").keys()
