"""Names that a target allows only once: who has which, and in what order they pass from record to record.

A row whose name another record is about to give up comes after that one. Where this goes round in a cycle, one record
of the cycle waits under a temporary name; when a rename of the cycle is refused, all get their old names back.

Where a record cannot become what its row wants, since it cannot leave the scope in which its name is unique, the row leaves it
and gets another one: an existing one that no row has (any more), or a new one. In a cycle the rows exchange their records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal, Self

import orjson

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import AssigningTarget
from sync_pipeline.connectors.profile import singular
from sync_pipeline.errors import RejectedRecord
from sync_pipeline.mapping.canonical import canonical_target
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.store.planned import Pending
from sync_pipeline.store.records import Known
from sync_pipeline.store.scope import draw

NAME_TAKEN = "name_taken"
"""The rule of a reject whose name another record has: it is tried again as soon as that one gives it up."""

Key = tuple[Any, ...]
NameAction = Literal["create", "adopt", "update", "refuse"]


class Directory:
    """The existing records of a target that some rows may be linked to, by id and key, and what each of them is linked to.

    ``deleted`` are source records that count as deleted, in addition to those that are stored as deleted.
    """

    def __init__(
        self, session: Session, spec: EntitySpec, target: AssigningTarget, deleted: AbstractSet[str] = frozenset()
    ) -> None:
        self._session, self._spec, self.target, self._also_deleted = session, spec, target, deleted
        self.id_name = target.id_field
        self.links: dict[str, str] = {}
        """The source records of the rows' own records and of those that were found, by target id."""
        self._deleted = set[str]()
        """Those of these source records that are deleted or count as deleted."""
        self.by_id: dict[str, Record] = {}
        self.by_key: dict[Key, Record] = {}
        self._asked: Sequence[Mapping[str, Any]] = ()
        self._missing = set[str]()
        self._reserved: dict[Key, str] = {}
        self._live = set[str]()
        """The source records of the rows, which are not deleted, whatever is stored before they are merged."""
        self._renames = set[Key]()
        """The keys that records are to be renamed to."""
        self.found: dict[str, str] = {}
        """The records that rows have been linked to since they were read: source id to target id."""

    def look_up(self, rows: Collection[Pending], others: Sequence[Mapping[str, Any]] = ()) -> None:
        """Find the records that may be these rows; where names are not unique, rows with a link have theirs."""
        unlinked = [row for row in rows if self.target.unique_names or row.target_id is None]
        self._asked = [*map(fields_of, unlinked), *others]
        self._live = {row.source_id for row in rows}
        self.links = {row.target_id: row.source_id for row in rows if row.target_id is not None}
        self._deleted = set()
        self.by_id, self.by_key = {}, {}
        self._find(self._asked)
        if self.target.unique_names:
            self._renames = {self.wanted(row) for row in rows if self._is_renamed(row)}

    def refresh(self, fields: Mapping[str, Any]) -> None:
        """Find them once more; where names are not unique, only the one with the key of these fields."""
        if self.target.unique_names:
            self.by_id, self.by_key = {}, {}
            self._find(self._asked)
        else:
            self.by_key.pop(self.key_of(fields), None)
            self._find([fields])

    def note_missing(self, target_id: str) -> None:
        """A record turned out not to exist, although it was found and may be found again."""
        self._missing.add(target_id)
        if (record := self.by_id.pop(target_id, None)) is not None and self.by_key.get(self.key_of(record)) is record:
            del self.by_key[self.key_of(record)]

    def is_missing(self, target_id: str) -> bool:
        """Whether a record turned out not to exist."""
        return target_id in self._missing

    def _find(self, asked: Sequence[Mapping[str, Any]]) -> None:
        """Of several with one key, one that is linked to nothing counts: the other one is known by its link."""
        answered = self._session.call(self.target.find, asked) if asked else []
        found = [record for record in answered if self.id_of(record) not in self._missing]
        self._look_up_links({self.id_of(record) for record in found} - self.links.keys())
        for record in sorted(found, key=lambda record: self.id_of(record) not in self.links):
            self.by_id[self.id_of(record)] = self.by_key[self.key_of(record)] = record

    def _look_up_links(self, target_ids: Collection[str]) -> None:
        links = self._session.ledger(self._spec).links(target_ids) if target_ids else {}
        owners = {target_id: link.source_id for target_id, link in links.items()}
        self.links |= owners
        self._deleted |= {link.source_id for link in links.values() if link.is_deleted}
        self._deleted |= self._also_deleted & set(owners.values()) if owners else frozenset()

    def reserve(self, source_id: str, attempts: Iterable[Mapping[str, Any]]) -> None:
        """Leave what interrupted creates of this record may have made to the run that resolves them."""
        self._reserved |= {self.key_of(fields): source_id for fields in attempts}

    def sketch(self) -> Self:
        """A copy to try things out on."""
        other = copy(self)
        other.links, other.by_id, other.by_key = self.links.copy(), self.by_id.copy(), self.by_key.copy()
        other.found = self.found.copy()
        return other

    def id_of(self, record: Record) -> str:
        """The id of an existing record."""
        return str(record[self.id_name])

    def key_of(self, fields: Mapping[str, Any]) -> Key:
        """What a record, or the fields of one, is recognized by."""
        return tuple(_hashable(fields.get(name)) or None for name in self.target.key)

    def wanted(self, row: Pending) -> Key:
        """The key a row wants."""
        return self.key_of(fields_of(row))

    def put(self, record: Record) -> None:
        """Remember a record as it is now, under its new key only."""
        before = self.by_id.get(self.id_of(record))
        if before is not None and self.by_key.get(self.key_of(before)) is before:
            del self.by_key[self.key_of(before)]
        self.by_id[self.id_of(record)] = self.by_key[self.key_of(record)] = record

    def unlinked(self, fields: Mapping[str, Any]) -> Record | None:
        """The record with exactly this key, when nothing is linked to it."""
        key = self.key_of(fields)
        record = self.by_key.get(key)
        is_free = record is not None and self.id_of(record) not in self.links and key not in self._reserved
        return record if is_free else None

    def adoptable(self, row: Pending) -> Record | None:
        """The record with exactly the key the row wants, when it is linked to nothing, the row itself, or a deleted one."""
        record = self.by_key.get(self.wanted(row))
        owner = self.links.get(self.id_of(record)) if record is not None else None
        if record is None or owner == row.source_id:
            return record
        if owner is None:
            return record if self.wanted(row) not in self._reserved else None
        return record if self.former_owner(record) is not None else None

    def former_owner(self, record: Record) -> str | None:
        """The source record that a record is linked to, when that is deleted."""
        owner = self.links.get(self.id_of(record))
        return owner if owner in self._deleted and owner not in self._live else None

    def own_id(self, row: Pending | Known) -> str | None:
        """The id of the record the row is linked to."""
        return self.found.get(row.source_id, row.target_id)

    def own(self, row: Pending) -> Record | None:
        """The record the row is linked to, while it exists; where names are not unique, it is believed to."""
        if (target_id := self.own_id(row)) is None:
            return None
        believed = None if self.target.unique_names else {self.id_name: target_id}
        return self.by_id.get(target_id, believed)

    def replaced(self, row: Pending | Known, wanted: Mapping[str, Any] | None = None) -> str | None:
        """The id of the row's record when that cannot get the ``wanted`` fields (those of the row), so that the row leaves it."""
        target_id = self.own_id(row)
        if target_id is None or target_id in self._missing:
            return None
        fields = owned_fields_of(self._spec, row) if wanted is None else wanted
        return None if self.target.can_become(target_id, fields) else target_id

    def name_left(self, target_id: str) -> str | None:
        """The name that a record gets when its row leaves it, where another record is to be renamed to the one it has."""
        record = self.by_id.get(target_id)
        if record is None or self.key_of(record) not in self._renames:
            return None
        return parked_name(str(record[self.target.key[0]]), target_id, self.target.longest_name)

    def leave(self, target_id: str) -> None:
        """Remember that the row of this record has left it."""
        self.links.pop(target_id, None)
        if (name := self.name_left(target_id)) is not None:
            self.put({**self.by_id[target_id], self.target.key[0]: name})

    def exchange(self, rows: Sequence[Pending]) -> dict[str, str]:
        """Link each of these rows to the record of the next one, and the last one to that of the first; returns the links."""
        ids = [str(self.own_id(row)) for row in rows]
        taken = {row.source_id: target_id for row, target_id in zip(rows, ids[1:] + ids[:1], strict=True)}
        self.found |= taken
        self.links |= {target_id: source_id for source_id, target_id in taken.items()}
        return taken

    def _is_renamed(self, row: Pending) -> bool:
        own = self.own(row)
        return own is not None and self.replaced(row) is None and self.key_of(own) != self.wanted(row)

    def holder(self, row: Pending) -> Record | None:
        """The other record that has the key the row wants."""
        record = self.by_key.get(self.wanted(row))
        return record if record is not None and self.links.get(self.id_of(record)) != row.source_id else None

    def whose(self, record: Record) -> str:
        """What a record is linked to, in words."""
        target_id, what = self.id_of(record), singular(self._spec.entity).replace("_", " ")
        owner, noun = self.links.get(target_id), self.target.noun
        if owner is None and (maker := self._reserved.get(self.key_of(record))) is not None:
            return f"{noun} {target_id}, which an interrupted create of the {what} {maker} may have made"
        fix = f"rename it in {self.target.label} to free the name"
        if owner is None:
            is_left = self.target.is_archived(record)
            return f"{noun} {target_id}, which is linked to no {what}" + (f": {fix}" if is_left else "")
        if self.former_owner(record):
            return f"{noun} {target_id}, which is left from the deleted {what} {owner}: {fix}"
        return f"{noun} {target_id}, which is linked to the {what} {owner}"


