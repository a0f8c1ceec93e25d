"""Reading one mapping of a YAML file key by key, refusing what is not expected and saying how to correct it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sync_pipeline.mapping.values import noun
from sync_pipeline.yaml_source import Node, closest, refuse


def shown(value: object) -> str:
    """What was found, for a message."""
    if isinstance(value, dict | list) or value is None:
        return noun(value)
    return f"{noun(value)} {value!r}"


class Section:
    """A YAML mapping with known keys. Reading a key of the wrong kind raises."""

    def __init__(self, node: Node, where: str, known: Iterable[str]) -> None:
        self.where = where
        self.node = node
        if not isinstance(node.value, dict):
            raise refuse(node, where, f"found {shown(node.value)}, expected a mapping of keys to values.")
        keys = tuple(known)
        for key, child in node.value.items():
            if key not in keys:
                raise refuse(child, self.path(key), f"is not a key of {where}.", closest(key, keys))

    def path(self, key: str) -> str:
        """The dotted place of a key, for messages."""
        return f"{self.where}.{key}" if self.where != "file" else key

    def get(self, key: str) -> Node | None:
        """The node of a key; None when absent or null."""
        node: Node | None = self.node.value.get(key)
        return None if node is None or node.value is None else node

    def need(self, key: str) -> Node:
        """The node of a key that must be there."""
        node = self.get(key)
        if node is None:
            raise refuse(self.node, self.path(key), "is missing.", f"Add `{key}:` to {self.where}.")
        return node

    def _typed(self, key: str, kind: type, wanted: str, node: Node | None) -> Any:
        if node is None:
            return None
        if type(node.value) is not kind:
            raise refuse(node, self.path(key), f"found {shown(node.value)}, expected {wanted}.")
        return node.value

    def text(self, key: str, default: str = "") -> str:
        """A text."""
        value: str | None = self._typed(key, str, "text (in quotes if YAML takes it for something else)", self.get(key))
        return default if value is None else value

    def needed_text(self, key: str) -> str:
        """A text that must be there and not be empty."""
        node = self.need(key)
        if not self.text(key):
            raise refuse(node, self.path(key), "is empty, expected text.")
        return self.text(key)

    def flag(self, key: str) -> bool:
        """True or false; false when absent."""
        return bool(self._typed(key, bool, "true or false", self.get(key)))

    def count(self, key: str) -> int | None:
        """A whole number above zero."""
        value: int | None = self._typed(key, int, "a whole number", self.get(key))
        if value is not None and value < 1:
            raise refuse(self.need(key), self.path(key), f"found {value}, expected a number above zero.")
        return value

    def numbers(self, key: str) -> dict[str, int]:
        """A mapping of names to whole numbers above zero; empty when absent."""
        node = self.get(key)
        if node is None:
            return {}
        section = Section(node, self.path(key), node.value if isinstance(node.value, dict) else ())
        return {name: section.count(name) or section.need(name).value for name in node.value}

    def word(self, key: str, words: tuple[str, ...], default: str) -> Any:
        """One of a closed set of words."""
        value = self.text(key, default)
        if value not in words:
            raise refuse(self.need(key), self.path(key), f"found {value!r}, expected one of {_or(words)}.",
                         closest(value, words))  # fmt: skip
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; one text alone counts as a list of one."""
        node = self.get(key)
        if node is None:
            return ()
        items = node.value if isinstance(node.value, list) else [node]
        for item in items:
            if type(item.value) is not str:
                raise refuse(item, self.path(key), f"found {shown(item.value)}, expected text.")
        return tuple(item.value for item in items)

    def items(self, key: str) -> list[Node]:
        """The nodes of a list; none when absent."""
        node = self.get(key)
        values: list[Node] = self._typed(key, list, "a list", node) or []
        return values


def _or(words: tuple[str, ...]) -> str:
    return ", ".join(words)
