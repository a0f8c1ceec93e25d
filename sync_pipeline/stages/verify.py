"""Reconcile: read both sides in full, prove that they agree, and - when asked - deliver what does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal

import orjson

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import AssigningTarget
from sync_pipeline.connectors.window import Window
from sync_pipeline.mapping.canonical import canonical_target, canonical_targets, differences
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.health import VERIFY, note_finding
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session
from sync_pipeline.stages.absence import People, people, reported
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.stages.check import Checking, CheckResult, checked
from sync_pipeline.stages.copies import copies_in, copying_target, remove_copies
from sync_pipeline.stages.guards import HeldLines
from sync_pipeline.stages.load import load
from sync_pipeline.stages.plan import deletes
from sync_pipeline.stages.process import is_wanted, processed_rows
from sync_pipeline.stages.references import kept
from sync_pipeline.store.comparison import Comparison, Copy, DifferingRecord, ObservedRow
from sync_pipeline.store.schema import REMOVAL
from sync_pipeline.store.scope import draw

KEPT = 100_000
"""Differences listed by field; beyond it they are only counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one record that is not the same on both sides; ``field`` is ``*`` when a whole side is missing.

    Of a record that is ``waiting`` the field is the reference it waits for, and ``target`` says why.
    """

    kind: Literal["missing", "extra", "different", "waiting"]
    record: str
    field: str
    source: Any
    target: Any


@dataclass(slots=True)
class VerifyResult:
    """What a comparison of both sides found, after each difference was read again."""

    entity: str
    source: int = 0
    target: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    waiting: int = 0
    """For a record that cannot be delivered."""
    rejected: int = 0
    excluded: int = 0
    kept: int = 0
    """Deleted at the source and still at the target, as the delete policy wants it."""
    foreign: int = 0
    former: int = 0
    """At the target as an earlier mapping made them, which was chosen when the one in force was published."""
    removed: int = 0
    """Made once, and removed at the target since: they stay removed."""
    unchecked: int = 0
    """Made once, and not looked for, since they are more than a run may look up: counted as there."""
    repaired: int = 0
    requests: int = 0
    held_back: str = ""
    """Why a requested repair was not started; empty when it was, or was not requested."""
    held: tuple[HeldLines, ...] = ()
    """What the guards held of a repair."""
    exit_code: int = 0
    """The exit code of a command whose repair was blocked."""
    differences: list[Difference] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    """Records of ours that exist more than once at the target; counted as extra."""

    @property
    def in_sync(self) -> bool:
        """Whether both sides hold the same."""
        return not (self.missing or self.extra or self.different or self.waiting)

    @property
    def explanation(self) -> str:
        """Why both sides are in sync although their counts differ; "" when they do not."""
        if self.removed or self.unchecked:
            return self._made
        if self.former:
            return self._former
        if not self.in_sync or self.source == self.target:
            return ""
        left = " and ".join(f"{count:,} {name}" for name in ("rejected", "excluded") if (count := getattr(self, name)))
        why = (
            f" The first count is without {left}; of these the target keeps what was delivered before." if left else ""
        )
        foreign = f" {self.foreign:,} foreign are counted on neither side." if self.foreign else ""
        return (
            f"{self.entity}: {self.source:,} at the source, {self.target:,} at the target, and in sync.{why}{foreign}"
        )

    @property
    def _made(self) -> str:
        rest = (
            f"{self.unchecked:,} of the {self.source:,} {self.entity} that were made were not looked for and are counted as "
            "there: a run looks up as many as SYNC_MAX_CONFIRMATIONS."
        )
        removed = (
            f"{self.removed:,} of the {self.source - self.unchecked if self.unchecked else self.source:,} "
            f"{self.entity} that {'were looked for' if self.unchecked else 'were made'} were removed at the target. "
            "They stay removed."
        )
        return " ".join([*([removed] if self.removed else []), *([rest] if self.unchecked else [])])

    @property
    def _former(self) -> str:
        some = f"{self.former:,} {self.entity} are" if self.former > 1 else f"1 of the {self.entity} is"
        return (
            f"{some} at the target in the form of an earlier mapping, as was chosen when the mapping was published. The mapping in force "
            f"reaches a record when it changes at the source, and all with `sync-pipeline sync {self.entity} --accept-rewrite`."
        )

    @property
    def figures(self) -> dict[str, int]:
        """The counts, for a table or JSON."""
        differs = ("missing", "extra", "different", "waiting")
        names = (
            "source",
            "target",
            *differs,
            "rejected",
            "excluded",
            "kept",
            "foreign",
            "former",
            "removed",
            "repaired",
        )
        return {name: getattr(self, name) for name in names}


def verify(
    session: Session,
    spec: EntitySpec,
    days: Days | None,
    *,
    repair: bool = False,
    options: Options | None = None,
    run_id: str = "",
) -> VerifyResult:
    """Compare one entity on both sides; with ``repair``, deliver the differences and compare once more.

    The observed hashes replace the stored ones, so drift turns into pending records by itself.
    A repair is a load like any other: what blocks a sync blocks it, and the verdict names what the guards hold.
    """
    if spec.target.once:
        return _verify_made(session, spec)
    before, options = session.requests, options or Options()
    asked = options if repair else replace(options, dry_run=True)  # only a repair requests approvals
    with checked(session, spec, days, asked, independent=True) as checking:
        verdict = _compare(session, spec, checking, days)
        verdict.held_back = _why_held_back(spec, checking.results) if repair else ""
        verdict.exit_code = next((result.exit_code for result in checking.results if repair and result.blocks), 0)
        if repair and not verdict.held_back and not verdict.in_sync:
            removed = remove_copies(session, spec, verdict.copies) if options.allow_deletes else 0
            loaded = load(session, spec, checking.batch, days, options, run_id=run_id)
            counts = loaded.counts
            verdict = _compare(session, spec, checking, days)
            verdict.held_back = loaded.problem
            verdict.repaired = counts.writes + removed
            verdict.held = checking.holding.held
    verdict.requests = session.requests - before
    _note(session, spec, days, verdict)
    return verdict


def _verify_made(session: Session, spec: EntitySpec) -> VerifyResult:
    """Compare what was to be made once with what was, and count what of it is there; nothing is repaired.

    What was made is read by its id, as many as a run may read so; what else was made counts as there, and the verdict says so.
    """
    before, verdict = session.requests, VerifyResult(spec.entity)
    options = Options(dry_run=True)
    with (
        checked(session, spec, None, options, independent=True) as checking,
        checking.staging.compare(assigns_ids=True) as comparison,
    ):
        verdict.rejected, verdict.excluded, verdict.waiting = comparison.left_out()
        verdict.missing, lacking = comparison.count_accepted(), comparison.accepted(KEPT)
    verdict.differences = [Difference("missing", key, "*", "present", "absent") for key in lacking]
    target, asked = session.target(spec), deque[str](maxlen=session.settings.max_confirmations)
    for page in session.ledger(spec).scan():
        made = [known.target_id for known in page if known.target_id and known.is_delivered]
        verdict.source += len(made)
        asked.extend(made)
    verdict.unchecked = verdict.source - len(asked)
    verdict.removed = sum(session.call(target.get, target_id) is None for target_id in asked)
    verdict.target = verdict.source - verdict.removed
    verdict.requests = session.requests - before
    _note(session, spec, None, verdict)
    return verdict


def _note(session: Session, spec: EntitySpec, days: Days | None, verdict: VerifyResult) -> None:
    """Note drift; only a comparison of everything proves that there is none."""
    kinds = ("missing", "extra", "different", "waiting")
    found = ", ".join(f"{count:,} {kind}" for kind in kinds if (count := getattr(verdict, kind)))
    whole = days is None or (days.first <= session.settings.start_date and days.last >= session.now().date())
    if found or whole:
        note_finding(session, f"{VERIFY}{spec.entity}", found, keep_ok=True)


def _why_held_back(spec: EntitySpec, results: list[CheckResult]) -> str:
    """What blocks the batch, and what to do; empty when nothing does."""
    blocking = [f"{result.name}: {result.summary.removesuffix('.')}" for result in results if result.blocks]
    if not blocking:
        return ""
    return (
        f"{spec.entity} cannot be repaired, since a check blocks the batch. {'; '.join(blocking)}. "
        "Correct the source, or say what is right with `sync-pipeline sync`, and verify again."
    )


def _compare(session: Session, spec: EntitySpec, checking: Checking, days: Days | None) -> VerifyResult:
    verdict = VerifyResult(spec.entity, former=checking.staging.counts().get("former", 0))
    with checking.staging.compare(assigns_ids=session.target(spec).assigns_ids) as comparison:
        _count(session, spec, comparison, days, verdict)
    verdict.foreign -= len(verdict.copies)
    verdict.target += len(verdict.copies)
    verdict.extra += len(verdict.copies)
    verdict.differences += [
        Difference("extra", copy.source_id, "*", "once", f"twice: {copy.linked_id} and {copy.target_id}")
        for copy in verdict.copies
    ]
    waits = checking.rejects.first_waiting(max(0, KEPT - len(verdict.differences)))
    verdict.differences += [
        Difference("waiting", str(wait.source_id), str(wait.field), wait.value, wait.reason) for wait in waits
    ]
    return verdict


def _count(
    session: Session, spec: EntitySpec, comparison: Comparison, days: Days | None, verdict: VerifyResult
) -> None:
    """Read the target, count what is equal and what differs, and correct what is stored of the target."""
    verdict.rejected, verdict.excluded, verdict.waiting = comparison.left_out()
    number = draw(session.store)
    _observe(session, spec, comparison, days)
    verdict.source, verdict.target = comparison.count_wanted(), comparison.count_observed()
    verdict.target -= comparison.count_removed()
    verdict.foreign = comparison.count_foreign()
    again = _ReadAgain(session, spec)
    for page in comparison.differences():
        suspects = _leave_kept(session, spec, page, verdict)
        for item in again.look(suspects):
            _add(spec, item, verdict)
    for item in again.look_in_report():
        _add(spec, item, verdict)
    session.ledger(spec).claims.free_ended()
    session.ledger(spec).observe_target(again.correct(comparison.beliefs()), number)
    verdict.copies = copies_in(session, spec, comparison)


def _mark(copying: AssigningTarget | None, record: Record) -> tuple[str | None, int]:
    """What a record is recognized by, where others may have the same, and whether it is ours."""
    if copying is None:
        return None, 0
    return orjson.dumps([record.get(name) for name in copying.key], default=str).decode(), int(copying.is_own(record))


def _observe(session: Session, spec: EntitySpec, comparison: Comparison, days: Days | None) -> None:
    """Read the target into the comparison."""
    target, copying, seen = session.target(spec), copying_target(session, spec), 0
    archives = spec.target.delete == "archive"
    for page in _target_pages(session, spec, days):
        comparison.observe(
            [
                ObservedRow(
                    str(record.get(target.id_field)),
                    fields.decode(),
                    digest,
                    *_mark(copying, record),
                    int(archives and target.is_archived(record)),
                )
                for record, (fields, digest) in zip(page, canonical_targets(spec, page), strict=True)
            ]
        )
        seen += len(page)
        session.report(Progress(spec.entity, "verify", seen))


def _leave_kept(
    session: Session, spec: EntitySpec, page: list[DifferingRecord], verdict: VerifyResult
) -> list[DifferingRecord]:
    """The differing records without those that stay at the target, by the delete policy or since it refuses to remove them; these are counted."""
    stuck = _stuck(session, spec, page)
    still = kept(session, spec, {item.source_id for item in page if item.kind == "extra"}) - stuck
    verdict.target -= len(stuck) + len(still)
    verdict.kept += len(still)
    verdict.rejected += len(stuck)
    return [item for item in page if item.source_id not in stuck | still]


def _add(spec: EntitySpec, item: DifferingRecord, verdict: VerifyResult) -> None:
    """Count a difference, and list it; what is deleted at the source may have to stay at the target."""
    if item.kind == "extra" and not deletes(spec):
        verdict.kept += 1
        verdict.target -= 1
        return
    setattr(verdict, item.kind, getattr(verdict, item.kind) + 1)
    verdict.differences += _by_field(spec, item) if len(verdict.differences) < KEPT else []


def _stuck(session: Session, spec: EntitySpec, suspects: list[DifferingRecord]) -> set[str]:
    """The extra records whose removal the target refused; they are deleted at the source and are in the rejects."""
    extra = [item.source_id for item in suspects if item.kind == "extra"]
    known = session.ledger(spec).lookup(extra)
    return {key for key, record in known.items() if record.deleted_at is not None and record.refused_hash == REMOVAL}


def _target_pages(session: Session, spec: EntitySpec, days: Days | None) -> Iterator[list[Record]]:
    """Everything at the target, limited to the days when the target can do that - or else cut here."""
    target, window = session.target(spec), Window.of_days(days.first, days.last) if days else None
    if window is None or target.can_window:
        yield from session.walk(target.read(window))
        return
    for page in session.walk(target.read()):
        yield [record for record in page if _day(record.get(str(spec.partition_by))) in _span(days)]


def _span(days: Days | None) -> range:
    return range(days.first.toordinal(), days.last.toordinal() + 1) if days else range(0)


def _day(value: object) -> int:
    return date.fromisoformat(str(value)[:10]).toordinal() if value else 0


@dataclass(slots=True)
class _ReadAgain:
    """Reads differences again by id on both sides: a record that changed while we read is no difference.

    Beyond the number of confirmations a run may spend, differences are reported as they were read.
    """

    session: Session
    spec: EntitySpec
    observed: dict[str, str | None] = field(default_factory=dict)
    """Of the records that still differ when they are read again: the hash of what is at the target, by source id."""
    decided: set[str] = field(default_factory=set)
    """The records that were read again, whether they still differ or not."""
    members: People | None = None
    unread: list[DifferingRecord] = field(default_factory=list)
    """Entries of people who left: only the report shows whether they exist."""

    def look(self, suspects: list[DifferingRecord]) -> Iterator[DifferingRecord]:
        """Those of them that still differ, without those that only the report shows."""
        left = self.session.settings.max_confirmations - len(self.decided)
        first, rest = suspects[:left], suspects[left:]
        self.decided |= {item.source_id for item in first}
        yield from self._noted(self._by_id(first))
        yield from rest

    def look_in_report(self) -> Iterator[DifferingRecord]:
        """Those that only the report shows and that still differ; called last, so that the report is read once."""
        yield from self._noted(_re_read_in_report(self.session, self.spec, self.unread))

    def _noted(self, found: Iterator[DifferingRecord]) -> Iterator[DifferingRecord]:
        for item in found:
            shown = item.observed
            self.observed[item.source_id] = None if shown is None else _hash_of(self.spec, shown)
            yield item

    def correct(self, beliefs: Iterator[tuple[str, str | None]]) -> Iterator[tuple[str, str | None]]:
        """What is at the target; a record that changed while it was read again is left to the next verify."""
        yield from self.observed.items()
        yield from ((key, digest) for key, digest in beliefs if key not in self.decided)

    def _by_id(self, first: list[DifferingRecord]) -> Iterator[DifferingRecord]:
        session, spec = self.session, self.spec
        for item in first:
            record = session.fetch(spec, item.source_id) if session.can_fetch(spec) else None
            if session.can_fetch(spec) and record is None:
                self.members = self.members or people(session, spec)
                if not self.members.include(item.wanted or item.observed or ""):
                    self.unread.append(item)
                    continue
            if (again := _again(session, spec, item, record)) is not None:
                yield again


def _hash_of(spec: EntitySpec, observed: str) -> str:
    return canonical_target(spec, orjson.loads(observed))[1]


def _re_read_in_report(session: Session, spec: EntitySpec, found: list[DifferingRecord]) -> Iterator[DifferingRecord]:
    """Those entries of people who left that still differ: no read by id finds them, so what the report has of them counts."""
    extra = session.ledger(spec).lookup([i.source_id for i in found if i.wanted is None])
    days: dict[str, str | None] = {item.source_id: None for item in found if item.wanted is None}
    days |= {key: known.partition for key, known in extra.items()}
    records = reported(session, spec, days)[0] if days else {}
    for item in found:
        record = records.get(item.source_id)
        again = _beside_target(session, spec, item, item.wanted) if item.wanted else _again(session, spec, item, record)
        if again is not None:
            yield again


def _again(session: Session, spec: EntitySpec, item: DifferingRecord, record: Record | None) -> DifferingRecord | None:
    """The current difference, read again from the source; unchanged for a source without reads by id."""
    if not session.can_fetch(spec):
        return _beside_target(session, spec, item, item.wanted)
    rows = processed_rows(session, spec, [record]) if record is not None else []
    wanted = next((row.fields for row in rows if is_wanted(row)), None)
    if record is not None and wanted is None:
        return None  # rejected or excluded by now: its last good state may stay at the target
    return _beside_target(session, spec, item, wanted)


def _beside_target(
    session: Session, spec: EntitySpec, item: DifferingRecord, wanted: str | None
) -> DifferingRecord | None:
    observed = _observed(session, spec, item)
    if wanted is None:
        return None if observed is None else DifferingRecord("extra", item.source_id, item.target_id, None, observed)
    if observed is None:
        return DifferingRecord("missing", item.source_id, item.target_id, wanted, None)
    same = not differences(spec, orjson.loads(wanted), orjson.loads(observed))
    return None if same else DifferingRecord("different", item.source_id, item.target_id, wanted, observed)


def _observed(session: Session, spec: EntitySpec, item: DifferingRecord) -> str | None:
    if item.target_id is None:
        return None
    record = session.call(session.target(spec).get, item.target_id)
    return canonical_targets(spec, [record])[0][0].decode() if record is not None else None


def _by_field(spec: EntitySpec, item: DifferingRecord) -> list[Difference]:
    if item.wanted is None or item.observed is None:
        sides = ("present" if side is not None else "absent" for side in (item.wanted, item.observed))
        return [Difference(item.kind, item.source_id, "*", *sides)]
    pairs = differences(spec, orjson.loads(item.wanted), orjson.loads(item.observed))
    return [Difference("different", item.source_id, name, source, target) for name, source, target in pairs]
