"""The one form in which two sides are compared: equal data gives equal hashes, however it was written.

Keys sorted, instants in UTC at millisecond precision, lists as sorted sets, text in NFC, and
missing, null, empty text and empty list all the same nothing. Only fields the source owns are hashed.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from sync_pipeline.gc_pause import gc_paused
from sync_pipeline.mapping.json_types import whole_characters
from sync_pipeline.mapping.spec import HASH_VERSION, EntitySpec, Field

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HASH_VERSION", "canonical_rows", "canonical_target", "canonical_targets", "differences", "is_same"]

Canonical = tuple[bytes, str]
_PREFIX = b"%d\n" % HASH_VERSION
_TEXTUAL = frozenset({"id", "text", "email"})
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z", re.ASCII)
_INSTANTS = re.compile(rf"(?:{_INSTANT.pattern}\n)*", re.ASCII)
_INSTANT_LENGTH = len("2026-01-31T10:00:00.000Z")
_NEVER_NORMALISED = frozenset({"instant", "date", "bool", "int", "number"})


@gc_paused()
def canonical_rows(spec: EntitySpec, frame: pd.DataFrame) -> list[Canonical]:
    """(JSON of all target fields, hash of the owned ones) for each row of a mapped or checked frame."""
    fields = _sorted_fields(spec)
    return _rows(spec, fields, [_listed(field, frame[field.column]) for field in fields], len(frame))


def canonical_target(spec: EntitySpec, record: Mapping[str, object]) -> Canonical:
    """The same form of one record as the target returned it, its fields under their target names."""
    return canonical_targets(spec, [record])[0]


@gc_paused()
def canonical_targets(spec: EntitySpec, records: Iterable[Mapping[str, object]]) -> list[Canonical]:
    """The same form of many records as the target returned them."""
    kept = [record if isinstance(record, Mapping) else {} for record in records]
    fields = _sorted_fields(spec)
    return _rows(
        spec, fields, [_returned(field, [record.get(field.name) for record in kept]) for field in fields], len(kept)
    )


def differences(
    spec: EntitySpec, desired: Mapping[str, object], actual: Mapping[str, object]
) -> list[tuple[str, object, object]]:
    """(field, desired, actual) for each owned field in which two canonical JSON objects differ."""
    found = []
    for field in _sorted_fields(spec):
        pair = [desired.get(field.name), actual.get(field.name)]
        if field.owner == "source" and _hashed(field, [pair[0]]) != _hashed(field, [pair[1]]):
            found.append((field.name, pair[0], pair[1]))
    return found


def is_same(field: Field, one: object, other: object) -> bool:
    """Whether two values of a field mean the same, however each is written."""
    read = _RETURNED.get(field.type, _returned_text)
    return _hashed(field, [_tolerant(read, one)]) == _hashed(field, [_tolerant(read, other)])


def _sorted_fields(spec: EntitySpec) -> list[Field]:
    return sorted(spec.fields, key=lambda field: field.name)


def _rows(spec: EntitySpec, fields: list[Field], columns: list[list[Any]], length: int) -> list[Canonical]:
    # Of another kind the same fields are another record: what is at the target as the one is not there as the other.
    prefix = _PREFIX + (f"{spec.target.unusual_kind}\n".encode() if spec.target.unusual_kind else b"")
    owned = [(field, column) for field, column in zip(fields, columns, strict=True) if field.owner == "source"]
    names = tuple(field.name for field in fields)
    owned_names = tuple(field.name for field, _ in owned)
    shown = _transposed(columns, length)
    hashed = _transposed([_hashed(field, column) for field, column in owned], length)
    rows = []
    for values, essence in zip(shown, hashed, strict=True):
        text = _dump(dict(zip(names, values, strict=True)))
        # Mostly nothing had to be normalised, and what is shown is what is hashed.
        same = values == essence and len(names) == len(owned_names)
        hashable = text if same else _dump(dict(zip(owned_names, essence, strict=True)))
        rows.append((text, hashlib.blake2b(prefix + hashable, digest_size=16).hexdigest()))
    return rows


def _transposed(columns: list[list[Any]], length: int) -> Iterable[tuple[Any, ...]]:
    return zip(*columns, strict=True) if columns else iter([()] * length)


_dump = orjson.dumps


def _listed(field: Field, column: pd.Series[Any]) -> list[Any]:
    """A frame's column as JSON values with None for missing."""
    import pandas as pd  # who has a frame has it in memory already

    from sync_pipeline.mapping.columns import instant_texts, text_list

    if field.type == "instant":
        return instant_texts(column)
    if field.type == "list":
        return [value if isinstance(value, list) else None for value in column.tolist()]
    if field.type == "json":
        return [None if text is None else orjson.loads(text) for text in text_list(column)]
    if field.type in ("bool", "int", "number"):
        return [None if value is pd.NA else value for value in column.astype(object).tolist()]
    return text_list(column)


