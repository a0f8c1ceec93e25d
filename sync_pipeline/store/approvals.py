"""Approvals: what a guard holds, and a person's decision about it.

Of the kind *records* an approval is bound to its lines: each counts while the record is exactly as shown. Of the
kind *configuration* it is bound to a fingerprint, and to at most a tenth more records than it showed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Literal, NamedTuple, Protocol

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, or_, select, update

from sync_pipeline.errors import ConfigError, NotAllowed
from sync_pipeline.store.bulk import SOME_IDS, chunks
from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import UNKNOWN, approval_lines, approvals
from sync_pipeline.store.scope import EntityRows, Scope, within

GuardName = Literal["deletes", "rewrite", "creates", "first_contact", "former"]
"""``former`` holds nothing: it says that unchanged records keep the form that an earlier mapping gave them."""
Decision = Literal["allowed", "declined"]
State = Literal["open", "allowed", "declined", "used", "expired"]

LASTS = timedelta(days=7)
"""A decision counts for so long; after it the guard asks again."""
FOR_GOOD = timedelta(days=365_000)
PAGE = 1000
"""Lines of a request that are read together."""
EXAMPLES = 1000
"""Records named by a request of the kind *configuration*, which is not bound to them."""


class Line(NamedTuple):
    """One record that is held: what would be done with it, and its hashes at the target before and after."""

    source_id: str
    action: str
    hash_before: str | None
    hash_after: str | None
    partition: str | None = None


class PagedLines(Protocol):
    """Lines that can be read more than once; they need not be in memory together."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Line]: ...


@dataclass(frozen=True, slots=True)
class Approval:
    """One request, with the decision when there is one."""

    id: int
    connection: str
    entity: str
    kind: str
    guard: str
    fingerprint: str | None
    shown: int
    used: int
    requested_at: datetime
    decided_at: datetime | None
    decision: str | None
    by: str | None
    expires_at: datetime | None

    @property
    def room(self) -> int:
        """How many more records one of the kind *configuration* covers."""
        return self.shown * 11 // 10 - self.used

    def state(self, now: datetime) -> State:
        """Open, or the outcome."""
        if self.decision is None:
            return "open"
        if self.decision == "allowed" and self.used >= max(self.shown, 1):
            return "used"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "allowed" if self.decision == "allowed" else "declined"

    def waits(self, now: datetime) -> bool:
        """Whether what it is about waits: it is open, or was declined."""
        return self.state(now) in ("open", "declined")