def _hashable(value: Any) -> Any:
    """A list or an object as text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS) if value and isinstance(value, list | dict) else value


def fields_of(row: Pending | Known) -> dict[str, Any]:
    """The fields a record wants at the target."""
    fields: dict[str, Any] = orjson.loads(row.fields)
    return fields


def owned_fields_of(spec: EntitySpec, row: Pending | Known) -> dict[str, Any]:
    """Those of them that are kept equal."""
    fields = fields_of(row)
    return {field.name: fields.get(field.name) for field in spec.owned_fields}


@dataclass(frozen=True, slots=True)
class Chain:
    """Rows each of which wants the name of the next one's record: to be delivered from the last to the first."""

    rows: list[Pending]
    cycle: list[Pending]
    """Those at the end of ``rows`` whose names go round: the last wants the name of the first of these."""
    is_exchange: bool = False
    """Whether one of these cannot keep its record: then they exchange their records, instead of the names of these."""


def chain_of(directory: Directory, pending: Mapping[str, Pending], row: Pending) -> Chain:
    """The row, and what has to be delivered before it."""
    rows, place = [row], {row.source_id: 0}
    while (before := _giving_up(directory, pending, rows[-1])) is not None:
        if before.source_id in place:
            cycle = rows[place[before.source_id] :]
            return Chain(rows, cycle, any(directory.replaced(each) is not None for each in cycle))
        place[before.source_id] = len(rows)
        rows.append(before)
    return Chain(rows, [])


