"""What travels between the stages: days, notes and counts."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, date, datetime

import pytest

from sync_pipeline.settings import load_settings
from sync_pipeline.stages.batch import Batch, Counts, Days, whole_range

FIRST, LAST = date(2024, 2, 28), date(2024, 3, 1)


def test_days_are_partition_keys_with_both_ends() -> None:
    """In order, over a leap day; one day is shown as one."""
    days = Days(FIRST, LAST)
    assert list(days) == ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert days.keys == ("2024-02-28", "2024-03-01")
    assert (str(days), str(Days(FIRST, FIRST))) == ("2024-02-28 to 2024-03-01", "2024-02-28")
    assert list(Days(LAST, FIRST)) == []


@pytest.mark.parametrize(("start", "first"), [("2024-01-01", date(2024, 1, 1)), ("2999-01-01", LAST)])
def test_the_whole_range_reaches_from_the_start_date_into_the_future(start: str, first: date) -> None:
    """A start date that is still to come does not turn the range around."""
    settings = load_settings({"SYNC_START_DATE": start})
    assert whole_range(settings, LAST, ahead=2) == Days(first, date(2024, 3, 3))


def test_a_batch_of_before_reads_had_numbers_is_older_than_all() -> None:
    """Its notes have no number; those of a later one have."""
    notes = {"observed_at": "2024-03-01T10:00:00+00:00"}
    assert Batch([], notes).read_no == 0
    assert Batch([], notes | {"read_no": 7}).read_no == 7
    assert Batch([], notes).observed_at == datetime(2024, 3, 1, 10, tzinfo=UTC)


def test_writes_are_what_changed_the_target() -> None:
    """Of all figures only four are writes."""
    every = Counts(**{one.name: 10**number for number, one in enumerate(fields(Counts))})
    assert every.writes == every.created + every.adopted + every.updated + every.deleted
    assert Counts().writes == 0
