"""Hides personal values in answers that go to other programs: the fields that mappings mark, and those of people in the catalogue."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.operations.catalogue import known
from sync_pipeline.operations.inputs import OperationCall

PERSONAL = "(personal)"
ANY = "any"
"""What the catalogue calls records of whatever kind."""
EMAIL = re.compile(r"[\w.%+-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63})+")
"""Bounded, since texts may be long."""

Marks = Mapping[str, frozenset[str]]
"""The personal fields by the name of a kind of record; both in lower-case letters and digits only."""


def marks_of(specs: Iterable[EntitySpec]) -> Marks:
    """What these mappings mark, and the fields of people that the catalogue names."""
    found: dict[str, frozenset[str]] = {}
    marked = [(name, map(_letters, fields)) for name, fields in known()["personal"].items()]
    for spec in specs:
        fields = {name for each in spec.fields if each.personal for name in (each.name, *each.source[-1:])}
        if spec.label is not None and spec.label.personal:
            fields |= {spec.label.source[-1], "label"}
        marked.append((spec.entity, map(_letters, fields)))
    for name, letters in marked:
        fields = set(letters)
        for word in _called(name) if fields else ():
            found[word] = found.get(word, frozenset()) | fields
    return found


def about(form: OperationCall) -> list[str]:
    """The words of an operation that say what its answer is about."""
    values = [*form.ids.values(), *form.query.values()]
    return [*form.operation.name.split("."), *(each for each in values if isinstance(each, str))]


def without_personal(marks: Marks, tree: Any, words: Collection[str] = ()) -> Any:
    """The same without personal values; ``words`` say what kind of record it is of."""
    return _without(marks, tree, frozenset(map(_letters, words)) & marks.keys())


def _without(marks: Marks, tree: Any, inside: frozenset[str]) -> Any:
    if isinstance(tree, dict):
        if isinstance(entity := tree.get("entity"), str):
            inside |= {_letters(entity)} & marks.keys()
        return {
            EMAIL.sub(PERSONAL, key): PERSONAL
            if value and _is_personal(marks, _letters(key), inside)
            else _without(marks, value, inside | ({_letters(key)} & marks.keys()))
            for key, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        return [_without(marks, each, inside) for each in tree]
    return EMAIL.sub(PERSONAL, tree) if isinstance(tree, str) and "@" in tree else tree


def _is_personal(marks: Marks, key: str, inside: frozenset[str]) -> bool:
    of_these = (field for word in inside for field in marks[word])
    named = (word + field for word, fields in marks.items() for field in fields)
    return any(map(key.endswith, of_these)) or any(map(key.endswith, named))


def _called(name: str) -> set[str]:
    """An entity's name and its last word, in the plural and the singular; every word ends with that of any record."""
    if name == ANY:
        return {""}
    words = {_letters(name), name.rsplit("_", maxsplit=1)[-1].lower()}
    return words | {f"{word[:-3]}y" if word.endswith("ies") else word.removesuffix("s") for word in words}


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
