"""Records as console and terminal show them: the search, and one record with both its sides, its history and its pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from sync_pipeline.mapping.spec import EntitySpec, Field
from sync_pipeline.serving import is_local
from sync_pipeline.session.session import Session
from sync_pipeline.store.history import RecordHistory
from sync_pipeline.store.record_search import PAGE, RecordQuery, RecordRow, RecordsFound, rows_of, search_records
from sync_pipeline.store.records import TOMBSTONE
from sync_pipeline.store.rejects import StoredReject

HISTORY = 200


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
    if record is None or record.fields_hash == TOMBSTONE:
        return RecordDetails(row, (), "", why, history, pages_of(session, spec, row))
    wanted = json.loads(record.fields)
    there = _there(record.delivered_hash, record.fields_hash, ledger.delivered_fields(source_id), wanted)
    kind = "unknown" if there is None else "same" if record.delivered_hash == record.fields_hash else "differs"
    kind = "absent" if record.delivered_hash is None else kind
    return RecordDetails(row, _pairs(spec, wanted, there), kind, why, history, pages_of(session, spec, row))


def pages_of(session: Session, spec: EntitySpec | None, row: RecordRow) -> dict[str, str]:
    """The addresses of a record's pages at both vendors; none where a system is a server on this machine."""
    if spec is None or not spec.pages:
        return {}
    settings = session.settings
    sides = {spec.source.system: row.source_id, spec.target.system: row.target_id}
    vendors = {"clockify": "clockify", "snapshots": settings.snapshots_profile}
    bases = {"clockify": settings.clockify_base_url, "snapshots": settings.snapshots_base_url}
    found: dict[str, str] = {}
    for system, key in sides.items():
        template = spec.pages.get(vendors.get(system, system), "")
        if key and template and not is_local(urlsplit(bases.get(system, "")).netloc):
            named = {"id": key, "workspace": settings.clockify_workspace_id, "account": settings.snapshots_account}
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
