"""What one entity's YAML file says, as immutable values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

from sync_pipeline.mapping.systems import SYSTEMS
from sync_pipeline.mapping.text import constant_text, path_text, step_text

FieldType = Literal["id", "text", "email", "instant", "date", "bool", "int", "number", "list", "json"]
Owner = Literal["source", "target"]
DeletePolicy = Literal["delete", "archive", "keep", "unreferenced"]

FIELD_TYPES: tuple[str, ...] = get_args(FieldType)
OWNERS: tuple[str, ...] = get_args(Owner)
DELETE_POLICIES: tuple[str, ...] = get_args(DeletePolicy)

# Columns a frame carries beside the target's fields; a field of the same name gets another column.
BOOKKEEPING = frozenset({"source_id", "partition", "problems", "status", "rule", "record_label", "record_facts"})

LEFT_OUT = "@excluded"
"""The key of a raw record under which its source names the rule that excludes it."""

# Raised whenever the same YAML and the same record would give another mapped value than before.
MAPPING_VERSION = 1
# Raised whenever the same mapped value would give another hash than before.
HASH_VERSION = 1

_DEFAULT_MAX_LENGTH: dict[str, int] = {"id": 255, "email": 254, "text": 65_536, "json": 65_536}


@dataclass(frozen=True, slots=True)
class Step:
    """One transform of a field's pipeline: its name, its argument and the column function it became."""

    name: str
    argument: object
    run: Callable[[list[object]], list[object]] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return step_text(self.name, self.argument)


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A Python function of the user's, found by name in the mappings directory."""

    name: str
    digest: str
    call: Callable[[object], object] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the target and where its value comes from."""

    name: str
    type: FieldType = "text"
    source: tuple[str, ...] = ()
    constant: object = None
    default: object = None
    transforms: tuple[Step, ...] = ()
    function: UserFunction | None = None
    required: bool = False
    references: str | None = None
    link: str | None = None
    """The value becomes the source id of the record of this entity that is linked to it at the target."""
    owner: Owner = "source"
    max_length: int | None = None
    one_of: tuple[str, ...] = ()
    unique: bool = False
    personal: bool = False
    description: str = ""
    ask: str = ""
    """What a person is asked for when the automation is switched on; "" for a field with a value of its own."""

    @property
    def column(self) -> str:
        """The field's column in mapped frames: its name, unless that is a bookkeeping column."""
        return f"{self.name}_" if self.name in BOOKKEEPING else self.name

    @property
    def source_path(self) -> str:
        """The dotted path of the value in the source record, empty for a constant."""
        return ".".join(self.source)

    @property
    def is_copied(self) -> bool:
        """Whether the target gets the value that the source has."""
        return bool(self.source) and not self.transforms and self.function is None and self.default is None

    @property
    def longest(self) -> int | None:
        """How many characters the value may have: as declared, else a sane bound for its type."""
        return self.max_length if self.max_length is not None else _DEFAULT_MAX_LENGTH.get(self.type)


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where an entity is read: a named reader, or a list path, and how one record is read by its id."""

    system: str
    id: str
    reader: str | None = None
    list: str | None = None
    item: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    """The entity with a list of these for each record; ``{parent}`` in a path is the id of such a record."""

    @property
    def id_path(self) -> tuple[str, ...]:
        """The id's dotted path, split."""
        return tuple(self.id.split("."))


@dataclass(frozen=True, slots=True)
class FindSpec:
    """How a record that an operation has made is found again."""

    operation: str
    """A list of the catalogue."""
    inputs: tuple[tuple[str, Any], ...]
    """Inputs of the list, each with the field that it is limited by, or with a constant that is not text."""
    same: tuple[str, ...]
    """The fields in which a record has to be the same."""


