"""Names that a target allows only once: who has which, and in what order they pass from record to record.

A row whose name another record is about to give up comes after that one. Where this goes round in a cycle, one record
of the cycle waits under a temporary name; when a rename of the cycle is refused, all get their old names back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
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
Prospect = Literal["create", "adopt", "update", "refuse"]


class Directory:
    """Existing records of a target that gives out the ids, by id and key, and what each of them is linked to.

    ``gone`` are source records that are as good as deleted, beside those the store knows to be.
    """

    def __init__(self, session: Session, spec: EntitySpec, target: AssigningTarget, gone: Collection[str] = ()) -> None:
        self._session, self._spec, self.target, self._gone = session, spec, target, gone
        self.id_name = target.id_field
        self.links = session.ledger(spec).linked()
        self.by_id: dict[str, Record] = {}
        self.by_key: dict[Key, Record] = {}
        self._asked: Sequence[Mapping[str, Any]] = ()
        self._missing = set[str]()
        self._reserved: dict[Key, str] = {}

    def look_up(self, rows: Collection[Pending], others: Sequence[Mapping[str, Any]] = ()) -> None:
        """Find the records that may be these rows; where names are not unique, rows with a link have theirs."""
        unlinked = [row for row in rows if self.target.unique_names or row.target_id is None]
        self._asked = [*map(fields_of, unlinked), *others]
        self.by_id, self.by_key = {}, {}
        self._find(self._asked)

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
        for record in sorted(found, key=lambda record: self.id_of(record) not in self.links):
            self.by_id[self.id_of(record)] = self.by_key[self.key_of(record)] = record

    def reserve(self, source_id: str, attempts: Iterable[Mapping[str, Any]]) -> None:
        """Leave what interrupted creates of this record may have made to the run that resolves them."""
        self._reserved |= {self.key_of(fields): source_id for fields in attempts}

    def sketch(self) -> Self:
        """A copy to try things out on."""
        other = copy(self)
        other.links, other.by_id, other.by_key = self.links.copy(), self.by_id.copy(), self.by_key.copy()
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

    def former_owner(self, record: Record) -> Known | None:
        """The source record that a record is linked to, when that is deleted."""
        owner = self.links.get(self.id_of(record))
        if owner is None:
            return None
        known = self._session.ledger(self._spec).lookup([owner]).get(owner)
        return known if known is not None and (known.deleted_at is not None or owner in self._gone) else None

    def own(self, row: Pending) -> Record | None:
        """The record the row is linked to, while it exists; where names are not unique, it is believed to."""
        if row.target_id is None:
            return None
        believed = None if self.target.unique_names else {self.id_name: row.target_id}
        return self.by_id.get(row.target_id, believed)

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
        if owner is None:
            return f"{noun} {target_id}, which is linked to no {what}"
        if self.former_owner(record):
            fix = f"rename it in {self.target.label} to free the name"
            return f"{noun} {target_id}, which is left from the deleted {what} {owner}: {fix}"
        return f"{noun} {target_id}, which is linked to the {what} {owner}"


def _hashable(value: Any) -> Any:
    """A list or an object as text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS) if value and isinstance(value, list | dict) else value


def fields_of(row: Pending | Known) -> dict[str, Any]:
    """The fields a record wants at the target."""
    fields: dict[str, Any] = orjson.loads(row.fields)
    return fields


@dataclass(frozen=True, slots=True)
class Chain:
    """Rows each of which wants the name of the next one's record: to be delivered from the last to the first."""

    rows: list[Pending]
    cycle: list[Pending]
    """Those at the end of ``rows`` whose names go round: the last wants the name of the first of these."""


def chain_of(directory: Directory, pending: Mapping[str, Pending], row: Pending) -> Chain:
    """The row, and what has to be delivered before it."""
    rows, place = [row], {row.source_id: 0}
    while (before := _giving_up(directory, pending, rows[-1])) is not None:
        if before.source_id in place:
            return Chain(rows, rows[place[before.source_id] :])
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


def foresee(directory: Directory, pending: Mapping[str, Pending]) -> dict[str, Prospect]:
    """What delivering these rows would come to if the target refused nothing but names that are taken."""
    directory, rest = directory.sketch(), dict(pending)
    prospects: dict[str, Prospect] = {}
    for source_id in pending:
        if source_id not in rest:
            continue
        chain = chain_of(directory, rest, rest[source_id])
        if chain.cycle and (own := directory.own(chain.cycle[0])):
            name = directory.target.key[0]
            parked = parked_name(str(own[name]), directory.id_of(own), directory.target.longest_name)
            directory.put({**own, name: parked})
        for row in reversed(chain.rows):
            prospects[row.source_id] = _prospect(directory, rest.pop(row.source_id))
    return prospects


def _prospect(directory: Directory, row: Pending) -> Prospect:
    own, fields = directory.own(row), fields_of(row)
    if own is not None:
        if directory.holder(row) is not None:
            return "refuse"
        directory.put({**own, **{name: fields.get(name) for name in directory.target.key}})
        return "update"
    if (found := directory.adoptable(row)) is not None:
        directory.links[directory.id_of(found)] = row.source_id
        return "adopt"
    if directory.holder(row) is not None:
        return "refuse"
    made = fields | {directory.id_name: f"new {directory.target.noun} of {row.source_id}"}
    directory.put(made)
    directory.links[directory.id_of(made)] = row.source_id
    return "create"


class RenameCycle:
    """The rows of one cycle, with the records and names they had; empty when no names go round."""

    def __init__(self, session: Session, spec: EntitySpec, directory: Directory, rows: list[Pending]) -> None:
        self._session, self._spec, self._directory = session, spec, directory
        self._ledger = session.ledger(spec)
        self._rows, self._name = rows, directory.target.key[0]
        owned = ((row.source_id, directory.own(row)) for row in rows)
        self._before = {key: (directory.id_of(record), str(record[self._name])) for key, record in owned if record}
        self._renamed: list[Pending] = []

    @property
    def parked(self) -> Pending:
        """The row whose record waits under a temporary name."""
        return self._rows[0]

    def open(self) -> None:
        """Free the first name. Raises RejectedRecord when the target refuses it; nothing is changed then."""
        target_id, name = self._before[self.parked.source_id]
        try:
            self._write(self.parked, target_id, parked_name(name, target_id, self._directory.target.longest_name))
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
            target_id, name = self._before[row.source_id]
            key = self._directory.key_of({**self._directory.by_id[target_id], self._name: name})
            if key not in self._directory.by_key:
                self.rename(row, target_id, name)
        return renamed

    def rename(self, row: Pending, target_id: str, name: str) -> None:
        """Give a record its old name back and note what it is now; one that refuses stays unchanged."""
        try:
            self._write(row, target_id, name)
        except RejectedRecord:
            return
        if (record := self._directory.by_id.get(target_id)) is not None:
            self._observe(row, canonical_target(self._spec, record)[1])

    def _observe(self, row: Pending, found: str | None) -> None:
        self._ledger.observe_target([(row.source_id, found)], draw(self._session.store))

    def _write(self, row: Pending, target_id: str, name: str) -> None:
        # Forgotten first: should we die in between, the row is still pending.
        self._ledger.forget_delivered(row.source_id, keep_link=True)
        record = self._session.call(self._directory.target.update, target_id, {self._name: name})
        if record is not None:
            self._directory.put(record)
