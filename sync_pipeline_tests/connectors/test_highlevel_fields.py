"""Fields as properties of a record, there and back: whatever a mapping adds comes back as written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sync_pipeline.connectors.highlevel.fields import Properties
from sync_pipeline.connectors.highlevel.profile import HighLevelProfile
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.mapping.canonical import canonical_target
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.mapping.spec import EntitySpec, Field

SPEC = load_specs()["time_entries"]


@pytest.fixture
def profile() -> HighLevelProfile:
    """The built-in one."""
    found = load_profile("highlevel")
    assert isinstance(found, HighLevelProfile)
    return found


def with_field(kind: Any) -> EntitySpec:
    """An entity to which a user has added a field of this type."""
    return replace(SPEC, fields=(*SPEC.fields, Field("extra", kind, ("extra",))))


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        ("text", "two\nlines", "two\nlines"),
        ("text", "", None),
        ("id", "5f1", "5f1"),
        ("email", "a@b.example", "a@b.example"),
        ("date", "2026-08-01", "2026-08-01"),
        ("instant", "2026-08-01T09:00:00.000Z", "2026-08-01T09:00:00Z"),
        ("instant", "2026-08-01T09:00:00.250Z", "2026-08-01T09:00:00.250Z"),
        ("bool", True, "yes"),
        ("bool", False, "no"),
        ("int", 0, 0),
        ("number", 1.5, 1.5),
        ("list", ["design", "website"], "design\nwebsite"),
        ("list", ["two\nlines", "b"], '["two\\nlines","b"]'),
        ("list", ["carriage\r", "b"], '["carriage\\r","b"]'),
        ("list", ["[odd]", "b"], '["[odd]","b"]'),
        ("list", [], None),
        ("json", {"b": [1, None], "a": "x"}, '{"a":"x","b":[1,null]}'),
        ("json", "5", '"5"'),
    ],
)
def test_a_value_comes_back_unchanged(profile: HighLevelProfile, kind: str, value: Any, written: Any) -> None:
    """In one of the few types that there are, so that both sides compare as equal."""
    spec = with_field(kind)
    properties = Properties(profile, spec)
    sent = properties.written({"extra": value}, new=False)
    assert sent["extra"] == written
    back = properties.read({"custom_objects.clockify_time_entries.extra": sent["extra"]})
    assert canonical_target(spec, back)[1] == canonical_target(spec, {"extra": value})[1]


@pytest.mark.parametrize(
    ("kind", "theirs", "ours"),
    [
        ("bool", "maybe", "maybe"),
        ("int", "5400", 5400),
        ("number", "1.50", 1.5),
        ("int", 5400.0, 5400),
        ("date", "2026-08-01T00:00:00.000Z", "2026-08-01"),
        ("text", "", None),
        ("list", "", None),
    ],
)
def test_unequal_representations_compare_as_equal(profile: HighLevelProfile, kind: str, theirs: Any, ours: Any) -> None:
    """Digits in text, a day with a time, an empty text; what means nothing is a difference, and no error."""
    spec = with_field(kind)
    back = Properties(profile, spec).read({"extra": theirs})
    assert canonical_target(spec, back)[1] == canonical_target(spec, {"extra": ours})[1]


def test_what_is_empty_is_left_out_of_a_new_record_and_cleared_in_a_change(profile: HighLevelProfile) -> None:
    """Null removes a value, and a record is not made of nulls."""
    properties = Properties(profile, SPEC)
    row = {"time_entry_id": "e1", "task_id": None, "description": None, "start_time": "2026-08-01T09:00:00.000Z"}
    new = properties.written(row, new=True)
    assert new == {
        "title": "Time entry",
        "start_day": "2026-08-01",
        "time_entry_id": "e1",
        "start_time": "2026-08-01T09:00:00Z",
    }
    assert properties.written({"task_id": None}, new=False) == {"task_id": None}


def test_a_field_of_the_users_own_that_is_called_title_is_theirs(profile: HighLevelProfile) -> None:
    """What the mapping writes is not made of other fields."""
    spec = replace(SPEC, fields=(*SPEC.fields, Field("title", "text", ("title",))))
    sent = Properties(profile, spec).written({"title": "mine", "description": "Draft"}, new=True)
    assert sent["title"] == "mine"
