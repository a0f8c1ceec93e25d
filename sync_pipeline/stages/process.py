"""Process: from raw records to rows of a staging; mapped, checked, without clashes, with their references resolved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import pandas as pd

from sync_pipeline.connectors.paging import Record
from sync_pipeline.mapping.apply import map_frame, resolve_links
from sync_pipeline.mapping.canonical import canonical_rows
from sync_pipeline.mapping.checks import check_frame
from sync_pipeline.mapping.columns import text_list
from sync_pipeline.mapping.frames import raw_frame
from sync_pipeline.mapping.spec import EntitySpec, Field
from sync_pipeline.session.session import Session
from sync_pipeline.stages.problems import note, reject, rejects_of
from sync_pipeline.stages.references import References
from sync_pipeline.store.records import BEFORE_SWITCH_ON, LEFT_ALONE
from sync_pipeline.store.references import NOT_DELIVERED
from sync_pipeline.store.rejects import UNKNOWN_OUTCOME, Reject
from sync_pipeline.store.staged import StagedRow

_TEXTS = ("source_id", "partition", "status", "rule", "waiting_for", "source_hash", "record_label", "record_facts")


class Process:
    """Processes the records of one entity, part by part."""

    def __init__(self, session: Session, spec: EntitySpec, clashes: Clashes) -> None:
        self._session, self._spec, self._clashes = session, spec, clashes
        self._references = References(session, spec)
        self._unlinked: dict[str, frozenset[str]] = {}

    def __call__(self, raw: pd.DataFrame) -> pd.DataFrame:
        """A raw frame as a checked one; ``source_hash`` is missing where there is more to say of a record than its fields."""
        linked = resolve_links(self._spec, map_frame(self._spec, raw), self._linked)
        frame = check_frame(self._spec, linked, start_date=self._session.settings.start_date)
        frame = self._references.mark(self._clashes.mark(frame))
        if self._spec.target.once:
            frame = leave_made(self._session, self._spec, self._wait_for_links(frame))
        is_fine = (frame["status"] == "accepted") & frame["problems"].isna()
        frame["source_hash"] = raw["source_hash"].reset_index(drop=True).where(is_fine)
        frame["record_facts"] = frame["record_facts"].where(frame["status"] != "excluded")
        if not has_label(self._session, self._spec):
            frame["record_label"] = None
        return frame

    def _linked(self, entity: str, values: list[str]) -> dict[str, str]:
        if not points_forward(self._session, self._spec, entity):
            return self._session.ledger(entity).owners(values, existing=True)
        found = self._session.ledger(entity).target_ids(values)
        self._unlinked[entity] = self._unlinked.get(entity, frozenset()) | {*values} - found.keys()
        return {value: found.get(value, value) for value in values}  # the others wait

    def _wait_for_links(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame; a row waits while the record that it is linked to is not at the target yet."""
        for name, entity in self._spec.links.items():
            column = frame[self._spec.field(name).column]
            waits = (frame["status"] == "accepted") & column.isin(self._unlinked.get(entity, ()))
            frame = note(
                frame, waits, name, NOT_DELIVERED, f"waits for this one of the {entity}, which is not at the target"
            )
            frame.loc[waits, ["status", "rule"]] = ["waiting", NOT_DELIVERED]
        return frame


def points_forward(session: Session, spec: EntitySpec, entity: str) -> bool:
    """Whether a link to this entity is by the id that its records have at the source, and gives that at the target."""
    return spec.target.once and session.spec(entity).source.system == spec.source.system


