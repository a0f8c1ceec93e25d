"""Frames go through Arrow and Parquet exactly."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_pipeline.mapping.frames import RAW, from_arrow, raw_frame, to_arrow
from sync_pipeline_tests.mapping.frames_of import SPECS, checked, entry, overridden

ENTRIES = SPECS["time_entries"]
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]))
INSTANTS = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | st.none()


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.builds(
            entry,
            id=TEXTS | st.integers(),
            description=TEXTS,
            billable=st.none() | st.booleans(),
            tags=st.none() | st.lists(TEXTS.map(lambda name: {"name": name}), max_size=3),
            timeInterval=st.fixed_dictionaries(
                {"start": INSTANTS, "end": INSTANTS, "duration": st.integers() | st.none()}
            ),
        ),
        max_size=4,
    )
)
def test_a_raw_frame_round_trips_exactly(records: list[dict[str, object]]) -> None:
    """Columns, dtypes, values and missing values survive Arrow, missing ids and empty frames included."""
    frame = raw_frame(ENTRIES, records)
    pd.testing.assert_frame_equal(from_arrow(to_arrow(frame, RAW)), frame)


@pytest.mark.parametrize("entity", list(SPECS))
def test_parquet_gives_back_the_same_frame(entity: str, tmp_path: Path) -> None:
    """A part written by one op is what the next one reads."""
    frame = raw_frame(SPECS[entity], [{"id": 7, "location_id": 7}, {"id": None}])
    pq.write_table(to_arrow(frame, RAW), tmp_path / "part.parquet")
    pd.testing.assert_frame_equal(from_arrow(pq.read_table(tmp_path / "part.parquet")), frame)


def test_the_dtypes_are_the_declared_ones(tmp_path: Path) -> None:
    """Every type has one dtype, whether or not any value is there."""
    spec = overridden(
        tmp_path,
        "time_entries",
        "fields: {n: {source: n, type: number}, d: {source: d, type: date}, j: {source: j, type: json}}",
    )
    expected = {
        "source_id": "str",
        "partition": "str",
        "time_entry_id": "str",
        "start_time": "datetime64[us, UTC]",
        "billable": "boolean",
        "duration_seconds": "Int64",
        "tags": "object",
        "n": "Float64",
        "d": "str",
        "j": "str",
        "problems": "str",
        "status": "str",
        "rule": "str",
    }
    for frame in (checked(spec, entry()), checked(spec), checked(spec, {})):
        assert {name: str(frame.dtypes[name]) for name in expected} == expected
