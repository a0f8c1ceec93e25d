"""The way of one changed entry is traced by what functions hold, not by what they are called."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import pandas as pd
import pyarrow as pa
import pytest

from sync_pipeline_tests.bench.path import BASELINE, figures, lines, trace_entry
from sync_pipeline_tests.bench.tracing import Record, Trace, document_of
from sync_pipeline_tests.test_architecture import way

RECORD = Record("the text", "id-1")


class Pair(NamedTuple):
    """As rows of the store are."""

    key: str
    text: str


@dataclass(frozen=True)
class Frozen:
    """As data of the package is."""

    fields: dict[str, str]


@dataclass
class Open:
    """As services of the package are: they can reach everything, and hold nothing."""

    fields: dict[str, str]


def of_package(kind: type) -> type:
    """The same class, as if it were the package's."""
    kind.__module__ = "sync_pipeline.somewhere"
    return kind


@pytest.mark.parametrize(
    "value",
    [
        "before the text after",
        b'{"id": "id-1"}',
        bytearray(b"id-1"),
        {"rows": [{"id": "id-1"}]},
        {"id-1": 5},
        ("a", {"id-1"}),
        pd.DataFrame({"id": ["id-0", "id-1"]}),
        pd.Series(["id-1"]),
        pa.table({"id": ["id-1"]}),
        httpx.Request("POST", "https://x.test", content=b"id-1"),
        of_package(Pair)("id-1", ""),
        of_package(Frozen)({"id": "id-1"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_holds_the_record(value: object) -> None:
    """Texts, containers, tables, messages and the package's own data are looked into."""
    assert RECORD.is_in(value)


@pytest.mark.parametrize(
    "value",
    [
        "something else",
        None,
        [{"id": "id-0"}],
        (row for row in ["id-1"]),
        lambda: "id-1",
        of_package(Open)({"id": "id-1"}),
        pd.DataFrame({"at": pd.to_datetime(["2026-01-01"])}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_does_not_hold_the_record(value: object) -> None:
    """What a function could still fetch is not what it holds; a value that holds itself has an end."""
    cycle: list[object] = [value]
    cycle.append(cycle)

    assert not RECORD.is_in(value)
    assert not RECORD.is_in(cycle)


def program(root: Path, name: str, source: str) -> dict[str, Callable[..., object]]:
    """The functions of a file below a package's directory."""
    path = root / name
    path.parent.mkdir(exist_ok=True)
    found: dict[str, Callable[..., object]] = {}
    exec(compile(source, str(path), "exec"), found)
    return found


def test_files_that_hold_and_files_that_are_asked(tmp_path: Path) -> None:
    """From the first function that holds the new text: what has it in arguments, variables or its result, and what has not."""
    read = program(tmp_path, "stages/read.py", "def read(ask): text = 'the text'; ask(); return text")
    asked = program(tmp_path, "store/limits.py", "def ask(): return 5")
    done = program(tmp_path, "stages/done.py", "def done(text): pass\ndef twice(text): done(text); done('')")
    trace = Trace(tmp_path, "the text", "id-1")

    sys.setprofile(trace)
    try:
        asked["ask"]()
        text = read["read"](asked["ask"])
        asked["ask"]()
        done["twice"](text)
        done["done"](["id-1"])
    finally:
        sys.setprofile(None)
    found = document_of(trace)

    assert found["passes"] == {"stages/read.py": 1, "stages/done.py": 3}
    assert found["asked"] == {"store/limits.py": 1}
    assert (found["stops"], found["changes_of_package"], found["is_complete"]) == (2, 0, False)


@pytest.mark.outside
def test_the_way_of_a_real_entry(tmp_path: Path) -> None:
    """A real sync, traced from the answer that brings the edit to the answer of its write: the baseline, and the way the docs draw."""
    found = trace_entry(tmp_path)

    stored = json.loads(BASELINE.read_text())
    baseline, more = stored["figures"], sum(stored["features"].values())
    assert next(iter(found["passes"])).startswith("connectors/")
    assert any(file.startswith("mapping/") for file in found["passes"])
    assert any(file.startswith("store/") for file in found["passes"])
    assert not set(found["passes"]) & set(found["asked"])
    compared = ("files that hold the entry", "files, both together")
    assert all(figures(found)[name] <= baseline[name] + more for name in compared)
    assert [file for file in way() if file not in {*found["passes"], *found["asked"]}] == []
    assert lines(found, baseline)[-1].startswith(f"{found['changes_of_package']:6}  changes of package")