class Approvals(EntityRows):
    """The requests for approval of one entity of a pair, and their decisions."""

    def decisions(self, guard: GuardName, lines: Iterable[Line], now: datetime) -> dict[str, Approval]:
        """The decisions about those of these lines that are still exactly as shown, by source id.

        The newest decision about a record counts: declining revokes an older approval, even if the record has changed since.
        """
        with self.store.reading() as tx:
            newest_last = select(approvals).order_by(approvals.c.decided_at, approvals.c.id)
            decided = [_approval(row) for row in tx.execute(newest_last.where(*self._counting(guard, now)))]
            if not decided:
                return {}
            wanted = {line.source_id: line[1:4] for line in lines}
            found: dict[str, Approval] = {}
            for approval in decided:
                for row in _lines(tx, approval.id, wanted):
                    if row.done_at is not None:
                        continue
                    if _is_of(row, wanted):
                        found[row.source_id] = approval
                    elif approval.decision == "declined":
                        found.pop(row.source_id, None)
        return found

    def request_lines(
        self, guard: GuardName, lines: PagedLines, replaces: Callable[[Line], bool], at: datetime
    ) -> Approval | None:
        """The open request for these lines, and for what it held before of records that this run did not look at.

        The same set stays the same request; another set is another request, in its place. None when nothing is held.
        ``replaces`` says whether a line is of a record that this run looked at.
        """
        present = self.open_request(guard)
        if present is None and not lines:
            return None  # as nearly always: a sync of unchanged data writes nothing here
        with self.store.writing() as tx:
            present = self._open(tx, guard, is_to_change=True)
            if present is None:
                row = {"kind": "records", "shown": len(lines)}
                return self._insert(tx, guard, row, lines, at) if lines else None
            if _is_about(tx, present.id, lines, replaces):
                return present
            row = {"kind": "records", "shown": _drop_lines(tx, present.id, lines, replaces) + len(lines)}
            asked = self._insert_instead(tx, present.id, guard, row, lines, at) if row["shown"] else None
            _drop(tx, [present.id])
            return asked

    def decided_configuration(self, guard: GuardName, fingerprint: str, count: int, now: datetime) -> Approval | None:
        """The newest decision about this configuration that covers so many records."""
        mine = [*self._counting(guard, now), approvals.c.fingerprint == fingerprint]
        newest = select(approvals).where(*mine).order_by(approvals.c.decided_at.desc(), approvals.c.id.desc())
        with self.store.reading() as tx:
            found = [_approval(row) for row in tx.execute(newest)]
        return next((approval for approval in found if count <= approval.room), None)

    def request_configuration(
        self, guard: GuardName, fingerprint: str, shown: int, examples: Iterable[Line], at: datetime
    ) -> Approval | None:
        """The open request for this configuration; one that showed about as many records is the same request."""
        present = self.open_request(guard)
        if present is not None and present.fingerprint == fingerprint and shown <= present.room:
            return present
        with self.store.writing() as tx:
            if (present := self._open(tx, guard, is_to_change=True)) is not None:
                _drop(tx, [present.id])
            row = {"kind": "configuration", "fingerprint": fingerprint, "shown": shown}
            return self._insert(tx, guard, row, list(examples), at)

    def keep_former_in(self, tx: Connection, fingerprint: str, shown: int, by: str, at: datetime) -> None:
        """Note, within the caller's transaction, that records which do not change at the source keep the form of the mapping before this one.

        A request for an approval to rewrite them becomes obsolete. The note lasts until it is ended, or another mapping is in force.
        """
        row = {"connection": self.pair, "entity": self.entity, "guard": "former", "kind": "configuration"}
        decided = {"decision": "allowed", "by": by, "requested_at": at, "decided_at": at, "expires_at": at + FOR_GOOD}
        asked = [approvals.c.guard == "rewrite", approvals.c.decision.is_(None), approvals.c.fingerprint == fingerprint]
        before = select(approvals.c.id).where(*self.of(approvals), and_(*asked)).with_for_update()
        _drop(tx, list(tx.scalars(before)))
        self.end_former_in(tx)
        tx.execute(insert(approvals), [{**row, **decided, "fingerprint": fingerprint, "shown": shown, "used": 0}])

    def end_former(self) -> None:
        """From now on all records get the mapping in force."""
        with self.store.writing() as tx:
            self.end_former_in(tx)

    def end_former_in(self, tx: Connection) -> None:
        """The same within the caller's transaction."""
        mine = [*self.of(approvals), approvals.c.guard == "former"]
        _drop(tx, list(tx.scalars(select(approvals.c.id).where(*mine))))

    def is_waiting(self, guard: GuardName, fingerprint: str, now: datetime) -> bool:
        """Whether the newest request for this configuration is open, or was declined."""
        found = self.newest(guard, fingerprint)
        return found is not None and found.waits(now)

    def newest(self, guard: GuardName, fingerprint: str) -> Approval | None:
        """The newest request for this configuration."""
        mine = [*self.of(approvals), approvals.c.guard == guard]
        newest = select(approvals).where(*mine, approvals.c.fingerprint == fingerprint).order_by(approvals.c.id.desc())
        with self.store.reading() as tx:
            row = tx.execute(newest.limit(1)).one_or_none()
        return None if row is None else _approval(row)

    def asked_about(self, guard: GuardName, lines: Iterable[Line]) -> set[str]:
        """The lines that were ever held: in exactly this form they are not executed without an approval, however few they are."""
        wanted = {line.source_id: line[1:4] for line in lines}
        mine = [*self.of(approvals), approvals.c.guard == guard]
        asked = select(approval_lines).join(approvals).where(*mine, approval_lines.c.done_at.is_(None))
        named, found = asked.where(approval_lines.c.source_id.in_(SOME_IDS)), set[str]()
        with self.store.reading() as tx:
            for some in chunks(wanted):
                rows = tx.execute(named, {SOME_IDS.key: some})
                found.update(row.source_id for row in rows if _is_of(row, wanted))
        return found

    def was_asked(self, guard: GuardName) -> bool:
        """Whether there is any request of this guard, whatever its state."""
        mine = [*self.of(approvals), approvals.c.guard == guard]
        with self.store.reading() as tx:
            return tx.scalar(select(approvals.c.id).where(*mine).limit(1)) is not None

    def open_request(self, guard: GuardName) -> Approval | None:
        """What waits for a decision."""
        with self.store.reading() as tx:
            return self._open(tx, guard)

    def is_within(self, approval_id: int, scope: Scope) -> bool:
        """Whether all records that a request names are of these days."""
        elsewhere = [approval_lines.c.approval_id == approval_id, ~within(approval_lines.c.partition, scope)]
        with self.store.reading() as tx:
            return tx.scalar(select(approval_lines.c.source_id).where(*elsewhere).limit(1)) is None

    def use_lines(self, tx: Connection, source_ids: Sequence[str], at: datetime) -> None:
        """The outcome of these deletes was recorded: what allowed them is used up."""
        mine = [*self.of(approvals), approvals.c.decision == "allowed"]
        allowed = [row.id for row in tx.execute(select(approvals.c.id).where(*mine, approvals.c.kind == "records"))]
        for approval_id in allowed:
            left = [approval_lines.c.approval_id == approval_id, approval_lines.c.done_at.is_(None)]
            done = 0
            for some in chunks(source_ids):
                lines = update(approval_lines).where(*left, approval_lines.c.source_id.in_(some))
                done += tx.execute(lines.values(done_at=at)).rowcount
            if done:
                use_configuration(tx, approval_id, done)

    def _insert_instead(
        self, tx: Connection, present: int, guard: GuardName, row: dict[str, Any], lines: PagedLines, at: datetime
    ) -> Approval | None:
        """A new open request that takes over the lines of the present one."""
        # Only one may be open; the caller deletes this one in the same transaction.
        tx.execute(update(approvals).where(approvals.c.id == present).values(decision="replaced"))
        asked = self._insert(tx, guard, row, lines, at)
        if asked is not None:
            mine = update(approval_lines).where(approval_lines.c.approval_id == present)
            tx.execute(mine.values(approval_id=asked.id))
        return asked

    def _insert(
        self, tx: Connection, guard: GuardName, row: dict[str, Any], lines: Iterable[Line], at: datetime
    ) -> Approval | None:
        """A new open request; when another process asked at the same moment, that one counts until the next run."""
        values = {"connection": self.pair, "entity": self.entity, "guard": guard, "requested_at": at, **row}
        asked = insert_into(self.store, approvals).values(values).on_conflict_do_nothing()
        approval_id = tx.execute(asked.returning(approvals.c.id)).scalar()
        if approval_id is None:
            return self._open(tx, guard)
        for some in chunks(lines):
            tx.execute(insert(approval_lines), [{"approval_id": approval_id, **line._asdict()} for line in some])
        return _one(tx, self.pair, approval_id)

    def _counting(self, guard: GuardName, now: datetime) -> list[ColumnElement[bool]]:
        mine = [*self.of(approvals), approvals.c.guard == guard]
        return [*mine, approvals.c.decision.isnot(None), approvals.c.expires_at > now]

    def _open(self, tx: Connection, guard: GuardName, *, is_to_change: bool = False) -> Approval | None:
        """The open request; locked where it is to change, or it could be dropped with the decision that is just made."""
        mine = [*self.of(approvals), approvals.c.guard == guard]
        find = select(approvals).where(*mine, approvals.c.decision.is_(None))
        row = tx.execute(find.with_for_update() if is_to_change else find).one_or_none()
        return None if row is None else _approval(row)


