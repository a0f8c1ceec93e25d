"""Reconcile: read both sides in full, prove that they agree, and - when asked - deliver what does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import orjson

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.mapping.canonical import canonical_target, canonical_targets, differences
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch, Days
from sync_pipeline.stages.check import CheckResult, Options
from sync_pipeline.stages.guards import deletes
from sync_pipeline.stages.judge import judged_rows
from sync_pipeline.stages.load import load
from sync_pipeline.stages.prepare import prepared
from sync_pipeline.stages.seal import is_wanted, staged_rows
from sync_pipeline.stages.session import Progress, Session
from sync_pipeline.store.comparison import Comparison, Found, WantedRow, compare
from sync_pipeline.store.outcomes import REMOVAL
from sync_pipeline.store.records import Known, lookup, observe_target
from sync_pipeline.store.staging import StagedRow

KEPT = 100_000
"""Differences listed by field; beyond it they are only counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one record that is not the same on both sides; ``field`` is ``*`` when a whole side is missing."""

    kind: Literal["missing", "extra", "different"]
    record: str
    field: str
    source: Any
    target: Any


@dataclass(slots=True)
class Verdict:
    """What a comparison of both sides found, after each difference was read again."""

    entity: str
    source: int = 0
    target: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    rejected: int = 0
    excluded: int = 0
    foreign: int = 0
    repaired: int = 0
    requests: int = 0
    held_back: str = ""
    """Why a repair that was asked for was not begun; empty when it was, or was not asked for."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def in_sync(self) -> bool:
        """Whether both sides hold the same."""
        return not (self.missing or self.extra or self.different)

    @property
    def figures(self) -> dict[str, int]:
        """The counts, for a table or JSON."""
        names = ("source", "target", "missing", "extra", "different", "rejected", "excluded", "foreign", "repaired")
        return {name: getattr(self, name) for name in names}


def verify(
    session: Session,
    spec: EntitySpec,
    days: Days | None,
    *,
    repair: bool = False,
    options: Options | None = None,
    run_id: str = "",
) -> Verdict:
    """Compare one entity on both sides; with ``repair``, deliver the differences and compare once more.

    What was observed at the target becomes what we believe is there, so drift turns into pending records by itself.
    A repair is a load like any other: what blocks a sync holds it back, and the verdict says so.
    """
    before, options = session.requests, options or Options()
    with prepared(session, spec, days, options, independent=True) as checking:
        verdict = _compare(session, spec, checking.sealed, days)
        verdict.held_back = _why_held_back(spec, checking.results) if repair else ""
        if repair and not verdict.held_back and not verdict.in_sync:
            counts = load(session, spec, checking.sealed, days, options, run_id=run_id)
            verdict = _compare(session, spec, checking.sealed, days)
            verdict.repaired = counts.created + counts.adopted + counts.updated + counts.deleted
    verdict.requests = session.requests - before
    return verdict


def _why_held_back(spec: EntitySpec, results: list[CheckResult]) -> str:
    """What blocks the batch, and what to do; empty when nothing does."""
    blocking = [f"{result.name}: {result.summary.removesuffix('.')}" for result in results if result.blocks]
    if not blocking:
        return ""
    return (
        f"{spec.entity} cannot be repaired, since a check blocks the batch. {'; '.join(blocking)}. "
        "Mend the source, or say what is right with `sync-pipeline sync`, and verify again."
    )


def _compare(session: Session, spec: EntitySpec, sealed: Batch, days: Days | None) -> Verdict:
    verdict = Verdict(spec.entity)
    with compare(session.store, session.connection, spec.entity) as comparison:
        statuses = _want(session, spec, sealed, comparison)
        verdict.rejected, verdict.excluded = statuses["rejected"], statuses["excluded"]
        seen, archived, began = 0, set[str](), session.now()
        for page in _target_pages(session, spec, days):
            rows = canonical_targets(spec, page)
            ids = [str(record.get(spec.target.id)) for record in page]
            if spec.target.delete == "archive":
                archived |= {key for key, record in zip(ids, page, strict=True) if record.get("archived")}
            comparison.observe(
                [(key, fields.decode(), digest) for key, (fields, digest) in zip(ids, rows, strict=True)]
            )
            seen += len(page)
            session.report(Progress(spec.entity, "verify", seen))
        verdict.source, verdict.target = comparison.count_wanted(), comparison.count_observed()
        verdict.foreign = comparison.count_foreign()
        removed, suspects = _sort_out(comparison.differences(), archived)
        stuck = _stuck(session, spec, suspects)
        suspects = [item for item in suspects if item.source_id not in stuck]
        verdict.target -= len(removed) + len(stuck)
        verdict.rejected += len(stuck)
        found = list(_re_read(session, spec, iter(suspects)))
        beliefs = _beliefs(spec, comparison, removed, suspects, found)
        observe_target(session.store, session.connection, spec.entity, beliefs, began)
    if not deletes(spec):  # what is gone at the source stays at the target, as it should
        kept = [item for item in found if item.kind == "extra"]
        verdict.target -= len(kept)
        found = [item for item in found if item.kind != "extra"]
    for item in found:
        setattr(verdict, item.kind, getattr(verdict, item.kind) + 1)
        verdict.differences += _by_field(spec, item) if len(verdict.differences) < KEPT else []
    return verdict


