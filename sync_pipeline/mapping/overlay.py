"""How a user's mapping is laid over the shipped one, key by key."""

from __future__ import annotations

from collections.abc import Mapping

from sync_pipeline.yaml_source import Node

_DROP = "drop"
# Another way to say where values come from replaces the inherited ways.
_ORIGINS: dict[str, tuple[str, ...]] = {
    "source": ("constant", "function", "transform", "default"),
    "constant": ("source", "function", "transform", "default"),
    "function": ("constant",),
    "reader": ("list",),
    "list": ("reader",),
}


def overlaid(base: Node, top: Node) -> Node:
    """The shipped file with the user's laid over it: `source`, `target`, `webhooks` by key, `fields` by field and key."""
    merged = {**base.value, **top.value}
    for key in ("source", "target", "webhooks"):
        if key in base.value and _is_mapping(top.value.get(key)):
            merged[key] = _merged_keys(base.value[key], top.value[key])
    if "fields" in base.value and _is_mapping(top.value.get("fields")):
        merged["fields"] = _merged_fields(base.value["fields"], top.value["fields"])
    return _with(top, merged)


def without_dropped(fields: Node) -> Node:
    """The fields except those set to null or ``drop``."""
    return _with(fields, {name: node for name, node in fields.value.items() if not _is_dropped(node)})


def _merged_fields(base: Node, top: Node) -> Node:
    merged: dict[str, Node] = dict(base.value)
    for name, node in top.value.items():
        inherited = merged.get(name)
        merged[name] = _merged_keys(inherited, node) if inherited and _is_mapping(node) else node
    return _with(top, merged)


def _merged_keys(base: Node, top: Node) -> Node:
    inherited = dict(base.value) if _is_mapping(base) else {}
    for origin, replaced in _ORIGINS.items():
        if origin in top.value:
            inherited = {key: node for key, node in inherited.items() if key not in replaced}
    return _with(top, {**inherited, **top.value})


def _with(node: Node, value: Mapping[str, Node]) -> Node:
    return Node(dict(value), node.file, node.line)


def _is_mapping(node: Node | None) -> bool:
    return node is not None and isinstance(node.value, dict)


def _is_dropped(node: Node) -> bool:
    return node.value is None or node.value == _DROP