MOST_CREATES = 25


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """Where an entity is delivered and what happens to it there when its source is deleted."""

    system: str
    kind: str
    id: str
    delete: DeletePolicy
    asks_for_deletes: bool = False
    """Whether every delete waits for an approval: no fingerprint has it, since it changes nothing of a record."""
    operation: str = ""
    """The operation of the catalogue that is done for each record; "" where records are kept equal to their source."""
    find: FindSpec | None = None
    """None: after a lost answer it is unknown whether it was done, and a person decides."""
    at_most: int = MOST_CREATES
    """How many a run may make without an approval; not part of the fingerprint."""

    @property
    def once(self) -> bool:
        """Whether a record is made once, and never changed or deleted from here."""
        return bool(self.operation)

    @property
    def unusual_kind(self) -> str:
        """The kind of record that a mapping of the user's own makes; "" for the usual one, which hashes do not name."""
        facts = SYSTEMS.get(self.system)
        kinds = list(facts.kinds) if facts is not None else []
        return self.kind if self.kind in kinds[1:] else ""


@dataclass(frozen=True, slots=True)
class BeforeRule:
    """``earlier`` must be before ``later`` when both exist."""

    earlier: str
    later: str


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A named reason to leave a valid record out of scope, and the field it looks at."""

    rule: str
    field: str


@dataclass(frozen=True, slots=True)
class Label:
    """Where what people call a record is found in it; it decides nothing about a record: no fingerprint has it."""

    source: tuple[str, ...]
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is kept of each record for reports: a table, and for each of its columns the path in the record."""

    table: str
    columns: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(name for name, _ in self.columns)


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The webhook events that are about an entity's records. They decide nothing about a record: no fingerprint has them."""

    id: str = "id"
    """The dotted path of the record's id in the body of an event."""
    subscribe: Mapping[str, int] = field(default_factory=dict)
    """Events to subscribe to; those with the lowest number come first, across all entities."""
    accept: tuple[str, ...] = ()
    """Events that are understood when they come in, but not subscribed to."""
    only_named: tuple[str, ...] = ()
    """Events that are sent only for the records a webhook names."""

    @property
    def events(self) -> tuple[str, ...]:
        """Every event that is about these records."""
        return tuple(dict.fromkeys((*self.subscribe, *self.accept)))