def _sort_out(found: Iterator[Found], archived: set[str]) -> tuple[set[str], list[Found]]:
    """The ids of records that are gone and archived at the target, which is how they should be; and all the others."""
    removed: set[str] = set()
    others: list[Found] = []
    for item in found:
        if item.kind == "extra" and item.target_id in archived:
            removed.add(item.source_id)
        else:
            others.append(item)
    return removed, others


def _stuck(session: Session, spec: EntitySpec, suspects: list[Found]) -> set[str]:
    """Those that are gone at the source, but whose removal the target refused: they stand in the rejects."""
    extra = [item.source_id for item in suspects if item.kind == "extra"]
    known = lookup(session.store, session.connection, spec.entity, extra)
    return {key for key, record in known.items() if record.deleted_at is not None and record.refused_hash == REMOVAL}


def _want(session: Session, spec: EntitySpec, sealed: Batch, comparison: Comparison) -> Counter[str]:
    """Put the source's side in, each record with its stored link - for an upsert target, its own id is the link."""
    statuses: Counter[str] = Counter()
    for frame in sealed.parts:
        rows = staged_rows(frame)
        known = lookup(session.store, session.connection, spec.entity, [row[0] for row in rows])
        wanted = [_wanted(spec, row, known.get(row[0])) for row in rows]
        statuses.update(row[4] for row in wanted)
        comparison.want(wanted)
    return statuses


def _wanted(spec: EntitySpec, row: StagedRow, known: Known | None) -> WantedRow:
    key, _, fields, digest, status, _ = row
    target_id = known.target_id if known is not None else None
    if target_id is None and spec.target.system == "snapshots":
        target_id = key
    if known is not None and known.refused_hash == digest and known.delivered_hash != digest:
        status = "rejected"  # by the target, and in exactly this state
    elif not is_wanted(row):
        status = "rejected" if status == "waiting" else status
    return key, target_id, fields, digest, status


def _target_pages(session: Session, spec: EntitySpec, days: Days | None) -> Iterator[list[Record]]:
    """Everything at the target, limited to the days when the target can do that - or else cut here."""
    if spec.target.system == "clockify":
        yield session.call(session.clockify.list_clients)
        return
    window = Window.of_days(days.first, days.last) if days else None
    if window is None or session.snapshots.profile.of(spec.entity).window is not None:
        yield from session.walk(session.snapshots.read(spec.entity, window))
        return
    for page in session.walk(session.snapshots.read(spec.entity)):
        yield [record for record in page if _day(record.get(str(spec.partition_by))) in _span(days)]


def _span(days: Days | None) -> range:
    return range(days.first.toordinal(), days.last.toordinal() + 1) if days else range(0)


def _day(value: object) -> int:
    return date.fromisoformat(str(value)[:10]).toordinal() if value else 0


def _re_read(session: Session, spec: EntitySpec, found: Iterator[Found]) -> Iterator[Found]:
    """Read each difference again by id on both sides: a record that changed while we read is no difference.

    Beyond the number of confirmations a run may spend, differences are reported as they were read.
    """
    for number, item in enumerate(found):
        if number >= session.settings.max_confirmations:
            yield item
        elif (again := _again(session, spec, item)) is not None:
            yield again


def _again(session: Session, spec: EntitySpec, item: Found) -> Found | None:
    wanted = item.wanted
    if session.can_fetch(spec):
        record = session.fetch(spec, item.source_id)
        rows = judged_rows(session, spec, [record]) if record is not None else []
        wanted = next((row[2] for row in rows if is_wanted(row)), None)
        if rows and wanted is None:
            return None  # rejected or excluded by now: its last good state may stay at the target
    observed = _observed(session, spec, item)
    if wanted is None:
        return None if observed is None else Found("extra", item.source_id, item.target_id, None, observed)
    if observed is None:
        return Found("missing", item.source_id, item.target_id, wanted, None)
    same = not differences(spec, orjson.loads(wanted), orjson.loads(observed))
    return None if same else Found("different", item.source_id, item.target_id, wanted, observed)


def _observed(session: Session, spec: EntitySpec, item: Found) -> str | None:
    if item.target_id is None:
        return None
    if spec.target.system == "clockify":
        record = session.call(session.clockify.get_client, item.target_id)
    else:
        record = session.call(session.snapshots.get, spec.entity, item.target_id)
    return canonical_targets(spec, [record])[0][0].decode() if record is not None else None


def _beliefs(
    spec: EntitySpec, comparison: Comparison, removed: set[str], suspects: list[Found], found: list[Found]
) -> Iterator[tuple[str, str | None]]:
    """What stands at the target; a record that changed while it was read again is left to the next verify."""
    again = {item.source_id: item.observed for item in found}
    unsure = {item.source_id for item in suspects} - again.keys()
    for key, digest in comparison.beliefs():
        if key in removed:
            yield key, None
        elif key in again:
            observed = again[key]
            yield key, None if observed is None else canonical_target(spec, orjson.loads(observed))[1]
        elif key not in unsure:
            yield key, digest


def _by_field(spec: EntitySpec, item: Found) -> list[Difference]:
    if item.wanted is None or item.observed is None:
        sides = ("present" if side is not None else "absent" for side in (item.wanted, item.observed))
        return [Difference(item.kind, item.source_id, "*", *sides)]
    pairs = differences(spec, orjson.loads(item.wanted), orjson.loads(item.observed))
    return [Difference("different", item.source_id, name, source, target) for name, source, target in pairs]
