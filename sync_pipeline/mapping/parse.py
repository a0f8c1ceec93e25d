"""One entity's YAML node to its :class:`EntitySpec`, refusing whatever is not understood."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sync_pipeline.mapping.facts import COLUMNS
from sync_pipeline.mapping.functions import FunctionFinder
from sync_pipeline.mapping.parse_field import parse_field, parse_path
from sync_pipeline.mapping.parse_operation import OPERATION_KEYS, TARGET_KEYS, check_inputs, parse_operation
from sync_pipeline.mapping.section import Section, shown
from sync_pipeline.mapping.spec import (
    DELETE_POLICIES,
    BeforeRule,
    EntitySpec,
    Exclusion,
    Facts,
    Field,
    Label,
    SourceSpec,
    TargetSpec,
    Webhooks,
)
from sync_pipeline.mapping.systems import SYSTEMS
from sync_pipeline.yaml_source import Node, closest, refuse

_ENTITY_KEYS = (
    "entity", "description", "source", "target", "partition_by", "depends_on",
    "owners", "kinds", "group", "exclude", "fields", "rules", "webhooks", "label", "pages", "facts", "when",
)  # fmt: skip
_EVENT = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
PARENT = "{parent}"
_EXCLUSIONS = ("running", "before_start_date")
DELETES = ("guard", "approve")
"""Held beyond the share that a run may delete, or each of them."""
_DROP = "drop"
# Another way to say where values come from replaces the inherited ways.
_ORIGINS: dict[str, tuple[str, ...]] = {
    "source": ("constant", "function", "transform", "default"),
    "constant": ("source", "function", "transform", "default"),
    "function": ("constant",),
    "reader": ("list",),
    "list": ("reader",),
}
_ADDRESS = re.compile(r"https://[^\s{}/?#@]+/(?:[^\s{}]|\{id\}|\{workspace\}|\{account\})*")


def parse_entity(
    name: str, node: Node, functions: FunctionFinder, places: tuple[tuple[str, int], ...] = ()
) -> EntitySpec:
    """The spec a (merged) entity file describes; ``places`` is where its parts are."""
    section = Section(node, "file", _ENTITY_KEYS)
    _check_name(section, name)
    fields = _fields(section, functions)
    rules = tuple(_rule(item, fields) for item in section.items("rules"))
    partition_by = section.text("partition_by") or None
    if partition_by is not None:
        _check_field(section.need("partition_by"), "partition_by", partition_by, fields, "instant")
    target = _target(section.need("target"), name)
    check_fields(section.need("fields"), fields, target)
    if target.once:
        _check_once(section)
    return EntitySpec(
        entity=name,
        source=_source(section.need("source")),
        target=target,
        fields=tuple(fields.values()),
        description=section.text("description").strip(),
        partition_by=partition_by,
        depends_on=section.texts("depends_on"),
        owners=section.texts("owners"),
        kinds=section.texts("kinds"),
        group=section.text("group", "sync"),
        rules=rules,
        places=places or ((node.file, node.line),),
        exclude=tuple(_exclusion(item, fields, rules, partition_by) for item in section.items("exclude")),
        webhooks=_webhooks(section.get("webhooks")),
        label=_label(section),
        pages=_pages(section.get("pages")),
        facts=_facts(section.get("facts")),
        when=section.text("when").strip(),
    )


def _check_once(section: Section) -> None:
    """Refuse settings that do not apply to records that are created once."""
    for key, why in (
        ("partition_by", "what is made once belongs to no day"),
        ("webhooks", "the events of the list that it reads wake it"),
        ("facts", "reports read what is kept in sync"),
    ):
        if (node := section.get(key)) is not None:
            raise refuse(node, key, f"is given beside target.operation, but {why}.", "Take it out.")


def _check_name(section: Section, name: str) -> None:
    given = section.text("entity", name)
    if given != name:
        fix = f"Name the file {given}.yaml or write `entity: {name}`."
        raise refuse(section.need("entity"), "entity", f"found {given!r} in a file named {name}.yaml.", fix)
    if not name.isidentifier() or not name.islower():
        message = f"found {name!r}, expected small letters, digits and underscores."
        raise refuse(section.node, "entity", message, "Rename the file.")


def _source(node: Node) -> SourceSpec:
    section = Section(node, "source", ("system", "id", "reader", "list", "item", "params", "parent"))
    section.need("system")
    system = section.word("system", tuple(SYSTEMS), "")
    reader, listing = section.text("reader") or None, section.text("list") or None
    if reader and listing:
        raise refuse(section.need("list"), "source.list", "is given beside source.reader.", "Keep one of the two.")
    if SYSTEMS[system].is_listed and not (reader or listing):
        fix = 'Add `list: "/workspaces/{workspace}/..."`.'
        raise refuse(node, "source.list", "is missing: how is the entity read?", fix)
    parent = section.text("parent") or None
    for key, path in (("list", listing), ("item", section.text("item"))):
        if path and (PARENT in path) != (parent is not None):
            message = (
                f"{'lacks' if parent else 'has'} {PARENT}, but source.parent is {'named' if parent else 'missing'}."
            )
            raise refuse(section.need(key), f"source.{key}", message, "Name both or neither.")
    return SourceSpec(
        system=system,
        id=section.needed_text("id"),
        reader=reader,
        list=listing,
        item=section.text("item") or None,
        params=_params(section),
        parent=parent,
    )


def _params(section: Section) -> dict[str, str]:
    node = section.get("params")
    if node is None:
        return {}
    if not isinstance(node.value, dict):
        raise refuse(node, "source.params", f"found {shown(node.value)}, expected a mapping.")
    return {key: _param(key, value) for key, value in node.value.items()}


def _param(key: str, node: Node) -> str:
    if isinstance(node.value, bool):
        return str(node.value).lower()
    if isinstance(node.value, str | int | float):
        return str(node.value)
    raise refuse(node, f"source.params.{key}", f"found {shown(node.value)}, expected text or a number.")


def _target(node: Node, entity: str) -> TargetSpec:
    section = Section(node, "target", TARGET_KEYS)
    section.need("system")
    if section.get("operation") is not None:
        return parse_operation(section)
    if (key := next((key for key in OPERATION_KEYS if section.get(key) is not None), "")) != "":
        raise refuse(section.need(key), f"target.{key}", "is given without target.operation.", "Name the operation.")
    system, name = section.word("system", tuple(SYSTEMS), ""), section.text("kind", entity)
    delete, kind = section.word("delete", DELETE_POLICIES, "keep"), SYSTEMS[system].kind(name)
    if kind and kind.never_deleted and delete in ("delete", "unreferenced"):
        message = f"found {delete!r}, but {SYSTEMS[system].label}'s {name} are never deleted: {kind.never_deleted}."
        raise refuse(section.need("delete"), "target.delete", message, "Write `archive` or `keep`.")
    asks = section.word("deletes", DELETES, "guard") == "approve"
    return TargetSpec(system, name, section.needed_text("id"), delete, asks)


def _webhooks(node: Node | None) -> Webhooks:
    if node is None:
        return Webhooks()
    section = Section(node, "webhooks", ("id", "subscribe", "accept", "only_named"))
    webhooks = Webhooks(
        section.text("id", "id"), section.numbers("subscribe"), section.texts("accept"), section.texts("only_named")
    )
    for name in webhooks.events:
        if _EVENT.fullmatch(name) is None:
            raise refuse(node, "webhooks", f"found {name!r}, expected the name of an event, like TIME_ENTRY_UPDATED.")
    for name in webhooks.only_named:
        if name not in webhooks.events:
            message = f"names {name!r}, which is neither in webhooks.subscribe nor in webhooks.accept."
            raise refuse(section.need("only_named"), "webhooks.only_named", message, closest(name, webhooks.events))
    return webhooks


class _Fields(dict[str, Field]):
    """The fields by name, and which ones are dropped."""

    dropped: frozenset[str] = frozenset()


def _fields(section: Section, functions: FunctionFinder) -> _Fields:
    node = section.need("fields")
    if not isinstance(node.value, dict):
        raise refuse(node, "fields", f"found {shown(node.value)}, expected a mapping of target fields.")
    kept = without_dropped(node).value
    if not kept:
        raise refuse(node, "fields", "is empty: nothing would be delivered.")
    fields = _Fields({name: parse_field(name, field, functions) for name, field in kept.items()})
    fields.dropped = frozenset(node.value) - frozenset(kept)
    columns: set[str] = set()
    for name, field in fields.items():
        if field.column in columns:
            raise refuse(kept[name], f"fields.{name}", "clashes with a field of almost the same name.", "Rename one.")
        columns.add(field.column)
    return fields


def _check_field(node: Node, where: str, name: str, fields: _Fields, wanted: str | None = None) -> None:
    if name in fields.dropped:
        raise refuse(node, where, f"names {name!r}, which is dropped.", "Keep the field.")
    if name not in fields:
        raise refuse(node, where, f"names {name!r}, which is not a field of this entity.", closest(name, fields))
    if wanted is not None and fields[name].type != wanted:
        message = f"names {name!r}, which has type {fields[name].type}, expected type {wanted}."
        raise refuse(node, where, message)


def _rule(node: Node, fields: _Fields) -> BeforeRule:
    section = Section(node, "rules", ("before",))
    pair = section.texts("before")
    if len(pair) != 2:
        raise refuse(node, "rules.before", f"found {len(pair)} fields, expected two: [earlier, later].")
    for name in pair:
        _check_field(node, "rules.before", name, fields)
    first, second = (fields[name].type for name in pair)
    if first != second or first not in ("instant", "date", "int", "number"):
        raise refuse(node, "rules.before", f"compares {first} with {second}, expected two instants, dates or numbers.")
    return BeforeRule(*pair)


def _exclusion(node: Node, fields: _Fields, rules: tuple[BeforeRule, ...], partition_by: str | None) -> Exclusion:
    """`running` or `{running: end_time}`: without a field, the one the other rules point at."""
    if isinstance(node.value, dict) and len(node.value) == 1:
        rule, field_node = next(iter(node.value.items()))
        field: Any = field_node.value
    else:
        rule, field = node.value, None
    if not isinstance(rule, str) or rule not in _EXCLUSIONS:
        raise refuse(node, "exclude", f"found {shown(rule)}, expected a rule.", closest(rule, _EXCLUSIONS))
    if field is None:
        field = (rules[0].later if rules else None) if rule == "running" else partition_by
    if not isinstance(field, str):
        raise refuse(node, f"exclude.{rule}", "names no field to look at.", f"Write {{{rule}: field}}.")
    _check_field(node, f"exclude.{rule}", field, fields, "instant")
    return Exclusion(rule, field)


def check_fields(node: Node, fields: Mapping[str, Field], target: TargetSpec) -> None:
    """Refuse fields the target cannot take, and a mapping without those it cannot do without.

    ``node`` is the `fields` mapping of the file, the dropped ones included: there the mistake is shown.
    """
    if target.once:
        check_inputs(node, fields, target)
        return
    kind = SYSTEMS[target.system].kind(target.kind)
    for name in fields if kind else ():
        if kind and name not in kind.fields:
            message = f"is not a field of {SYSTEMS[target.system].label}'s {target.kind}."
            raise refuse(node.value[name], f"fields.{name}", message, closest(name, kind.fields))
    needed = kind.needed if kind else {target.id: "it is what target.id knows a record by"}
    for name, why in needed.items():
        if name not in fields:
            raise _missing(node, name, why)


def _missing(node: Node, name: str, why: str) -> Exception:
    dropped = node.value.get(name)
    message = f"is {'missing' if dropped is None else 'dropped'}, but {why}."
    return refuse(dropped or node, f"fields.{name}", message, "Keep the field.")


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


def _label(section: Section) -> Label | None:
    """`name`, or `{source: name, personal: true}`."""
    node = section.get("label")
    if node is None:
        return None
    if not isinstance(node.value, dict):
        return Label(parse_path(section, "label"))
    label = Section(node, "label", ("source", "personal"))
    label.need("source")
    return Label(parse_path(label, "source"), label.flag("personal"))


def _pages(node: Node | None) -> dict[str, str]:
    """For each vendor the address of a record's page, with placeholders `{id}`, `{workspace}` and `{account}`."""
    if node is None:
        return {}
    section = Section(node, "pages", node.value if isinstance(node.value, dict) else ())
    found = {name: section.text(name) for name in section.node.value}
    for name, address in found.items():
        if not _ADDRESS.fullmatch(address):
            fix = "Write one that begins with https:// and has no places but {id}, {workspace} and {account}."
            raise refuse(section.need(name), f"pages.{name}", f"found {address!r}, which is no address of a page.", fix)
    return found


def _facts(node: Node | None) -> Facts | None:
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
