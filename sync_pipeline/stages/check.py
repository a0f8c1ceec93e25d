"""Check: judge the mapped records before anything is written, and seal what may be loaded.

Row-level failures set records aside as rejects; a batch in which too many fail, or that would delete or rewrite too
much, is blocked as a whole. The output is a sealed batch: id, partition, canonical fields and their hash, status.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import orjson
import pandas as pd

from sync_pipeline.mapping.checks import check_frame
from sync_pipeline.mapping.samples import known_keys
from sync_pipeline.mapping.spec import EntitySpec, Field
from sync_pipeline.stages.batch import Batch, Counts, Days
from sync_pipeline.stages.guards import Guard, guard_volume
from sync_pipeline.stages.inbox import leave_open
from sync_pipeline.stages.journal import note_sync
from sync_pipeline.stages.problems import reject, rejects_of
from sync_pipeline.stages.references import DELETED_REFERENCE, References
from sync_pipeline.stages.seal import seal, staged_rows
from sync_pipeline.stages.session import Progress, Session
from sync_pipeline.store.records import lookup
from sync_pipeline.store.rejects import NO_ID, Reject, replace_rejects
from sync_pipeline.store.staging import stage

CHECKS = {
    "required_fields": "Every required field has a value.",
    "unique_ids": "No two records share an id, or a name that must be unique at the target.",
    "valid_values": "Types, e-mail addresses, instants, lengths and the order of start and end are right.",
    "references": "What a record points at - its project, its user - is known.",
    "volume": "The batch would not delete or rewrite a suspicious share of what is known.",
    "schema_drift": "The source still sends the fields the mapping reads, and nothing unheard of.",
}
"""The checks of every entity, by name."""

ROW_CHECKS = ("required_fields", "unique_ids", "valid_values", "references")
EXCUSED: Mapping[str, str] = {"references": DELETED_REFERENCE}
"""Rules that set records aside in the name of a check without counting as its failures: the source is as it should be."""
SET_APART = ("rejected", "excluded", "waiting")
"""What a checked record may be instead of accepted; a sealed batch notes how many are."""
PERSONAL = "(personal)"
"""Instead of a value that is nobody else's business."""
SHOWN_ROWS = 20
SHOWN_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may say about one run."""

    dry_run: bool = False
    accept_rewrite: bool = False
    allow_deletes: bool = False
    first_contact: bool = False


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check: an ``error`` blocks the load, a ``warn`` does not."""

    name: str
    passed: bool
    severity: Literal["warn", "error"]
    summary: str
    figures: dict[str, int | float | str] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def blocks(self) -> bool:
        """Whether the load must not start."""
        return not self.passed and self.severity == "error"


class Checking:
    """One pass over a mapped batch: walk ``sealed`` first, then ask for ``results``."""

    def __init__(self, session: Session, spec: EntitySpec, batch: Batch, days: Days | None, options: Options) -> None:
        self.session, self.spec, self.days, self.options = session, spec, days, options
        self.notes = dict(batch.notes)
        self.sealed = Batch(self._parts(batch), self.notes)
        self.rejects: list[Reject] = []
        self.statuses: Counter[str] = Counter()
        self._failing: defaultdict[str, set[str]] = defaultdict(set)
        self._guard = Guard()

    @property
    def results(self) -> list[CheckResult]:
        """The outcome of every check of ``CHECKS``, in its order."""
        return [*(self._row_check(name) for name in ROW_CHECKS), self._volume(), self._schema_drift()]

    @property
    def counts(self) -> Counts:
        """What the checks made of the records of a blocked batch: the accepted ones wait until it is one no more."""
        apart = {status: self.statuses[status] for status in SET_APART}
        apart["waiting"] = self.statuses.total() - apart["rejected"] - apart["excluded"]
        return Counts(extracted=self.statuses.total(), requests=self.notes.get("requests", 0), **apart)

    def _parts(self, batch: Batch) -> Iterator[pd.DataFrame]:
        references = References(self.session, self.spec)
        clashes = _Clashes(self.session, self.spec, batch)
        with stage(self.session.store, self.session.connection, self.spec.entity, _keys(self.days)) as staging:
            for mapped in batch.parts:
                frame = clashes.mark(check_frame(self.spec, mapped, start_date=self.session.settings.start_date))
                frame = references.mark(frame)
                self._collect(frame)
                sealed = seal(self.spec, frame)
                # Ids and hashes are enough for absence and volume: no second copy of the data.
                staging.add([(row[0], row[1], "", *row[3:]) for row in staged_rows(sealed)])
                self.session.report(Progress(self.spec.entity, "check", sum(self.statuses.values())))
                yield sealed
            self.notes.update(batch.notes)
            self._guard = guard_volume(self.session, self.spec, staging)
        self.notes["fingerprint"] = self.spec.fingerprint
        self.notes.update({status: self.statuses[status] for status in SET_APART})

    def _collect(self, frame: pd.DataFrame) -> None:
        self.statuses.update(frame["status"].tolist())
        for status, found in rejects_of(frame):
            if status == "rejected":  # one that only waits has a reason, too, but it is no failure of its own
                self._failing[found.rule].add(found.source_id or f"{NO_ID} {len(self.rejects)}")
            self.rejects.append(found)

    def _row_check(self, name: str) -> CheckResult:
        failing, total, rules = len(self._failing[name]), sum(self.statuses.values()), (name, EXCUSED.get(name))
        excused = len(self._failing[EXCUSED[name]]) if name in EXCUSED else 0
        share = failing / total if total else 0.0
        settings = self.session.settings
        blocks = failing >= settings.min_blocking_rejects and share > settings.max_reject_share
        limit = f"{settings.max_reject_share:.0%}"
        summary = f"{failing} of {total} records fail" + (f", more than {limit}: nothing is loaded" if blocks else "")
        summary += f"; {excused} more point at what was deleted" if excused else ""
        rows = [self._shown(reject) for reject in self.rejects if reject.rule in rules][:SHOWN_ROWS]
        figures: dict[str, int | float | str] = {"failing": failing, "records": total, "share": round(share, 4)}
        figures |= {"excused": excused} if excused else {}
        return CheckResult(name, not failing and not excused, "error" if blocks else "warn", summary, figures, rows)

    def _shown(self, reject: Reject) -> dict[str, str]:
        known = {f.name: f for f in self.spec.fields}
        personal = reject.field not in known or known[reject.field].personal
        value = PERSONAL if personal and reject.value else str(reject.value or "")
        return {
            "record": reject.source_id or NO_ID,
            "field": reject.field or "",
            "value": value,
            "reason": reject.reason,
        }

    def _volume(self) -> CheckResult:
        guard = self._guard
        problem = guard.problem(self.spec, self.session.settings, self.options)
        summary = problem or f"{guard.absent} absent of {guard.known} known; {guard.rewritten} differ"
        figures: dict[str, int | float | str] = {
            "known": guard.known,
            "absent": guard.absent,
            "rewritten": guard.rewritten,
            "mapping_changed": str(guard.mapping_changed),
        }
        return CheckResult("volume", not problem, "error", summary, figures)

    def _schema_drift(self) -> CheckResult:
        seen, expected = (
            set(self.notes.get("source_keys", [])),
            known_keys(self.spec.entity, self.session.settings.mappings_dir),
        )
        read = {path.split(".")[0] for path in self.spec.source_columns}
        missing, unheard = sorted(read - seen), sorted(seen - expected)
        if not seen:
            missing = []  # no record, no evidence
        rows = [{"field": key, "found": "missing from every record"} for key in missing]
        rows += [{"field": key, "found": "new at the source, not mapped"} for key in unheard] if expected else []
        summary = "as expected" if not rows else f"{len(missing)} mapped fields missing, {len(rows) - len(missing)} new"
        return CheckResult("schema_drift", not rows, "warn", summary, {"missing": len(missing)}, rows[:SHOWN_ROWS])


