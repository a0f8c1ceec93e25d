"""Records of ours that exist at the target more than once: found by verify, removed by a repair that may delete.

They come from a create that was carried out although its answer was lost, at a target that refuses no second record and
did not show the first one in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import AssigningTarget
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages.claims import writing_alone
from sync_pipeline.store.comparison import Comparison, Copy


def copying_target(session: Session, spec: EntitySpec) -> AssigningTarget | None:
    """The target, when it may have copies."""
    target = session.target(spec)
    return target if target.assigns_ids and not target.unique_names else None


def copies_in(session: Session, spec: EntitySpec, comparison: Comparison) -> list[Copy]:
    """The copies that were read and still exist, as many as a run may read by their ids."""
    target = copying_target(session, spec)
    if target is None:
        return []
    found = comparison.copies(session.settings.max_confirmations)
    return [copy for copy in found if session.call(target.get, copy.target_id) is not None]


def remove_copies(session: Session, spec: EntitySpec, copies: Sequence[Copy]) -> int:
    """Keep the oldest record of each key, and remove the younger ones that we made; returns how many."""
    target = copying_target(session, spec)
    if target is None or not copies:
        return 0
    session.come_alive()
    with writing_alone(session, spec):
        try:
            return sum(_remove(session, spec, target, copy) for copy in copies)
        finally:
            session.ledger(spec).claims.give_back()


def _remove(session: Session, spec: EntitySpec, target: AssigningTarget, copy: Copy) -> int:
    """Whatever is kept is linked before the other one is removed, so that a crash in between loses nothing.

    A search may be outdated: each of them is read by its id, and counts only while it has the key.
    """
    ledger = session.ledger(spec)
    known = ledger.lookup([copy.source_id]).get(copy.source_id)
    if known is None or known.target_id != copy.linked_id or not ledger.claims.take([copy.source_id]):
        return 0
    fields = orjson.loads(known.fields)
    shown = {str(record[target.id_field]): record for record in session.call(target.find, [fields])}
    found = {key: record for key, record in shown.items() if _has_key(session.call(target.get, key), target, fields)}
    ours = [key for key, record in found.items() if key == copy.linked_id or target.is_own(record)]
    if copy.target_id not in ours or copy.linked_id not in ours:
        return 0
    oldest = ours[-1]
    younger = [key for key in (copy.target_id, copy.linked_id) if key != oldest and target.is_own(found[key])]
    if copy.linked_id in younger and not ledger.link(copy.source_id, oldest):
        return 0
    for key in younger:
        session.call(target.remove, key)
    return len(younger)


def _has_key(record: Record | None, target: AssigningTarget, fields: Mapping[str, Any]) -> bool:
    return record is not None and all(record.get(name) == fields.get(name) for name in target.key)
