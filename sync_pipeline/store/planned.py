"""The action for each row of a staged batch: one SQL expression, the same before the merge and after it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, case, false, func, literal, null, or_, update

from sync_pipeline.store.approvals import GuardName, Line
from sync_pipeline.store.merge import MergedRows
from sync_pipeline.store.schema import SENT_NEW, records
from sync_pipeline.store.scope import Scope
from sync_pipeline.store.staged import Span, desired, differs, rewrites, staged

Action = Literal["create", "adopt", "update", "restore", "rename", "delete", "archive", "wait", "reject"]
UNCHANGED = "unchanged"
WRITES = ("create", "update", "restore")
"""What the store decides; at a target with unique names these also become ``adopt``, ``rename`` or ``reject``."""
PLAN_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Pending:
    """A record whose desired state differs from the delivered one."""

    source_id: str
    target_id: str | None
    partition: str | None
    fields: str
    fields_hash: str
    delivered_hash: str | None
    before: str | None
    """The fields before, where these are others: in a batch the stored ones, after its merge those at the target, if known."""


@dataclass(frozen=True, slots=True)
class Planned(Pending):
    """One row of a batch that is not unchanged, and what is to be done with it."""

    action: Action
    status: str
    """As it is staged; ``held`` rows are not written until they are approved."""
    rule: str | None
    label: str | None
    source_hash: str | None

    @property
    def is_held(self) -> bool:
        """Whether a guard holds the row."""
        return self.status == "held"


class PlannedRows(MergedRows):
    """A batch, and what is to be done with each of its rows.

    ``archives`` says whether the target archives instead of deleting: there a record keeps its link, and is restored.
    """

    def planned(self, *, archives: bool = False, size: int = PLAN_ROWS) -> Iterator[list[Planned]]:
        """The rows that are not unchanged, excluded or left to another read, by source_id, a page at a time."""
        after = ""
        while True:
            action = self._action(archives=archives)
            span = Span(after)
            page = (
                self._beside_records(span, *self._decided(action))
                .where(span.of(staged))
                .where(action.is_distinct_from(UNCHANGED), action.isnot(None))
            )
            with self._looking() as tx:
                found = [Planned(*row) for row in tx.execute(page.order_by(staged.c.source_id).limit(size))]
            if not found:
                return
            yield found
            after = found[-1].source_id

    def pending(self, limit: int, after: str = "", *, archives: bool = False) -> list[Planned]:
        """The next accepted rows still to be delivered, by source_id; after the merge each has its record."""
        with self._looking() as tx:
            return [Planned(*row) for row in tx.execute(self._pending(limit, after, archives=archives))]

    def _pending(self, limit: int, after: str = "", *more: ColumnElement[Any], archives: bool = False) -> Select[Any]:
        """Only columns that the index of the batch has, so that its rows are not read."""
        columns = [records.c[name] for name in Pending.__slots__[:-1]]
        others = (staged.c.status, null(), records.c.label, records.c.source_hash)
        written = (*columns, records.c.delivered_fields, self._outcome(None, archives=archives), *others, *more)
        rows = self._joined(*written, after=after, is_unsettled=True)
        return rows.where(*self._is_pending()).order_by(staged.c.source_id).limit(limit)

    def _is_pending(self) -> list[ColumnElement[bool]]:
        """The accepted rows of a merged batch that are to be written: what is stored decides."""
        return [staged.c.status == "accepted", self._outcome(None, archives=False).in_(WRITES)]

    def unchanged(self) -> int:
        """How many rows of the batch are unchanged."""
        counted = self._beside_records(Span(""), func.count())
        return self._count(counted.where(self._action(archives=False) == UNCHANGED))

    def rewrites(self, scopes: Collection[Scope], limit: int) -> list[Line]:
        """The first rows of these scopes that are at the target in another form than this batch wants."""
        columns = (staged.c.source_id, self._action(archives=False), records.c.delivered_hash, staged.c.fields_hash)
        rows = self._joined(*columns, staged.c.partition).where(*rewrites(list(scopes))).order_by(staged.c.source_id)
        with self._looking() as tx:
            return [Line(*row) for row in tx.execute(rows.limit(limit))]

    def creates(self, limit: int) -> list[Line]:
        """The first rows that would be created, and are not stored in this form: those were allowed before."""
        return self._creates(staged.c.source_id, limit)

    def outermost_creates(self) -> list[Line]:
        """One such row of the first day and one of the last."""
        ends = (staged.c.partition.asc(), staged.c.partition.desc())
        return [line for end in ends for line in self._creates(end, 1)]

    def _creates(self, order: ColumnElement[Any], limit: int) -> list[Line]:
        columns = (staged.c.source_id, literal("create"), literal(None), staged.c.fields_hash, staged.c.partition)
        rows = self._beside_records(Span(""), *columns).where(*self._is_create()).order_by(order, staged.c.source_id)
        with self._looking() as tx:
            return [Line(*row) for row in tx.execute(rows.limit(limit))]

    def count_creates(self) -> int:
        """How many such rows there are."""
        return self._count(self._beside_records(Span(""), func.count()).where(*self._is_create()))

    def count_new(self) -> int:
        """How many rows are wanted at the target and not stored in this form: the others were allowed before."""
        return self._count(self._beside_records(Span(""), func.count()).where(*self._is_new()))

    def use_approval(self, approval: int, guard: GuardName, scopes: Sequence[Scope] = ()) -> None:
        """Count the rows that this approval allows while they are merged; of a rewrite, those of these scopes."""
        if guard == "rewrite":
            self._approved[approval] = rewrites(scopes)
        else:
            self._approved[approval] = self._is_create() if guard == "creates" else self._is_new()

    def hold_creates(self) -> None:
        """Mark these rows as held: they are neither merged nor delivered."""
        held = self._beside_records(Span(""), staged.c.nr).where(*self._is_create())
        with self._looking() as tx:
            tx.execute(update(staged).where(staged.c.nr.in_(held)).values(status="held"))

    def _is_create(self) -> list[ColumnElement[bool]]:
        return [self._action(archives=False) == "create", *self._is_new()]

    def _is_new(self) -> list[ColumnElement[bool]]:
        """The rows that are wanted at the target and not stored in this form."""
        return [desired(), or_(records.c.source_id.is_(None), differs())]

    def _decided(self, action: ColumnElement[Any]) -> tuple[ColumnElement[Any], ...]:
        """The columns of ``Planned``."""
        own = self._is_own()
        return (
            staged.c.source_id,
            records.c.target_id,
            _by(own, staged.c.partition, records.c.partition),
            _by(own, staged.c.fields, records.c.fields),
            _by(own, staged.c.fields_hash, records.c.fields_hash),
            records.c.delivered_hash,
            case((differs(), records.c.fields)),
            action,
            staged.c.status,
            staged.c.rule,
            staged.c.label,
            staged.c.source_hash,
        )

    def _is_own(self) -> ColumnElement[bool]:
        """Whether the row decides about its record: it has fields, and no newer read has stored others."""
        return and_(staged.c.fields.isnot(None), or_(records.c.source_id.is_(None), self._not_newer()))

    def _action(self, *, archives: bool) -> ColumnElement[Any]:
        """The action for a row; null where this batch does not decide it."""
        return case(
            (staged.c.status.in_(["excluded", "kept"]), None),
            (staged.c.status == "former", UNCHANGED),
            (staged.c.status == "rejected", "reject"),
            (and_(staged.c.status == "waiting", staged.c.rule.isnot(None)), "wait"),
            else_=self._outcome(self._is_own(), archives=archives),
        )

    def _outcome(self, own: ColumnElement[bool] | None, *, archives: bool) -> ColumnElement[Any]:
        """The action for a row that nothing stops; ``own`` is whether the row decides, or None where what is stored does."""
        lives = and_(records.c.deleted_at.is_(None), records.c.excluded_rule.is_(None))
        wanted = lives if own is None else or_(own, and_(records.c.source_id.isnot(None), lives))
        wants = _by(own, staged.c.fields_hash, records.c.fields_hash)
        is_new = or_(records.c.delivered_hash.is_(None), records.c.delivered_hash == SENT_NEW)
        back = and_(is_new, records.c.target_id.isnot(None)) if archives else false()
        return case(
            (~wanted, UNCHANGED),
            (wants == records.c.delivered_hash, UNCHANGED),
            (wants == records.c.refused_hash, "reject"),
            (back, "restore"),
            (is_new, "create"),
            else_="update",
        )


def _by(own: ColumnElement[bool] | None, staged_value: ColumnElement[Any], stored: ColumnElement[Any]) -> Any:
    """The value of the row where it decides, else what is stored."""
    return stored if own is None else case((own, staged_value), else_=stored)