def conclude(
    session: Session, spec: EntitySpec, checking: Checking, days: Days | None, options: Options, *, run_id: str
) -> list[CheckResult]:
    """Write down the rejects - the only thing a blocked batch leaves - and return the results of all checks."""
    results = checking.results
    if options.dry_run:
        return results
    at = session.now()
    replace_rejects(session.store, session.connection, spec.entity, _keys(days), checking.rejects, run_id=run_id, at=at)
    if blocking := [result.name for result in results if result.blocks]:
        counts = {**asdict(checking.counts), "blocked_by": blocking}
        requests = checking.counts.requests
        note_sync(session, spec, checking.sealed, days, "blocked", counts, requests, run_id=run_id)
        leave_open(session, checking.sealed, "; ".join(result.summary for result in results if result.blocks))
    return results


class _Clashes:
    """Marks records that share an id with a different record, or a unique field with any other.

    Of records that want the same unique value, the one that has it at the target already keeps it; all others are
    set aside. They are never merged.
    """

    def __init__(self, session: Session, spec: EntitySpec, batch: Batch) -> None:
        self._session, self._spec = session, spec
        self._conflicts = frozenset(batch.notes.get("conflicts", []))
        self._unique = [f for f in spec.fields if f.unique and f.source != spec.source.id_path]
        self._counts: dict[str, Counter[str]] = {f.name: Counter() for f in self._unique}
        if self._unique:
            for frame in batch.parts:
                for field_ in self._unique:
                    self._counts[field_.name].update(frame[field_.column].dropna())

    def mark(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with clashing rows rejected under the rule ``unique_ids``."""
        if self._conflicts:
            mask = frame["source_id"].isin(self._conflicts)
            frame = reject(frame, mask, "source_id", "unique_ids", "two different records came under this id")
        for field_ in self._unique:
            taken = {value for value, count in self._counts[field_.name].items() if count > 1}
            clashing = frame[field_.column].isin(taken) & frame["source_id"].notna()
            mask = clashing & ~frame["source_id"].isin(self._holders(frame[clashing], field_))
            for value in frame.loc[mask, field_.column].unique():
                same = mask & (frame[field_.column] == value)
                message = f"another record has the same {field_.name}, {_shown(field_, value)}; give each its own"
                frame = reject(frame, same, field_.column, "unique_ids", message)
        return frame

    def _holders(self, clashing: pd.DataFrame, field_: Field) -> list[str]:
        """Those of the clashing records that stand at the target with this value."""
        wanted = dict(zip(clashing["source_id"], clashing[field_.column], strict=True))
        known = lookup(self._session.store, self._session.connection, self._spec.entity, wanted)
        return [
            key
            for key, record in known.items()
            if record.delivered_hash == record.fields_hash
            and orjson.loads(record.fields).get(field_.name) == wanted[key]
        ]


def _shown(field_: Field, value: object) -> str:
    """A value as a reason may quote it."""
    return PERSONAL if field_.personal else repr(str(value)[:SHOWN_CHARACTERS])


def _keys(days: Days | None) -> tuple[str, str] | None:
    return days.keys if days else None
