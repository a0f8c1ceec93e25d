"""The transforms of a field as rows of a form - each a name and what follows it - and back to the text of a mapping."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.text import constant_text, read_constant, read_steps, step_text, value_text
from sync_pipeline.mapping.transforms import TRANSFORMS


class StepRow(NamedTuple):
    """One transform as it is filled in. An argument that is text needs no quotes unless it begins or ends with a blank."""

    name: str = ""
    argument: str = ""

    @property
    def text(self) -> str:
        """As a mapping has it; what cannot be read is left for the reader of mappings to explain."""
        if not self.argument.strip():
            return self.name
        if _takes_text(self.name):
            with suppress(ConfigError):
                return step_text(self.name, read_constant("text", self.argument))
        return f"{self.name}: {self.argument.strip()}"


def rows_of(text: str) -> list[StepRow] | None:
    """The rows of a line of transforms; None when it cannot be read."""
    try:
        steps = read_steps(text)
    except ConfigError:
        return None
    return [_row(step) for step in steps]


def text_of(rows: Sequence[StepRow]) -> str:
    """The line of the rows; empty ones are left out."""
    return " | ".join(row.text for row in rows if row != StepRow())


def rearranged(rows: Sequence[StepRow], action: str) -> tuple[list[StepRow], int] | None:
    """The rows after ``add``, ``up:1``, ``down:1`` or ``remove:1``, and the row to go on with; None for another word."""
    kept = [row for row in rows if row != StepRow()]
    if action == "add":
        return kept, len(kept)
    verb, _, digits = action.partition(":")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else len(rows)
    if verb not in ("up", "down", "remove"):
        return None
    moved = list(rows)
    if number < len(moved):
        row = moved.pop(number)
        to = {"up": max(number - 1, 0), "down": number + 1}.get(verb, number)
        moved[to:to] = [] if verb == "remove" else [row]
        return [row for row in moved if row != StepRow()], min(to, len(kept))
    return kept, len(kept)


def _row(step: object) -> StepRow:
    if not isinstance(step, dict):
        return StepRow(str(step))
    ((name, argument),) = step.items()
    is_text = isinstance(argument, str) and _takes_text(name)
    return StepRow(name, constant_text("text", argument) if is_text else value_text(argument))


def _takes_text(name: str) -> bool:
    return name in TRANSFORMS and TRANSFORMS[name].argument == "text"
