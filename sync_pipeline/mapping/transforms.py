"""The vocabulary of transforms a mapping may name: each works on a whole column of values.

A missing value stays missing and a :class:`Bad` one stays bad unless a transform says otherwise.
What a transform cannot use becomes :class:`Bad` with the reason: nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sync_pipeline.mapping.values import Bad, noun

Column = Callable[[list[object]], list[object]]
Argument = Literal["none", "text", "int", "number", "mapping"]

_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?")
_ROLES = ("OWNER", "WORKSPACE_ADMIN", "TEAM_MANAGER", "PROJECT_MANAGER", "MEMBER")
_ROLE_ALIASES = {
    "WORKSPACE_OWNER": "OWNER",
    "WORKSPACE_OWN": "OWNER",
    "ADMIN": "WORKSPACE_ADMIN",
    "ADMINISTRATOR": "WORKSPACE_ADMIN",
    "REGULAR": "MEMBER",
    "USER": "MEMBER",
}


@dataclass(frozen=True, slots=True)
class Transform:
    """One word of the vocabulary, with an example that the tests execute."""

    name: str
    does: str
    argument: Argument
    build: Callable[[Any], Column]
    example: tuple[object, object, object]  # argument, value before, value after


def _each(expected: type | tuple[type, ...], wanted: str, change: Callable[[Any], object]) -> Column:
    """A column function that changes values of the expected type one by one."""
    accepted = expected if isinstance(expected, tuple) else (expected,)

    def one(value: object) -> object:
        if type(value) in accepted:
            try:
                return change(value)
            except ValueError as error:
                return Bad(str(error), value)
        if value is None or type(value) is Bad:
            return value
        return Bad(f"is {noun(value)}, expected {wanted}", value)

    return lambda values: [one(value) for value in values]


def _on_text(change: Callable[[str], object]) -> Column:
    return _each(str, "text", change)


def _on_list(change: Callable[[list[Any]], object]) -> Column:
    return _each(list, "a list", change)


def _prefix(prefix: str) -> Column:
    return _each((str, int), "text", lambda value: f"{prefix}{value}")


def _without_prefix(prefix: str) -> Column:
    return _on_text(lambda value: value.removeprefix(prefix))


def _pluck(key: str) -> Column:
    def names(items: list[Any]) -> list[object]:
        try:
            return [item[key] for item in items if item.get(key) is not None]
        except AttributeError:
            raise ValueError(f"is a list of something else than objects, cannot take {key} of each") from None

    return _on_list(names)


def _join(separator: str) -> Column:
    def joined(items: list[Any]) -> str:
        if any(type(item) not in (str, int) for item in items):
            raise ValueError("is a list of something else than text, cannot be joined")
        return separator.join(map(str, items))

    return _on_list(joined)


def _split(separator: str) -> Column:
    return _on_text(lambda value: [part.strip() for part in value.split(separator) if part.strip()])


def _first(_: object) -> Column:
    return _on_list(lambda items: items[0] if items else None)


def _count(_: object) -> Column:
    return _on_list(len)


def _replace(table: dict[str, object]) -> Column:
    def one(value: object) -> object:
        key = value if type(value) is str else str(value).lower() if type(value) in (bool, int) else None
        return value if key is None else table.get(key, value)

    return lambda values: [one(value) for value in values]


def _default(fallback: str) -> Column:
    return lambda values: [fallback if value is None or value == "" else value for value in values]


def _empty_to_null(_: object) -> Column:
    return lambda values: [None if value in ("", []) else value for value in values]


def _equals(wanted: str) -> Column:
    return _on_text(lambda value: value == wanted)


def _truncate(longest: int) -> Column:
    return _on_text(lambda value: value[:longest])


def _scale(factor: float) -> Column:
    # 12 digits hide the dust of binary fractions (0.1 * 3) and keep every cent.
    return _each((int, float), "a number", lambda value: float(f"{value * factor:.12g}"))


def _day(_: object) -> Column:
    return _on_text(lambda value: value[:10])


def _highest_role(_: object) -> Column:
    return lambda values: [_role_of(value) for value in values]


def _role_of(roles: object) -> object:
    if roles is None:
        return "MEMBER"
    if type(roles) is Bad:
        return roles
    if type(roles) is not list:
        return Bad(f"is {noun(roles)}, expected a list of roles", roles)
    names = {_role_name(role) for role in roles}
    for role in _ROLES:
        if role in names:
            return role
    return Bad("names no known role", roles) if names else "MEMBER"


def _role_name(role: object) -> str:
    """A role's name from the shapes seen: text, {role: NAME}, {role: {name: NAME}}, {name: NAME}."""
    if type(role) is dict:
        inner = role.get("role") or role.get("name")
        return _role_name(inner)
    name = role.strip().upper().replace(" ", "_") if type(role) is str else ""
    return _ROLE_ALIASES.get(name, name)


