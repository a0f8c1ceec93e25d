"""The one textual form of paths, transforms, values and lists."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.text import (
    constant_text,
    list_text,
    path_text,
    read_constant,
    read_list,
    read_path,
    read_steps,
    step_text,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = TEXTS | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
STEPS = st.one_of(
    st.sampled_from(["trim", "lower", "first"]),
    st.builds(lambda text: {"prefix": text}, TEXTS),
    st.builds(lambda table: {"replace": table}, st.dictionaries(TEXTS, SCALARS, max_size=4)),
    st.builds(lambda number: {"truncate": number}, st.integers(1, 99)),
)


@given(st.lists(STEPS, max_size=5))
@example([{"prefix": "a | b"}, {"replace": {"'|": '"}', "on": "1_0"}}, {"join": "\n"}])
@example([{"replace": {"a": "{", "b": "]"}}, "trim"])
def test_transforms_come_back(steps: list[object]) -> None:
    """Whatever transforms a file holds, their line means the same."""
    line = " | ".join(step_text(*next(iter(step.items()))) if isinstance(step, dict) else str(step) for step in steps)
    assert read_steps(line) == steps


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=4))
@example(["customFields", "Site no."])
@example(["it's", " a ", '"', "x|y"])
@example(["a", "{{", "[b", "c]"])
def test_paths_come_back(path: list[str]) -> None:
    """A key may hold a dot, quotes and spaces."""
    assert read_path(path_text(path)) == path


@given(st.lists(TEXTS.filter(bool), max_size=5))
def test_lists_come_back(items: list[str]) -> None:
    """A text of a list may hold commas and quotes."""
    assert read_list(list_text(items)) == items


@given(TEXTS)
@example("yes")
@example("12:30")
def test_texts_come_back(value: str) -> None:
    """A constant text is written unquoted where that states its type."""
    assert read_constant("text", constant_text("text", value)) == value


@given(SCALARS | st.lists(TEXTS, max_size=3))
def test_other_values_come_back(value: object) -> None:
    """A number, true and false and a list are written as in YAML."""
    again = read_constant("json", constant_text("json", value))
    assert (type(again), again) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", []),
        ("trim", ["trim"]),
        (" trim|lower ", ["trim", "lower"]),
        ("trim | prefix: 'x' | replace: {A: b}", ["trim", {"prefix": "x"}, {"replace": {"A": "b"}}]),
        ("prefix: it's | trim", [{"prefix": "it's"}, "trim"]),
        ("replace: {'a|b': c, d: \"}|\"}", [{"replace": {"a|b": "c", "d": "}|"}}]),
        ("join: \", \" | prefix: '| '", [{"join": ", "}, {"prefix": "| "}]),
        ("scale: 0.01", [{"scale": 0.01}]),
    ],
)
def test_what_people_write(text: str, steps: list[object]) -> None:
    """The form the documentation shows, and looser ones."""
    assert read_steps(text) == steps


@pytest.mark.parametrize(
    "text",
    [
        "trim | ", "| trim", "replace: {A: b", "prefix: 'x", "prefix: a: b", "default: no. #1", "prefix: x\ny: z",
        "replace: {a: 1, a: 2}", "replace: &a {b: *a}", "prefix: !!python/object:os.system x", "replace: " + "[" * 3000,
    ],
)  # fmt: skip
def test_what_is_not_understood(text: str) -> None:
    """Nothing is guessed, lost or carried out: the step is named."""
    with pytest.raises(ConfigError):
        read_steps(text)
