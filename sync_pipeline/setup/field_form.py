"""One field as a form of plain texts: filled in from a mapping, and back to what a mapping file says.

Nothing of the mapping language is lost on the way, and nothing is checked here: the parser does that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.spec import Field
from sync_pipeline.mapping.text import (
    constant_text,
    list_text,
    path_text,
    read_constant,
    read_list,
    read_path,
    read_steps,
    step_text,
    value_text,
)
from sync_pipeline.mapping.transforms import TRANSFORMS

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
LONGEST = 4_000
"""Characters of one text of a form: a table of some hundred values fits, a pasted file does not."""

_ORIGINS = ("source", "constant", "default", "transform", "function")
_NEUTRAL: dict[str, Any] = {"type": "text", "owner": "source", "required": False, "unique": False, "personal": False}
_KEYS = ("references", "link", "max_length", "one_of", "description", *_NEUTRAL)


@dataclass(frozen=True, slots=True)
class FieldForm:
    """A target field with the typed values; an empty text means none. ``mapping/text.py`` defines the syntax."""

    name: str
    source: str = ""
    constant: str = ""
    transform: str = ""
    function: str = ""
    type: str = "text"
    required: bool = False
    owner: str = "source"
    references: str = ""
    one_of: str = ""
    max_length: str = ""
    personal: bool = False
    description: str = ""
    default: str = ""
    unique: bool = False
    link: str = ""


def form_of(field: Field) -> FieldForm:
    """The form filled in as the field is now."""
    return FieldForm(
        name=field.name,
        source=path_text(field.source),
        constant=constant_text(field.type, field.constant),
        transform=" | ".join(step_text(step.name, step.argument) for step in field.transforms),
        function=field.function.name if field.function else "",
        type=field.type,
        required=field.required,
        owner=field.owner,
        references=field.references or "",
        one_of=list_text(field.one_of),
        max_length="" if field.max_length is None else str(field.max_length),
        personal=field.personal,
        description=field.description,
        default=constant_text(field.type, field.default),
        unique=field.unique,
        link=field.link or "",
    )


def check_name(name: str, known: Iterable[str]) -> None:
    """Refuse a name for a new field that is none; ConfigError."""
    if "." in name or (name not in known and not NAME.fullmatch(name)):
        message = f"The field name {name[:80]!r} cannot be used." if name else "The field has no name."
        raise ConfigError(
            message, fix="Use letters, digits, underscores and hyphens, a letter first, at most 64 in all."
        )


def values_of(form: FieldForm) -> dict[str, Any]:
    """What a mapping file would say for this form; ConfigError names the line that cannot be read."""
    for key, text in asdict(form).items():
        if isinstance(text, str):
            _check_text(key, text)
    read: dict[str, Any] = {
        "source": _read_part("source", lambda: _path(form.source)),
        "constant": _read_part("constant", lambda: read_constant(form.type, form.constant)),
        "default": _read_part("default", lambda: read_constant(form.type, form.default)),
        "transform": _read_part("transform", lambda: _shortest(read_steps(form.transform))),
        "function": form.function.strip(),
        "references": form.references.strip(),
        "link": form.link.strip(),
        "max_length": _number(form.max_length.strip()),
        "one_of": _read_part("one_of", lambda: read_list(form.one_of)),
        "description": form.description.strip(),
        **{key: getattr(form, key) for key in _NEUTRAL},
    }
    return {key: value for key, value in read.items() if not _is_nothing(key, value)}


def _is_nothing(key: str, value: object) -> bool:
    if key in ("constant", "default"):
        return value is None
    return value == _NEUTRAL.get(key) or value in ("", [], None)


def beyond(inherited: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be laid over an inherited field (both as ``values_of`` has them) to get the wanted one."""
    if inherited is None:
        return dict(wanted)
    tx: dict[str, Any] = {}
    if any(_differ(inherited.get(key), wanted.get(key)) for key in _ORIGINS):
        tx = {key: wanted[key] for key in _ORIGINS if key in wanted}
        if "source" not in wanted and "constant" not in wanted:
            tx["source"] = None  # a function alone: it replaces no source by itself
    for key in _KEYS:
        if inherited.get(key) != wanted.get(key):
            tx[key] = wanted.get(key, _NEUTRAL.get(key))
    return tx


def _differ(one: object, other: object) -> bool:
    """Whether two values differ; 1, 1.0 and true are three values."""
    return repr(one) != repr(other)


def _path(text: str) -> Any:
    """`a.b`, or a list of keys where one holds a dot."""
    if not text.strip():
        return None
    keys = read_path(text)
    return keys if any("." in key for key in keys) else ".".join(keys)


def _shortest(steps: list[Any]) -> Any:
    return steps[0] if len(steps) == 1 else steps


def _number(text: str) -> Any:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _read_part(key: str, read: Any) -> Any:
    try:
        return read()
    except ConfigError as error:
        raise ConfigError(f"{key}: {error.message}", fix=error.fix) from None


def _check_text(key: str, text: str) -> None:
    if len(text) > LONGEST:
        raise ConfigError(f"{key}: it has more than {LONGEST:,} characters.", fix="Write a shorter one.")
    if any(0xD800 <= ord(sign) <= 0xDFFF or (ord(sign) < 32 and sign not in "\n\t\r") for sign in text):
        raise ConfigError(
            f"{key}: it contains a character that cannot be stored.", fix="Type it again instead of pasting it."
        )


class StepRow(NamedTuple):
    """One transform in a form. An argument that is text needs no quotes unless it begins or ends with a blank."""

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
