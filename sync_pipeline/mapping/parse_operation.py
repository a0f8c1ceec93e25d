"""A target that is an operation of the catalogue: read from YAML, and checked against what the catalogue knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync_pipeline.mapping.section import Section, shown
from sync_pipeline.mapping.spec import DELETE_POLICIES, MOST_CREATES, Field, FindSpec, TargetSpec
from sync_pipeline.mapping.systems import SYSTEMS
from sync_pipeline.operations.catalogue import Operation, Type, known, operations, systems
from sync_pipeline.yaml_source import Node, closest, refuse

OPERATION_KEYS = ("operation", "once", "find", "at_most")
TARGET_KEYS = ("system", "kind", "id", "delete", "deletes", *OPERATION_KEYS)
NOWHERE = "none"
"""Instead of a list: what was made cannot be found again, so that a person decides after an answer that was lost."""
FITTING: Mapping[str, tuple[str, ...]] = {
    "boolean": ("bool",),
    "integer": ("int",),
    "number": ("int", "number"),
    "date-time": ("instant", "text"),
    "date": ("date", "text"),
    "email": ("email", "text"),
    "string": ("id", "text", "email", "instant", "date"),
    "object": ("json",),
}
"""The types of fields that an input of each type takes; any other input takes any field."""


def parse_operation(section: Section) -> TargetSpec:
    """The target that an operation is done at, once for each record."""
    system = section.word("system", tuple(SYSTEMS), "")
    if section.get("once") is None or not section.flag("once"):
        message = "is not `true`: an operation is done once for each record, and never again."
        raise refuse(section.get("once") or section.node, "target.once", message, "Write `once: true`.")
    for key in ("kind", "deletes"):
        if (node := section.get(key)) is not None:
            raise refuse(node, f"target.{key}", "is given beside target.operation.", "Take it out.")
    if section.word("delete", DELETE_POLICIES, "keep") != "keep":
        message = "is given, but what an operation has made is never deleted from here."
        raise refuse(section.need("delete"), "target.delete", message, "Write `keep`, or take it out.")
    one = _allowed(section, system)
    at_most = section.count("at_most") or MOST_CREATES
    return TargetSpec(system, "", section.text("id", "id"), "keep", False, one.name, _find(section, one), at_most)


def check_inputs(node: Node, fields: Mapping[str, Field], target: TargetSpec) -> None:
    """Refuse fields that the operation does not take, and a mapping without those that it needs."""
    one = operations()[target.operation]
    inputs = {each.name: each for each in one.inputs}
    held = known()["held_inputs"].get(one.system, {})
    for name, field in fields.items():
        at, where = node.value[name], f"fields.{name}"
        head, *rest = [name] if name in inputs else name.split(".")
        if head not in inputs:
            raise refuse(at, where, f"is no input of {one.name}.", closest(head, inputs))
        if head in one.fixed or head in held:
            why = "is set by the connection" if head in one.fixed else f"is held back: {held[head].lower()}"
            raise refuse(at, where, f"{why}.", "Take it out.")
        fitting = () if rest else _fitting(one, inputs[head].type)
        if fitting and field.type not in fitting:
            message = f"has type {field.type}, but {one.name} takes {one.words_of(inputs[head].type)}."
            raise refuse(at, where, message, f"Write `type: {fitting[0]}`.")
    _check_required(node, fields, one)
    find = target.find
    for name in (*find.same, *(each for _, each in find.inputs if isinstance(each, str))) if find else ():
        if name not in fields:
            message = f"is missing, but target.find compares {name}."
            raise refuse(node.value.get(name) or node, f"fields.{name}", message, closest(name, fields))
    for name in find.same if find else ():
        field = fields[name]
        if not field.required and field.constant is None and not field.ask:
            message = "may be empty, but what was made is found again by it: a record without it could be made twice."
            raise refuse(node.value[name], f"fields.{name}", message, "Add `required: true`.")


def _check_required(node: Node, fields: Mapping[str, Field], one: Operation) -> None:
    filled = {*one.fixed, *one.defaults, *known()["systems"][one.system].get("decided", ())}
    heads = {name.split(".")[0] for name in fields} | fields.keys()
    for each in one.inputs:
        if not each.required or each.name in filled:
            continue
        if each.name not in heads:
            message = f"is missing, but {one.name} needs it: {one.words_of(each.type)}."
            raise refuse(node.value.get(each.name) or node, f"fields.{each.name}", message, "Add the field.")
        if each.name in fields and not fields[each.name].required:
            message = f"may be empty, but {one.name} needs it."
            raise refuse(node.value[each.name], f"fields.{each.name}", message, "Add `required: true`.")


def _fitting(one: Operation, kind: Type) -> tuple[str, ...]:
    kind = one.resolved(kind)
    if isinstance(kind, list):
        return FITTING["string"]
    if isinstance(kind, dict):
        return ("list", "json") if "list" in kind else ("json",)
    return FITTING.get(kind, ())


def _allowed(section: Section, system: str) -> Operation:
    """The operation, if it makes records, is described here and is not held back."""
    node, named = section.need("operation"), section.needed_text("operation")
    catalogues = [system] if system in systems() else [name for name in systems() if name not in SYSTEMS]
    names = (named, *(f"{name}.{named}" for name in catalogues))
    theirs = {name: found for name, found in operations().items() if name.partition(".")[0] in catalogues}
    one = next((theirs[name] for name in names if name in theirs), None)
    allowed = [name for name in known()["once"] if name in theirs]
    if one is None:
        short = [name.partition(".")[2] for name in allowed]
        raise refuse(
            node, "target.operation", f"found {named!r}, which is not in the catalogue.", closest(named, short)
        )
    if one.held:
        raise refuse(node, "target.operation", f"names {one.name}, which is held back: {one.held.lower()}.")
    if one.kind != "write" or one.name not in allowed:
        what = {"read": "only reads", "delete": "deletes"}.get(
            one.kind, "is not among the operations that make a record"
        )
        fix = f"These can be done: {', '.join(allowed)}."
        raise refuse(node, "target.operation", f"names {one.name}, which {what}.", fix)
    return one


def _find(section: Section, one: Operation) -> FindSpec | None:
    node = section.get("find")
    if node is None:
        if (natural := one.find) is not None:
            below = [(name, name) for name in _above(operations()[natural["list"]])]
            return FindSpec(natural["list"], ((natural["by"], natural["by"]), *below), (natural["by"],))
        if one.name in known()["repeatable"]:
            return None
        message = f"is missing: how is what {one.name} has created found again after a lost answer?"
        fix = "Name a list, the inputs that limit it and the fields to compare, or write `find: none`: then a person decides."
        raise refuse(section.node, "target.find", message, fix)
    if node.value == NOWHERE:
        return None
    inner = Section(node, "target.find", ("operation", "with", "same"))
    listing = _list(inner, one)
    given = inner.get("with")
    if given is not None and not isinstance(given.value, dict):
        raise refuse(given, "target.find.with", f"found {shown(given.value)}, expected a mapping of inputs to fields.")
    inputs = [_limit(listing, name, each) for name, each in (given.value if given else {}).items()]
    named = {name for name, _ in inputs}
    own_path = _above(listing)
    inputs += [(name, name) for name in own_path if name not in named]
    same = inner.texts("same") or tuple(each for name, each in inputs if isinstance(each, str) and name not in own_path)
    if not same:
        message = "is missing: which fields show that a record is the one that was created?"
        raise refuse(node, "target.find.same", message, "Name the fields.")
    return FindSpec(listing.name, tuple(inputs), same)


def _above(listing: Operation) -> list[str]:
    """The inputs of its path that the connection does not set."""
    return [each.name for each in listing.inputs if each.place == "path" and each.name not in listing.fixed]


def _list(section: Section, one: Operation) -> Operation:
    node, named = section.need("operation"), section.needed_text("operation")
    found = operations().get(named) or operations().get(f"{one.system}.{named}")
    if found is None or found.kind != "read" or found.system != one.system:
        reads = [
            each.name.partition(".")[2]
            for each in operations().values()
            if each.system == one.system and each.kind == "read"
        ]
        raise refuse(
            node, "target.find.operation", f"found {named!r}, which is no list of the catalogue.", closest(named, reads)
        )
    return found


def _limit(listing: Operation, name: str, node: Node) -> tuple[str, Any]:
    names = [each.name for each in listing.inputs if each.name not in listing.fixed]
    if name not in names:
        raise refuse(node, f"target.find.with.{name}", f"is no input of {listing.name}.", closest(name, names))
    if not isinstance(node.value, str | bool | int):
        raise refuse(
            node, f"target.find.with.{name}", f"found {shown(node.value)}, expected a field, true, false or a number."
        )
    return name, node.value
