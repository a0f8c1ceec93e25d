"""The checks of one frame: scope, required fields, valid values."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from sync_pipeline.mapping.apply import map_frame
from sync_pipeline.mapping.checks import check_frame
from sync_pipeline.mapping.frames import raw_frame
from sync_pipeline_tests.mapping.frames_of import SPECS, checked, entry, overridden, problems

ENTRIES = SPECS["time_entries"]
RUNNING = {"start": "2024-05-01T09:30:00Z", "end": None, "duration": None}


def test_a_running_entry_is_excluded_not_rejected() -> None:
    """No end yet is a stated reason to wait, not a mistake."""
    frame = checked(ENTRIES, entry(timeInterval=RUNNING))
    assert frame[["status", "rule"]].to_numpy().tolist() == [["excluded", "running"]]
    assert problems(frame) == []


def test_a_running_entry_without_id_is_rejected() -> None:
    """What has no id cannot be kept as excluded: it must not get lost."""
    assert checked(ENTRIES, entry(id=None, timeInterval=RUNNING))["status"].tolist() == ["rejected"]


@pytest.mark.parametrize("letter", ["a", "é"])
def test_an_id_that_no_index_takes_is_rejected_alone(letter: str) -> None:
    """PostgreSQL refuses a row with a key that long, and with it the whole batch."""
    frame = checked(ENTRIES, entry(id=letter * 501), entry(id=letter * 255))
    assert frame["status"].tolist() == ["rejected", "accepted"]
    assert frame["source_id"].isna().tolist() == [True, False]
    assert "has more than 255 characters" in str(problems(frame))


def test_an_unreadable_end_is_not_a_running_entry() -> None:
    """An end that is there but wrong is a reject."""
    frame = checked(ENTRIES, entry(timeInterval=RUNNING | {"end": "soon"}))
    assert frame["status"].tolist() == ["rejected"]


@pytest.mark.parametrize(
    ("start_date", "status"), [(None, "accepted"), (date(2024, 5, 1), "accepted"), (date(2024, 5, 2), "excluded")]
)
def test_entries_before_the_start_date_are_excluded(start_date: date | None, status: str) -> None:
    """The start date itself is in scope; without one everything is."""
    frame = check_frame(ENTRIES, map_frame(ENTRIES, raw_frame(ENTRIES, [entry()])), start_date=start_date)
    assert frame["status"].tolist() == [status]


def test_a_user_can_ask_for_running_entries(tmp_path: Path) -> None:
    """With the exclusion removed and the end optional, running entries are delivered."""
    spec = overridden(tmp_path, "time_entries", "exclude: []\nfields: {end_time: {required: false}}")
    assert checked(spec, entry(timeInterval=RUNNING))["status"].tolist() == ["accepted"]


@pytest.mark.parametrize("email", ["a@b.co", "o'neil+x@mail.example.org", "ü@münchen.example", None, ""])
def test_plausible_addresses_pass(email: str | None) -> None:
    """The check refuses what cannot be an address, nothing else; a pending user has none."""
    assert checked(SPECS["users"], {"id": "u1", "email": email})["status"].tolist() == ["accepted"]


@pytest.mark.parametrize("email", ["a", "a@b", "@b.co", "a b@c.de", "a@b@c.de", "a" * 250 + "@b.co"])
def test_what_is_no_address_is_refused(email: str) -> None:
    """A user whose e-mail is no address is rejected."""
    frame = checked(SPECS["users"], {"id": "u1", "email": email})
    assert {(p["field"], p["rule"]) for p in problems(frame)} == {("email", "valid_values")}


@pytest.mark.parametrize("name", [None, "", "   "])
def test_a_blank_name_is_a_missing_one(name: str | None) -> None:
    """White space does not fill a required field."""
    frame = checked(SPECS["locations"], {"location_id": "l", "location_name": name})
    assert [(p["field"], p["rule"]) for p in problems(frame)] == [("name", "required_fields")]


def test_every_problem_of_a_record_is_reported_together() -> None:
    """No one repairs a record twice: all its problems are listed, each field once."""
    frame = checked(ENTRIES, entry(id=None, type="INVENTED", billable=[], timeInterval={}))
    found = sorted(problem["field"] for problem in problems(frame))
    assert found == ["billable", "end_time", "start_time", "time_entry_id", "type"]


def test_an_end_at_the_start_is_refused() -> None:
    """An entry that takes no time is not one: start < end, strictly."""
    interval = {"start": "2024-05-01T09:30:00Z", "end": "2024-05-01T09:30:00Z", "duration": 0}
    (problem,) = problems(checked(ENTRIES, entry(timeInterval=interval)))
    assert (problem["field"], problem["message"]) == ("end_time", "must be after start_time")


def test_an_empty_frame_stays_empty() -> None:
    """No records, no rows, all columns."""
    assert len(checked(ENTRIES)) == 0
    assert "status" in checked(ENTRIES)
