"""What was read is checked before anything is written: what each check reports, and what a blocked batch leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sync_pipeline.errors import CheckFailed
from sync_pipeline.stages import extract
from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.check import CHECKS, CheckResult, checked, staged, why_blocked
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline.store.syncs import recent
from sync_pipeline_tests.harness import Blocked, Json, Team, team

STRICT: dict[str, Any] = {"SYNC_MAX_REJECT_SHARE": "0", "SYNC_MIN_BLOCKING_REJECTS": "1"}


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team that is in step."""
    with team(tmp_path, entries=6) as opened:
        opened.sync()
        yield opened


def reads(us: Team, *projects: Json) -> None:
    """What the list of projects answers from now on."""
    us.no_faults()
    us.fault("status", "GET */projects", status=200, body=list(projects), headers={"Last-Page": "true"})


def results(us: Team, **changes: Any) -> dict[str, CheckResult]:
    """The results for the projects; nothing is written."""
    with (
        us.session(**changes) as session,
        checked(session, session.specs["projects"], None, Options(dry_run=True)) as checking,
    ):
        return {result.name: result for result in checking.results}


def test_every_check_passes_where_nothing_is_wrong(us: Team) -> None:
    """All of them have a result, in the order in which they are explained."""
    found = results(us)
    assert list(found) == list(CHECKS)
    assert all(result.passed and not result.blocks for result in found.values())
    assert why_blocked(list(found.values())) == ""


def test_rejected_records_warn_and_block_only_beyond_the_share(us: Team) -> None:
    """The rows name record, field, value and reason; the sentence states how to continue."""
    one, *others = us.projects()
    reads(us, {**one, "name": "N" * 251}, *others)
    warned = results(us)["valid_values"]
    assert (warned.passed, warned.severity, warned.figures["failing"]) == (False, "warn", 1)
    assert [(row["record"], row["field"]) for row in warned.rows] == [(one["id"], "project_name")]
    blocked = results(us, **STRICT)["valid_values"]
    assert blocked.blocks
    assert "nothing is loaded. Correct them at the source" in blocked.summary


def test_two_contents_under_one_id_fail_unique_ids(us: Team) -> None:
    """Neither is sent: which is right is unknown."""
    one, *others = us.projects()
    reads(us, one, {**one, "name": "another"}, *others)
    found = results(us)["unique_ids"]
    assert (found.passed, found.figures["failing"]) == (False, 1)


@pytest.mark.parametrize("recent", [extract.RECENT, 1])
def test_the_same_record_twice_is_one_and_two_contents_are_rejected(
    us: Team, monkeypatch: pytest.MonkeyPatch, recent: int
) -> None:
    """However far apart they come, as unchanged records or new ones, in the check as in the load that checks again."""
    monkeypatch.setattr(extract, "RECENT", recent)
    one, two, three, *others = us.projects()
    new = {**three, "id": "e" * 24, "name": "New"}
    apart = {**three, "id": "f" * 24, "name": "Apart"}
    rows = [one, new, two, apart, *others, three, one, {**two, "name": "another"}, new, two, {**apart, "name": "Other"}]
    reads(us, *rows)
    failing = results(us)["unique_ids"].figures
    assert (failing["failing"], failing["records"]) == (2, 9)
    with us.session() as session:
        batch = us.validated(session, "projects")
        session.stagings.popitem()[1].close()  # as in another process
        counts = us.load(session, "projects", batch).counts
        rejected = [one.source_id for one in list_rejects(session.store, session.pair, entity="projects")]
    assert (counts.extracted, counts.rejected, counts.created, counts.unchanged) == (9, 4, 1, 4)
    assert sorted(rejected) == sorted([two["id"], apart["id"]])
    us.no_faults()
    at_target = us.at_snapshots("projects")
    assert at_target["e" * 24]["project_name"] == "New"
    assert at_target[two["id"]]["project_name"] == two["name"]
    assert "f" * 24 not in at_target


def test_drift_of_the_source_is_a_warning(us: Team) -> None:
    """A field the mapping reads that is in no record, and one that is not in the samples."""
    reads(us, *({**{k: v for k, v in row.items() if k != "color"}, "brandNew": 1} for row in us.projects()))
    found = results(us)["schema_drift"]
    assert (found.passed, found.blocks) == (False, False)
    assert {row["field"]: row["found"] for row in found.rows} == {
        "color": "missing from every record",
        "brandNew": "new at the source, not mapped",
    }


def test_a_blocked_batch_leaves_its_rejects_and_the_reason(us: Team) -> None:
    """Nothing is written to the target; the sync is kept as blocked with its figures."""
    rows = [{**row, "name": "N" * 251} for row in us.projects()]
    reads(us, *rows)
    us.forget_stats()
    with pytest.raises(Blocked) as blocked:
        us.sync("projects", **STRICT)
    assert blocked.value.checks == ["valid_values"]
    assert us.writes() == {}
    with us.session() as session:
        last = recent(session.store, session.pair, 1)[0]
        kept = list_rejects(session.store, session.pair, entity="projects")
    assert (last.outcome, last.counts["rejected"], last.counts["blocked_by"]) == (
        "blocked",
        len(rows),
        ["valid_values"],
    )
    assert last.reason is not None
    assert last.reason.startswith("valid_values: ")
    assert {reject.source_id for reject in kept} == {row["id"] for row in rows}


def test_a_dry_run_leaves_nothing(us: Team) -> None:
    """No rejects, no open staging, no sync."""
    reads(us, *({**row, "name": "N" * 251} for row in us.projects()))
    with us.session() as session:
        before = recent(session.store, session.pair, 1)[0].id
        us.validated(session, "projects", options=Options(dry_run=True))
        assert session.stagings == {}
        assert recent(session.store, session.pair, 1)[0].id == before
        assert list_rejects(session.store, session.pair, entity="projects") == []


def test_the_load_gets_the_staging_of_the_check_or_one_from_the_file(us: Team) -> None:
    """In the same process the same one; elsewhere the batch is checked again, without a request."""
    one = us.projects()[0]
    us.clockify("PUT", f"/projects/{one['id']}", {"name": "Renamed"})
    with us.session() as session:
        spec, options = session.specs["projects"], Options()
        batch = us.validated(session, "projects")
        left = session.stagings["projects", batch.read_no]
        with staged(session, spec, batch, None, options, run_id="r") as found:
            assert found is left
        us.forget_stats()
        with staged(session, spec, batch, None, options, run_id="r") as again:
            assert again is not left
        assert us.requests() == {}


def test_a_batch_that_another_mapping_decided_is_refused(us: Team) -> None:
    """It has to be read again; so has one of other accounts."""
    with us.session() as session:
        spec, options = session.specs["projects"], Options()
        batch = us.validated(session, "projects")
        session.stagings.pop(("projects", batch.read_no)).close()
        for note, message in (("decided_by", "another mapping"), ("pair", "other accounts")):
            changed = replace(batch, notes={**batch.notes, note: "another"})
            with pytest.raises(CheckFailed, match=message), staged(session, spec, changed, None, options, run_id="r"):
                pass
