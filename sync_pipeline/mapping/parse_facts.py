"""``label``, ``pages`` and ``facts`` of an entity's YAML: what people and reports see of its records beside the mapped fields."""

from __future__ import annotations

import re

from sync_pipeline.mapping.facts import COLUMNS
from sync_pipeline.mapping.parse_field import parse_path
from sync_pipeline.mapping.section import Section, shown
from sync_pipeline.mapping.spec import Facts, Label
from sync_pipeline.yaml_source import Node, refuse


def parse_label(section: Section) -> Label | None:
    """`name`, or `{source: name, personal: true}`."""
    node = section.get("label")
    if node is None:
        return None
    if not isinstance(node.value, dict):
        return Label(parse_path(section, "label"))
    label = Section(node, "label", ("source", "personal"))
    label.need("source")
    return Label(parse_path(label, "source"), label.flag("personal"))


def parse_pages(node: Node | None) -> dict[str, str]:
    """For each vendor the address of a record's page; `{id}`, `{workspace}` and `{account}` stand for what they say."""
    if node is None:
        return {}
    section = Section(node, "pages", node.value if isinstance(node.value, dict) else ())
    found = {name: section.text(name) for name in section.node.value}
    for name, address in found.items():
        if not _ADDRESS.fullmatch(address):
            fix = "Write one that begins with https:// and has no places but {id}, {workspace} and {account}."
            raise refuse(section.need(name), f"pages.{name}", f"found {address!r}, which is no address of a page.", fix)
    return found


_ADDRESS = re.compile(r"https://[^\s{}/?#@]+/(?:[^\s{}]|\{id\}|\{workspace\}|\{account\})*")


def parse_facts(node: Node | None) -> Facts | None:
    """A table of facts, and for each of its columns the path in the source record."""
    if node is None:
        return None
    section = Section(node, "facts", ("table", "columns"))
    section.need("table")
    table = section.word("table", tuple(COLUMNS), "")
    columns = section.need("columns")
    if not isinstance(columns.value, dict) or not columns.value:
        raise refuse(columns, "facts.columns", f"found {shown(columns.value)}, expected a mapping of columns to paths.")
    paths = Section(columns, "facts.columns", COLUMNS[table])
    for name in columns.value:
        paths.need(name)
    return Facts(table, tuple((name, parse_path(paths, name)) for name in columns.value))
