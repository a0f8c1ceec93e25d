"""Apply: write those lines of a plan file that are the same when they are planned again.

First all named records are read and planned; when any of them differs from its line, nothing is written. Then each entity is
planned once more and written. A record that is already as its line says counts as done, so that an apply that was killed can be
repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from math import ceil
from typing import Self

from sync_pipeline.connectors.paging import Record
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.canonical import canonical_target
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Counts, Days, Options
from sync_pipeline.stages.extract import decide
from sync_pipeline.stages.guards import hold_first_contact, hold_named
from sync_pipeline.stages.plan import REMOVALS, Missing, PlanLine, lines
from sync_pipeline.stages.plan_file import NamedLine, PlanFile
from sync_pipeline.stages.process import awaited, process_frame, reject_problems, staged_rows
from sync_pipeline.stages.targeted import OUTDATED, Targeted
from sync_pipeline.store.records import Known
from sync_pipeline.store.schema import UNKNOWN
from sync_pipeline.store.staging import Staging
from sync_pipeline.store.syncs import INTERRUPTED, TARGETED

SECONDS_EACH = 0.1
"""Of one request, estimated."""
UPSERT_ROWS = 100
"""Records in one write to a target that takes batches, estimated."""
WITNESS_READS = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """The estimated cost of an apply."""

    requests: int
    done_at: datetime


@dataclass(frozen=True, slots=True)
class ChangedLine:
    """A record of the file that differs from its line now, or that could not be written."""

    entity: str
    id: str
    differs: str
    """``source``, ``ledger``, ``mapping`` or ``target``; ``reference``: nothing does, it waits for another record."""
    reason: str


@dataclass(slots=True)
class Applied:
    """The outcome of the lines of a file."""

    written: int = 0
    already: int = 0
    """Lines whose record is already in the planned state."""
    changed: list[ChangedLine] = field(default_factory=list)
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    """Records that a guard holds, and why, by entity and id."""
    left: list[ChangedLine] = field(default_factory=list)
    """Records that were to be written and were not."""
    counts: dict[str, Counts] = field(default_factory=dict)
    requests: int = 0


def cost_of(session: Session, plan: PlanFile, *, read_target: bool) -> Cost:
    """How many requests it takes to apply these lines, and when they will have been sent."""
    requests = Counter[str]()
    for entity, named in plan.lines.items():
        spec = session.specs[entity]
        wanted = [line for line in named.values() if line.writes]
        removed = sum(line.action in REMOVALS for line in wanted)
        days = plan.days if spec.partitioned else None
        reads = _reads(session, spec, len(wanted), days) + (WITNESS_READS if removed else 0)
        each = session.target(spec).assigns_ids
        upserts = len(wanted) - removed
        writes = removed + (1 + upserts if each else ceil(upserts / UPSERT_ROWS)) + (len(wanted) if read_target else 0)
        requests += Counter({spec.source.system: reads}) + Counter({spec.target.system: writes})
    return Cost(requests.total(), session.now() + _takes(session, requests))


def apply(session: Session, plan: PlanFile, *, skip_changed: bool, read_target: bool, run_id: str) -> Applied:
    """Write the lines that are the same when planned again; none of them when any differs, unless ``skip_changed``.

    What a guard holds is named and not written. Raises ApiError when a system fails: what was written until then is stored.
    """
    applied, before = Applied(), session.requests
    with ExitStack() as stack:
        looks = []
        for spec in session.specs.values():
            named = {key: line for key, line in plan.lines.get(spec.entity, {}).items() if line.writes}
            if not named:
                continue
            if why := hold_first_contact(session, spec):
                applied.held[spec.entity] = dict.fromkeys(named, why)
                continue
            look = stack.enter_context(_NamedRecords(session, spec, named, plan, run_id))
            applied.changed += look.look(read_target=read_target)
            looks.append(look)
        if skip_changed or not applied.changed:
            for look in looks:
                look.write(applied)
        else:
            applied.already = sum(len(look.done) for look in looks)
    applied.requests = session.requests - before
    return applied


def _reads(session: Session, spec: EntitySpec, count: int, days: Days | None) -> int:
    if _is_by_id(session, spec, count):
        return count
    with session.ledger(spec).staging(days.keys if days else None) as staging:
        return max(1, ceil(max(count, staging.known()) / session.source(spec).page_size))


def _is_by_id(session: Session, spec: EntitySpec, count: int) -> bool:
    return session.can_fetch(spec) and count <= session.settings.max_confirmations


def _takes(session: Session, requests: Counter[str]) -> timedelta:
    """How long it takes: what does not fit into a system's hourly budget waits for the hours after it."""
    waits = (
        ceil((requests[system] - budget.left) / budget.limit) * timedelta(seconds=budget.seconds)
        for system, budget in session.budgets.items()
    )
    return max([timedelta(seconds=requests.total() * SECONDS_EACH), *waits])


