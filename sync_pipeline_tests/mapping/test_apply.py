"""A malformed record never raises: it is rejected with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_pipeline.mapping.apply import map_frame
from sync_pipeline.mapping.canonical import canonical_rows
from sync_pipeline.mapping.checks import check_frame
from sync_pipeline.mapping.columns import text_list
from sync_pipeline.mapping.frames import raw_frame
from sync_pipeline_tests.mapping.frames_of import SPECS, checked, entry, overridden, problems
from sync_pipeline_tests.mapping.test_transforms import JSON

ENTRIES = SPECS["time_entries"]


def _nested(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


def _interval(start: object = "2024-05-01T09:00:00Z", end: object = "2024-05-01T10:00:00Z") -> dict[str, object]:
    return {"start": start, "end": end, "duration": 60}


@pytest.mark.parametrize(
    ("record", "field", "rule"),
    [
        (entry(id=None), "time_entry_id", "required_fields"),
        (entry(id=""), "time_entry_id", "required_fields"),
        (entry(id=1.5), "time_entry_id", "valid_values"),
        (entry(id=["e1"]), "time_entry_id", "valid_values"),
        (entry(id="e\0"), "time_entry_id", "valid_values"),
        (entry(id="e\ud800"), "time_entry_id", "valid_values"),
        (entry(id="e" * 256), "time_entry_id", "valid_values"),
        (entry(description="x" * 10_000_000), "description", "valid_values"),
        (entry(description=["a", "b"]), "description", "valid_values"),
        (entry(description={"a": 1}), "description", "valid_values"),
        (entry(description="half \ud83d"), "description", "valid_values"),
        (entry(description=float("inf")), "description", None),
        (entry(type="INVENTED"), "type", "valid_values"),
        (entry(billable="perhaps"), "billable", "valid_values"),
        (entry(tags="remote"), "tags", "valid_values"),
        (entry(tags=[["remote"]]), "tags", "valid_values"),
        (entry(tags=[{"name": {"a": 1}}]), "tags", "valid_values"),
        (entry(timeInterval="yesterday"), "start_time", "valid_values"),
        (entry(timeInterval=_interval(start=None)), "start_time", "required_fields"),
        (entry(timeInterval=_interval(start=7)), "start_time", "valid_values"),
        (entry(timeInterval=_interval(start="2024-05-01T09:00:00")), "start_time", "valid_values"),
        (entry(timeInterval=_interval(start="2024-13-01T09:00:00Z")), "start_time", "valid_values"),
        (entry(timeInterval=_interval(start="2024-02-30T09:00:00Z")), "start_time", "valid_values"),
        (entry(timeInterval=_interval(end="tomorrow")), "end_time", "valid_values"),
        (entry(timeInterval=_interval(end="2024-05-01T08:59:59Z")), "end_time", "valid_values"),
        (entry(timeInterval=_interval(end="2024-05-01T11:00:00+02:00")), "end_time", "valid_values"),
        (entry(timeInterval=_interval() | {"duration": 10**30}), "duration_seconds", "valid_values"),
        (entry(timeInterval=_interval() | {"duration": "a while"}), "duration_seconds", "valid_values"),
        ("not an object", "record", "valid_values"),
        (["e1"], "record", "valid_values"),
        (None, "record", "valid_values"),
        (7, "record", "valid_values"),
        pytest.param(entry(userId=10**5000), "record", "valid_values", id="5000 digits"),
        pytest.param(entry(deep=_nested(100_000)), "record", "valid_values", id="nested"),
    ],
)
def test_a_malformed_record_is_rejected_with_its_reason(record: object, field: str, rule: str | None) -> None:
    """One bad record is rejected, by the rule and field at fault; the good one next to it is not touched."""
    frame = checked(ENTRIES, record, entry(id="good"))
    assert frame["status"].iat[1] == "accepted"
    if rule is None:  # JSON has no infinity: the encoder wrote null
        assert frame["status"].iat[0] == "accepted"
        return
    found = problems(frame)
    assert frame["status"].iat[0] == "rejected"
    assert (field, rule) in [(problem["field"], problem["rule"]) for problem in found]
    assert all(len(problem["value"] or "") <= 200 + 8 for problem in found)
    canonical_rows(ENTRIES, frame)


@pytest.mark.parametrize("text", ["", "{", '{"id": "e1"', "NaN", "<html>", "[" * 100_000])
def test_what_is_not_json_is_rejected(text: str) -> None:
    """A raw record that cannot be parsed is one problem of the whole record, not of each field."""
    raw = pd.DataFrame({"source_id": pd.Series(["e1"], dtype="str"), "record": pd.Series([text], dtype="str")})
    found = problems(check_frame(ENTRIES, map_frame(ENTRIES, raw)))
    assert [(problem["field"], problem["rule"]) for problem in found] == [("record", "valid_values")]


@settings(deadline=None, max_examples=50)
@given(st.lists(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(entry(), JSON)), max_size=3))
def test_no_record_at_all_makes_the_mapping_raise(records: list[Any]) -> None:
    """Whatever a source sends, each record comes out once with a status."""
    for spec in SPECS.values():
        frame = checked(spec, *records)
        assert len(frame) == len(records)
        assert set(frame["status"]) <= {"accepted", "rejected", "excluded"}
        assert not (frame["source_id"].isna() & (frame["status"] != "rejected")).any()
        assert len(canonical_rows(spec, frame)) == len(records)


@pytest.mark.parametrize(("found", "text"), [(7, "7"), (2**53 + 1, "9007199254740993"), (10**30, "1" + "0" * 30)])
def test_an_id_never_turns_into_a_float(found: int, text: str) -> None:
    """Ids that arrive as numbers become their digits, however many, also next to missing ones."""
    frame = checked(ENTRIES, entry(id=found, taskId=found), entry(id="e2", taskId=None))
    assert frame["source_id"].tolist() == [text, "e2"]
    assert text_list(frame["task_id"]) == [text, None]
    assert frame["task_id"].dtype == "str"


def test_a_null_id_has_no_source_id() -> None:
    """A record without an id is kept, its source_id missing."""
    raw = raw_frame(ENTRIES, [entry(id=None), {}, entry(id=True)])
    assert raw["source_id"].isna().all()
    assert json.loads(str(raw["record"].iat[0])) == entry(id=None)


def test_a_location_without_id_is_one_problem() -> None:
    """Where no target field is the id, the source's name for it is named."""
    (problem,) = problems(checked(SPECS["locations"], {"location_name": "Pier", "location_id": None}))
    assert (problem["field"], problem["rule"]) == ("location_id", "required_fields")


