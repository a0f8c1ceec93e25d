"""YAML values that remember their file and line, so that a mistake is shown with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml

from sync_pipeline.errors import ConfigError, MappingFileError

# libyaml is ten times as fast; the pure Python loader understands the same files.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_NODES = 20_000
MOST_CHARACTERS = 1_000_000
_MOST_BRACKETS, _DEEPEST = 5_000, 500
"""Lists and mappings that are opened with a bracket, and levels that one line opens: libyaml reads them with a function that calls
itself, and ends the process when there are too many.
"""
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True, slots=True)
class Node:
    """A YAML value and the line it is on; mappings and lists hold nodes again."""

    value: Any
    file: str
    line: int

    @property
    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for node in self.value]
        return self.value


def read_yaml(path: Path) -> Node:
    """The file as a node, which is a mapping; anything else is a :class:`MappingFileError`."""
    return read_text(read_file(path), str(path))


def read_file(path: Path) -> str:
    """The text of a file of configuration."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(MOST_CHARACTERS + 1)
    except UnicodeDecodeError:
        raise MappingFileError(str(path), 1, "file", "is not UTF-8 text.", fix="Save it as UTF-8.") from None
    except OSError as error:
        message = f"The file {path} cannot be read: {error.strerror}."
        raise ConfigError(message, fix="Check its permissions.") from None


def read_text(text: str, file: str) -> Node:
    """The same of a text; ``file`` is what errors call it."""
    _refuse_endless(text, file)
    try:
        return _Reader(file).read(text)
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(file, text, error) from None
    except (yaml.YAMLError, RecursionError) as error:
        problem = (str(error).splitlines() or ["nested too deep"])[0]
        raise MappingFileError(file, 1, "file", f"is not YAML: {problem}.") from None


def _refuse_endless(text: str, file: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise MappingFileError(file, 1, "file", f"has more than {MOST_CHARACTERS:,} characters.")
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise MappingFileError(file, 1, "file", f"opens more than {_MOST_BRACKETS:,} lists and mappings with brackets.")
    for number, line in enumerate(text.splitlines(), 1):
        if line.count("- ") + line.count("? ") > _DEEPEST:
            raise MappingFileError(file, number, "file", f"has more than {_DEEPEST} dashes on one line.")


def _not_yaml(file: str, text: str, error: yaml.MarkedYAMLError) -> MappingFileError:
    mark = error.problem_mark or error.context_mark
    # What is still open at the end of the file is reported one line behind it.
    line = min(mark.line + 1 if mark else 1, max(1, len(text.splitlines())))
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    fix = "Check indentation (spaces, no tabs), colons and quotes on this line and the one before."
    return MappingFileError(file, line, "file", f"is not YAML: {problem}.", fix=fix)


class _Reader:
    """Builds nodes from YAML's own node tree, which knows the lines."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0

    def read(self, text: str) -> Node:
        loader = _LOADER(text)
        try:
            tree = loader.get_single_node()
            if tree is None:
                raise self._error(1, "file", "is empty, expected a mapping of keys to values.")
            if not isinstance(tree, yaml.MappingNode):
                raise self._error(tree, "file", "holds no mapping of keys to values.")
            return self._node(loader, tree, "file", ())
        finally:
            loader.dispose()

    def _node(self, loader: Any, tree: yaml.Node, where: str, above: tuple[int, ...]) -> Node:
        self._count += 1
        # An alias may point at what holds it, or multiply itself: both would never end.
        if id(tree) in above:
            raise self._error(tree, where, "repeats itself through YAML aliases without end.")
        if self._count > _MOST_NODES:
            raise self._error(tree, where, f"is one of more than {_MOST_NODES:,} values, aliases counted each time.")
        if not isinstance(tree, yaml.ScalarNode) and tree.tag not in _PLAIN_TAGS:
            raise self._error(tree, where, f"found the tag {tree.tag!r}, expected a plain mapping or list.")
        inside = (*above, id(tree))
        value: Any
        if isinstance(tree, yaml.MappingNode):
            value = dict(self._items(loader, tree, where, inside))
        elif isinstance(tree, yaml.SequenceNode):
            value = [self._node(loader, item, where, inside) for item in tree.value]
        else:
            value = self._scalar(loader, tree, where)
        return Node(value, self._file, tree.start_mark.line + 1)

    def _scalar(self, loader: Any, tree: yaml.Node, where: str) -> object:
        try:
            value = loader.construct_object(tree)
        except ValueError:
            raise self._error(tree, where, f"found {tree.value!r}, which is no value.", "Quote it.") from None
        return value.isoformat() if isinstance(value, date | datetime) else value

    def _items(
        self, loader: Any, tree: yaml.MappingNode, where: str, above: tuple[int, ...]
    ) -> Iterator[tuple[str, Node]]:
        tx = {id(value_tree) for _, value_tree in tree.value}
        loader.flatten_mapping(tree)  # `<<: *anchor`
        lines: dict[str, int] = {}
        for key_tree, value_tree in tree.value:
            key = self._scalar(loader, key_tree, where) if isinstance(key_tree, yaml.ScalarNode) else None
            line = key_tree.start_mark.line + 1
            if not isinstance(key, str):
                found = getattr(key_tree, "value", key)
                raise self._error(key_tree, where, f"found the key {found!r}, expected text.", "Put it in quotes.")
            if key in lines and id(value_tree) in tx and lines[key] > 0:
                raise self._error(key_tree, key, f"is given twice, first on line {lines[key]}.", "Keep one.")
            lines[key] = line if id(value_tree) in tx else 0
            inner = f"{where}.{key}" if where != "file" else key
            node = self._node(loader, value_tree, inner, above)
            # A scalar or block is best found by its key: that is the line a user looks for.
            yield key, Node(node.value, node.file, line)

    def _error(self, at: yaml.Node | int, where: str, message: str, fix: str = "") -> MappingFileError:
        line = at if isinstance(at, int) else at.start_mark.line + 1
        return MappingFileError(self._file, line, where, message, fix=fix)


def refuse(node: Node, where: str, message: str, fix: str = "") -> MappingFileError:
    """The error for a node: its file, its line, the key's path, what was found."""
    return MappingFileError(node.file, node.line, where, message, fix=fix)


def closest(found: object, known: Iterable[str]) -> str:
    """A sentence that names the nearest known word, or all of them."""
    words = sorted(known)
    near = difflib.get_close_matches(str(found), words, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(words) or 'none'}."