@dataclass(frozen=True, slots=True)
class EntitySpec:
    """Everything the engine knows about one kind of record."""

    entity: str
    source: SourceSpec
    target: TargetSpec
    fields: tuple[Field, ...]
    description: str = ""
    partition_by: str | None = None
    depends_on: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    group: str = "sync"
    rules: tuple[BeforeRule, ...] = ()
    exclude: tuple[Exclusion, ...] = ()
    webhooks: Webhooks = field(default_factory=Webhooks)
    label: Label | None = None
    pages: Mapping[str, str] = field(default_factory=dict)
    """Vendor to the address of a record's page there, for people: no fingerprint has it."""
    facts: Facts | None = None
    when: str = ""
    """When an automation makes something: the first half of its sentence."""
    places: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    """The files, and the line in each, that the mapping comes from; the one laid over the others first."""
    fingerprint: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", _fingerprint(self))

    def field(self, name: str) -> Field:
        """The field of that target name; ``KeyError`` when there is none."""
        for candidate in self.fields:
            if candidate.name == name:
                return candidate
        raise KeyError(f"{self.entity} has no field {name}")

    @property
    def owned_fields(self) -> tuple[Field, ...]:
        """The fields kept equal to the source permanently: hashed, compared, repaired."""
        return tuple(f for f in self.fields if f.owner == "source")

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Dotted paths of the source record that this mapping reads, the id first."""
        paths = (self.source.id, *(f.source_path for f in self.fields if f.source))
        return tuple(dict.fromkeys(paths))

    @property
    def needed_fields(self) -> dict[str, str]:
        """Target fields that something else needs, each with why: none of them can be removed."""
        kind = SYSTEMS[self.target.system].kind(self.target.kind) if not self.target.once else None
        found = self.target.find.same if self.target.find else ()
        compared = [name for rule in self.rules for name in (rule.earlier, rule.later)]
        return {
            **({self.partition_by: "it says to which day a record belongs"} if self.partition_by else {}),
            **{one.field: f"records that are {one.rule.replace('_', ' ')} are excluded by it" for one in self.exclude},
            **dict.fromkeys(compared, "a rule compares it with another field"),
            **dict.fromkeys(found, "a record is found again by it"),
            **(
                kind.needed if kind else {} if self.target.once else {self.target.id: "the target knows a record by it"}
            ),
        }

    @property
    def references(self) -> dict[str, str]:
        """Target field -> the entity its value is an id of."""
        return {f.name: f.references for f in self.fields if f.references}

    @property
    def links(self) -> dict[str, str]:
        """Target field -> the entity in whose links its value is looked up."""
        return {f.name: f.link for f in self.fields if f.link}

    @property
    def needs(self) -> tuple[str, ...]:
        """The entities that come before this one."""
        named = (*self.depends_on, *self.references.values(), self.source.parent)
        return tuple(dict.fromkeys(entity for entity in named if entity))

    @property
    def is_known_by_source_id(self) -> bool:
        """Whether a record has the same id at the target as at the source, so that others can refer to it."""
        if self.target.once or SYSTEMS[self.target.system].kinds:
            return True  # the id is the target's to give, and kept as a link
        known_by = self.field(self.target.id)
        return known_by.source == self.source.id_path and not known_by.transforms and known_by.function is None

    @property
    def listed_at(self) -> tuple[str, str]:
        """The system and the list that the records come from: entities with the same one read the same records."""
        return self.source.system, self.source.list or self.source.reader or self.entity

    @property
    def asked(self) -> tuple[Field, ...]:
        """The fields that a person has to fill in before it can be switched on."""
        return tuple(f for f in self.fields if f.ask and f.constant is None)

    @property
    def partitioned(self) -> bool:
        """Whether records belong to UTC days."""
        return self.partition_by is not None


def describe(spec: EntitySpec) -> list[dict[str, object]]:
    """One row a field, as ``mapping show`` prints them."""
    return [
        {
            "field": f.name,
            "source": path_text(f.source) or ("record" if f.function else f"= {constant_text(f.type, f.constant)}"),
            "transform": " | ".join(
                [
                    *map(str, f.transforms),
                    *([f.function.name] if f.function else []),
                    *([f"link: {f.link}"] if f.link else []),
                ]
            ),
            "type": f.type,
            "required": f.required,
            "references": f.references or "",
            "owner": f.owner,
            "description": f.description,
        }
        for f in spec.fields
    ]


def _fingerprint(spec: EntitySpec) -> str:
    """A hash of what decides the outcome for a record; wording, order and Dagster's facts do not."""
    facts: dict[str, object] = {
        "versions": [MAPPING_VERSION, HASH_VERSION],
        "ids": [spec.source.id, spec.target.id],
        "partition_by": spec.partition_by,
        "rules": sorted([r.earlier, r.later] for r in spec.rules),
        # The order of exclusions is the order in which they claim a record.
        "exclude": [[e.rule, e.field] for e in spec.exclude],
        "fields": {f.name: _field_facts(f) for f in spec.fields},
    }
    if spec.target.unusual_kind and not spec.target.once:
        facts["kind"] = spec.target.unusual_kind
    if spec.target.once:
        find = spec.target.find
        facts["operation"] = [spec.target.operation, find and [find.operation, sorted(find.inputs), sorted(find.same)]]
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _field_facts(f: Field) -> list[object]:
    return [
        f.type,
        f.source,
        f.constant,
        f.default,
        [[step.name, step.argument] for step in f.transforms],
        [f.function.name, f.function.digest] if f.function else None,
        f.required,
        f.references,
        f.owner,
        f.longest,
        sorted(f.one_of),
        f.unique,
        *(["link", f.link] if f.link else []),
    ]
