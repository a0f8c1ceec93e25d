"""What is kept of a record beside its mapped fields: the facts that reports are made of, and its label.

Both are taken from the untouched record, whatever the mapping delivers of it. What does not fit a column is missing there: the
checks decide about a record, not this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from sync_pipeline.mapping.json_types import id_or_none
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.mapping.transforms import seconds_of
from sync_pipeline.mapping.values import column_at

Record = dict[str, Any]

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "entry_facts": {
        "user_id": "id",
        "project_id": "id",
        "task_id": "id",
        "start_time": "instant",
        "end_time": "instant",
        "seconds": "seconds",
        "billable": "bool",
        "amount": "hourly",
        "cost": "hourly",
        "currency": "text",
        "tags": "names",
    },
    "project_facts": {
        "name": "text",
        "client_id": "id",
        "client_name": "text",
        "budget": "whole",
        "estimate_seconds": "estimate",
    },
    "person_facts": {"name": "text"},
}
"""The columns of each table of facts and what they take; ``hourly`` is a rate, stored times the row's ``seconds``."""
LONGEST = 1_000
LABEL_LENGTH = 250
"""PostgreSQL refuses to index much longer texts."""
_IN_UTC: Callable[[Any], object] = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?!24)[0-9]{2}:[0-9]{2}:[0-9]{2}Z").fullmatch
_WHOLE = range(-(2**53), 2**53)
"""What is larger is a mistake at the source, and would make the sums of reports fail; amounts are exact up to here as floats, too."""
_HOUR = 3_600


def entities_with(table: str, specs: Mapping[str, EntitySpec]) -> list[str]:
    """The entities whose facts are kept in this table: whose records are people, or time entries."""
    return [name for name, spec in specs.items() if spec.facts is not None and spec.facts.table == table]


def facts_of(spec: EntitySpec, records: Sequence[Record]) -> list[str | None]:
    """The facts of each record, as a JSON list in the order of the columns; None where its YAML names none."""
    if spec.facts is None:
        return [None] * len(records)
    kinds = COLUMNS[spec.facts.table]
    values = {name: _column(kinds[name], column_at(records, path)) for name, path in spec.facts.columns}
    for name in [name for name, _ in spec.facts.columns if kinds[name] == "hourly"]:
        seconds = values.get("seconds", [None] * len(records))
        values[name] = [_earned(*pair) for pair in zip(values[name], seconds, strict=True)]
    return [orjson.dumps(row).decode() for row in zip(*values.values(), strict=True)]


def labels_of(spec: EntitySpec, records: Sequence[Record]) -> list[str | None]:
    """What people call each record."""
    if spec.label is None:
        return [None] * len(records)
    texts = _column("text", column_at(records, spec.label.source))
    return [text.strip()[:LABEL_LENGTH] or None if text else None for text in texts]


def _column(kind: str, values: Iterable[object]) -> list[Any]:
    read = _KINDS[kind]
    return [None if value is None else read(value) for value in values]


def _text(value: object) -> str | None:
    if type(value) is not str:
        return None
    plain = value if value.isascii() else value.encode("utf-8", "replace").decode()
    return plain.replace("\0", "")[:LONGEST] or None


def _instant(value: object) -> str | None:
    """In UTC, as both databases read it."""
    if type(value) is not str:
        return None
    try:
        moment = datetime.fromisoformat(value)
        if _IN_UTC(value):  # as Clockify writes them: the date is known to exist, and the form shows the rest
            return f"{value[:10]} {value[11:19]}.000000"
        return moment.astimezone(UTC).isoformat(" ", "microseconds")[:26] if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _seconds(value: object) -> int | None:
    """A length of time: whole seconds, or a duration such as PT1H30M; an end before the start has none."""
    try:
        found = seconds_of(value) if isinstance(value, int | str) and value is not True else -1
    except ValueError:
        return None
    return found if 0 <= found in _WHOLE else None


def _whole(value: object) -> int | None:
    """An amount; 0 says that none is set."""
    return value or None if type(value) is int and value in _WHOLE else None


def _names(value: object) -> list[str] | None:
    """The names of a list of objects, or their ids where there are no names."""
    if not isinstance(value, list):
        return None
    found = [_text(each.get("name") or each.get("id")) if isinstance(each, dict) else _text(each) for each in value]
    return [name for name in found if name]


def _earned(rate: int | None, seconds: int | None) -> int | None:
    """Rounded half up, in the unit of the rate."""
    if rate is None or seconds is None:
        return None
    earned = (2 * rate * seconds + _HOUR) // (2 * _HOUR)
    return earned if earned in _WHOLE else None


_KINDS: Mapping[str, Callable[[object], Any]] = {
    "id": id_or_none,
    "text": _text,
    "instant": _instant,
    "seconds": _seconds,
    "estimate": lambda value: _seconds(value) or None,
    "bool": lambda value: value if type(value) is bool else None,
    "whole": _whole,
    "hourly": _whole,
    "names": _names,
}