def _duration_seconds(_: object) -> Column:
    return _each((str, int), "a duration such as PT1H30M", seconds_of)


@lru_cache(4096)  # many entries are as long as others
def seconds_of(value: str | int) -> int:
    """A duration as seconds; ValueError for what is none."""
    if type(value) is int:
        return value
    match = _DURATION.fullmatch(str(value))
    if match is None or not any(match.groups()):
        raise ValueError("is not a duration such as PT1H30M")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _plain(column: Column) -> Callable[[object], Column]:
    return lambda _: column


_ALL = (
    Transform("trim", "without white space around it", "none", _plain(_on_text(str.strip)), (None, " Ana ", "Ana")),
    Transform("lower", "in lower case", "none", _plain(_on_text(str.lower)), (None, "A@B.C", "a@b.c")),
    Transform("upper", "in upper case", "none", _plain(_on_text(str.upper)), (None, "eur", "EUR")),
    Transform("prefix", "with text put before it", "text", _prefix, ("id: ", "L1", "id: L1")),
    Transform("without_prefix", "with text taken off its start", "text", _without_prefix, ("id: ", "id: L1", "L1")),
    Transform("truncate", "cut to so many characters", "int", _truncate, (3, "abcdef", "abc")),
    Transform("split", "a list of its parts", "text", _split, (",", "a, b", ["a", "b"])),
    Transform("pluck", "one key of each object of a list", "text", _pluck, ("name", [{"name": "a"}], ["a"])),
    Transform("join", "a list as one text", "text", _join, (", ", ["a", "b"], "a, b")),
    Transform("first", "the first item of a list", "none", _first, (None, ["a", "b"], "a")),
    Transform("count", "how many items a list has", "none", _count, (None, ["a", "b"], 2)),
    Transform("replace", "another value by a table", "mapping", _replace, ({"ACTIVE": "on"}, "ACTIVE", "on")),
    Transform("default", "this text where there is none", "text", _default, ("none", None, "none")),
    Transform("empty_to_null", "nothing where text or list is empty", "none", _empty_to_null, (None, "", None)),
    Transform("equals", "whether it is this text", "text", _equals, ("ACTIVE", "ACTIVE", True)),
    Transform("scale", "multiplied by a number", "number", _scale, (0.01, 1250, 12.5)),
    Transform("day", "the date of an instant, as written", "none", _day, (None, "2024-05-01T09:30:00Z", "2024-05-01")),
    Transform("duration_seconds", "an ISO duration as seconds", "none", _duration_seconds, (None, "PT1H30M", 5400)),
    Transform(
        "highest_role",
        "the highest role of a list of roles, MEMBER where there is none",
        "none",
        _highest_role,
        (None, [{"role": "PROJECT_MANAGER"}, {"role": "OWNER"}], "OWNER"),
    ),
)
TRANSFORMS: dict[str, Transform] = {transform.name: transform for transform in _ALL}
