"""``POST /objects/{schemaKey}/records/search``: filters, sort and pages over the index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from sync_pipeline.sandbox.highlevel.index import settle
from sync_pipeline.sandbox.highlevel.objects import CustomObject, find_object
from sync_pipeline.sandbox.highlevel.refusals import Refusal, unprocessable
from sync_pipeline.sandbox.highlevel.resource import Call, Json

EXIST = frozenset({"exists", "not_exists"})
OPERATORS = {
    "NUMERICAL": EXIST | {"eq", "not_eq", "range"},
    "DATE": EXIST | {"range"},
    "instant": EXIST | {"range"},
}
OF_TEXTS = EXIST | {"eq", "not_eq", "contains", "not_contains"}
BOUNDS = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}
LONGEST_QUERY, DEEPEST, MOST_PAGES, LARGEST = 75, 4, 1_000_000, 2**63


@dataclass(slots=True)
class _Terms:
    """The filters of one search as SQL."""

    call: Call
    found: CustomObject
    values: list[Any] = field(default_factory=list)
    few: bool = False
    """Whether a filter leaves few records, so that SQLite should look at nothing else."""

    def all_of(self, filters: Any, joint: str = "AND", depth: int = 0) -> str:
        if not isinstance(filters, list) or depth > DEEPEST:
            raise Refusal("bad_filter", reason="filters must be a list")
        if joint == "OR" and (field := _only_field(filters)):
            column, _ = self.column(field)
            self._index(field, column)
            self.few = True
            self.values += [one["value"] for one in filters]
            return f"{column} IN ({', '.join('?' * len(filters))})"
        return f" {joint} ".join(f"({self.term(one, depth)})" for one in filters) or "1"

    def term(self, one: Any, depth: int) -> str:
        if not isinstance(one, dict):
            raise Refusal("bad_filter", reason="a filter must be an object")
        if "group" in one:
            if one["group"] not in ("AND", "OR"):
                raise Refusal("bad_filter", reason="group must be AND or OR")
            return self.all_of(one.get("filters"), one["group"], depth + 1)
        column, kind = self.column(one.get("field"))
        operator, value = one.get("operator"), one.get("value")
        if not isinstance(operator, str) or operator not in OPERATORS.get(kind, OF_TEXTS):
            raise Refusal("bad_filter", reason=f"{operator} does not apply to {kind}")
        if operator in EXIST:
            return f"coalesce({column}, '') {'<>' if operator == 'exists' else '='} ''"
        if operator in ("range", "eq"):
            self._index(one["field"], column)
            self.few = self.few or operator == "eq"
        if operator == "range":
            return " AND ".join(self._bounds(column, value))
        if not _plain(value):
            raise Refusal("bad_filter", reason="value must be a text or a number")
        self.values.append(value)
        return {
            "eq": f"{column} = ?",
            "not_eq": f"{column} IS NOT ?",
            "contains": f"instr(lower({column}), lower(?)) > 0",
            "not_contains": f"coalesce(instr(lower({column}), lower(?)), 0) = 0",
        }[operator]

    def column(self, name: Any) -> tuple[str, str]:
        """The SQL of a field, and its type."""
        if name in ("createdAt", "updatedAt"):
            return f"json_extract(body, '$.{name}')", "instant"
        key = str(name).removeprefix("properties.")
        if not str(name).startswith("properties.") or key not in self.found.types:
            raise Refusal("bad_filter", reason=f"there is no field {name}")
        return f"json_extract(body, '$.properties.{key}')", self.found.types[key]

    def _bounds(self, column: str, value: Any) -> Iterator[str]:
        if (
            not isinstance(value, dict)
            or not value
            or value.keys() - BOUNDS.keys()
            or not all(map(_plain, value.values()))
        ):
            raise Refusal("bad_filter", reason="a range has gte, gt, lte or lt")
        for name, bound in value.items():
            self.values.append(bound)
            yield f"{column} {BOUNDS[name]} ?"

    def _index(self, name: str, column: str) -> None:
        """Let SQLite find values of this field without reading every record."""
        made = f"highlevel_index_{name.rpartition('.')[2]}"
        columns = f"(location_id, object_key, {column})"
        self.call.world.db.execute(f"CREATE INDEX IF NOT EXISTS {made} ON highlevel_index {columns}")


def _only_field(filters: list[Any]) -> str | None:
    """The field when every filter is ``eq`` of the same one."""
    fields = {
        str(one.get("field"))
        if isinstance(one, dict) and one.get("operator") == "eq" and "group" not in one and _plain(one.get("value"))
        else None
        for one in filters
    }
    return fields.pop() if len(fields) == 1 else None


def _plain(value: Any) -> bool:
    """Whether SQLite can compare with it."""
    return isinstance(value, str) or (isinstance(value, (int, float)) and abs(value) < LARGEST)


def search_records(call: Call) -> Json:
    """One page of the records of an object, and how many match."""
    optional = {"query": str, "searchAfter": list, "filters": list, "sort": list}
    sent = call.json({"locationId": str, "page": int, "pageLimit": int}, optional)
    location = call.location(sent["locationId"])
    found, size = find_object(call.world.db, location, call.path["key"]), sent["pageLimit"]
    if not 1 <= size <= call.settings.page_limit or sent["page"] > MOST_PAGES:
        raise unprocessable(f"pageLimit must not be greater than {call.settings.page_limit}")
    if call.frozen is None:
        settle(call.world)
    terms = _Terms(call, found, [location, found.name])
    wanted = [] if call.settings.filters_ignored else sent.get("filters", [])
    where = f"location_id = ? AND object_key = ? AND ({terms.all_of(wanted)}){_words(terms, sent)}{_flicker(call)}{_blind(call, wanted)}"
    total = call.world.db.execute(f"SELECT count(*) FROM highlevel_index WHERE {where}", terms.values).fetchone()[0]
    column, direction = _sort(terms, sent.get("sort") or [])
    after, skipped = sent.get("searchAfter") or [], 0
    if after:
        if len(after) != 2 or not all(_plain(one) for one in after):
            raise unprocessable("searchAfter must be the searchAfter of a row")
        where += f" AND ({column}, id) {'>' if direction == 'ASC' else '<'} (?, ?)"
    else:
        skipped = (max(1, sent["page"]) - 1) * size
    rows = call.world.db.execute(
        f"SELECT body, {column} FROM highlevel_index WHERE {where}"
        f" ORDER BY {'+' if terms.few else ''}{column} {direction}, id {direction} LIMIT ? OFFSET ?",
        (*terms.values, *after, size, skipped),
    )
    records = [record | {"searchAfter": [at, record["id"]]} for record, at in ((orjson.loads(b), at) for b, at in rows)]
    return {"records": records, "total": min(total + call.settings.total_extra, call.settings.total_most)}


def _words(terms: _Terms, sent: Json) -> str:
    words = sent.get("query") or ""
    if len(words) > LONGEST_QUERY:
        raise unprocessable(f"query must be shorter than or equal to {LONGEST_QUERY} characters")
    if not words:
        return ""
    keys = [key.rpartition(".")[2] for key in terms.found.body["searchableProperties"]]
    terms.values += [words] * len(keys)
    found = " OR ".join(f"instr(lower(json_extract(body, '$.properties.{key}')), lower(?)) > 0" for key in keys)
    return f" AND ({found or 0})"


def _flicker(call: Call) -> str:
    """Every other search leaves out what is new in the index."""
    asked = sum(n for route, n in call.world.stats.requests.items() if route.endswith("/records/search"))
    if not call.settings.flicker or asked % 2:
        return ""
    return f" AND shown_at <= {call.world.clock.epoch() - call.settings.flicker}"


def _blind(call: Call, wanted: Any) -> str:
    return " AND 0" if call.settings.filters_find_nothing and wanted else ""


def _sort(terms: _Terms, sort: Any) -> tuple[str, str]:
    """The column that decides, and the direction: the newest first unless asked otherwise."""
    first = sort[0] if sort else {"field": "createdAt", "direction": "desc"}
    if not isinstance(first, dict) or first.get("direction") not in ("asc", "desc"):
        raise unprocessable("sort must be a list of field and direction")
    if first.get("field") == "createdAt":
        return "created_ms", first["direction"].upper()
    return f"coalesce({terms.column(first.get('field'))[0]}, '')", first["direction"].upper()