def test_the_partition_is_the_utc_day_of_the_start() -> None:
    """An entry that starts after midnight somewhere else belongs to the UTC day."""
    late = entry(timeInterval=_interval(start="2024-05-02T01:30:00+02:00", end="2024-05-02T01:45:00+02:00"))
    assert checked(ENTRIES, late)["partition"].tolist() == ["2024-05-01"]
    assert checked(ENTRIES, entry(timeInterval=None))["partition"].isna().all()


def test_messages_do_not_repeat_values() -> None:
    """A value may be personal: it is in `value` alone, which the UI can redact."""
    (problem,) = problems(checked(SPECS["users"], {"id": "u1", "email": "secret person"}))
    assert problem == {
        "field": "email",
        "rule": "valid_values",
        "message": "is not an e-mail address",
        "value": "secret person",
    }


def test_keys_with_dots_are_reached_by_a_list(tmp_path: Path) -> None:
    """A custom field may be called anything; its name is one item of the path."""
    spec = overridden(tmp_path, "time_entries", 'fields: {site: {source: [customFields, "Site no. 1"]}}')
    assert checked(spec, entry(customFields={"Site no. 1": 12}))["site"].tolist() == ["12"]


def test_field_types_beyond_the_defaults(tmp_path: Path) -> None:
    """date, number and json are read, converted and given back as declared."""
    spec = overridden(
        tmp_path,
        "projects",
        """
        fields:
          day: {source: created, type: date}
          rate: {source: hourlyRate.amount, type: number, transform: {scale: 0.01}}
          extra: {source: estimate, type: json}
          status: {constant: open}
          budget: {source: budget, type: int, default: 0}
        """,
    )
    record = {"id": "p", "created": "2024-05-01", "hourlyRate": {"amount": 9050}, "estimate": {"b": 1, "a": [None]}}
    mapped = json.loads(canonical_rows(spec, checked(spec, record))[0][0])
    assert {key: mapped[key] for key in ("day", "rate", "extra", "status", "budget")} == {
        "day": "2024-05-01",
        "rate": 90.5,
        "extra": {"a": [None], "b": 1},
        "status": "open",
        "budget": 0,
    }


def test_a_field_may_be_called_like_a_bookkeeping_column(tmp_path: Path) -> None:
    """A target field named status or rule lives next to the frame's own column of that name."""
    spec = overridden(tmp_path, "projects", "fields: {status: {source: color}, rule: {source: note}}")
    frame = checked(spec, {"id": "p", "color": "red", "note": "n"})
    assert frame["status"].tolist() == ["accepted"]
    assert json.loads(canonical_rows(spec, frame)[0][0])["status"] == "red"
