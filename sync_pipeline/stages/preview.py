"""Preview: exactly what a sync would create, adopt, update and delete - and nothing is sent or remembered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, cast

import orjson

from sync_pipeline.connectors.ports import AssigningTarget
from sync_pipeline.mapping.canonical import differences
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages.absence import Absence, look_up_absent
from sync_pipeline.stages.assigned import clashes
from sync_pipeline.stages.batch import Counts, Days
from sync_pipeline.stages.check import CheckResult, Options, checked
from sync_pipeline.stages.deliver import kind_of
from sync_pipeline.stages.guards import HeldLines, Holding, deletes
from sync_pipeline.stages.process import is_wanted, processed_rows
from sync_pipeline.stages.references import kept
from sync_pipeline.stages.unique_names import Directory, foresee
from sync_pipeline.store.records import Known
from sync_pipeline.store.staged import StagedRow
from sync_pipeline.store.staging import Pending, Staging

Action = Literal["create", "adopt", "update", "delete", "unconfirmed"]
WRITES: dict[str, str] = {"create": "created", "adopt": "adopted", "update": "updated", "restore": "updated"}


@dataclass(frozen=True, slots=True)
class Change:
    """One write a sync would send; ``fields`` maps each changed field to its (present, future) values.

    ``unconfirmed`` is no change: the record is missing at the source, and no second read has proven yet that it was
    deleted. A ``held`` change is not sent until it is approved.
    """

    action: Action
    record: str
    fields: dict[str, tuple[Any, Any]]
    held: bool = False


@dataclass(slots=True)
class Preview:
    """What a sync of one entity would do."""

    entity: str
    counts: Counts
    checks: list[CheckResult]
    changes: list[Change] = field(default_factory=list)
    """The first of them; ``total`` is how many there are."""
    total: int = 0
    held: tuple[HeldLines, ...] = ()
    """What the guards hold of it."""

    @property
    def blocked(self) -> list[CheckResult]:
        """The checks that would block the load."""
        return [check for check in self.checks if check.blocks]


def preview(
    session: Session,
    spec: EntitySpec,
    days: Days | None,
    options: Options | None = None,
    *,
    keep: int | None = None,
    told: Callable[[Change], object] | None = None,
) -> Preview:
    """Read, map and check one entity, and compare it with what was delivered, as a sync with these options would.

    Of the changes the first ``keep`` are kept, or all of them; each is handed to ``told``.
    """
    options = options or Options()
    before = session.requests
    with checked(session, spec, days, options) as checking:
        staging, holding, statuses = checking.staging, checking.holding, checking.statuses.copy()
        absence = look_up_absent(session, spec, staging, holding)
        moved = processed_rows(session, spec, absence.moved.values()) if absence.moved else []
        statuses.update(row.status for row in moved)
        staging.add(moved)
        # Who waits is not counted apart, unless in vain: a sync delivers the awaited first.
        counts = Counts(extracted=sum(statuses.values()), rejected=statuses["rejected"])
        counts.excluded, counts.held_deletes = statuses["excluded"], len(holding.deletes)
        counts.unconfirmed = len(absence.unconfirmed) - len(holding.deletes)
        deciding = _Deciding(session, spec, counts, absence, holding, staging)
        result = Preview(spec.entity, counts, checking.results, held=holding.held)
        for change in chain(deciding.upserts(), deciding.removals()):
            _note(result, change, keep)
            if told is not None:
                told(change)
    counts.requests = session.requests - before
    return result


def _note(result: Preview, change: Change, keep: int | None) -> None:
    result.total += 1
    result.counts.deleted += change.action == "delete" and not change.held
    if keep is None or len(result.changes) < keep:
        result.changes.append(change)


class _Deciding:
    """Says for each row what a sync would do with it, and counts it."""

    def __init__(
        self,
        session: Session,
        spec: EntitySpec,
        counts: Counts,
        absence: Absence,
        holding: Holding,
        staging: Staging,
    ) -> None:
        self._session, self._spec, self._counts, self._absence = session, spec, counts, absence
        self._holding, self._staging = holding, staging
        self._ledger = session.ledger(spec)
        self._handed_over: set[str] = set()

    def upserts(self) -> Iterator[Change]:
        """Rows to be written, whose present state is the one last delivered."""
        target = self._session.target(self._spec)
        if target.assigns_ids:
            yield from self._assigned(target)
            return
        for rows in self._staging.rows():
            held = self._held(rows)
            for row, known in self._pending(rows):
                kind = kind_of(self._spec, _as_pending(row, known))
                yield self._change(kind, row, known, held=row.source_id in held)

    def removals(self) -> Iterator[Change]:
        """What is proven gone and stands at the target, and what nobody could prove."""
        still = kept(self._session, self._spec, self._absence.gone)
        gone = self._ledger.lookup(set(self._absence.gone) - still) if deletes(self._spec) else {}
        unconfirmed, held = self._ledger.lookup(self._absence.unconfirmed), self._holding.deletes
        yield from (Change("delete", key, {}) for key, known in gone.items() if self._stands(known))
        for key, known in unconfirmed.items():
            if self._stands(known):
                yield Change("delete" if key in held else "unconfirmed", key, {}, held=key in held)

    def _held(self, rows: list[StagedRow]) -> set[str]:
        """Those of these rows that are held; of a first contact all are, and shown as what they would be."""
        rewritten = self._holding.rewritten
        return self._staging.rewritten_among([row.source_id for row in rows], rewritten) if rewritten else set()

    def _stands(self, known: Known) -> bool:
        return known.delivered_hash is not None and known.source_id not in self._handed_over

    def _assigned(self, target: AssigningTarget) -> Iterator[Change]:
        """Records may depend on each other by their names, so all rows are decided together."""
        clashing = clashes(self._session, self._spec)
        found: dict[str, tuple[StagedRow, Known | None]] = {}
        for rows in self._staging.rows():
            held = self._held(rows)
            for row, known in self._pending(rows, clashing):
                if row.source_id in held:
                    yield self._change("update", row, known, held=True)
                else:
                    found[row.source_id] = (row, known)
        if not found:
            return
        directory = Directory(self._session, self._spec, target, gone=self._absence.gone)
        pending = {key: _as_pending(row, known) for key, (row, known) in found.items()}
        directory.look_up(pending.values())
        for key, prospect in foresee(directory, pending).items():
            if prospect == "refuse":
                self._counts.rejected += 1
                continue
            record = directory.adoptable(pending[key]) if prospect == "adopt" else None
            if record is not None and (former := directory.former_owner(record)) is not None:
                self._handed_over.add(former.source_id)
            yield self._change(prospect, *found[key])

    def _pending(self, rows: list[StagedRow], again: Collection[str] = ()) -> Iterator[tuple[StagedRow, Known | None]]:
        """Rows to be delivered; those in ``again`` although they were refused."""
        wanted = [row for row in rows if is_wanted(row)]
        self._counts.waiting += sum(row.status == "waiting" and not is_wanted(row) for row in rows)
        stored = self._ledger.lookup([row.source_id for row in wanted])
        for row in wanted:
            known = stored.get(row.source_id)
            if known is not None and known.delivered_hash == row.fields_hash:
                self._counts.unchanged += 1
            elif known is not None and known.refused_hash == row.fields_hash and row.source_id not in again:
                self._counts.rejected += 1
            else:
                yield row, known

    def _change(self, kind: str, row: StagedRow, known: Known | None, *, held: bool = False) -> Change:
        """One counted write, and which fields it changes."""
        name = "held" if held else WRITES[kind]
        setattr(self._counts, name, getattr(self._counts, name) + 1)
        action = cast("Action", "update" if kind == "restore" else kind)
        future = orjson.loads(row.fields)
        if known is None or action != "update":
            fields = {name: (None, value) for name, value in future.items() if value is not None}
            return Change(action, row.source_id, fields, held)
        present = orjson.loads(known.fields)
        changed = {name: (a, b) for name, b, a in differences(self._spec, future, present)}
        return Change(action, row.source_id, changed, held)


def _as_pending(row: StagedRow, known: Known | None) -> Pending:
    target_id, delivered_hash = (known.target_id, known.delivered_hash) if known is not None else (None, None)
    return Pending(row.source_id, target_id, row.partition, row.fields, row.fields_hash, delivered_hash)
