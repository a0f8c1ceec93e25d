"""References: whether what a record points at exists, and whether it has been delivered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple

import orjson

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.mapping.json_types import id_or_none
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.mapping.values import value_at
from sync_pipeline.session.session import Session
from sync_pipeline.stages.problems import note
from sync_pipeline.store.references import NOT_DELIVERED, NOT_THERE, Reference, referenced, referenced_ids
from sync_pipeline.store.staged_missing import StagedMissing

if TYPE_CHECKING:
    import pandas as pd

State = Literal["delivered", "waiting", "rejected", "missing"]
FETCH_LIMIT = 5
"""Up to this many unknown ids are looked up one by one; above it the whole list is the cheaper read."""
REMEMBERED = 10_000
"""Above so many states those of delivered records are dropped, and looked up again."""


class References:
    """Checks the reference fields of one entity, part by part; the states of most ids are kept for the next part."""

    def __init__(self, session: Session, spec: EntitySpec) -> None:
        self._session, self._spec = session, spec
        self._states: dict[str, dict[str, State]] = {entity: {} for entity in spec.references.values()}

    def mark(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with a ``waiting_for`` column.

        A row whose reference exists but has not been delivered yet is ``waiting``: ``waiting_for`` lists
        ``[entity, id]`` pairs as JSON, and the load delivers those first. One whose reference was rejected waits with
        that rule, and a problem that says so. One whose reference no longer exists at the source is delivered all
        the same, with the bare id and a problem that warns - or waits for it, where the target takes no unknown id.
        """
        waiting: dict[int, list[list[str]]] = {}
        accepted = frame["status"] == "accepted"
        frame = frame.copy()
        for name, entity in self._spec.references.items():
            column = frame[self._spec.field(name).column]
            ids = column[accepted].dropna().unique()
            self._learn(entity, ids)
            states = self._states[entity]
            if all(states[source_id] == "delivered" for source_id in ids):
                continue
            state = column.map(states)
            rejected, missing = accepted & (state == "rejected"), accepted & (state == "missing")
            waits = accepted & state.isin(["waiting", "rejected"])
            frame = _hold(frame, rejected, name, NOT_DELIVERED, undelivered(entity))
            unknown = f"the source does not have this one of the {entity}"
            if takes_unknown_ids(self._session, self._spec):
                frame = note(frame, missing, name, NOT_THERE, f"{unknown}; delivered with its bare id")
            else:
                message = f"{unknown}; waits for it, since the target takes no unknown id"
                frame, waits = _hold(frame, missing, name, NOT_THERE, message), waits | missing
            for position in waits.to_numpy().nonzero()[0]:
                waiting.setdefault(int(position), []).append([entity, str(column.iloc[position])])
        frame["waiting_for"] = _waiting_column(len(frame), waiting)
        mask = frame["waiting_for"].notna() & (frame["status"] == "accepted")
        frame.loc[mask, "status"] = "waiting"
        return frame

    def _learn(self, entity: str, ids: Iterable[str]) -> None:
        states = self._states[entity]
        if len(states) > REMEMBERED:
            states = self._states[entity] = {key: state for key, state in states.items() if state != "delivered"}
        # The bare id of a forgotten person is delivered: there is no record left to wait for.
        states |= {source_id: "delivered" for source_id in ids if self._session.forgotten.knows(source_id)}
        asked = [source_id for source_id in ids if source_id not in states]
        if not asked:
            return
        known = self._session.ledger(entity).lookup(asked)
        for source_id, record in known.items():
            if record.is_delivered:
                states[source_id] = "delivered"  # also one that is deleted at the source and kept at the target
            elif record.deleted_at is None:
                states[source_id] = "waiting"
        missing = [source_id for source_id in asked if source_id not in states]
        if missing:
            found = find(self._session, self._session.specs[entity], missing)
            exist = found.records.keys() | found.unread  # those may: what refers to them waits for the next read
            states |= {source_id: "waiting" if source_id in exist else "missing" for source_id in missing}
        waiting = [source_id for source_id in asked if states[source_id] == "waiting"]
        rejected = self._session.ledger(entity).rejects.origins(waiting)
        states.update(dict.fromkeys(rejected, "rejected"))


