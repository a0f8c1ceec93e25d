"""The text of a set-up: changed key by key. What a person wrote around the keys stays."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from sync_pipeline.errors import ConfigError, MappingFileError
from sync_pipeline.mapping.text import is_plain, value_text
from sync_pipeline.settings import ALERTS, MAPPINGS, SETUP

HEAD = "The set-up of sync_pipeline, as the console and `sync-pipeline init` store it. Secrets are not in it."
Path = tuple[str, ...]
"""The keys that lead to a value."""


def edited(document: str, values: Mapping[str, Any]) -> str:
    """The document with the dotted keys set; None takes one out."""
    return with_changes(document, {tuple(key.split(".")): value for key, value in values.items()})


def with_changes(document: str, changes: Mapping[Path, Any]) -> str:
    """The same for paths of keys."""
    read = _read(document)
    for path, value in changes.items():
        _put(read, list(path), _storable(value))
    return _text(read)


def differences(before: str, after: str) -> dict[Path, Any]:
    """What has to be changed in one document to get the other: each value by its path, None for one to take out."""
    old, new = leaves(before), leaves(after)
    return {
        path: new.get(path)
        for path in sorted(old.keys() | new.keys())
        if path not in old or path not in new or repr(old[path]) != repr(new[path])
    }


def leaves(document: str) -> dict[Path, Any]:
    """The values of a document by their paths; a field of a mapping is one value, and so is anything else below it."""
    found: dict[Path, Any] = {}

    def walk(value: Any, path: Path) -> None:
        if isinstance(value, Mapping) and value and len(path) < _depth(path):
            for key, item in value.items():
                walk(item, (*path, str(key)))
        elif path:
            found[path] = _plain(value)

    walk(_read(document), ())
    return found


def section_text(document: str, key: str) -> str:
    """One section of a document as a document of its own; "" when there is none."""
    section = _read(document).get(key)
    return _text(section) if section else ""


def _depth(path: Path) -> int:
    """How many keys a path has at most: `clockify.plan`, `mappings.users.fields.name`, `mappings.users.target`, `alerts.rules.budget`."""
    if path[:1] != (MAPPINGS,):
        return 3 if path[:1] == (ALERTS,) else 2
    return 4 if path[2:3] in ((), ("fields",)) else 3


def _plain(value: Any) -> Any:
    """A value without what belongs to its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    # The reader (YAML 1.1) takes 1e-05 for text, so that it is written as 1.0e-05.
    yaml.representer.add_representer(
        float, lambda one, value: one.represent_scalar("tag:yaml.org,2002:float", value_text(value))
    )
    return yaml


def _read(document: str) -> CommentedMap:
    if not document:
        return _fresh(HEAD)
    try:
        found = _yaml().load(document)
    except YAMLError as error:
        line = error.problem_mark.line + 1 if getattr(error, "problem_mark", None) else 1  # type: ignore[attr-defined]  # asked for
        raise MappingFileError(SETUP, line, "file", "is not YAML.", fix="Import a correct one.") from None
    if found is None:  # only comments
        return _fresh("\n".join(line.removeprefix("#").strip() for line in document.splitlines()))
    if not isinstance(found, CommentedMap):
        raise MappingFileError(SETUP, 1, "file", "holds no mapping of keys to values.", fix="Import a correct one.")
    return found


def _fresh(comment: str) -> CommentedMap:
    document = CommentedMap()
    document.yaml_set_start_comment(comment)
    return document


def _put(document: CommentedMap, path: list[str], value: Any) -> None:
    """Set the value at ``path``; adds missing sections and removes empty ones."""
    *above, last = path
    trail = [document]
    for step in above:
        below = trail[-1].get(step)
        if not isinstance(below, CommentedMap):
            if value is None:
                return
            below = CommentedMap()
            trail[-1][step] = below
        trail.append(below)
    if value is None:
        trail[-1].pop(last, None)
        for holder, step, section in reversed(list(zip(trail, above, trail[1:], strict=False))):
            if not section:
                holder.pop(step, None)
    elif isinstance(value, CommentedMap) and _is_own(present := trail[-1].get(last)):
        _become(present, value)
    else:
        trail[-1][last] = value


def _is_own(present: Any) -> bool:
    """Whether a mapping says all it says by itself, without YAML's `<<`."""
    return isinstance(present, CommentedMap) and not present.merge


def _become(present: CommentedMap, value: CommentedMap) -> None:
    """Change a mapping key by key: what is written around the keys that stay, stays."""
    for key in [key for key in present if key not in value]:
        del present[key]
    for key, item in value.items():
        if key not in present or present[key] != item:
            present[key] = item


def _text(document: CommentedMap) -> str:
    out = StringIO()
    _yaml().dump(document, out)
    return out.getvalue()


def _storable(value: Any) -> Any:
    """The value with text in quotes where the reader (YAML 1.1) would take it for something else: on, 1_000, 12:30."""
    if isinstance(value, str):
        if any(0xD800 <= ord(sign) <= 0xDFFF for sign in value):
            raise ConfigError("A text holds half a character, which no file can hold.", fix="Type it again.")
        return value if is_plain(value) else DoubleQuotedScalarString(value)
    if isinstance(value, Mapping):
        return CommentedMap({_storable(key): _storable(item) for key, item in value.items()})
    return [_storable(item) for item in value] if isinstance(value, list | tuple) else value
