"""What a target demands of the fields an entity has: without these, nothing could be delivered there."""

from __future__ import annotations

from collections.abc import Mapping

from sync_pipeline.mapping.spec import EntitySpec, Field, TargetSpec
from sync_pipeline.mapping.systems import SYSTEMS
from sync_pipeline.yaml_source import Node, closest, refuse


def check_fields(node: Node, fields: Mapping[str, Field], target: TargetSpec) -> None:
    """Refuse fields the target cannot take, and a mapping without those it cannot do without.

    ``node`` is the `fields` mapping of the file, the dropped ones included: there the mistake is shown.
    """
    kind = SYSTEMS[target.system].kind(target.kind)
    for name in fields if kind else ():
        if kind and name not in kind.fields:
            message = f"is not a field of {SYSTEMS[target.system].label}'s {target.kind}."
            raise refuse(node.value[name], f"fields.{name}", message, closest(name, kind.fields))
    needed = kind.needed if kind else {target.id: "it is what target.id knows a record by"}
    for name, why in needed.items():
        if name not in fields:
            raise _missing(node, name, why)


def is_known_by_source_id(spec: EntitySpec) -> bool:
    """Whether the target knows a record by the very id it has at the source, so that others can point at it."""
    if SYSTEMS[spec.target.system].kinds:
        return True  # the id is the target's to give, and kept as a link
    known_by = spec.field(spec.target.id)
    return known_by.source == spec.source.id_path and not known_by.transforms and known_by.function is None


def _missing(node: Node, name: str, why: str) -> Exception:
    dropped = node.value.get(name)
    message = f"is {'missing' if dropped is None else 'dropped'}, but {why}."
    return refuse(dropped or node, f"fields.{name}", message, "Keep the field.")
