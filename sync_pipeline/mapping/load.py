"""All entities: the shipped YAML files with the user's laid over them, checked together, in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import sync_pipeline.automations
import sync_pipeline.entities
from sync_pipeline.errors import ConfigError, MappingFileError, NotFound, SyncError
from sync_pipeline.mapping.functions import FunctionFinder
from sync_pipeline.mapping.parse import overlaid, parse_entity
from sync_pipeline.mapping.section import shown
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.mapping.systems import SYSTEMS
from sync_pipeline.private_files import require_trusted
from sync_pipeline.setting_types import PROFILE_FILES
from sync_pipeline.settings import MAPPINGS, SETUP, Settings
from sync_pipeline.yaml_source import Node, closest, read_text, read_yaml, refuse

SHIPPED = Path(sync_pipeline.entities.__path__[0])


AUTOMATIONS = Path(sync_pipeline.automations.__path__[0])


def load_specs(
    overrides: Path | None = None,
    setup: str = "",
    place: str = SETUP,
    *,
    profile: str = "",
    automations: Collection[str] = (),
) -> dict[str, EntitySpec]:
    """Every entity by name, each after those it depends on. ``MappingFileError`` names what to correct.

    Automations are among them when ``automations`` names them.

    ``profile`` is that of the Snapshots API, which may contain ``mappings`` of its own; ``overrides`` is the user's directory
    of mapping files, ``setup`` the set-up, whose ``mappings`` come last; ``place`` is its name in errors.
    """
    every = _every(overrides, setup, place, profile)
    if unknown := [name for name in automations if name not in every or not every[name].target.once]:
        known = [name for name, spec in every.items() if spec.target.once]
        raise ConfigError(
            f"There is no automation {unknown[0]!r}, but it is switched on.",
            fix=f"{closest(unknown[0], known)} Restore its file, run `sync-pipeline automations off {unknown[0]}`, or correct "
            "SYNC_AUTOMATIONS where that is set.",
        )
    if unset := [(name, every[name].asked[0]) for name in automations if every[name].asked]:
        name, field = unset[0]
        raise ConfigError(
            f"The automation {name} is switched on without a value of {field.name}: {field.ask}",
            fix=f"Run `sync-pipeline automations on {name} --set {field.name}=VALUE`.",
        )
    return {name: spec for name, spec in every.items() if not spec.target.once or name in automations}


def load_automations(settings: Settings) -> dict[str, EntitySpec]:
    """All automations by name, shipped ones and the user's, whether they are switched on or not."""
    every = _every(settings.mappings_dir, settings.setup_document, SETUP, settings.snapshots_profile)
    return {name: spec for name, spec in every.items() if spec.target.once}


def _every(overrides: Path | None, setup: str, place: str, profile: str) -> Mapping[str, EntitySpec]:
    if overrides is None:
        return _without_files(setup, place, profile)
    chosen = _chosen(setup, place)
    if overrides.is_dir():
        require_trusted(overrides)
    return _loaded(overrides, chosen, profile)


def fields_in(setup: str, entity: str) -> dict[str, Any]:
    """What the set-up itself says about an entity's fields, by field; "drop" or None for one that is dropped."""
    node = _chosen(setup, SETUP).get(entity)
    fields = node.value.get("fields") if node is not None else None
    return {} if fields is None or fields.value is None else dict(fields.plain)


def switched_on(specs: Mapping[str, EntitySpec], entities: Sequence[str]) -> dict[str, EntitySpec]:
    """The entities that were chosen, or all of them; ConfigError when one is not there, or needs one that is not chosen."""
    made_once = tuple(name for name, spec in specs.items() if spec.target.once)
    entities = tuple(dict.fromkeys((*entities, *made_once))) if entities else tuple(specs)
    for name in entities:
        if name not in specs:
            raise ConfigError(f"The entity {name!r} was switched on, but does not exist.", fix=closest(name, specs))
        if lacking := [other for other in specs[name].needs if other not in entities]:
            raise ConfigError(
                f"{name} needs {' and '.join(lacking)}, which {'is' if len(lacking) == 1 else 'are'} switched off.",
                fix=f"Switch {' and '.join(lacking)} on, or {name} off.",
            )
    return {name: _after_links(spec, entities) for name, spec in specs.items() if name in entities}


def _after_links(spec: EntitySpec, entities: Collection[str]) -> EntitySpec:
    """The entity, ordered after those that its links are looked up in, as far as they are switched on."""
    before = [one for one in spec.links.values() if one in entities and one not in (spec.entity, *spec.depends_on)]
    return replace(spec, depends_on=(*spec.depends_on, *dict.fromkeys(before))) if before else spec


