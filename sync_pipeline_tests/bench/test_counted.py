"""The work of a sync is counted, and only falls: the table next to this file states how much there may be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sync_pipeline_tests.bench.counted import (
    CHANGED,
    COLUMNS,
    LOWER,
    RUN,
    TABLE,
    UNCHANGED,
    Counts,
    count,
    exceeded,
    fallen,
    lowered,
    with_feature,
)
from sync_pipeline_tests.bench.counting import (
    EVENTS,
    JSON_CALLS,
    JSON_ROWS,
    LINES,
    REQUESTS,
    STORE_SQL,
    WRITTEN,
)

EXAMPLE = {
    "lines": {REQUESTS: {RUN: 5, UNCHANGED: 4, CHANGED: 6}, WRITTEN: {RUN: 1_000, UNCHANGED: 100, CHANGED: 1_000}},
    "features": [{"name": "labels", "cost": {REQUESTS: {CHANGED: 2}}}],
}


def example(requests: tuple[int, int, int], written: tuple[int, int, int] = (1_000, 100, 1_000)) -> Counts:
    """Figures as they might be counted."""
    return {
        REQUESTS: dict(zip(COLUMNS, requests, strict=True)),
        WRITTEN: dict(zip(COLUMNS, written, strict=True)),
    }


def test_the_work_of_a_sync_does_not_grow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests, statements, JSON, bytes and events for 1,000 rows, unchanged and changed, are at most those of the table."""
    table = json.loads(TABLE.read_text())

    counted = count(tmp_path)

    assert exceeded(counted, table) == [], (
        "find out why; a feature that has to cost this: make bench-counted FEATURE=name"
    )
    assert all(counted[line][CHANGED] > 0 for line in (REQUESTS, STORE_SQL, JSON_CALLS)), "nothing was counted"
    assert counted[JSON_ROWS][CHANGED] > counted[JSON_ROWS][UNCHANGED] > 1_000
    assert counted[EVENTS][RUN] > 0
    if lower := fallen(counted, table):
        with capsys.disabled():
            sys.stdout.write("\n".join(["", *lower, LOWER, ""]))


def test_the_table_has_every_line_and_column() -> None:
    """Nothing that is counted is left out of the table, and every feature in it has a name and a cost."""
    table = json.loads(TABLE.read_text())

    assert list(table["lines"]) == list(LINES)
    assert all(tuple(figures) == COLUMNS for figures in table["lines"].values())
    assert all(feature["name"] and feature["cost"] for feature in table["features"])


def test_a_figure_may_use_what_features_added() -> None:
    """The limit is the line's own figure and the costs of features; more than that is named."""
    assert exceeded(example((5, 4, 8)), EXAMPLE) == []
    assert exceeded(example((5, 4, 9)), EXAMPLE) == ["requests, 1,000 changed: 9, and the table allows 8."]
    assert exceeded(example((5, 5, 8)), EXAMPLE) == ["requests, 1,000 unchanged: 5, and the table allows 4."]


def test_bytes_may_vary_a_little() -> None:
    """How rows lie on a database's pages is no reason to fail; much more is."""
    assert exceeded(example((5, 4, 8), (1_060, 160, 1_120)), EXAMPLE) == []
    assert len(exceeded(example((5, 4, 8), (1_130, 200, 1_130)), EXAMPLE)) == 3
    assert fallen(example((5, 4, 8), (990, 90, 900)), EXAMPLE) == []


def test_lowering_never_raises() -> None:
    """What has fallen is written down; what has risen stays unchanged, and still fails."""
    counted = example((3, 5, 8), (500, 100, 1_000))

    table = lowered(counted, EXAMPLE)

    assert table["lines"][REQUESTS] == {RUN: 3, UNCHANGED: 4, CHANGED: 6}
    assert table["lines"][WRITTEN][RUN] == 500
    assert len(fallen(counted, EXAMPLE)) == 2
    assert fallen(counted, table) == []
    assert len(exceeded(counted, table)) == 1


def test_a_feature_adds_its_cost_under_its_name() -> None:
    """It covers exactly what was exceeded."""
    counted = example((5, 7, 8))

    table = with_feature(counted, EXAMPLE, "facts")

    assert table["features"][-1] == {"name": "facts", "cost": {REQUESTS: {UNCHANGED: 3}}}
    assert exceeded(counted, table) == []
    assert exceeded(example((5, 8, 8)), table) != []