class _NamedRecords(Targeted):
    """The named records of one entity: read, planned and compared with their lines; then written."""

    def __init__(
        self, session: Session, spec: EntitySpec, named: dict[str, NamedLine], plan: PlanFile, run_id: str
    ) -> None:
        in_list = session.can_fetch(spec) and not _is_by_id(session, spec, len(named))
        days = plan.days if spec.partitioned else None
        super().__init__(session, spec, sorted(named), run_id, in_list=in_list, days=days)
        self._named, self._only = named, named
        self._is_remapped = plan.mappings.get(spec.entity) != spec.fingerprint
        self._window = days.keys if days is not None else None
        self._waits: dict[str, str] = {}
        """For which records that are not at the target a record waits, in words."""
        self._is_compared = False
        """Whether it is known what is to be written: so much the guards count."""
        self.done: set[str] = set()
        self._found: dict[str, Record] = {}

    def __enter__(self) -> Self:
        self._staging = self._ledger.open_staging()
        decide(self._session, self._spec, self._staging)
        return self

    def __exit__(self, *_: object) -> None:
        self._staging.close()

    def look(self, *, read_target: bool) -> list[ChangedLine]:
        """Read, plan and compare; returns what differs. Nothing is written to source or target."""
        before = self._session.requests
        self._found = self._read()
        self._missing = self._look_for_missing(self._found)
        self._held |= self._missing.held
        self._frame = process_frame(self._session, self._spec, self._found.values())
        rows = staged_rows(self._spec, self._frame)
        self._awaits = {row.source_id: row for row in rows if row.status == "waiting"}
        self._stage(rows, self._staging)
        self._left |= dict.fromkeys(self._staging.outdated(), OUTDATED)
        self._hold(self._staging, [row.source_id for row in rows])
        differs = self._compare()
        if read_target:
            differs += self._compare_target({one.id for one in differs})
        self._changed = {one.id for one in differs}
        self._counts.requests = self._session.requests - before
        return differs

    def write(self, applied: Applied) -> None:
        """Plan once more, and write what is still equal."""
        before = self._session.requests
        applied.changed += [one for one in self._compare() if one.id not in self._changed]
        equal = self._named.keys() - self._changed - {one.id for one in applied.changed if one.entity == self.entity}
        self._accept(equal)
        self._is_compared = True
        self._staging.keep(self._found.keys() - equal)
        self._hold(self._staging, equal & self._found.keys())
        todo = equal - self.done - self._held
        applied.already += len(equal & self.done)
        if todo:
            self._write(todo, before)
            applied.counts[self.entity] = self._counts
            left = self._unwritten(todo - self._held)
            applied.left += left
            applied.written += len(todo - self._held) - len(left)
        if held := {key: self._left.get(key) or self._missing.reasons.get(key, "") for key in self._held & equal}:
            applied.held[self.entity] = held

    @property
    def entity(self) -> str:
        """The entity's name."""
        return self._spec.entity

    def _write(self, todo: set[str], before: int) -> None:
        """As a targeted sync of these records; the others of the batch keep their stored state."""
        session, at = self._session, self._observed_at
        sync_id = self._ledger.syncs.begin(run_id=self._run_id, observed_at=at, at=at, targeted=True)
        self._staging.keep(self._found.keys() - todo)
        deleted = set(self._missing.deleted) & todo
        reason = ""
        try:
            problems = [one for one in reject_problems(self._frame) if one.source_id in todo]
            ids, newest = sorted(todo), max(self._numbers.values(), default=0)
            self._ledger.rejects.replace(None, problems, self._run_id, session.now(), source_ids=ids, read_no=newest)
            with self._ledger.lock():
                deleted = self._mark_deleted(deleted, ())
                self._merge(self._staging, self._found.keys() & todo)
            self._send(deleted, self._staging, sync_id)
        except BaseException as error:  # Ctrl-C, too
            reason = str(error) if isinstance(error, SyncError) else INTERRUPTED
            raise
        finally:
            self._counts.requests += session.requests - before
            # Those that keep their stored state were not part of it.
            self._counts.extracted, self._counts.lagging = self._counts.extracted - self._counts.lagging, 0
            counts, requests = asdict(self._counts), self._counts.requests
            self._ledger.syncs.finish(sync_id, TARGETED, counts, requests, at=session.now(), reason=reason)

    def _hold(self, staging: Staging, ids: Collection[str]) -> set[str]:
        """The guards hold what they would hold in a sync: to apply a file is no approval of it."""
        held = super()._hold(staging, ids)
        if self._is_compared:
            more = hold_named(self._session, self._spec, staging, ids, self._window, Options())
            self._left |= more
            self._held |= more.keys()
            held |= more.keys()
        return held

    def _accept(self, ids: Collection[str]) -> None:
        """Accept the rows whose references have been delivered meanwhile, as those of the same file are."""
        self._look_up_awaited()
        self._staging.accept((ids & self._awaits.keys()) - self._waits.keys())

    def _compare(self) -> list[ChangedLine]:
        """The lines that differ now; sets ``done`` to those whose record is already in the planned state."""
        missed = Missing(self._missing.deleted, self._missing.unconfirmed, self._missing.held)
        now = {line.source_id: line for line in lines(self._session, self._spec, self._staging, missed)}
        known = self._ledger.lookup(self._named)
        interrupted = {intent.source_id for intent in self._ledger.open_intents()}
        self.done = {key for key, line in self._named.items() if key not in now and _is_as_wanted(line, known.get(key))}
        outdated = set(self._staging.outdated())
        self._look_up_awaited()
        found = []
        for key, line in self._named.items():
            if key in self.done:
                continue
            if key in outdated:
                found.append(self._differs(key, "source", OUTDATED))
            elif why := self._why(line, now.get(key), known.get(key), is_interrupted=key in interrupted):
                found.append(self._differs(key, *why))
        return found

    def _why(
        self, line: NamedLine, now: PlanLine | None, known: Known | None, *, is_interrupted: bool
    ) -> tuple[str, str] | None:
        """What differs between a line and the plan of now, and how; None when nothing does."""
        if line.source_id in self._left and line.source_id not in self._held:
            return "source", self._left[line.source_id]
        if now is None:
            return self._why_nothing(line, known)
        if not now.writes:
            return self._why_unsent(line, now)
        removes = line.action in REMOVALS
        if removes != (now.action in REMOVALS):
            return "source", "it exists again" if removes else "it is deleted now"
        if now.hash_after != line.hash_after:
            return self._why_other(line, now)
        return _why_elsewhere(line, now, is_interrupted=is_interrupted)

    def _why_unsent(self, line: NamedLine, now: PlanLine) -> tuple[str, str]:
        waits = self._waits.get(line.source_id) if now.action == "wait" else None
        return ("reference", waits) if waits else ("source", now.reason)

    def _why_nothing(self, line: NamedLine, known: Known | None) -> tuple[str, str]:
        if line.source_id in self._found or (known is not None and known.source_id in self._missing.deleted):
            return "source", "there is nothing to write of it now"
        if known is not None and known.delivered_hash is not None and line.action not in REMOVALS:
            return "source", "it is missing"
        return "source", "it does not exist any more"

    def _why_other(self, line: NamedLine, now: PlanLine) -> tuple[str, str]:
        if now.source_hash is not None and now.source_hash == line.source_hash:
            if self._is_remapped:
                return "mapping", "the mapping was changed"
            if self._spec.links:
                return "ledger", "it is linked to something else"
        also = ", and so was the mapping" if self._is_remapped else ""
        return "source", f"it was changed{also}"

    def _compare_target(self, besides: Collection[str]) -> list[ChangedLine]:
        """The records that are at the target in another form than the ledger knows."""
        found = []
        target, known = self._session.target(self._spec), self._ledger.lookup(self._named)
        for key in sorted(self._named.keys() - self.done - {*besides, *self._missing.deleted}):
            record = known.get(key)
            place, believed = self._place(key, record)
            if place is None or believed in UNKNOWN:
                continue
            there = self._session.call(target.get, place)
            is_there = there is not None and not target.is_archived(there)
            now = canonical_target(self._spec, there)[1] if there is not None and is_there else None
            if now != believed:
                what = (
                    "it was changed there"
                    if is_there and believed
                    else "it exists there"
                    if is_there
                    else "it is missing there"
                )
                found.append(self._differs(key, "target", what))
        return found

    def _place(self, key: str, record: Known | None) -> tuple[str | None, str | None]:
        """Where a record is at the target, or will be, and the hash last known to be there."""
        if record is not None and record.target_id is not None:
            return record.target_id, record.delivered_hash
        if self._session.target(self._spec).assigns_ids:
            return None, None
        return key, record.delivered_hash if record is not None else None

    def _unwritten(self, todo: set[str]) -> list[ChangedLine]:
        """Those that were to be written and are not as their line says, and why."""
        known = self._ledger.lookup(todo)
        self._look_up_awaited()
        left = [key for key in sorted(todo) if not _is_as_wanted(self._named[key], known.get(key))]
        return [self._differs(key, *self._why_unwritten(key, known.get(key))) for key in left]

    def _why_unwritten(self, key: str, known: Known | None) -> tuple[str, str]:
        if waits := self._waits.get(key):
            return "reference", waits
        if known is not None and known.refused_hash is not None:
            return "target", "the target refused it: `sync-pipeline rejects list` shows why"
        return "target", "it was not written; apply the file again"

    def _look_up_awaited(self) -> None:
        """Note for which records the rows wait now."""
        awaits = {key: awaited(row) for key, row in self._awaits.items()}
        ids: dict[str, set[str]] = {}
        for entity, source_id in chain.from_iterable(awaits.values()):
            ids.setdefault(entity, set()).add(source_id)
        found = {entity: self._session.ledger(entity).lookup(some) for entity, some in ids.items()}
        there = {(entity, key) for entity, some in found.items() for key, known in some.items() if known.is_delivered}
        missing = {key: [each for each in some if tuple(each) not in there] for key, some in awaits.items()}
        self._waits = {key: f"it waits for {', '.join(map(' '.join, some))}" for key, some in missing.items() if some}

    def _differs(self, key: str, what: str, reason: str) -> ChangedLine:
        return ChangedLine(self.entity, key, what, reason)


