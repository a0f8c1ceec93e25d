"""Records as console and terminal show them: the search, and one record with both its sides, its history and its pages."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.registry import address_of, page_names
from sync_pipeline.mapping.spec import EntitySpec, Field
from sync_pipeline.serving import is_local
from sync_pipeline.session.session import Session
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.history import RecordHistory
from sync_pipeline.store.record_search import PAGE, RecordQuery, RecordRow, RecordsFound, rows_of, search_records
from sync_pipeline.store.records import TOMBSTONE
from sync_pipeline.store.rejects import StoredReject

HISTORY = 200
WAIT_SECONDS = 20.0
"""How long a comparison waits for both systems."""


@dataclass(frozen=True, slots=True)
class FieldPair:
    """One mapped field: what the source wants, and what is at the target as it was last sent."""

    name: str
    source: str
    """The path in the source record; "" for a constant."""
    wanted: Any
    there: Any
    differs: bool


@dataclass(frozen=True, slots=True)
class RecordDetails:
    """One record."""

    row: RecordRow
    fields: tuple[FieldPair, ...]
    target: str
    """What is known of the target: ``same``, ``differs``, ``absent`` or ``unknown``; "" when the record is not stored."""
    why: tuple[StoredReject, ...]
    history: RecordHistory
    pages: Mapping[str, str]
    """System to the record's page there, as far as there is one."""
    can_fetch: bool = False
    """Whether the source can read this one record."""

    @property
    def is_unaccepted(self) -> bool:
        """Whether the source has a version that no check has accepted: the fields are those of the last accepted one."""
        return any(one.origin == "check" for one in self.why)


@dataclass(frozen=True, slots=True)
class RecordNow:
    """One record as both systems have it at this moment; nothing of it is stored."""

    source: Record | None
    """As it was read; None when it does not exist there, or cannot be read by its id."""
    target: Record | None
    fields: tuple[FieldPair, ...]
    """What the source wants beside what the target has; empty when the record is not to be delivered."""
    note: str
    """What the two say in one sentence."""


def compare_now(setup: SetupService, entity: str, source_id: str) -> RecordNow:
    """Read one record on both sides, for one request each; SyncError when no answer comes soon."""
    from sync_pipeline.mapping.canonical import canonical_targets, differences
    from sync_pipeline.stages.process import is_wanted, processed_rows  # late: pandas takes half a second to import

    with setup.session(replace(setup.settings(), max_attempts=1)) as session:
        session.until = monotonic() + WAIT_SECONDS
        spec, known = session.spec(entity), session.ledger(entity).lookup([source_id]).get(source_id)
        raw = session.fetch(spec, source_id) if session.can_fetch(spec) else None
        rows = processed_rows(session, spec, [raw]) if raw is not None else []
        wanted = next((json.loads(row.fields) for row in rows if is_wanted(row)), None)
        target_id = known.target_id if known is not None else None
        there = session.call(session.target(spec).get, target_id or source_id) if target_id or raw is not None else None
        observed = json.loads(canonical_targets(spec, [there])[0][0]) if there is not None else {}
        pairs = _pairs(spec, wanted, observed) if wanted is not None else ()
        differing = {name for name, _, _ in differences(spec, wanted or {}, observed)}
        fields = tuple(
            replace(pair, differs=pair.name in differing)
            for pair in pairs
            if pair.source or pair.name in (wanted or {})
        )
        return RecordNow(raw, there, fields, _said(session.can_fetch(spec), raw, there, wanted, differing))


def _said(can_fetch: bool, raw: Record | None, there: Record | None, wanted: object, differing: Collection[str]) -> str:
    if not can_fetch:
        return "The source cannot read a single record by its id; this is what the target has."
    if raw is None:
        return f"It does not exist at the source{', but at the target' if there is not None else ' and not at the target'}."
    if wanted is None:
        return "It is not delivered in its current state: a check rejects it, a rule excludes it, or it waits for another record."
    if there is None:
        return "It does not exist at the target; the next sync delivers it."
    if not differing:
        return "Both sides are the same."
    return f"{len(differing)} {'field differs' if len(differing) == 1 else 'fields differ'} between both sides."


