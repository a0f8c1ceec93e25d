"""Each type takes what means the same in JSON and refuses the rest with a reason."""

from __future__ import annotations

import gc

import pytest

from sync_pipeline.gc_pause import gc_paused
from sync_pipeline.mapping.convert import convert
from sync_pipeline.mapping.json_types import fits

LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        ("text", 12, "12"),
        ("text", True, "true"),
        ("text", False, "false"),
        ("text", 12.5, "12.5"),
        ("text", "", ""),
        ("id", 12, "12"),
        ("bool", "True", True),
        ("bool", "false", False),
        ("int", "-12", -12),
        ("int", 12.0, 12),
        ("int", LARGEST, LARGEST),
        ("number", "12.5e1", 125.0),
        ("number", 3, 3.0),
        ("date", "2024-02-29", "2024-02-29"),
        ("instant", "2024-05-01 11:30+0200", "2024-05-01 09:30:00+00:00"),
        ("instant", "9999-01-01T00:00:00.123456789Z", "9999-01-01 00:00:00.123456+00:00"),
        ("list", ["b", "a", "b", None, 7], ["7", "a", "b"]),
        ("list", ["é", "a"], ["a", "é"]),
        ("json", {"b": [1], "a": None}, '{"a":null,"b":[1]}'),
    ],
)
def test_a_fitting_value_is_converted(kind: str, value: object, converted: object) -> None:
    """The value and the declared type agree on one meaning."""
    series, issues = convert(kind, [value])
    assert issues == []
    found = series.iat[0]
    assert (str(found) if kind == "instant" else found) == converted


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", float("nan")),
        pytest.param("text", 10**5000, id="text-5000-digits"),
        pytest.param("id", 10**5000, id="id-5000-digits"),
        ("id", 1.0),
        ("id", True),
        ("bool", 1),
        ("bool", "yes"),
        ("int", LARGEST + 1),
        ("int", 1.5),
        ("int", True),
        ("int", float("inf")),
        ("int", "1_000"),
        ("int", 1e300),
        ("number", float("nan")),
        ("number", "inf"),
        ("number", 10**400),
        ("number", [1]),
        ("date", "2024-02-30"),
        ("date", "01.05.2024"),
        ("date", 20240501),
        ("instant", "0000-01-01T00:00:00Z"),
        ("instant", "0001-01-01T00:00:00+14:00"),
        ("instant", "9999-12-31T23:59:59-14:00"),
        ("instant", "2024-05-01"),
        ("instant", "2024-05-01T25:00:00Z"),
        ("instant", "half \ud83d"),
        ("list", {"a": 1}),
        ("list", [["a"]]),
        ("list", ["half \ud83d"]),
        ("json", {"half": "\ud83d"}),
    ],
)
def test_what_does_not_fit_is_missing_with_a_reason(kind: str, value: object) -> None:
    """One value that does not fit neither raises nor disturbs the rest of its column."""
    series, issues = convert(kind, [None, value, None])
    assert series.isna().all()
    ((row, message, kept),) = issues
    assert row == 1
    assert message
    assert kept is value
    assert fits(kind, value) == message


def test_the_collector_runs_again_after_a_pause() -> None:
    """Pausing it leaves no trace, nested or with an error inside."""
    with gc_paused(), gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), gc_paused():
        raise ZeroDivisionError
    assert gc.isenabled()
