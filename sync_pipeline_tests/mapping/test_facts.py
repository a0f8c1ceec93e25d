"""Facts and labels of records: as the source states them, and missing where it has nothing that fits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipeline.mapping.facts import COLUMNS, facts_of, labels_of
from sync_pipeline.mapping.spec import Facts, Label
from sync_pipeline_tests.mapping.frames_of import SPECS, entry

ENTRIES = SPECS["time_entries"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "name", "start"]), inner),
)


def facts(**changes: Any) -> dict[str, Any]:
    """The facts of one entry, by column."""
    (text,) = facts_of(ENTRIES, [entry(**changes)])
    assert text is not None
    assert ENTRIES.facts is not None
    return dict(zip(ENTRIES.facts.names, json.loads(text), strict=True))


def test_an_entry_is_sent_in_its_current_state() -> None:
    """Money is the rate of an hour times its length, in the rate's unit, rounded half up."""
    assert facts(rate=9_999, costRate=1, currency="EUR", taskId="t1") == {
        "user_id": "u1",
        "project_id": "p1",
        "task_id": "t1",
        "start_time": "2024-05-01 09:30:00.000000",
        "end_time": "2024-05-01 11:00:00.000000",
        "seconds": 5_400,
        "billable": True,
        "amount": 14_999,
        "cost": 2,
        "currency": "EUR",
        "tags": ["remote"],
    }


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, {"amount", "cost", "currency", "task_id"}),
        ({"rate": None, "costRate": 500}, {"amount", "currency", "task_id"}),
        ({"timeInterval": {"start": "2024-05-01T09:30:00Z", "end": None, "duration": None}, "rate": 1, "costRate": 1},
         {"amount", "cost", "currency", "task_id", "end_time", "seconds"}),
        ({"timeInterval": {"start": "soon", "end": "2024-05-01T09:30:00", "duration": -60}, "rate": 1, "costRate": 1},
         {"amount", "cost", "currency", "task_id", "start_time", "end_time", "seconds"}),
        ({"timeInterval": "never", "userId": ["u1"], "projectId": "", "billable": 1, "tags": "remote"},
         {"amount", "cost", "currency", "task_id", "start_time", "end_time", "seconds", "user_id", "project_id",
          "billable", "tags"}),
    ],
)  # fmt: skip
def test_what_is_not_said_or_not_visible_is_missing(changes: dict[str, Any], missing: set[str]) -> None:
    """Never 0, and never a guess."""
    assert {name for name, value in facts(**changes).items() if value is None} == missing


def test_an_entry_without_a_length_earns_nothing() -> None:
    """0 is shown where the rate is visible."""
    same = "2024-05-01T09:30:00Z"
    found = facts(timeInterval={"start": same, "end": same, "duration": 0}, rate=5_000)
    assert (found["seconds"], found["amount"], found["cost"]) == (0, 0, None)


def test_a_length_or_an_amount_beyond_all_reason_is_missing() -> None:
    """Two of them would be too much for the sums of reports, and every report would fail."""
    same = {"start": "2024-05-01T09:30:00Z", "end": "2024-05-01T09:30:00Z"}
    found = facts(timeInterval={**same, "duration": 2**62}, rate=5_000, costRate=5_000)
    assert (found["seconds"], found["amount"], found["cost"]) == (None, None, None)
    found = facts(timeInterval={**same, "duration": 2**40}, rate=2**40, costRate=0)
    assert (found["seconds"], found["amount"], found["cost"]) == (2**40, None, None)


def test_instants_of_any_zone_are_in_utc() -> None:
    """Both databases read them as written here."""
    found = facts(timeInterval={"start": "2024-05-01T01:30:00.25+02:00", "end": "0001-01-01T00:00:00+05:00"})
    assert (found["start_time"], found["end_time"]) == ("2024-04-30 23:30:00.250000", None)


@given(st.lists(ANYTHING, min_size=11, max_size=11))
def test_whatever_a_record_holds_it_has_facts_and_a_label(values: list[Any]) -> None:
    """Of a kind that both databases store: no half characters, no NUL, no number beyond 64 bits."""
    for table, columns in COLUMNS.items():
        record = dict(zip(columns, values, strict=False))
        named = Facts(table, tuple((name, (name,)) for name in columns))
        spec = replace(ENTRIES, facts=named, label=Label((next(iter(columns)),)))
        (text,), (label,) = facts_of(spec, [record]), labels_of(spec, [record])
        assert text is not None
        assert len(json.loads(text)) == len(columns)
        for each in (text, label or "x"):
            assert "\0" not in each
            assert each.encode()
        assert "\\u0000" not in text.replace("\\\\", "")
        assert label is None or 0 < len(label) <= 250


def test_entities_without_either_have_neither() -> None:
    """Both keys are optional, and no fingerprint has them."""
    bare = replace(ENTRIES, facts=None, label=None)
    assert (facts_of(bare, [entry()]), labels_of(bare, [entry()])) == ([None], [None])
    assert bare.fingerprint == ENTRIES.fingerprint