def find_records(
    session: Session, *, entity: str = "", offset: int = 0, limit: int = PAGE, most: int = 0, **wanted: str
) -> RecordsFound:
    """A page of the records of an entity, or of all; ``wanted`` are fields of RecordQuery."""
    entities = [entity] if entity else list(session.specs)
    query = RecordQuery(entities=entities, emails=_emails(session), **wanted)
    counting = {"most": most} if most else {}
    return search_records(session.store, session.pair, query, offset=offset, limit=limit, **counting)


def record_details(session: Session, entity: str, source_id: str) -> RecordDetails | None:
    """One record with everything that is known of it; None when that is nothing."""
    ledger = session.ledger(entity)
    record = ledger.lookup([source_id]).get(source_id)
    history = ledger.history.of_record(record, source_id, HISTORY)
    why = tuple(ledger.rejects.show(source_id))
    if record is None and not history.happenings and not why:
        return None
    (row,) = rows_of(session.store, session.pair, [(entity, source_id)])
    spec = session.specs.get(entity)
    pages, can_fetch = pages_of(session, spec, row), spec is not None and session.can_fetch(spec)
    if record is None or record.fields_hash == TOMBSTONE:
        return RecordDetails(row, (), "", why, history, pages, can_fetch)
    wanted = json.loads(record.fields)
    there = _there(record.delivered_hash, record.fields_hash, ledger.delivered_fields(source_id), wanted)
    kind = "unknown" if there is None else "same" if record.delivered_hash == record.fields_hash else "differs"
    kind = "absent" if record.delivered_hash is None else kind
    return RecordDetails(row, _pairs(spec, wanted, there), kind, why, history, pages, can_fetch)


def pages_of(session: Session, spec: EntitySpec | None, row: RecordRow) -> dict[str, str]:
    """The addresses of a record's pages at both vendors; none where a system is a server on this machine."""
    if spec is None or not spec.pages:
        return {}
    sides = {spec.source.system: row.source_id, spec.target.system: row.target_id}
    names, found = page_names(session.settings), dict[str, str]()
    for system, key in sides.items():
        there = address_of(system, session.settings)
        template = spec.pages.get(there.vendor, "")
        if key and template and not is_local(urlsplit(there.base_url).netloc):
            named = {**names, "id": key}
            found[system] = template.format(**{name: quote(value or "", safe="") for name, value in named.items()})
    return found


def _there(
    delivered: str | None, wanted_hash: str, stored: str | None, wanted: dict[str, Any]
) -> dict[str, Any] | None:
    """The fields at the target; None when they are not known."""
    if delivered == wanted_hash:
        return wanted
    if delivered is None:
        return {}
    return json.loads(stored) if stored is not None else None


def _pairs(spec: EntitySpec | None, wanted: dict[str, Any], there: dict[str, Any] | None) -> tuple[FieldPair, ...]:
    fields: dict[str, Field] = {} if spec is None else {field.name: field for field in spec.fields}
    names = list(dict.fromkeys((*(name for name in fields if name in wanted), *wanted, *(there or ()))))
    found = []
    for name in names:
        now = None if there is None else there.get(name)
        differs = there is not None and wanted.get(name) != now
        source = fields[name].source_path if name in fields else ""
        found.append(FieldPair(name, source, wanted.get(name), now, differs))
    return tuple(found)


def _emails(session: Session) -> dict[str, Sequence[str]]:
    """The fields of each entity that hold e-mail addresses."""
    named = {
        name: [field.name for field in spec.fields if field.type == "email"] for name, spec in session.specs.items()
    }
    return {name: fields for name, fields in named.items() if fields}