def no_such_entity(name: str, specs: Collection[str]) -> NotFound:
    """The refusal of a name that none of the entities has."""
    return NotFound(f"There is no entity {name[:80]!r}.", fix=closest(name[:80], specs))


def specs_of(settings: Settings) -> dict[str, EntitySpec]:
    """Every entity as these settings map it, whether it is switched on or not."""
    return load_specs(
        settings.mappings_dir,
        settings.setup_document,
        profile=settings.snapshots_profile,
        automations=settings.automations,
    )


def records_of(settings: Settings) -> tuple[tuple[str, str, str], ...]:
    """System, entity and id field of both sides of each entity; none while a file has a mistake, which others report."""
    try:
        specs = specs_of(settings).values()
    except SyncError:
        return ()
    return tuple((side.system, spec.entity, side.id) for spec in specs for side in (spec.source, spec.target))


@lru_cache(maxsize=16)
def _without_files(setup: str, place: str, profile: str) -> dict[str, EntitySpec]:
    """The shipped files do not change while a process lives; every session asks for them, and each page with this set-up."""
    chosen = _chosen(setup, place)
    return _loaded(None, chosen, profile) if chosen else _as_shipped(profile)


@cache
def _as_shipped(profile: str) -> dict[str, EntitySpec]:
    return _loaded(None, {}, profile)


@cache
def _shipped() -> Mapping[str, Node]:
    return {name: read_yaml(path) for name, path in (_files(SHIPPED) | _files(AUTOMATIONS)).items()}


@cache
def _of_profile(name: str) -> Mapping[str, Node]:
    """The mappings of a built-in profile, by entity."""
    return _mappings_in(read_yaml(PROFILE_FILES[name])) if name in PROFILE_FILES else {}


def _chosen(setup: str, place: str) -> Mapping[str, Node]:
    """The mappings of the set-up, by entity."""
    return _mappings_in(read_text(setup, place)) if setup else {}


def _mappings_in(document: Node) -> Mapping[str, Node]:
    section = document.value.get(MAPPINGS)
    if section is None or section.value is None:
        return {}
    nodes: dict[str, Node] = _mapping_of(section, MAPPINGS)
    for name, node in nodes.items():
        _mapping_of(node, f"{MAPPINGS}.{name}")
    return nodes


def _mapping_of(node: Node, where: str) -> dict[str, Node]:
    if not isinstance(node.value, dict):
        raise refuse(node, where, f"found {shown(node.plain)}, expected a mapping.")
    return node.value


def _loaded(overrides: Path | None, chosen: Mapping[str, Node], profile: str) -> dict[str, EntitySpec]:
    nodes = dict(_shipped())
    tx = {name: _own_yaml(path) for name, path in _files(overrides).items()} if overrides else {}
    places = {name: [(node.file, node.line)] for name, node in nodes.items()}
    for layer in (_of_profile(profile), tx, chosen):
        for name, top in layer.items():
            places.setdefault(name, []).insert(0, (top.file, top.line))
            nodes[name] = overlaid(nodes[name], top) if name in nodes else _new(name, top, nodes)
    functions = FunctionFinder(overrides)
    specs = {name: parse_entity(name, node, functions, tuple(places[name])) for name, node in nodes.items()}
    for spec in specs.values():
        _check_links(spec, nodes, specs)
    _check_events(specs, nodes)
    return _in_order(specs, nodes)


def _own_yaml(path: Path) -> Node:
    require_trusted(path)
    return read_yaml(path)


def _files(directory: Path) -> dict[str, Path]:
    if not directory.is_dir():
        message = f"The mappings directory {directory} does not exist or is no directory."
        raise ConfigError(message, fix="Create it or correct SYNC_MAPPINGS_DIR.")
    files: dict[str, Path] = {}
    for path in sorted(directory.iterdir()):
        if path.suffix not in (".yaml", ".yml") or path.name.startswith("."):
            continue
        if path.stem in files:
            message = f"The mappings directory {directory} holds {files[path.stem].name} and {path.name}."
            raise ConfigError(message, fix="Keep one of the two.")
        files[path.stem] = path
    return files


def _new(name: str, top: Node, known: Mapping[str, Node]) -> Node:
    """A new entity must be complete; half a file is most likely a misspelt override."""
    for key in ("source", "target", "fields"):
        if key not in top.value:
            message = f"is missing; {name} is not a shipped entity, so its file must say everything."
            raise refuse(top, key, message, closest(name, known))
    return top


