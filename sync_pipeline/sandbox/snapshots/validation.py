"""What the contract refuses about one record, with the field and a machine code."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sync_pipeline.sandbox.snapshots.entities import Entity, Kind, KnownField

MAX_ID = 200
EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+\.[^@\s.\x00-\x1f]+")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """Why one record was not taken."""

    code: str
    field: str | None
    detail: str

    def as_json(self) -> dict[str, str | None]:
        """The shape in which the API reports it."""
        return {"code": self.code, "field": self.field, "detail": self.detail}


def read_instant(text: str) -> datetime:
    """An RFC 3339 instant with an offset, as UTC; ValueError otherwise."""
    if not INSTANT.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not an RFC 3339 instant with an offset")
    return datetime.fromisoformat(text).astimezone(UTC)


def write_instant(instant: datetime) -> str:
    """How the API shows an instant: UTC, milliseconds only when there are any."""
    precision = "milliseconds" if instant.microsecond >= 1000 else "seconds"
    return instant.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def epoch_ms(text: str) -> int:
    """Milliseconds since 1970 of an instant in the API's own notation: the sort key of windows."""
    delta = datetime.fromisoformat(text) - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def check_id(value: Any, field: str) -> str:
    """A usable record id, or a refusal."""
    if value is None:
        raise Refusal("missing_id", field, f"{field} is required")
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_ID or not value.isprintable():
        raise Refusal("invalid_id", field, f"{field} must be a text of 1 to {MAX_ID} printable characters")
    return value


def _text(name: str, known: KnownField, value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal("invalid_type", name, f"{name} must be a text, not {_type_of(value)}")
    if len(value) > known.max_length:
        raise Refusal("too_long", name, f"{name} has {len(value)} characters; {known.max_length} are allowed")
    return value


def _email(name: str, known: KnownField, value: Any) -> str:
    if not EMAIL.fullmatch(text := _text(name, known, value)):
        raise Refusal("invalid_email", name, f"{name} is not an e-mail address")
    return text


def _instant(name: str, _known: KnownField, value: Any) -> str:
    try:
        if value[19:] in ("Z", ".000Z"):  # nearly all of them: already UTC, so checking is enough
            read_instant(value)
            return f"{value[:19]}Z"
        return write_instant(read_instant(value))
    except (TypeError, ValueError, OverflowError):
        raise Refusal("invalid_instant", name, f"{name} must be an RFC 3339 instant with an offset") from None


def _bool(name: str, _known: KnownField, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refusal("invalid_type", name, f"{name} must be true or false, not {_type_of(value)}")
    return value


def _int(name: str, _known: KnownField, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal("invalid_type", name, f"{name} must be a whole number, not {_type_of(value)}")
    return value


def _number(name: str, _known: KnownField, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Refusal("invalid_type", name, f"{name} must be a number, not {_type_of(value)}")
    return value


def _list(name: str, known: KnownField, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Refusal("invalid_type", name, f"{name} must be a list of texts")
    if len(value) > known.max_length:
        raise Refusal("too_long", name, f"{name} has {len(value)} items; {known.max_length} are allowed")
    return value


def _id(name: str, _known: KnownField, value: Any) -> str:
    return check_id(value, name)


def _type_of(value: Any) -> str:
    return {dict: "an object", list: "a list", bool: "a boolean", str: "a text"}.get(type(value), "a number")


READERS: dict[Kind, Callable[[str, KnownField, Any], Any]] = {
    "id": _id, "text": _text, "email": _email, "instant": _instant, "bool": _bool, "int": _int, "number": _number,
    "list": _list,
}  # fmt: skip


def normalise(entity: Entity, sent: dict[str, Any]) -> dict[str, Any]:
    """The sent fields as they will be stored; raises the first refusal."""
    fields = entity.fields
    changes: dict[str, Any] = {}
    for name, value in sent.items():
        known = fields.get(name)
        changes[name] = value if known is None or value is None else READERS[known.kind](name, known, value)
    return changes


def check_whole(entity: Entity, record: dict[str, Any]) -> None:
    """Rules about the record after the merge."""
    for name, known in entity.fields.items():
        if known.required and record[name] in (None, ""):
            raise Refusal("required", name, f"{name} is required")
    if entity.before is not None:
        first, last = entity.before
        if epoch_ms(record[last]) < epoch_ms(record[first]):
            raise Refusal("end_before_start", last, f"{last} is before {first}")
