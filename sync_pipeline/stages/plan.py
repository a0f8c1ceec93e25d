"""The plan: what a sync does with each record that is not unchanged. Nothing else decides what is written.

`preview` prints it, a sync executes it, and `apply` executes those of its lines that are left in a plan file. The store decides,
in one SQL expression over the staged batch and the ledger; only records whose names must be unique at the target, or that
may exist there under another id, are decided here, by comparison with the target.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import orjson

from sync_pipeline.connectors.ports import AssigningTarget
from sync_pipeline.mapping.canonical import differences
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages.references import kept
from sync_pipeline.stages.unique_names import NAME_TAKEN, Directory, plan_names
from sync_pipeline.store.approvals import Line
from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.planned import Action, Pending, Planned
from sync_pipeline.store.records import Absent, Known
from sync_pipeline.store.schema import UNKNOWN
from sync_pipeline.store.staging import Place, Staging

PAGE = 1000
UNCONFIRMED = "missing at the source, and no second read has proven that it is deleted"
REFUSED = "the target refused it in this form"
CHANGES_BYTES = 240
"""Room for the changed fields in a line of the audit, which has about 60 bytes more."""
UPDATES, REMOVALS = ("update", "restore", "rename"), ("delete", "archive")


@dataclass(frozen=True, slots=True)
class PlanLine:
    """One record, and what is to be done with it; ``fields`` maps each changed field to its values (before, after)."""

    source_id: str
    action: Action
    label: str | None = None
    reason: str = ""
    """Why it is held, waits or is rejected."""
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    hash_before: str | None = None
    """Last known to be at the target."""
    hash_after: str | None = None
    source_hash: str | None = None
    partition: str | None = None
    is_held: bool = False
    is_checked: bool = True
    """False for a record that its own checks rejected, or that is missing without proof: what to do with it is unknown."""

    @property
    def writes(self) -> bool:
        """Whether the target is changed, once nothing holds the record."""
        return self.action not in ("wait", "reject")


@dataclass(frozen=True, slots=True)
class Missing:
    """The records that a read did not return, by what is known of them."""

    deleted: AbstractSet[str] = frozenset()
    """Proven to be deleted."""
    unconfirmed: Collection[str] = ()
    """Neither proven to be deleted nor held."""
    held: Collection[str] = ()
    """Those whose delete is held."""


def pages(spec: EntitySpec, staging: Staging, size: int = PAGE) -> Iterator[list[Planned]]:
    """The accepted rows that are to be written now, in pages, in the order of their ids."""
    after = ""
    while rows := staging.pending(size, after, archives=archives(spec)):
        yield rows
        after = rows[-1].source_id


def claimed_pages(spec: EntitySpec, staging: Staging, place: Place | None = None) -> Iterator[list[Planned]]:
    """The same, each page claimed for this run, and with ``place`` marked as being sent."""
    return staging.claimed_pages(PAGE, place, archives=archives(spec))


def removals(session: Session, spec: EntitySpec, deleted: Collection[str], *, are_marked: bool = True) -> list[Known]:
    """The records to be deleted or archived at the target, of those that are ``deleted`` at the source."""
    if not deletes(spec) or not deleted:
        return []
    free = set(deleted) - kept(session, spec, deleted)
    return session.ledger(spec).pending_deletes(free, are_marked=are_marked)


def lines(session: Session, spec: EntitySpec, staging: Staging, missing: Missing) -> Iterator[PlanLine]:
    """The plan of a staged batch that is not merged yet: what a sync would do, record by record."""
    handed_over: set[str] = set()
    target = session.target(spec)
    if target.assigns_ids:
        yield from _assigned(session, spec, target, staging, missing, handed_over)
    else:
        for page in staging.planned(archives=archives(spec)):
            yield from (_line(spec, row, row.action) for row in page)
    for line in _removal_lines(session, spec, missing):
        if line.source_id not in handed_over:
            yield line


def _removal_lines(session: Session, spec: EntitySpec, missing: Missing) -> Iterator[PlanLine]:
    for some in chunks(missing.deleted, PAGE):
        yield from (_removal_line(spec, known) for known in removals(session, spec, some, are_marked=False))
    pending = session.ledger(spec).pending_deletes
    for some in chunks(missing.unconfirmed, PAGE):
        yield from (_removal_line(spec, known, is_confirmed=False) for known in pending(some, are_marked=False))
    for some in chunks(missing.held, PAGE):
        yield from (_removal_line(spec, known, is_held=True) for known in pending(some, are_marked=False))


def delete_lines(spec: EntitySpec, absent: Iterable[Absent]) -> list[Line]:
    """What an approval of these deletes is bound to."""
    action = delete_action(spec)
    return [Line(known.source_id, action, known.delivered_hash, None, known.partition) for known in absent]


def delete_action(spec: EntitySpec) -> Action:
    """The action at the target for a record that is deleted at the source."""
    return "archive" if archives(spec) else "delete"


def archives(spec: EntitySpec) -> bool:
    """Whether the target keeps what is deleted at the source, archived."""
    return spec.target.delete == "archive"


def deletes(spec: EntitySpec) -> bool:
    """Whether records that are deleted at the source are deleted - or archived - at the target at all."""
    return spec.target.delete != "keep"


def _assigned(
    session: Session,
    spec: EntitySpec,
    target: AssigningTarget,
    staging: Staging,
    missing: Missing,
    handed_over: set[str],
) -> Iterator[PlanLine]:
    """The lines for a target that assigns the ids; where names are unique, all rows are decided together."""
    directory = Directory(session, spec, target, deleted=missing.deleted)
    again = session.ledger(spec).rejects.rejected_by(NAME_TAKEN) if target.unique_names else ()
    together: list[Planned] = []
    for page in staging.planned(archives=archives(spec)):
        decided = [row for row in page if _is_decided_here(row, again)]
        keys = {row.source_id for row in decided}
        yield from (_line(spec, row, row.action) for row in page if row.source_id not in keys)
        if target.unique_names:
            together += decided
        else:
            yield from _lines_by_name(spec, directory, decided, handed_over)
    yield from _lines_by_name(spec, directory, together, handed_over)


def _is_decided_here(row: Planned, again: Collection[str]) -> bool:
    is_tried_again = row.action == "reject" and row.status != "rejected" and row.source_id in again
    return not row.is_held and (row.action not in ("wait", "reject") or is_tried_again)


def _lines_by_name(
    spec: EntitySpec, directory: Directory, rows: list[Planned], handed_over: set[str]
) -> Iterator[PlanLine]:
    if not rows:
        return
    pending: Mapping[str, Pending] = {row.source_id: row for row in rows}
    directory.look_up(pending.values())
    actions = plan_names(directory, pending)
    for row in rows:
        action = actions[row.source_id]
        if action == "adopt" and (record := directory.adoptable(row)) is not None:
            former = directory.former_owner(record)
            handed_over.update([former] if former is not None else ())
        yield _line(spec, row, _action(directory, row, action))


def _action(directory: Directory, row: Planned, action: str) -> Action:
    if action == "refuse":
        return "reject"
    if action == "adopt":
        return "adopt"
    if action == "create":
        return "create"
    if row.action == "restore":
        return "restore"
    own = directory.by_id.get(row.target_id or "")
    return "rename" if own is not None and directory.key_of(own) != directory.wanted(row) else "update"


def _line(spec: EntitySpec, row: Planned, action: Action) -> PlanLine:
    return PlanLine(
        row.source_id,
        action,
        row.label,
        _reason(row, action),
        _changed(spec, row, action),
        row.delivered_hash,
        row.fields_hash,
        row.source_hash,
        row.partition,
        row.is_held,
        row.status != "rejected",
    )


def _reason(row: Planned, action: Action) -> str:
    if action == "reject":
        return row.rule or ("rejected by its checks" if row.status == "rejected" else REFUSED)
    return row.rule or "" if action == "wait" else ""


def _changed(spec: EntitySpec, row: Planned, action: Action) -> dict[str, tuple[Any, Any]]:
    """The changed fields with their values before and after; of one that is new at the target, all."""
    if action in ("wait", "reject"):
        return {}
    after = orjson.loads(row.fields)
    if action not in UPDATES:
        return {name: (None, value) for name, value in after.items() if value is not None}
    before = orjson.loads(row.before) if row.before is not None else after
    return {name: (old, new) for name, new, old in differences(spec, after, before)}


def changes(spec: EntitySpec, row: Pending, after: Mapping[str, Any]) -> str | None:
    """What a write of the fields ``after`` changes, as JSON for the audit: values before and after, of personal fields null.

    None where that is unknown. At most ``CHANGES_BYTES`` long: values that do not fit are left out, then names.
    """
    if row.before is None or row.delivered_hash in (None, *UNKNOWN):
        return None
    personal = {field.name for field in spec.fields if field.personal}
    found = differences(spec, after, orjson.loads(row.before))
    shown = {name: None if name in personal else (old, new) for name, new, old in found}
    text = orjson.dumps(shown)
    while len(text) > CHANGES_BYTES:
        longest = max(shown, key=lambda name: len(orjson.dumps(shown[name])))
        if shown[longest] is None:
            shown.popitem()
        else:
            shown[longest] = None
        text = orjson.dumps(shown)
    return text.decode() if shown else None


def _removal_line(spec: EntitySpec, removal: Known, *, is_held: bool = False, is_confirmed: bool = True) -> PlanLine:
    return PlanLine(
        removal.source_id,
        delete_action(spec) if is_confirmed else "wait",
        removal.label,
        "" if is_confirmed else UNCONFIRMED,
        hash_before=removal.delivered_hash,
        partition=removal.partition,
        is_held=is_held,
        is_checked=is_confirmed,
    )
