"""References: whether what a record points at exists, and whether it has been delivered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import orjson
import pandas as pd

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.mapping.columns import text_series
from sync_pipeline.mapping.convert import id_or_none
from sync_pipeline.mapping.paths import value_at
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.problems import note, reject
from sync_pipeline.stages.session import Session
from sync_pipeline.store.records import lookup
from sync_pipeline.store.rejects import show

State = Literal["delivered", "waiting", "set_aside", "deleted", "unknown"]
DELETED_REFERENCE = "deleted_reference"
"""The rule under which records are set aside that point at what the source had once."""
SET_ASIDE = "waits_for_reject"
"""The rule of a record that waits for one that was set aside: no sync can deliver it as things are."""
FETCH_LIMIT = 5
"""Up to this many unknown ids are looked up one by one; above it the whole list is the cheaper read."""


class References:
    """Judges the reference fields of one entity, part by part; what it learns is kept for the next part."""

    def __init__(self, session: Session, spec: EntitySpec) -> None:
        self._session, self._spec = session, spec
        self._states: dict[str, dict[str, State]] = {entity: {} for entity in spec.references.values()}

    def mark(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with a ``waiting_for`` column; rows whose reference the source does not know are rejected.

        A row whose reference exists but has not been delivered yet is ``waiting``: ``waiting_for`` lists
        ``[entity, id]`` pairs as JSON, and the load delivers those first. One whose reference stands in the rejects
        waits as well, with a problem that says so.
        """
        waiting: dict[int, list[list[str]]] = {}
        accepted = frame["status"] == "accepted"
        for name, entity in self._spec.references.items():
            column = frame[self._spec.field(name).column]
            ids = column[accepted].dropna().unique()
            self._learn(entity, ids)
            states = self._states[entity]
            if all(states[source_id] == "delivered" for source_id in ids):
                continue
            state = column.map(states)
            unknown, deleted = accepted & (state == "unknown"), accepted & (state == "deleted")
            frame = reject(frame, unknown, name, "references", f"the source does not know this one of the {entity}")
            frame = reject(frame, deleted, name, DELETED_REFERENCE, f"this one of the {entity} was deleted")
            waits, aside = accepted & state.isin(["waiting", "set_aside"]), accepted & (state == "set_aside")
            message = f"waits for this one of the {entity}, which was set aside itself"
            frame = note(frame, aside, name, "references", message)
            if aside.any():
                frame.loc[aside, "rule"] = SET_ASIDE
            for position in waits.to_numpy().nonzero()[0]:
                waiting.setdefault(int(position), []).append([entity, str(column.iloc[position])])
        frame = frame.copy() if "waiting_for" not in frame else frame
        frame["waiting_for"] = _waiting_column(len(frame), waiting)
        mask = frame["waiting_for"].notna() & (frame["status"] == "accepted")
        frame.loc[mask, "status"] = "waiting"
        return frame

    def _learn(self, entity: str, ids: Iterable[str]) -> None:
        states = self._states[entity]
        asked = [source_id for source_id in ids if source_id not in states]
        if not asked:
            return
        known = lookup(self._session.store, self._session.connection, entity, asked)
        for source_id, record in known.items():
            if record.deleted_at is None:
                states[source_id] = "delivered" if record.is_delivered else "waiting"
        missing = [source_id for source_id in asked if source_id not in states]
        found = find(self._session, self._session.specs[entity], missing) if missing else {}
        for source_id in missing:
            absent: State = "deleted" if source_id in known else "unknown"
            states[source_id] = "waiting" if source_id in found else absent
        for source_id in asked:
            if states[source_id] == "waiting" and show(
                self._session.store, self._session.connection, entity, source_id
            ):
                states[source_id] = "set_aside"


def find(session: Session, spec: EntitySpec, ids: Iterable[str]) -> dict[str, Record]:
    """The records with these ids, by id: looked up one by one when few, else out of the list; missing ones left out."""
    wanted = set(ids)
    if len(wanted) <= FETCH_LIMIT and session.can_fetch(spec):
        found = {source_id: session.fetch(spec, source_id) for source_id in sorted(wanted)}
        return {source_id: record for source_id, record in found.items() if record is not None}
    return listed(session, spec, wanted)


def listed(session: Session, spec: EntitySpec, ids: Iterable[str], window: Window | None = None) -> dict[str, Record]:
    """Those of these records that a complete list of the entity (or of the window) holds, by id."""
    wanted = set(ids)
    rows = (row for page in session.read(spec, window) for row in page)
    keyed = ((id_or_none(value_at(row, spec.source.id_path)), row) for row in rows)
    return {key: row for key, row in keyed if key is not None and key in wanted}


def _waiting_column(length: int, waiting: dict[int, list[list[str]]]) -> pd.api.extensions.ExtensionArray:
    values = [orjson.dumps(waiting[row]).decode() if row in waiting else None for row in range(length)]
    return text_series(values).array