def leave_made(session: Session, spec: EntitySpec, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with the rows marked that need nothing: what was made is not changed, even if it was removed or its source changed.

    Records that existed before the automation was switched on are left alone, and so is what may have been made until a
    person decides. Where it was not switched on for these accounts, everything that the first sync finds counts as existing before.
    """
    ledger = session.ledger(spec)
    known = ledger.lookup(frame["source_id"].dropna().unique())
    unknown = {*ledger.rejects.rejected_by(UNKNOWN_OUTCOME)}
    made = {key for key, one in known.items() if one.target_id or (one.refused_hash and key in unknown)}
    left = {key: one.excluded_rule for key, one in known.items() if one.excluded_rule in LEFT_ALONE and key not in made}
    if not ledger.loads.any_newer(-1):
        left = {key: BEFORE_SWITCH_ON for key in frame["source_id"].dropna() if key not in made} | left
    if not made and not left:
        return frame
    frame = frame.copy()
    is_made, rules = frame["source_id"].isin(made), frame["source_id"].map(left)
    frame.loc[is_made, ["status", "rule"]] = ["former", None]
    frame.loc[rules.notna(), "status"] = "excluded"
    frame["rule"] = frame["rule"].where(rules.isna(), rules)
    frame.loc[is_made | rules.notna(), ["problems", "waiting_for"]] = None
    return frame


def has_label(session: Session, spec: EntitySpec) -> bool:
    """Whether labels of the entity's records are stored."""
    return spec.label is not None and (session.settings.personal_labels or not spec.label.personal)


def mapped(spec: EntitySpec, parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Raw frames mapped, one at a time."""
    return (map_frame(spec, raw) for raw in parts)


def processed_rows(session: Session, spec: EntitySpec, records: Iterable[Record]) -> list[StagedRow]:
    """Records as rows to stage; nothing is written."""
    return staged_rows(spec, process_frame(session, spec, records))


def process_records(
    session: Session,
    spec: EntitySpec,
    records: Iterable[Record],
    ids: Sequence[str],
    *,
    read_no: int,
    run_id: str | None,
) -> list[StagedRow]:
    """Records, read under numbers up to ``read_no``, as rows to stage; what is wrong with them becomes all rejects of ``ids``."""
    frame = process_frame(session, spec, records)
    rejects = reject_problems(frame)
    stored = session.ledger(spec).rejects
    stored.replace(None, rejects, run_id, session.now(), source_ids=ids, read_no=read_no)
    return staged_rows(spec, frame)


def staged_rows(spec: EntitySpec, frame: pd.DataFrame) -> list[StagedRow]:
    """A checked frame as rows to stage; a row without an id cannot be staged and is in the rejects only."""
    columns: list[Any] = [text_list(frame[name]) for name in _TEXTS]
    return [
        StagedRow(source_id, partition, fields.decode(), digest, *others)
        for (fields, digest), source_id, partition, *others in zip(canonical_rows(spec, frame), *columns, strict=True)
        if source_id is not None
    ]


def is_wanted(row: StagedRow) -> bool:
    """Whether the record should be at the target; not so one that waits for another that was rejected."""
    return row.status == "accepted" or (row.status == "waiting" and row.rule is None)


def is_ready(row: StagedRow, delivered: Collection[tuple[str, str]]) -> bool:
    """Whether a row waits only for these records, pairs of entity and id."""
    is_linked = row.waiting_for is not None or row.rule is None  # else a link is missing in its fields
    return is_linked and all((entity, key) in delivered for entity, key in awaited(row))


def awaited(row: StagedRow) -> list[list[str]]:
    """The records a row waits for, as [entity, id]."""
    found: list[list[str]] = orjson.loads(row.waiting_for) if row.waiting_for else []
    return found


def reject_problems(frame: pd.DataFrame) -> Iterator[Reject]:
    """What is wrong with the records of a checked frame, one by one."""
    return (found for _, found in rejects_of(frame))


def process_frame(session: Session, spec: EntitySpec, records: Iterable[Record]) -> pd.DataFrame:
    """Records as a checked frame; nothing is written."""
    raw = raw_frame(spec, records)
    clashes = Clashes(session, spec, mapped(spec, [raw]), is_whole=False)
    return Process(session, spec, clashes)(raw)


PERSONAL = "(personal)"
"""Shown instead of a personal value."""
SENT = ("accepted", "waiting")
SCOPE = "\0"
"""Between a value and that of its scope."""
SHOWN_SHARING = 3
"""Records with one id that a message names."""
SHOWN_CHARACTERS = 100


class Clashes:
    """Marks records that share an id with a different record, or a unique field with any other.

    A name has to be unique only within the scope in which the target allows it once. Of records that want the same unique
    value, the one that has it at the target already keeps it; all others are rejected. They are never merged.
    """

    def __init__(
        self,
        session: Session,
        spec: EntitySpec,
        mapped: Iterable[pd.DataFrame],
        conflicts: Iterable[str] = (),
        *,
        is_whole: bool = True,
    ) -> None:
        """``mapped`` is walked when the entity has such values, and only then; unless it is the whole batch, names may be shared."""
        self._session, self._spec = session, spec
        self._conflicts = frozenset(conflicts)
        self._unique = [(field_, _scope(session, spec, field_)) for field_ in unique_fields(spec) if is_whole]
        self._counts: dict[str, Counter[Any]] = {field_.name: Counter() for field_, _ in self._unique}
        self._shared: dict[str, list[str]] = {}
        if self._unique or not spec.is_known_by_source_id:
            self._count(mapped)

    def _count(self, mapped: Iterable[pd.DataFrame]) -> None:
        first: dict[str, str] = {}
        for frame in mapped:
            wanted = frame[frame["rule"].isna()]
            for field_, scope in self._unique:
                self._counts[field_.name].update(_within(wanted, field_, scope).dropna())
            if not self._spec.is_known_by_source_id:
                self._share(wanted, first)

    def _share(self, frame: pd.DataFrame, first: dict[str, str]) -> None:
        """Note the ids at the target that a mapping gives to several records, and some of these records."""
        column = self._spec.field(self._spec.target.id).column
        some = frame[frame["source_id"].notna() & frame[column].notna()]
        for source_id, value in zip(some["source_id"], some[column].astype(str), strict=True):
            if first.setdefault(value, source_id) != source_id:
                named = self._shared.setdefault(value, [first[value]])
                named += [source_id] if len(named) < SHOWN_SHARING and source_id not in named else []

    def mark(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with clashing rows rejected under the rule ``unique_ids``."""
        if self._conflicts:
            mask = frame["source_id"].isin(self._conflicts)
            frame = reject(frame, mask, "source_id", "unique_ids", "two different records came under this id")
        for field_, scope in self._unique:
            values = _within(frame, field_, scope)
            taken = {value for value, count in self._counts[field_.name].items() if count > 1}
            clashing = values.isin(taken) & frame["source_id"].notna() & (frame["status"] != "excluded")
            holders = self._holders(
                dict(zip(frame["source_id"][clashing], values[clashing], strict=True)), field_, scope
            )
            mask = clashing & ~frame["source_id"].isin(holders)
            for value in values[mask].unique():
                same = mask & (values == value)
                shown = _shown(field_, frame[field_.column][same].iloc[0])
                also = "".join(f", and the same {each.name}" for each in scope)
                message = f"another record has the same {field_.name}, {shown}{also}; give each its own"
                frame = reject(frame, same, field_.column, "unique_ids", message)
        return frame if self._spec.is_known_by_source_id else self._reject_shared(frame)

    def _holders(self, wanted: dict[str, Any], field_: Field, scope: Sequence[Field]) -> list[str]:
        """Those of the clashing records, with the values they want, that have theirs at the target already.

        One that was changed there since - which a repair is about to undo - counts too, where no other claims the value.
        """
        known = self._session.ledger(self._spec).lookup(wanted)
        having = [
            record
            for key, record in known.items()
            if record.is_delivered
            and record.refused_hash != record.fields_hash  # the target gave it to another one
            and _value_within(orjson.loads(record.fields), field_, scope) == wanted[key]
        ]
        exact = {record.source_id for record in having if record.delivered_hash == record.fields_hash}
        claims = Counter(wanted[record.source_id] for record in having)
        return [r.source_id for r in having if r.source_id in exact or claims[wanted[r.source_id]] == 1]

    def _reject_shared(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Reject the rows whose id at the target is also another record's, and return the frame without them.

        If they were sent, they would overwrite each other in every sync.
        """
        session, spec, shared = self._session, self._spec, self._shared
        field_ = spec.field(spec.target.id)
        wanted = frame[field_.column].astype(str).where(frame["status"].isin(SENT) & frame[field_.column].notna())
        taken = session.ledger(spec).owners(wanted.dropna().unique())
        owner = wanted.map(taken)
        clashing = (owner.notna() & (owner != frame["source_id"])) | (owner.isna() & wanted.isin(shared))
        for value in wanted[clashing].unique():
            same = clashing & (wanted == value)
            named = [taken[value], *frame.loc[same, "source_id"]] if value in taken else shared[value]
            message = (
                f"{' and '.join(named[:SHOWN_SHARING])} have the same {field_.name}, {_shown(field_, value)}, and the"
            )
            message += " target knows one record by it; map it from what is different for each"
            frame = reject(frame, same, field_.column, "unique_ids", message)
        return frame


def unique_fields(spec: EntitySpec) -> list[Field]:
    """The fields besides the id that no two records may have the same value of."""
    others = (f for f in spec.fields if f.source != spec.source.id_path and f.name != spec.target.id)
    return [f for f in others if f.unique]


def _scope(session: Session, spec: EntitySpec, field_: Field) -> list[Field]:
    """The fields within whose values this one has to be unique: the rest of the target's key, where it is the name there.

    None where one of them is linked: its values are counted before they are looked up.
    """
    target = session.target(spec)
    if not target.assigns_ids or not target.unique_names or target.key[0] != field_.name:
        return []
    rest = [f for f in spec.fields if f.name in target.key[1:]]
    return [] if any(f.link for f in rest) else rest


def _within(frame: pd.DataFrame, field_: Field, scope: Sequence[Field]) -> pd.Series[Any]:
    """The values of a field that have to be unique, each with those of its scope."""
    values = frame[field_.column]
    for each in scope:
        values = values.astype("string") + SCOPE + frame[each.column].astype("string").fillna("")
    return values


def _value_within(fields: Mapping[str, Any], field_: Field, scope: Sequence[Field]) -> Any:
    """The same, of the fields of one record."""
    value = fields.get(field_.name)
    return SCOPE.join([str(value), *(str(fields.get(each.name) or "") for each in scope)]) if scope else value


def _shown(field_: Field, value: object) -> str:
    """A value as a reason may quote it."""
    return PERSONAL if field_.personal else repr(str(value)[:SHOWN_CHARACTERS])
