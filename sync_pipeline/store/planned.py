"""What a staged batch comes to, row by row: one SQL expression, the same before the merge and after it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, case, false, func, literal, or_, update

from sync_pipeline.store.approvals import Line
from sync_pipeline.store.merge import MergedRows
from sync_pipeline.store.schema import SENT_NEW, records
from sync_pipeline.store.scope import Scope
from sync_pipeline.store.staged import Span, desired, differs, rewrites, staged

Action = Literal["create", "adopt", "update", "restore", "rename", "delete", "archive", "wait", "reject"]
UNCHANGED = "unchanged"
WRITES = ("create", "update", "restore")
"""What the store decides; at a target with unique names these also come to ``adopt``, ``rename`` and ``reject``."""
PLAN_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Pending:
    """A record whose desired state is not the delivered one."""

    source_id: str
    target_id: str | None
    partition: str | None
    fields: str
    fields_hash: str
    delivered_hash: str | None


@dataclass(frozen=True, slots=True)
class Planned(Pending):
    """One row of a batch that is not unchanged, and what is to be done with it."""

    action: Action
    status: str
    """As it is staged; ``held`` rows are not written until they are approved."""
    rule: str | None
    label: str | None
    source_hash: str | None
    before: str | None
    """The fields that are stored, where the batch has others; None after the merge."""

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
            page = self._decided(after, action).where(action.is_distinct_from(UNCHANGED), action.isnot(None))
            with self._looking() as tx:
                found = [Planned(*row) for row in tx.execute(page.limit(size))]
            if not found:
                return
            yield found
            after = found[-1].source_id

    def pending(self, limit: int, after: str = "", *, archives: bool = False) -> list[Planned]:
        """The next accepted rows still to be delivered, by source_id."""
        action = self._action(archives=archives)
        page = self._decided(after, action).where(staged.c.status == "accepted", action.in_(WRITES))
        with self._looking() as tx:
            return [Planned(*row) for row in tx.execute(page.limit(limit))]

    def unchanged(self) -> int:
        """How many rows of the batch come to no change."""
        counted = self._beside_records(Span(""), func.count())
        return self._count(counted.where(self._action(archives=False) == UNCHANGED))

    def rewrites(self, scopes: Collection[Scope], limit: int) -> list[Line]:
        """The first rows of these scopes that are at the target in another form than this batch wants."""
        columns = (staged.c.source_id, self._action(archives=False), records.c.delivered_hash, staged.c.fields_hash)
        rows = self._joined(*columns, staged.c.partition).where(*rewrites(list(scopes))).order_by(staged.c.source_id)
        with self._looking() as tx:
            return [Line(*row) for row in tx.execute(rows.limit(limit))]

    def creates(self, limit: int) -> list[Line]:
        """The first rows that would be created, and are not stored in this form: those have been let through before."""
        columns = (staged.c.source_id, literal("create"), literal(None), staged.c.fields_hash, staged.c.partition)
        rows = self._beside_records(Span(""), *columns).where(*self._is_create()).order_by(staged.c.source_id)
        with self._looking() as tx:
            return [Line(*row) for row in tx.execute(rows.limit(limit))]

    def count_creates(self) -> int:
        """How many such rows there are."""
        return self._count(self._beside_records(Span(""), func.count()).where(*self._is_create()))

    def hold_creates(self) -> None:
        """Mark these rows as held: they are neither merged nor delivered."""
        held = self._beside_records(Span(""), staged.c.nr).where(*self._is_create())
        with self._looking() as tx:
            tx.execute(update(staged).where(staged.c.nr.in_(held)).values(status="held"))

    def _is_create(self) -> list[ColumnElement[bool]]:
        return [desired(), self._action(archives=False) == "create", or_(records.c.source_id.is_(None), differs())]

    def _decided(self, after: str, action: ColumnElement[Any]) -> Select[Any]:
        span = Span(after)
        columns = (
            staged.c.source_id,
            records.c.target_id,
            case((self._is_own(), staged.c.partition), else_=records.c.partition),
            case((self._is_own(), staged.c.fields), else_=records.c.fields),
            self._hash(),
            records.c.delivered_hash,
            action,
            staged.c.status,
            staged.c.rule,
            staged.c.label,
            staged.c.source_hash,
            case((differs(), records.c.fields)),
        )
        return self._beside_records(span, *columns).where(span.of(staged)).order_by(staged.c.source_id)

    def _is_own(self) -> ColumnElement[bool]:
        """Whether the row decides about its record: it has fields, and no newer read has stored others."""
        return and_(staged.c.fields.isnot(None), or_(records.c.source_id.is_(None), self._not_newer()))

    def _hash(self) -> ColumnElement[str]:
        return case((self._is_own(), staged.c.fields_hash), else_=records.c.fields_hash)

    def _action(self, *, archives: bool) -> ColumnElement[Any]:
        """What a row comes to; null where it is not for this batch to say."""
        lives = and_(records.c.deleted_at.is_(None), records.c.excluded_rule.is_(None))
        wanted = or_(self._is_own(), and_(records.c.source_id.isnot(None), lives))
        is_new = or_(records.c.delivered_hash.is_(None), records.c.delivered_hash == SENT_NEW)
        back = and_(is_new, records.c.target_id.isnot(None)) if archives else false()
        return case(
            (staged.c.status.in_(["excluded", "kept"]), None),
            (staged.c.status == "rejected", "reject"),
            (and_(staged.c.status == "waiting", staged.c.rule.isnot(None)), "wait"),
            (~wanted, UNCHANGED),
            (self._hash() == records.c.delivered_hash, UNCHANGED),
            (self._hash() == records.c.refused_hash, "reject"),
            (back, "restore"),
            (is_new, "create"),
            else_="update",
        )
