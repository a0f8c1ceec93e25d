"""Text that others wrote, as people and their terminals may see it: no character in it commands, hides or reorders."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

COMMANDS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: escape sequences, line breaks, titles, links
    "\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # what hides or reorders: bidi, tags, fillers
    "\ud800-\udfff]"  # halves of a pair: they cannot be written at all
)
"""The zero-width joiner and non-joiner are not among them: emoji and Persian are spelled with them."""
SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """The text in one line, with what is not meant to be seen written as an escape: ``\\x1b``, ``\\u202e``, ``\\n``."""
    return COMMANDS.sub(_escape, text)


def one_line(text: str, most: int) -> str:
    """The beginning of a text that others wrote, printable and in one line."""
    return printable(text[:most])


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""A text that begins so is a formula to a spreadsheet; the last four are the wide forms of the first four."""
LINE_ENDS = re.compile("\r\n?")


def spreadsheet_cell(value: Any) -> Any:
    """A value for a spreadsheet: a text of others is no formula, nor a second row."""
    if not isinstance(value, str):
        return value
    text = LINE_ENDS.sub("\n", value)  # Python before 3.13 does not put a text with a lone CR in quotes
    return f"'{text}" if value.startswith(FORMULA) else text


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON that is printable as well, and reads back unchanged."""
    text = json.dumps(value, default=_as_text, ensure_ascii=False, indent=indent)
    # Inside of strings json has escaped line breaks; those that are left are its own.
    return COMMANDS.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


def rfc3339(at: datetime) -> str:
    """An instant in UTC, as documents have it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _as_text(value: Any) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def _escape(found: re.Match[str]) -> str:
    sign = found[0]
    code = ord(sign)
    return SHORT.get(sign) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )
