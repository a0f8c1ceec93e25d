"""One field of an entity's YAML to its :class:`Field`."""

from __future__ import annotations

from typing import Any

from sync_pipeline.mapping.functions import FunctionFinder
from sync_pipeline.mapping.json_types import fits
from sync_pipeline.mapping.section import Section, shown
from sync_pipeline.mapping.spec import FIELD_TYPES, OWNERS, Field, Step
from sync_pipeline.mapping.transforms import TRANSFORMS, Transform
from sync_pipeline.yaml_source import Node, closest, refuse

_FIELD_KEYS = (
    "source", "constant", "default", "transform", "function", "type", "required", "references",
    "link", "owner", "max_length", "one_of", "unique", "personal", "description", "ask",
)  # fmt: skip
_ARGUMENTS: dict[str, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "text"),
    "int": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "mapping": ((dict,), "a mapping of values to values"),
}


def parse_field(name: str, node: Node, functions: FunctionFinder) -> Field:
    """The field a mapping of field keys describes."""
    where = f"fields.{name}"
    if not isinstance(node.value, dict):
        fix = "Write {source: ...}, or null to remove the field."
        raise refuse(node, where, f"found {shown(node.value)}, expected a mapping, null or drop.", fix)
    section = Section(node, where, _FIELD_KEYS)
    type_name = section.word("type", FIELD_TYPES, "text")
    _check_origin(section)
    _check_link(section, type_name)
    function = section.get("function")
    return Field(
        name=name,
        type=type_name,
        source=parse_path(section, "source"),
        constant=_value(section, "constant", type_name),
        default=_value(section, "default", type_name),
        transforms=_steps(section),
        function=functions.find(function, section.path("function"), section.needed_text("function"))
        if function
        else None,
        required=section.flag("required"),
        references=section.text("references") or None,
        link=section.text("link") or None,
        owner=section.word("owner", OWNERS, "source"),
        max_length=section.count("max_length"),
        one_of=section.texts("one_of"),
        unique=section.flag("unique"),
        personal=section.flag("personal"),
        description=section.text("description").strip(),
        ask=section.text("ask").strip(),
    )


def _check_origin(section: Section) -> None:
    """A field has a source or a constant; a function may also be given alone and gets the whole record."""
    constant, source = section.get("constant"), section.get("source")
    if constant is not None:
        for other in ("source", "transform", "function", "default"):
            if (node := section.get(other)) is not None:
                message = f"is given beside {section.path('constant')}."
                raise refuse(node, section.path(other), message, "Keep one of the two.")
    elif source is None and section.get("function") is None and not section.text("ask"):
        fix = "Add `source: path.in.the.record`, `constant: value` or `function: module.name`."
        raise refuse(section.node, section.path("source"), "is missing: where does the value come from?", fix)


def _check_link(section: Section, type_name: str) -> None:
    """A link is looked up after all else is done to the value, and gives an id."""
    if not section.text("link"):
        return
    link = section.get("link") or section.node
    for other in ("constant", "default", "references", "unique"):
        if (node := section.get(other)) is not None and node.plain not in (None, "", False):
            raise refuse(node, section.path(other), "is given beside `link`.", "Keep one of the two.")
    if type_name not in ("id", "text"):
        raise refuse(link, section.path("link"), f"gives an id, but the type is {type_name}.", "Write `type: id`.")


def parse_path(section: Section, key: str) -> tuple[str, ...]:
    """`a.b`, or [a, b] where a key itself holds a dot."""
    node = section.get(key)
    if node is None:
        return ()
    path = section.texts(key) if isinstance(node.value, list) else tuple(section.text(key).split("."))
    if not path or not all(path):
        raise refuse(node, section.path(key), f"found {node.plain!r}, expected a path such as timeInterval.start.")
    return path


def _value(section: Section, key: str, type_name: str) -> Any:
    node = section.get(key)
    if node is None:
        return None
    problem = fits(type_name, node.plain)
    if problem is not None:
        raise refuse(node, section.path(key), f"{problem} (found {shown(node.plain)}, the type is {type_name}).")
    return node.plain


def _steps(section: Section) -> tuple[Step, ...]:
    node = section.get("transform")
    if node is None:
        return ()
    items = node.value if isinstance(node.value, list) else [node]
    return tuple(_step(item, section.path("transform")) for item in items)


def _step(node: Node, where: str) -> Step:
    """`trim` or `{prefix: "id: "}`."""
    if isinstance(node.value, dict) and len(node.value) == 1:
        name, argument = next((key, value.plain) for key, value in node.value.items())
    elif isinstance(node.value, str):
        name, argument = node.value, None
    else:
        raise refuse(node, where, f"found {shown(node.value)}, expected a transform's name or {{name: argument}}.")
    transform = TRANSFORMS.get(name)
    if transform is None:
        raise refuse(node, where, f"there is no transform {name!r}.", closest(name, TRANSFORMS))
    _check_argument(node, f"{where}.{name}", transform, argument)
    return Step(name, argument, transform.build(argument))


def _check_argument(node: Node, where: str, transform: Transform, argument: object) -> None:
    if transform.argument == "none":
        if argument is not None:
            raise refuse(node, where, f"found {shown(argument)}, but it takes no argument.", f"Write {transform.name}.")
        return
    types, wanted = _ARGUMENTS[transform.argument]
    if type(argument) not in types:
        raise refuse(
            node, where, f"found {shown(argument)}, expected {wanted}.", f"{transform.name}: {transform.does}."
        )
