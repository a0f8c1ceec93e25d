"""What a target demands of the fields an entity has: without these, nothing could be delivered there."""

from __future__ import annotations

from collections.abc import Mapping

from sync_pipeline.located import Node, closest, refuse
from sync_pipeline.mapping.spec import EntitySpec, Field, TargetSpec

CLIENT_FIELDS = ("name", "email", "address", "note", "archived", "currencyId", "ccEmails")
"""All that can be written to a Clockify client; anything else is dropped there without a word, and never in sync."""
CLIENT_NAME = "name"
"""What a client is created and adopted by."""


def check_fields(node: Node, fields: Mapping[str, Field], target: TargetSpec) -> None:
    """Refuse fields the target cannot take, and a mapping without those it cannot do without.

    ``node`` is the `fields` mapping of the file, the dropped ones included: there the mistake is shown.
    """
    if target.system == "clockify":
        _check_client(node, fields)
    elif target.id not in fields:
        raise _missing(node, target.id, "it is what target.id knows a record by")


def is_known_by_source_id(spec: EntitySpec) -> bool:
    """Whether the target knows a record by the very id it has at the source, so that others can point at it."""
    if spec.target.system == "clockify":
        return True  # what a client is known by is Clockify's to give, and kept as a link
    known_by = spec.field(spec.target.id)
    return known_by.source == spec.source.id_path and not known_by.transforms and known_by.function is None


def _check_client(node: Node, fields: Mapping[str, Field]) -> None:
    for name in fields:
        if name not in CLIENT_FIELDS:
            message = "is not a field of Clockify's clients."
            raise refuse(node.value[name], f"fields.{name}", message, closest(name, CLIENT_FIELDS))
    if CLIENT_NAME not in fields:
        raise _missing(node, CLIENT_NAME, "a client cannot be without a name")


def _missing(node: Node, name: str, why: str) -> Exception:
    dropped = node.value.get(name)
    message = f"is {'missing' if dropped is None else 'dropped'}, but {why}."
    return refuse(dropped or node, f"fields.{name}", message, "Keep the field.")