def kept_former(store: Store, pair: str) -> frozenset[tuple[str, str]]:
    """Entity and fingerprint of the mappings that do not rewrite what is unchanged at the source."""
    mine = [approvals.c.connection == pair, approvals.c.guard == "former"]
    with store.reading() as tx:
        return frozenset(
            (row[0], row[1]) for row in tx.execute(select(approvals.c.entity, approvals.c.fingerprint).where(*mine))
        )


def withdraw(store: Store, approval_id: int) -> None:
    """Delete an undecided request that is obsolete."""
    with store.writing() as tx:
        mine = [approvals.c.id == approval_id, approvals.c.decision.is_(None)]
        _drop(tx, list(tx.scalars(select(approvals.c.id).where(*mine).with_for_update())))


def decide(store: Store, pair: str, approval_id: int, decision: Decision, by: str, at: datetime) -> Approval:
    """Allow what a request shows, or decline it; a decision can be changed until it is used up or has expired."""
    with store.writing() as tx:
        mine = [approvals.c.id == approval_id, approvals.c.connection == pair]
        row = tx.execute(select(approvals).where(*mine).with_for_update()).one_or_none()
        if row is None:
            raise ConfigError(
                f"There is no request {approval_id}: what is held may have changed since, so that another one took "
                "its place.",
                fix="`sync-pipeline approvals list` shows what waits.",
            )
        found = _approval(row)
        if found.guard == "former":
            fix = f"`sync-pipeline sync {found.entity} --accept-rewrite` writes the mapping in force to all records."
            raise NotAllowed("That records keep their earlier form was chosen when the mapping was published.", fix=fix)
        if (state := found.state(at)) in ("used", "expired"):
            raise NotAllowed(
                f"Request {approval_id} is {state}.",
                fix="What is still held is asked again by the next sync or preview.",
            )
        values: dict[str, Any] = {"decision": decision, "by": by, "decided_at": at, "expires_at": at + LASTS}
        tx.execute(update(approvals).where(approvals.c.id == approval_id).values(values))
    return replace(found, **values)