def _check_links(spec: EntitySpec, nodes: Mapping[str, Node], specs: Mapping[str, EntitySpec]) -> None:
    node = nodes[spec.entity]
    for entity in spec.depends_on:
        if entity not in specs:
            at = node.value["depends_on"]
            raise refuse(at, "depends_on", f"names {entity!r}, but there is no such entity.", closest(entity, specs))
    _check_parent(spec, node, specs)
    _check_link_fields(spec, node, specs)
    for field, entity in spec.references.items():
        if entity not in specs:
            at = node.value["fields"].value[field].value["references"]
            where = f"fields.{field}.references"
            raise refuse(at, where, f"names {entity!r}, but there is no such entity.", closest(entity, specs))
        if not specs[entity].is_known_by_source_id:
            place, known_by = nodes[entity].value["fields"], specs[entity].target.id
            message = f"must be {specs[entity].source.id} as the source has it: {spec.entity}.{field} points at {entity} by it."
            raise refuse(place.value.get(known_by, place), f"fields.{known_by}", message, "Leave it unchanged.")


def _check_link_fields(spec: EntitySpec, node: Node, specs: Mapping[str, EntitySpec]) -> None:
    for field, entity in spec.links.items():
        at, where = node.value["fields"].value[field].value["link"], f"fields.{field}.link"
        if entity not in specs:
            raise refuse(at, where, f"names {entity!r}, but there is no such entity.", closest(entity, specs))
        if entity not in linkable(specs.values()):
            message = f"names {entity}, whose records keep their ids at the target: there are no links."
            raise refuse(at, where, message, f"Write `references: {entity}`.")
        if field == spec.target.id:
            raise refuse(
                at, where, "is of the field by which the target knows a record.", "Give it a field of its own."
            )


def linkable(specs: Collection[EntitySpec], besides: str = "") -> list[str]:
    """The entities with targets that assign the ids, so that ``link`` can look them up."""
    return [
        one.entity for one in specs if one.entity != besides and (one.target.once or SYSTEMS[one.target.system].kinds)
    ]


def _check_events(specs: Mapping[str, EntitySpec], nodes: Mapping[str, Node]) -> None:
    about: dict[str, str] = {}
    for name, spec in specs.items():
        for event in spec.webhooks.events:
            if event in about:
                message = f"names {event}, which is an event of {about[event]} already."
                raise refuse(nodes[name].value["webhooks"], "webhooks", message, "Keep it in one of the two files.")
            about[event] = name


def _check_parent(spec: EntitySpec, node: Node, specs: Mapping[str, EntitySpec]) -> None:
    name = spec.source.parent
    if name is None:
        return
    at, parent = node.value["source"].value["parent"], specs.get(name)
    if parent is None:
        raise refuse(at, "source.parent", f"names {name!r}, but there is no such entity.", closest(name, specs))
    if parent.source.system != spec.source.system or not parent.source.list or parent.source.parent:
        message = f"names {name}, which is not a plain list of the same system."
        raise refuse(at, "source.parent", message, "Name the entity that has a list of these for each record.")
    # The id of the parent is taken from what is stored: any other value would look for the record in a wrong list.
    known_by = [f for f in spec.fields if f.references == name]
    if spec.source.item and not (len(known_by) == 1 and known_by[0].is_copied):
        message = f"is {name}, but not exactly one field refers to it with the id as the source has it."
        fix = f"Give one field `references: {name}` and only its `source` and `type`, or leave `source.item` out."
        raise refuse(at, "source.parent", message, fix)


def _in_order(specs: Mapping[str, EntitySpec], nodes: Mapping[str, Node]) -> dict[str, EntitySpec]:
    """Depth first, so that every entity comes after all it depends on or refers to."""
    ordered: dict[str, EntitySpec] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in ordered:
            return
        if name in above:
            raise _cycle((*above[above.index(name) :], name), nodes)
        spec = specs[name]
        for entity in (*spec.needs, *spec.links.values()):
            if entity != name:
                visit(entity, (*above, name))
        ordered[name] = spec

    for name in specs:
        visit(name, ())
    return ordered


def _cycle(names: tuple[str, ...], nodes: Mapping[str, Node]) -> MappingFileError:
    """The error for a cycle, placed in the user's file: the shipped ones have none."""
    places = [nodes[name].value.get("depends_on", nodes[name]) for name in names]
    place = next((node for node in places if Path(node.file).parent != SHIPPED), places[0])
    return refuse(place, "depends_on", f"is circular: {' -> '.join(names)}.", "Remove one of them.")
