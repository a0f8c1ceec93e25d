"""From raw records to rows of a staging: what is decided about a record when it is mapped and checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from sync_pipeline.stages.process import awaited, has_label, is_ready, is_wanted, process_records, processed_rows
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline.store.scope import draw
from sync_pipeline.store.staged import StagedRow
from sync_pipeline_tests.harness import Team, team


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A few people, projects and entries that are in step."""
    with team(tmp_path, users=2, projects=2, clients=1, locations=2, entries=4) as opened:
        opened.sync()
        yield opened


def test_rows_have_what_the_store_keeps(us: Team) -> None:
    """Id, day, canonical fields with their hash, label and facts; the source's hash only of who has no problem."""
    entry = next(one for one in us.entries() if one["timeInterval"]["end"])
    with us.session() as session:
        spec = session.specs["time_entries"]
        read = session.fetch(spec, entry["id"])
        assert read is not None
        fine, bad = processed_rows(session, spec, [read, {**read, "id": "bad", "type": "LUNCH"}])
    assert (fine.source_id, fine.status, fine.partition) == (
        entry["id"],
        "accepted",
        entry["timeInterval"]["start"][:10],
    )
    assert orjson.loads(fine.fields)["description"] == entry["description"]
    assert fine.facts is not None
    assert (fine.source_hash is None, bad.source_hash) == (False, None)
    assert (bad.status, bad.rule) == ("rejected", "valid_values")
    assert fine.label == entry["description"]


def test_labels_that_are_personal_are_stored_only_where_that_is_wanted(us: Team) -> None:
    """A project's name is no person's; what someone did is."""
    with us.session() as session:
        assert has_label(session, session.specs["projects"])
    with us.session(SYNC_PERSONAL_LABELS="false") as session:
        spec = session.specs["time_entries"]
        assert has_label(session, session.specs["projects"])
        assert not has_label(session, spec)
        rows = processed_rows(session, spec, [{"id": "e", "description": "private"}])
    assert [row.label for row in rows] == [None]


def test_what_has_no_id_is_in_the_rejects_and_not_among_the_rows(us: Team) -> None:
    """And the rejects of the ids that were asked for are replaced by what is found now."""
    with us.session() as session:
        spec, store = session.specs["projects"], session.store
        read_no = draw(session.store)
        bad = {"id": "p", "name": "N" * 251}
        for records in ([bad], [{**bad, "name": "short"}, {"name": "nameless"}]):
            rows = process_records(session, spec, records, ["p"], read_no=read_no, run_id="r")
        rejected = list_rejects(store, session.pair, entity="projects")
    assert [(row.source_id, row.status) for row in rows] == [("p", "accepted")]
    assert [reject.rule for reject in rejected] == ["required_fields"]


@pytest.mark.parametrize(
    ("status", "rule", "wanted"),
    [
        ("accepted", None, True),
        ("waiting", None, True),
        ("waiting", "references", False),
        ("rejected", "valid_values", False),
        ("excluded", "running", False),
    ],
)
def test_what_should_be_at_the_target(status: str, rule: str | None, wanted: bool) -> None:
    """Accepted records, and those that wait for one that can come."""
    assert is_wanted(StagedRow("a", None, "{}", "h", status, rule)) is wanted


def test_a_row_is_ready_when_all_it_waits_for_is_delivered() -> None:
    """Pairs of entity and id; one that waits for nothing is ready."""
    row = StagedRow("a", None, "{}", "h", "waiting", waiting_for='[["users","u"],["projects","p"]]')
    assert awaited(row) == [["users", "u"], ["projects", "p"]]
    assert not is_ready(row, {("users", "u")})
    assert is_ready(row, {("users", "u"), ("projects", "p")})
    assert is_ready(row._replace(waiting_for=None), set())


def test_records_that_share_a_unique_value_are_rejected_but_the_one_that_has_it(tmp_path: Path) -> None:
    """The owner at the target keeps the name; every other one has a reason that quotes it."""
    with team(tmp_path, locations=0, clients=0, entries=0) as us:
        us.put_location("first", location_name="Oak")
        us.sync("locations")
        for key in ("second", "third"):
            us.put_location(key, location_name="Oak")
        done = us.sync("locations")["locations"]
        assert (done.unchanged, done.rejected) == (1, 2)
        with us.session() as session:
            rejected = list_rejects(session.store, session.pair, entity="locations")
    assert {(one.source_id, one.rule) for one in rejected} == {("second", "unique_ids"), ("third", "unique_ids")}
    assert all("another record has the same name, 'Oak'" in one.reason for one in rejected)