def _giving_up(directory: Directory, pending: Mapping[str, Pending], row: Pending) -> Pending | None:
    """The row whose record has the name this one wants, and is to be renamed."""
    holder = directory.holder(row)
    other = pending.get(directory.links.get(directory.id_of(holder), "")) if holder is not None else None
    return other if other is not None and directory.wanted(other) != directory.wanted(row) else None


def parked_name(name: str, target_id: str, longest: int) -> str:
    """A name that no other record has and that shows where it comes from."""
    mark = f" ~{target_id}"
    return f"{name[: longest - len(mark)]}{mark}"


def unparked_name(name: str, target_id: str) -> str | None:
    """What a record was called before an interrupted run gave it a temporary name; None when none did."""
    before = name.removesuffix(f" ~{target_id}")
    return before if before != name else None


def plan_names(directory: Directory, pending: Mapping[str, Pending]) -> dict[str, NameAction]:
    """What delivering these rows would come to if the target refused nothing but names that are taken."""
    directory, rest = directory.sketch(), dict(pending)
    actions: dict[str, NameAction] = {}
    for source_id in pending:
        if source_id not in rest:
            continue
        chain = chain_of(directory, rest, rest[source_id])
        if chain.is_exchange:
            directory.exchange(chain.cycle)
        elif chain.cycle and (own := directory.own(chain.cycle[0])):
            name = directory.target.key[0]
            parked = parked_name(str(own[name]), directory.id_of(own), directory.target.longest_name)
            directory.put({**own, name: parked})
        for row in reversed(chain.rows):
            action = _plan_name(directory, rest.pop(row.source_id))
            is_taken = chain.is_exchange and row in chain.cycle and action == "update"
            actions[row.source_id] = "adopt" if is_taken else action
    return actions