_DONE: Mapping[str, str] = {
    "create": "created",
    "adopt": "adopted",
    "update": "updated",
    "restore": "restored",
    "rename": "renamed",
    "delete": "deleted",
    "archive": "archived",
}


_LOOKED_UP: Mapping[str, str] = {"create": "adopt", "update": "rename"}
"""The actions that a held line may become once it is looked up at a target that assigns the ids."""


def _why_elsewhere(line: NamedLine, now: PlanLine, *, is_interrupted: bool) -> tuple[str, str] | None:
    """What differs in ledger or target, where the source wants the same; nothing after a write without an answer."""
    if now.hash_before in UNKNOWN or line.hash_before in UNKNOWN:
        return None
    if now.hash_before != line.hash_before:
        return "ledger", "another run has written it since"
    if now.action == line.action or (is_interrupted and now.action in ("create", "adopt")):
        return None
    if line.is_held and now.action == _LOOKED_UP.get(line.action):
        return None
    return "target", f"it would be {_DONE[now.action]} now, not {_DONE.get(line.action, line.action)}"


def _is_as_wanted(line: NamedLine, known: Known | None) -> bool:
    """Whether the record is already as its line says."""
    if line.action in REMOVALS:
        return known is not None and known.delivered_hash is None and known.deleted_at is not None
    return known is not None and known.deleted_at is None and known.delivered_hash == line.hash_after
