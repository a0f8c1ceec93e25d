"""The problems of a checked frame: how one is added, and what becomes a reject or a warning."""

from __future__ import annotations

import pandas as pd

from sync_pipeline.stages.problems import note, reject, rejects_of, warnings_of
from sync_pipeline.store.rejects import Reject
from sync_pipeline_tests.mapping.frames_of import SPECS, checked, entry, problems

SPEC = SPECS["time_entries"]


def frame() -> pd.DataFrame:
    """Three entries; the second one is rejected by a check of the mapping."""
    return checked(SPEC, entry(id="a"), entry(id="b", type="LUNCH"), entry(id="c"))


def rows(of: pd.DataFrame, *ids: str) -> pd.Series[bool]:
    """The rows of these records."""
    return of["source_id"].isin(ids)


def test_a_rejected_row_keeps_the_problems_it_had() -> None:
    """The new one comes after the others, and the frame that was given is unchanged."""
    before = frame()
    after = reject(before, rows(before, "a", "b"), "type", "unique_ids", "another has it")
    assert list(after["status"]) == ["rejected", "rejected", "accepted"]
    assert [problem["rule"] for problem in problems(after, 1)] == ["valid_values", "unique_ids"]
    assert [problem["value"] for problem in problems(after, 0)] == ["REGULAR"]
    assert list(before["status"]) == ["accepted", "rejected", "accepted"]
    assert problems(before, 0) == []


def test_without_a_row_nothing_is_copied() -> None:
    """The same frame comes back."""
    one = frame()
    assert reject(one, rows(one), "type", "unique_ids", "never") is one
    assert note(one, rows(one), "type", "unique_ids", "never") is one


def test_a_problem_of_no_field_shows_the_id_and_a_value_is_cut() -> None:
    """What is kept of a value is bounded."""
    one = checked(SPEC, entry(id="i" * 300))
    found = problems(note(one, rows(one, "i" * 300), "no such field", "references", "is not there"), 0)[-1]
    assert found["value"] == "i" * 200


def test_rejects_and_warnings() -> None:
    """Rejected, or waiting for what cannot be delivered: a reject. Delivered anyway: a warning."""
    one = frame()
    for name, status, rule in (("a", "waiting", "references"), ("c", "accepted", None)):
        one = note(one, rows(one, name), "project_id", "references", "is not there")
        one.loc[rows(one, name), ["status", "rule"]] = [status, rule]
    day = "2024-05-01"
    assert list(rejects_of(one)) == [
        ("waiting", Reject("a", "project_id", "references", "is not there", "p1", day)),
        ("rejected", Reject("b", "type", "valid_values", problems(one, 1)[0]["message"], "LUNCH", day)),
    ]
    assert [warning.source_id for warning in warnings_of(one)] == ["c"]