def _plan_name(directory: Directory, row: Pending) -> NameAction:
    fields, left = fields_of(row), directory.replaced(row)
    if left is None and (own := directory.own(row)) is not None:
        if directory.holder(row) is not None:
            return "refuse"
        directory.put({**own, **{name: fields.get(name) for name in directory.target.key}})
        return "update"
    found = directory.adoptable(row)
    if found is None and directory.holder(row) is not None:
        return "refuse"
    record = found or fields | {directory.id_name: f"new {directory.target.noun} of {row.source_id}"}
    directory.put(record)
    directory.links[directory.id_of(record)] = row.source_id
    if left is not None:
        directory.leave(left)
    return "create" if found is None else "adopt"


class RenameCycle:
    """The rows of one cycle, with the records and names they had; empty when no names go round."""

    def __init__(self, session: Session, spec: EntitySpec, directory: Directory, rows: list[Pending]) -> None:
        self._session, self._spec, self._directory = session, spec, directory
        self._ledger = session.ledger(spec)
        self._rows, self._name = rows, directory.target.key[0]
        owned = ((row.source_id, directory.own(row)) for row in rows)
        keys = (
            (source_id, record, {name: record.get(name) for name in directory.target.key})
            for source_id, record in owned
            if record
        )
        self._before = {source_id: (directory.id_of(record), key) for source_id, record, key in keys}
        self._renamed: list[Pending] = []

    @property
    def parked(self) -> Pending:
        """The row whose record waits under a temporary name."""
        return self._rows[0]

    def open(self) -> None:
        """Free the first name. Raises RejectedRecord when the target refuses it; nothing is changed then."""
        target_id, key = self._before[self.parked.source_id]
        parked = parked_name(str(key[self._name]), target_id, self._directory.target.longest_name)
        try:
            self._write(self.parked, target_id, {self._name: parked})
        except RejectedRecord:
            self._observe(self.parked, self.parked.delivered_hash)
            raise

    def note_renamed(self, row: Pending) -> None:
        """The row's record has its new name, as far as it is one of the cycle."""
        if row.source_id in self._before:
            self._renamed.append(row)

    def undo(self) -> list[Pending]:
        """Give all their old names back, the last renamed first; returns those that had their new ones."""
        renamed, self._renamed = self._renamed, []
        for row in [*reversed(renamed), self.parked]:
            target_id, key = self._before[row.source_id]
            if self._directory.key_of(key) not in self._directory.by_key:
                self.rename(row, target_id, key)
        return renamed

    def rename(self, row: Pending, target_id: str, key: Mapping[str, Any]) -> None:
        """Give a record its old name back and note what it is now; one that refuses stays unchanged."""
        try:
            self._write(row, target_id, key)
        except RejectedRecord:
            return
        if (record := self._directory.by_id.get(target_id)) is not None:
            self._observe(row, canonical_target(self._spec, record)[1])

    def _observe(self, row: Pending, found: str | None) -> None:
        self._ledger.observe_target([(row.source_id, found)], draw(self._session.store))

    def _write(self, row: Pending, target_id: str, key: Mapping[str, Any]) -> None:
        # Forgotten first: should we die in between, the row is still pending.
        self._ledger.forget_delivered(row.source_id, keep_link=True)
        record = self._session.call(self._directory.target.update, target_id, key)
        if record is not None:
            self._directory.put(record)
