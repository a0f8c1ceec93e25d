"""Preview: exactly what a sync would create, adopt, update and delete - and nothing is sent or remembered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, cast

import orjson

from sync_pipeline.mapping.canonical import differences
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.absence import Absence, look_up_absent
from sync_pipeline.stages.batch import Batch, Counts, Days
from sync_pipeline.stages.check import CheckResult, Options
from sync_pipeline.stages.deliver import kind_of
from sync_pipeline.stages.guards import deletes
from sync_pipeline.stages.judge import judged_rows
from sync_pipeline.stages.link import clashes
from sync_pipeline.stages.names import foresee
from sync_pipeline.stages.prepare import prepared
from sync_pipeline.stages.roster import Clients
from sync_pipeline.stages.seal import is_wanted, staged_rows
from sync_pipeline.stages.session import Session
from sync_pipeline.store.records import Known, lookup
from sync_pipeline.store.staging import Pending, StagedRow, stage

Action = Literal["create", "adopt", "update", "delete", "unconfirmed"]
WRITES: dict[str, str] = {"create": "created", "adopt": "adopted", "update": "updated", "restore": "updated"}


@dataclass(frozen=True, slots=True)
class Change:
    """One write a sync would send; ``fields`` maps each changed field to its (present, future) values.

    ``unconfirmed`` is none: the record is missing at the source, and no second read proves yet that it is gone.
    """

    action: Action
    record: str
    fields: dict[str, tuple[Any, Any]]


@dataclass(slots=True)
class Preview:
    """What a sync of one entity would do."""

    entity: str
    counts: Counts
    checks: list[CheckResult]
    changes: list[Change] = field(default_factory=list)
    """The first of them; ``total`` is how many there are."""
    total: int = 0

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
    with prepared(session, spec, days, options) as checking:
        statuses = checking.statuses.copy()
        absence = _absence(session, spec, checking.sealed, days, options)
        moved = judged_rows(session, spec, absence.moved.values()) if absence.moved else []
        statuses.update(row[4] for row in moved)
        # Who waits is not counted apart, unless in vain: a sync delivers the awaited first.
        counts = Counts(extracted=sum(statuses.values()), rejected=statuses["rejected"])
        counts.excluded, counts.unconfirmed = statuses["excluded"], len(absence.unconfirmed)
        pages = _Pages(checking.sealed, moved)
        deciding = _Deciding(session, spec, counts, absence)
        result = Preview(spec.entity, counts, checking.results)
        for change in chain(deciding.upserts(pages), deciding.removals()):
            _note(result, change, keep)
            if told is not None:
                told(change)
    counts.requests = session.requests - before
    return result


def _note(result: Preview, change: Change, keep: int | None) -> None:
    result.total += 1
    result.counts.deleted += change.action == "delete"
    if keep is None or len(result.changes) < keep:
        result.changes.append(change)


def _absence(session: Session, spec: EntitySpec, sealed: Batch, days: Days | None, options: Options) -> Absence:
    """What a sync would find about the records that are missing from this read."""
    with stage(session.store, session.connection, spec.entity, days.keys if days else None) as staging:
        for frame in sealed.parts:
            staging.add(staged_rows(frame))
        return look_up_absent(session, spec, staging, options)


@dataclass(frozen=True, slots=True)
class _Pages:
    """All rows a sync would stage; can be walked any number of times."""

    sealed: Batch
    moved: list[StagedRow]

    def __iter__(self) -> Iterator[list[StagedRow]]:
        yield from (staged_rows(frame) for frame in self.sealed.parts)
        if self.moved:
            yield self.moved


class _Deciding:
    """Says for each row what a sync would do with it, and counts it."""

    def __init__(self, session: Session, spec: EntitySpec, counts: Counts, absence: Absence) -> None:
        self._session, self._spec, self._counts, self._absence = session, spec, counts, absence
        self._key = (session.store, session.connection, spec.entity)
        self._handed_over: set[str] = set()

    def upserts(self, pages: _Pages) -> Iterator[Change]:
        """Rows to be written, whose present state is the one last delivered."""
        if self._spec.target.system == "clockify":
            yield from self._linked(pages)
            return
        for rows in pages:
            for row, known in self._pending(rows):
                yield self._change(kind_of(self._spec, _as_pending(row, known)), row, known)

    def removals(self) -> Iterator[Change]:
        """What is proven gone and stands at the target, and what nobody could prove."""
        gone = lookup(*self._key, self._absence.gone) if deletes(self._spec) else {}
        unconfirmed = lookup(*self._key, self._absence.unconfirmed)
        yield from (Change("delete", key, {}) for key, known in gone.items() if self._stands(known))
        yield from (Change("unconfirmed", key, {}) for key, known in unconfirmed.items() if self._stands(known))

    def _stands(self, known: Known) -> bool:
        return known.delivered_hash is not None and known.source_id not in self._handed_over

    def _linked(self, pages: _Pages) -> Iterator[Change]:
        """Clients depend on each other by their names, so all rows are decided together."""
        clashing = clashes(self._session, self._spec)
        found = {row[0]: (row, known) for rows in pages for row, known in self._pending(rows, clashing)}
        if not found:
            return
        clients = Clients(self._session, self._spec, gone=self._absence.gone)
        pending = {key: _as_pending(row, known) for key, (row, known) in found.items()}
        for key, prospect in foresee(clients, pending).items():
            if prospect == "refuse":
                self._counts.rejected += 1
                continue
            client = clients.adoptable(pending[key]) if prospect == "adopt" else None
            if client is not None and (former := clients.former_owner(client)) is not None:
                self._handed_over.add(former.source_id)
            yield self._change(prospect, *found[key])

    def _pending(self, rows: list[StagedRow], again: Collection[str] = ()) -> Iterator[tuple[StagedRow, Known | None]]:
        """Rows to be delivered; those in ``again`` although they were refused."""
        wanted = [row for row in rows if is_wanted(row)]
        self._counts.waiting += sum(row[4] == "waiting" and not is_wanted(row) for row in rows)
        stored = lookup(*self._key, [row[0] for row in wanted])
        for row in wanted:
            known = stored.get(row[0])
            if known is not None and known.delivered_hash == row[3]:
                self._counts.unchanged += 1
            elif known is not None and known.refused_hash == row[3] and row[0] not in again:
                self._counts.rejected += 1
            else:
                yield row, known

    def _change(self, kind: str, row: StagedRow, known: Known | None) -> Change:
        """One counted write, and which fields it changes."""
        name = WRITES[kind]
        setattr(self._counts, name, getattr(self._counts, name) + 1)
        action = cast("Action", "update" if kind == "restore" else kind)
        future = orjson.loads(row[2])
        if known is None or action != "update":
            return Change(action, row[0], {name: (None, value) for name, value in future.items() if value is not None})
        present = orjson.loads(known.fields)
        return Change(action, row[0], {name: (a, b) for name, b, a in differences(self._spec, future, present)})


def _as_pending(row: StagedRow, known: Known | None) -> Pending:
    target_id, delivered_hash = (known.target_id, known.delivered_hash) if known is not None else (None, None)
    return Pending(row[0], target_id, row[1], row[2], row[3], delivered_hash)