def undelivered(entity: str) -> str:
    """Why a record waits for one of another entity that exists."""
    return f"waits for this one of the {entity}, which cannot be delivered itself"


def takes_unknown_ids(session: Session, spec: EntitySpec) -> bool:
    """Whether the target takes a record that refers to one it does not have."""
    return session.target(spec).takes_unknown_ids


def kept(session: Session, spec: EntitySpec, ids: Collection[str]) -> set[str]:
    """Those of these records that stay at the target although they are deleted at the source: others refer to them."""
    if spec.target.delete != "unreferenced" or not ids:
        return set()
    return referenced(session.store, session.pair, _referrers(session, spec), ids)


def mark_kept(session: Session, spec: EntitySpec, missing: StagedMissing) -> None:
    """Note which of the missing records stay at the target for that reason."""
    if spec.target.delete == "unreferenced" and missing.total:
        missing.keep(referenced_ids(session.store, session.pair, _referrers(session, spec)))


def _referrers(session: Session, spec: EntitySpec) -> list[Reference]:
    """The fields that refer to records of the entity; those of entities that are switched off count as well: they may be at the target."""
    specs = specs_of(session.settings).values()
    return [Reference(s.entity, name) for s in specs for name, entity in s.references.items() if entity == spec.entity]


def _hold(frame: pd.DataFrame, mask: pd.Series[bool], name: str, rule: str, message: str) -> pd.DataFrame:
    """The frame with one more problem on the masked rows, which wait under that rule."""
    frame = note(frame, mask, name, rule, message)
    frame.loc[mask, "rule"] = rule
    return frame


class Found(NamedTuple):
    """Records that were looked up, by their ids."""

    records: dict[str, Record]
    numbers: dict[str, int]
    """Of the reads of those that were read by id; the others are from a list."""
    unread: frozenset[str]
    """Those that a list may show in an older state, and that are more than a run may read by id."""


def find(session: Session, spec: EntitySpec, ids: Iterable[str]) -> Found:
    """The records with these ids: looked up one by one when few, else out of the list; missing ones left out.

    A list may lag behind reads by id of the last minutes: what these found is read by id again, as far as a run may.
    """
    wanted, by_id = set(ids), set[str]()
    if session.can_fetch(spec):
        by_id = wanted if len(wanted) <= FETCH_LIMIT else session.ledger(spec).lately_read_by_id(wanted)
    most = max(FETCH_LIMIT, session.settings.max_confirmations)
    found = listed(session, spec, wanted - by_id) if wanted - by_id else {}
    read = {key: session.fetch_numbered(spec, key) for key in sorted(by_id)[:most]}
    found |= {key: record for key, (record, _) in read.items() if record is not None}
    return Found(found, {key: number for key, (_, number) in read.items()}, frozenset(by_id - read.keys()))


def listed(session: Session, spec: EntitySpec, ids: Iterable[str], window: Window | None = None) -> dict[str, Record]:
    """Those of these records that a complete list of the entity (or of the window) holds, by id."""
    return among(session.read(spec, window), spec, set(ids))


def among(pages: Iterable[list[Record]], spec: EntitySpec, wanted: Collection[str]) -> dict[str, Record]:
    """Those of these records that the pages of a read hold, by id."""
    return {key: row for page in pages for key, row in keyed(page, spec) if key in wanted}


def keyed(rows: Iterable[Record], spec: EntitySpec) -> Iterator[tuple[str, Record]]:
    """The records that have an id, each with it, however long: one that was delivered before ids had a limit exists."""
    for row in rows:
        if (key := id_or_none(value_at(row, spec.source.id_path), longest=inf)) is not None:
            yield key, row


def _waiting_column(length: int, waiting: dict[int, list[list[str]]]) -> pd.api.extensions.ExtensionArray:
    from sync_pipeline.mapping.columns import text_series

    values = [orjson.dumps(waiting[row]).decode() if row in waiting else None for row in range(length)]
    return text_series(values).array
