"""Equal data gives equal hashes, however it was written; different data does not."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sync_pipeline.mapping.canonical import canonical_rows, canonical_target, canonical_targets, differences
from sync_pipeline_tests.mapping.frames_of import SPECS, checked, entry

ENTRIES = SPECS["time_entries"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MOMENT = st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1 < moment.year < 9000)


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """Valid canonical entries of all kinds."""
    start = draw(MOMENT)
    length = draw(st.integers(1, 10**6))
    tags = draw(st.none() | st.lists(TEXT.map(lambda name: {"id": "t", "name": name}), max_size=4))
    return entry(
        id=draw(st.from_regex(r"[a-f0-9]{1,24}", fullmatch=True)),
        description=draw(st.none() | TEXT),
        billable=draw(st.none() | st.booleans()),
        projectId=draw(st.none() | st.sampled_from(["p1", 7, ""])),
        tags=tags,
        timeInterval={
            "start": _written(start),
            "end": _written(start + timedelta(seconds=length)),
            "duration": length,
        },
    )


def _sent(record: dict[str, Any]) -> tuple[dict[str, Any], str]:
    (row,) = canonical_rows(ENTRIES, checked(ENTRIES, record))
    return json.loads(row[0]), row[1]


@settings(deadline=None, max_examples=50)
@given(entries())
def test_what_is_sent_and_given_back_has_the_same_hash(record: dict[str, Any]) -> None:
    """The law under convergence: a target that keeps what it got is in step, byte for byte."""
    (row,) = canonical_rows(ENTRIES, checked(ENTRIES, record))
    assert canonical_target(ENTRIES, json.loads(row[0])) == row


@settings(deadline=None, max_examples=50)
@given(entries(), st.data())
def test_the_hash_does_not_depend_on_how_a_record_is_written(record: dict[str, Any], data: st.DataObject) -> None:
    """Key order, zone and precision of instants, order of lists, Unicode form, null or absent: one hash."""
    fields, hashed = _sent(record)
    zone = timezone(timedelta(minutes=data.draw(st.integers(-14 * 60, 14 * 60))))
    other: dict[str, Any] = {}
    for name in data.draw(st.permutations(list(fields))):
        value = fields[name]
        if value in (None, "", []):
            if data.draw(st.booleans()):
                other[name] = None
            continue
        if name in ("start_time", "end_time"):
            value = datetime.fromisoformat(value).astimezone(zone).isoformat()
        elif isinstance(value, str):
            value = unicodedata.normalize("NFD", value)
        elif isinstance(value, list):
            value = [unicodedata.normalize("NFD", item) for item in data.draw(st.permutations(value + value[:1]))]
        other[name] = value
    assert canonical_target(ENTRIES, other | {"theirs": 1})[1] == hashed


@settings(deadline=None, max_examples=50)
@given(entries(), entries())
def test_different_fields_have_different_hashes(one: dict[str, Any], two: dict[str, Any]) -> None:
    """The hash distinguishes two records exactly when `differences` does."""
    (first, first_hash), (second, second_hash) = _sent(one), _sent(two)
    assert (first_hash == second_hash) == (differences(ENTRIES, first, second) == [])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start_time", "2024-05-01T09:30:00.001Z"),
        ("start_time", None),
        ("start_time", "garbage"),
        ("end_time", 1714555800),
        ("task_id", "t"),
        ("project_id", ["p1"]),
        ("description", "design review"),
        ("billable", False),
        ("billable", "no"),
        ("duration_seconds", 5401),
        ("duration_seconds", 5400.5),
        ("duration_seconds", {"a": float("nan")}),
        ("tags", ["remote", "more"]),
        ("tags", "remote"),
        ("tags", [{"name": "remote"}]),
        ("description", "half \ud83d"),
    ],
)
def test_every_edit_at_the_target_is_noticed(field: str, value: object) -> None:
    """Whatever the target holds instead, of the right type or not, is a difference and never an exception."""
    fields, hashed = _sent(entry())
    edited = canonical_target(ENTRIES, fields | {field: value})
    assert edited[1] != hashed
    assert [name for name, _, _ in differences(ENTRIES, fields, json.loads(edited[0]))] == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start_time", "2024-05-01T09:30:00Z"),
        ("start_time", "2024-05-01T09:30:00.000999+00:00"),
        ("start_time", "2024-05-01T11:30:00+02:00"),
        ("start_time", "2024-05-01 09:30:00"),
        ("duration_seconds", 5400.0),
        ("duration_seconds", "5400"),
        ("billable", "true"),
        ("task_id", ""),
    ],
)
def test_another_spelling_at_the_target_is_no_difference(field: str, value: object) -> None:
    """Targets may write instants, numbers and nothing in their own way."""
    fields, hashed = _sent(entry())
    assert canonical_target(ENTRIES, fields | {field: value})[1] == hashed


def test_fields_a_person_owns_are_shown_but_not_hashed() -> None:
    """An edited note of a client is in the JSON and not in the hash."""
    spec = SPECS["locations"]
    (row,) = canonical_rows(spec, checked(spec, {"location_id": "l1", "location_name": "Pier"}))
    edited = canonical_target(spec, {"name": "Pier", "archived": False, "note": "call first", "address": ""})
    assert edited[1] == row[1]
    assert json.loads(row[0])["note"] == "location_id: l1"
    assert json.loads(edited[0])["note"] == "call first"
    assert differences(spec, json.loads(row[0]), json.loads(edited[0])) == []


def test_the_json_has_sorted_keys_and_every_field() -> None:
    """Missing fields are null in the JSON, so that delivering it clears them."""
    text = canonical_rows(ENTRIES, checked(ENTRIES, entry(taskId=None)))[0][0]
    assert list(json.loads(text)) == sorted(field.name for field in ENTRIES.fields)
    assert b'"task_id":null' in text


@settings(deadline=None, max_examples=20)
@given(st.lists(entries(), max_size=5))
def test_many_together_are_the_same_as_one_by_one(records: list[dict[str, Any]]) -> None:
    """Rows do not influence each other, ASCII or not."""
    together = canonical_rows(ENTRIES, checked(ENTRIES, *records))
    assert together == [canonical_rows(ENTRIES, checked(ENTRIES, record))[0] for record in records]
    fields = [json.loads(text) for text, _ in together]
    assert canonical_targets(ENTRIES, fields) == together


@pytest.mark.parametrize("field", ["start_time", "billable", "description"])
@pytest.mark.parametrize(
    "odd",
    [
        *(None, "", 7, True, [], "\n", "2024-05-01T09:30:00.000Z\n", "\ud800", "é"),
        *(
            "2024-05-01T09:30:00.000Z\n2024-05-01T09:30:00.000Z",
            "2024-05-01T11:30:00+02:00",
            "٢024-05-01T09:30:00.000Z",
        ),
    ],
)
def test_an_odd_value_from_the_target_is_read_the_same_in_a_page_as_alone(field: str, odd: object) -> None:
    """Values of a page are checked together; an odd one is still read as itself."""
    fields, _ = _sent(entry())
    page = [fields, fields | {field: odd}, fields]
    alone = [canonical_target(ENTRIES, record) for record in page]

    assert canonical_targets(ENTRIES, page) == alone
    is_same = odd == "2024-05-01T11:30:00+02:00" and field == "start_time"
    assert (alone[1][1] == alone[0][1]) is (is_same or odd == fields[field])


def test_the_hash_is_the_one_of_yesterday() -> None:
    """A changed hash means a full rewrite of every user's target: a change of it raises HASH_VERSION."""
    spec = SPECS["projects"]
    (row,) = canonical_rows(spec, checked(spec, {"id": "p1", "name": "Büro", "archived": False}))
    assert row[1] == "8d245ef0a7330c869afb2c6985f5a071"


@settings(deadline=None, max_examples=50)
@given(TEXT, TEXT)
def test_names_equal_in_nfc_are_equal(one: str, two: str) -> None:
    """Only canonical equivalence counts: compatibility forms stay different."""
    assume(one and two)
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", two)
    hashes = {canonical_target(SPECS["locations"], {"name": name})[1] for name in (one, two)}
    assert (len(hashes) == 1) == same