def _hashed(field: Field, column: list[Any]) -> list[Any]:
    """The column as it enters the hash: NFC, and nothing instead of empty."""
    if field.type in _NEVER_NORMALISED or (field.type in _TEXTUAL and _is_plain(column)):
        return column
    return [_normal(value) for value in column]


def _is_plain(column: list[Any]) -> bool:
    """Whether a column of text has nothing to normalise, decided at the speed of one join."""
    try:
        return "".join([value for value in column if value is not None]).isascii() and "" not in column
    except TypeError:
        return False


def _normal(value: Any) -> Any:
    if type(value) is str:
        return (value if value.isascii() else unicodedata.normalize("NFC", value)) or None
    if type(value) is list:
        try:
            ascii_only = "".join(value).isascii()
        except TypeError:
            return value or None
        return (value if ascii_only else sorted({unicodedata.normalize("NFC", item) for item in value})) or None
    return value


def _returned(field: Field, column: list[Any]) -> list[Any]:
    """A column that the target returned, in canonical form: nearly always it already is, which is checked for the whole column together."""
    if _is_canonical(field, [value for value in column if value is not None]):
        return column
    read = _RETURNED.get(field.type, _returned_text)
    return [_tolerant(read, value) for value in column]


def _is_canonical(field: Field, values: list[Any]) -> bool:
    """Whether all values are certainly in canonical form; where this is not seen, each is read, which is only slower."""
    kinds = set(map(type, values))
    if field.type == "bool":
        return kinds <= {bool}
    if not kinds <= {str}:
        return False
    if field.type == "instant":
        lines = "".join([f"{value}\n" for value in values])
        return len(lines) == len(values) * (_INSTANT_LENGTH + 1) and _INSTANTS.fullmatch(lines) is not None
    return field.type not in _RETURNED and "".join(values).isascii()


def _tolerant(read: Callable[[Any], object], value: object) -> object:
    """A returned value in canonical form; what cannot be read so stays unchanged, and differs."""
    if value is None:
        return None
    try:
        return read(value)
    except (ValueError, TypeError, OverflowError):
        return _encodable(value)


def _encodable(value: object) -> object:
    try:
        _dump(value)
    except TypeError:
        return repr(value)
    return value


def _returned_text(value: object) -> str:
    return whole_characters(value) if type(value) is str else str(value)


def _returned_number(value: Any) -> float:
    return float(value)


def _returned_int(value: Any) -> int | float:
    number = float(value)
    return int(value) if type(value) is int or number.is_integer() else number


def _returned_list(value: Any) -> list[str]:
    if type(value) is not list:
        raise ValueError("not a list")
    return sorted({_returned_text(item) for item in value})


def _returned_bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ValueError("not a bool")


def _returned_instant(text: str) -> str:
    """One instant in the same form, read tolerantly: no zone means UTC. ``ValueError`` if it is none."""
    if _INSTANT.fullmatch(text):
        return text
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _returned_json(value: Any) -> object:
    return orjson.loads(_dump(value, option=orjson.OPT_SORT_KEYS))


_RETURNED: dict[str, Callable[[Any], object]] = {
    "instant": _returned_instant,
    "number": _returned_number,
    "int": _returned_int,
    "list": _returned_list,
    "bool": _returned_bool,
    "json": _returned_json,
}
