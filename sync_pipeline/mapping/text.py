"""The one way in which a mapping's paths, transforms and values are written on a single line.

    path         timeInterval.start        customFields.'Site no.'
    transform    trim | prefix: 'id: ' | replace: {ACTIVE: 'on'}
    value        30      true      [a, b]      free text unchanged
    list         REGULAR, BREAK, 'a, b'

What follows a transform's name, in a list and in a value that is not text is YAML; quotes keep `|`, `,`, `.` and
spaces at the ends. Reading and writing are each other's inverse. What a reader cannot make sense of is a ConfigError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from sync_pipeline.errors import ConfigError, MappingFileError
from sync_pipeline.yaml_source import read_text

TEXTUAL = ("text", "id", "email", "instant", "date")
"""Types with values that are written unchanged."""

_WORD = re.compile(r"[A-Za-z][\w-]*(?: [\w-]+)*", re.ASCII)
_KEY = re.compile(r"[^.'\"|\s\[{](?:[^.'\"|]*[^.'\"|\s])?")
_OPENERS = {"[": "]", "{": "}"}
_QUOTES = "'\""


def is_plain(text: str) -> bool:
    """Whether YAML takes a word for text without quotes."""
    known = yaml.SafeLoader.yaml_implicit_resolvers
    patterns = [pattern for first in (text[:1], None) for _, pattern in known.get(first, [])]
    return not any(pattern.match(text) for pattern in patterns)


def path_text(path: Sequence[str]) -> str:
    """A path, its keys in quotes where they hold a dot, or begin as something that is closed again."""
    return ".".join(key if _KEY.fullmatch(key) and key.isprintable() else _quoted(key) for key in path)


def read_path(text: str) -> list[str]:
    """The keys of a path."""
    return [_key(part, text) for part in _split(text, ".")]


def step_text(name: str, argument: object) -> str:
    """One transform with its argument."""
    return name if argument is None else f"{name}: {value_text(argument)}"


def read_steps(text: str) -> list[Any]:
    """The transforms of a line, as a mapping file lists them."""
    if not text.strip():
        return []
    return [_step(number, part.strip()) for number, part in enumerate(_split(text, "|"), 1)]


def constant_text(type_name: str, value: object) -> str:
    """A value of a field of that type; nothing for none."""
    if value is None:
        return ""
    if type_name in TEXTUAL and isinstance(value, str):
        plain = value and value == value.strip() and value[0] not in _QUOTES and value.isprintable()
        return value if plain else _quoted(value)
    return value_text(value)


def read_constant(type_name: str, text: str) -> object:
    """The value a line holds for a field of that type; None for an empty line."""
    text = text.strip()
    if not text:
        return None
    if type_name in TEXTUAL and text[0] not in _QUOTES:
        return text
    return _read(text, f"the value {text[:60]!r}")


def list_text(items: Sequence[str]) -> str:
    """Texts, with commas between them."""
    return ", ".join(map(value_text, items))


def read_list(text: str) -> list[str]:
    """The texts of a list."""
    parts = [part.strip() for part in _split(text, ",")] if text.strip() else []
    return [
        str(_read(part, f"the item {part[:60]!r}")) if part[:1] in tuple(_QUOTES) else part for part in parts if part
    ]


def value_text(value: object) -> str:
    """Any value as YAML on one line."""
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) and is_plain(value) else _quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{value_text(key)}: {value_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(value_text, value)) + "]"
    return yaml.safe_dump(value).splitlines()[0]


def _quoted(text: str) -> str:
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return yaml.safe_dump(text, default_style='"', width=10**9).strip()


def _key(part: str, text: str) -> str:
    part = part.strip()
    key = _read(part, f"the path {text[:60]!r}") if part[:1] in tuple(_QUOTES) else part
    if not isinstance(key, str) or not key:
        message = f"the path {text[:60]!r} has an empty step."
        raise ConfigError(message, fix="Write it like timeInterval.start, a key with a dot in it in quotes.")
    return key


def _step(number: int, part: str) -> object:
    name, colon, argument = part.partition(":")
    if not name.strip():
        raise ConfigError(f"step {number} is empty.", fix="Write transforms like trim | prefix: 'x'.")
    if not colon:
        return part
    return {name.strip(): _read(argument, f"step {number}, {part[:60]!r},")}


def _read(text: str, what: str) -> Any:
    """The YAML value of a piece of a line."""
    try:
        if " #" in text and text.strip()[:1] not in (*_QUOTES, *_OPENERS):
            raise KeyError("#")  # YAML would take the rest for a comment
        return read_text(f"value: {text}", "line").value["value"].plain
    except (MappingFileError, KeyError):
        fix = "Put text with signs in it in quotes: prefix: 'id: '."
        raise ConfigError(f"{what} is not understood.", fix=fix) from None


def _split(text: str, separator: str) -> Iterator[str]:
    """The pieces between separators outside of quotes and brackets."""
    if not all(sign.isprintable() for sign in text):
        raise ConfigError("a line holds signs that cannot be shown.", fix='Write them as in "\\n" or "\\t".')
    start, position = 0, 0
    while position < len(text):
        if text[position] == separator:
            yield text[start:position]
            start = position + 1
        elif text[position] in (*_QUOTES, *_OPENERS) and _opens(text[start:position], separator):
            position = _closed(text, position)
            continue
        position += 1
    yield text[start:]


def _opens(before: str, separator: str) -> bool:
    """Whether a quote or bracket after this begins a value: inside of a word it is only a sign."""
    before = before.rstrip()
    return not before or (separator == "|" and before.endswith(":"))


def _closed(text: str, position: int) -> int:
    """Where what opens at this position has ended; the end of the text when it never does."""
    if (quote := text[position]) in _QUOTES:
        return _after_quote(text, position + 1, quote)
    waiting = [_OPENERS[text[position]]]
    position += 1
    while waiting and position < len(text):
        sign = text[position]
        if sign in _QUOTES and text[:position].rstrip()[-1:] in ("[", "{", ",", ":"):
            position = _after_quote(text, position + 1, sign)
            continue
        if sign in _OPENERS:
            waiting.append(_OPENERS[sign])
        elif sign == waiting[-1]:
            waiting.pop()
        position += 1
    return position


def _after_quote(text: str, position: int, quote: str) -> int:
    while position < len(text):
        if text[position] == "\\" and quote == '"':
            position += 1
        elif text[position] == quote:
            if quote == '"' or text[position + 1 : position + 2] != "'":
                return position + 1
            position += 1
        position += 1
    return len(text)