def use_configuration(tx: Connection, approval_id: int, count: int) -> None:
    """Note that so many records were loaded on its strength."""
    tx.execute(update(approvals).where(approvals.c.id == approval_id).values(used=approvals.c.used + count))


def approval_of(store: Store, pair: str, approval_id: int) -> Approval | None:
    """One request."""
    with store.reading() as tx:
        return _one(tx, pair, approval_id)


def list_approvals(store: Store, pair: str, now: datetime, *, limit: int, every: bool = False) -> list[Approval]:
    """What waits for a decision, and the decisions that count; with ``every`` also the used and expired ones."""
    mine = and_(approvals.c.connection == pair, approvals.c.guard != "former")
    if not every:
        unused = or_(approvals.c.decision == "declined", approvals.c.used < approvals.c.shown, approvals.c.shown == 0)
        mine = and_(mine, or_(approvals.c.decision.is_(None), and_(approvals.c.expires_at > now, unused)))
    newest = select(approvals).where(mine).order_by(approvals.c.decided_at.isnot(None), approvals.c.id.desc())
    with store.reading() as tx:
        return [_approval(row) for row in tx.execute(newest.limit(limit))]


def lines_of(store: Store, approval_id: int, limit: int, after: str = "") -> list[Line]:
    """The records a request names, by source id, a page at a time."""
    with store.reading() as tx:
        return _page(tx, approval_id, limit, after)


def _one(tx: Connection, pair: str, approval_id: int) -> Approval | None:
    mine = [approvals.c.id == approval_id, approvals.c.connection == pair]
    row = tx.execute(select(approvals).where(*mine)).one_or_none()
    return None if row is None else _approval(row)


def _drop(tx: Connection, ids: Iterable[int]) -> None:
    for some in chunks(ids):
        tx.execute(delete(approval_lines).where(approval_lines.c.approval_id.in_(some)))
        tx.execute(delete(approvals).where(approvals.c.id.in_(some)))


def _is_about(tx: Connection, approval_id: int, lines: PagedLines, replaces: Callable[[Line], bool]) -> bool:
    """Whether a request names these lines, and no others of records that were looked at."""
    looked_at = sum(replaces(line) for page in _pages(tx, approval_id) for line in page)
    named = _all_lines(approval_id).where(approval_lines.c.source_id.in_(SOME_IDS))
    for some in chunks(lines):
        if not {*some} <= {Line(*row) for row in tx.execute(named, {SOME_IDS.key: [line.source_id for line in some]})}:
            return False
        looked_at -= sum(map(replaces, some))
    return looked_at == 0


def _drop_lines(tx: Connection, approval_id: int, lines: PagedLines, replaces: Callable[[Line], bool]) -> int:
    """Delete the lines of a request whose place these take; returns how many are left."""
    stored = (line for page in _pages(tx, approval_id) for line in page if replaces(line))
    mine = approval_lines.c.approval_id == approval_id
    named = delete(approval_lines).where(mine, approval_lines.c.source_id.in_(SOME_IDS))
    for some in chunks(line.source_id for line in chain(stored, lines)):
        tx.execute(named, {SOME_IDS.key: some})
    return int(tx.execute(select(func.count()).select_from(approval_lines).where(mine)).scalar_one())


def _pages(tx: Connection, approval_id: int) -> Iterator[list[Line]]:
    """The lines of a request, a page at a time: it may name all records of an entity."""
    after = ""
    while page := _page(tx, approval_id, PAGE, after):
        yield page
        after = page[-1].source_id


def _page(tx: Connection, approval_id: int, limit: int, after: str) -> list[Line]:
    page = _all_lines(approval_id).where(approval_lines.c.source_id > after).limit(limit)
    return [Line(*row) for row in tx.execute(page)]


def _all_lines(approval_id: int) -> Any:
    columns = [approval_lines.c[name] for name in Line._fields]
    return select(*columns).where(approval_lines.c.approval_id == approval_id).order_by(approval_lines.c.source_id)


def _lines(tx: Connection, approval_id: int, source_ids: Iterable[str]) -> Iterable[Row[Any]]:
    mine = [approval_lines.c.approval_id == approval_id, approval_lines.c.source_id.in_(SOME_IDS)]
    for some in chunks(source_ids):
        yield from tx.execute(select(approval_lines).where(*mine), {SOME_IDS.key: some})


def _is_of(row: Row[Any], wanted: Mapping[str, tuple[str, str | None, str | None]]) -> bool:
    """Whether a line is still about the same change; while a write has no answer, any hash before it counts as equal."""
    action, before, after = wanted[row.source_id]
    same_before = row.hash_before == before or row.hash_before in UNKNOWN or before in UNKNOWN
    return same_before and (row.action, row.hash_after) == (action, after)


def _approval(row: Row[Any]) -> Approval:
    return Approval(*tuple(row))
