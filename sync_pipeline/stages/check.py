"""Check: process what was read and check it before anything is written.

Records with failures become rejects; a batch in which too many fail is blocked completely. Of one that would delete or
rewrite too much, that part is held until it is approved. What may be loaded is in the ledger's staging, which stays open for
the load: id, partition, canonical fields and their hash, status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pandas as pd

from sync_pipeline.errors import CheckFailed
from sync_pipeline.mapping.samples import known_keys
from sync_pipeline.mapping.spec import LEFT_OUT, EntitySpec
from sync_pipeline.private_files import private_directory
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Batch, Counts, Days, Options
from sync_pipeline.stages.batch_files import read_batch, unwritten, write_batch
from sync_pipeline.stages.extract import decide, decided_by, extract
from sync_pipeline.stages.guards import Holding, hold
from sync_pipeline.stages.journal import Ended, note_sync
from sync_pipeline.stages.problems import rejects_of, warnings_of
from sync_pipeline.stages.process import PERSONAL, Clashes, Process, mapped, staged_rows
from sync_pipeline.store.approvals import GuardName
from sync_pipeline.store.rejects import NO_ID, Reject
from sync_pipeline.store.staged_rejects import COUNTED
from sync_pipeline.store.staging import Staging
from sync_pipeline.store.syncs import SCHEMA_CHANGED

CHECKS = {
    "required_fields": "Every required field has a value.",
    "unique_ids": "No two records share an id, or a name that must be unique at the target.",
    "valid_values": "Types, e-mail addresses, instants, lengths and the order of start and end are right.",
    "references": "What a record points at - its project, its user - is there.",
    "volume": "The batch would not delete or rewrite a suspicious share of what is known; what would is held.",
    "schema_drift": "The source still sends the fields the mapping reads, and nothing unheard of.",
}
"""The checks of every entity, by name."""

ROW_CHECKS = ("required_fields", "unique_ids", "valid_values", "references")
"""Checks of single records; they block the whole batch when too many fail."""
SET_APART = ("rejected", "excluded", "waiting")
"""What a checked record may be instead of accepted; a checked batch notes how many are."""
VOLUME = "volume"
HELD, HELD_DELETES = "held", "held_deletes"
"""Figures of the volume check."""
WORDS: dict[GuardName, str] = {
    "deletes": "its delete",
    "rewrite": "its rewrite",
    "creates": "its creation",
    "first_contact": "its first delivery",
}
SHOWN_ROWS = 20
READ_AGAIN = "Run it again from the start, so that it is read again."


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

    @property
    def exit_code(self) -> int:
        """The exit code of a command that this check blocks."""
        return CheckFailed.exit_code


class Checking:
    """One pass over a batch as it was read: maps, checks and stages it, then has the ``results``."""

    def __init__(self, session: Session, spec: EntitySpec, batch: Batch, days: Days | None, options: Options) -> None:
        _refuse_other_pair(session, spec, batch)
        self.session, self.spec, self.days, self.options = session, spec, days, options
        self.notes = dict(batch.notes)
        self.batch = Batch(batch.parts, self.notes, batch.file)
        self._begin()
        try:
            self._walk(batch.parts)
        except BaseException:
            self.staging.close()
            raise

    def _begin(self) -> None:
        self.staging = self.session.ledger(self.spec).open_staging(_keys(self.days), self.batch.read_no)
        self.rejects = self.staging.rejects
        self._warned = 0
        self._warnings: list[Reject] = []
        self.statuses: Counter[str] = Counter()
        self.holding = Holding()

    @property
    def results(self) -> list[CheckResult]:
        """The outcome of every check of ``CHECKS``, in its order."""
        return [*self._of_rows, self._volume(), self._drift]

    @property
    def counts(self) -> Counts:
        """What the checks made of the records of a blocked batch: the accepted ones wait until it is one no more."""
        apart = {status: self.statuses[status] for status in SET_APART}
        apart["waiting"] = self.statuses.total() - apart["rejected"] - apart["excluded"]
        return Counts(extracted=self.statuses.total(), requests=self.notes.get("requests", 0), **apart)

    def _walk(self, parts: Iterable[pd.DataFrame]) -> None:
        """Check and stage the batch; once more without its repetitions, where the staging finds any."""
        session, spec, conflicts = self.session, self.spec, set(self.notes.get("conflicts", ()))
        self._stage(parts)
        repeated = self.staging.repeated()
        if repeated.keys() - conflicts:
            self.notes["conflicts"] = sorted(conflicts.union(key for key, differ in repeated.items() if differ))
            self.staging.close()
            self._begin()
            self._stage(_Once(parts, repeated.keys()))
        self._of_rows = self._row_checks()
        self.holding = hold(session, spec, self.staging, self.options, remember=not self.options.dry_run)
        self.notes |= {"rows": self.statuses.total(), "decided_by": decided_by(session, spec)}
        self.notes |= {status: self.statuses[status] for status in SET_APART}
        self._drift = self._schema_drift()
        if self._drift.rows:
            self.notes[SCHEMA_CHANGED] = "; ".join(f"{row['field']} is {row['found']}" for row in self._drift.rows)

    def _stage(self, parts: Iterable[pd.DataFrame]) -> None:
        session, spec = self.session, self.spec
        clashes = Clashes(session, spec, mapped(spec, parts), self.notes.get("conflicts", ()))
        read = replace(spec, facts=None) if self.options.dry_run else spec  # only a load stores facts
        process = Process(session, read, clashes)
        decide(session, spec, self.staging)
        for raw in parts:
            is_short = raw["record"].isna()
            if is_short.any():
                self._stage_unchanged(raw[is_short])
            if not is_short.all():
                frame = process(raw[~is_short] if is_short.any() else raw)
                self._collect(frame)
                self.staging.add(staged_rows(spec, frame))
            session.report(Progress(spec.entity, "check", self.statuses.total()))

    def _stage_unchanged(self, short: pd.DataFrame) -> None:
        """Stage the records that were passed on by id only, except those whose id a different record has, too."""
        conflicts = self.notes.get("conflicts", ())
        odd = short.loc[short["source_id"].isin(conflicts), "source_id"]
        self.statuses["rejected"] += len(odd)
        self.rejects.add([(COUNTED, Reject(source_id, None, "unique_ids", "")) for source_id in odd])
        fine = short[~short["source_id"].isin(conflicts)]
        self.statuses["accepted"] += len(fine)
        # As lists: walking a column of text takes as long for a row as the rest of this.
        ids, hashes = fine["source_id"].tolist(), fine["source_hash"].tolist()
        self.staging.add_unchanged(list(zip(ids, hashes, strict=True)))

    def _collect(self, frame: pd.DataFrame) -> None:
        self.statuses.update(frame["status"].tolist())
        self.rejects.add(list(rejects_of(frame)))
        warnings = list(warnings_of(frame))
        self._warned += len({warning.source_id for warning in warnings})
        self._warnings += warnings[: SHOWN_ROWS - len(self._warnings)]

    def _row_checks(self) -> list[CheckResult]:
        failing = self.rejects.failing()
        return [
            self._references() if name == "references" else self._row_check(name, failing.get(name, 0))
            for name in ROW_CHECKS
        ]

    def _row_check(self, name: str, failing: int) -> CheckResult:
        total = sum(self.statuses.values())
        share = failing / total if total else 0.0
        settings = self.session.settings
        blocks = failing >= settings.min_blocking_rejects and share > settings.max_reject_share
        summary = f"{failing} of {total} records fail"
        if blocks:
            summary += (
                f", more than {settings.max_reject_share:.0%}: nothing is loaded. Correct them at the source, or accept "
                "more with SYNC_MAX_REJECT_SHARE."
            )
        rows = [self._shown(reject) for reject in self.rejects.first(name, SHOWN_ROWS)]
        figures: dict[str, int | float | str] = {"failing": failing, "records": total, "share": round(share, 4)}
        return CheckResult(name, not failing, "error" if blocks else "warn", summary, figures, rows)

    def _references(self) -> CheckResult:
        """A warning at most: the source is right, and worked time is delivered."""
        waiting, bare, total = self.rejects.count_waiting(), self._warned, sum(self.statuses.values())
        summary = f"{waiting} of {total} records wait for what cannot be delivered"
        summary += f"; {bare} are delivered with the bare id of what the source does not have" if bare else ""
        waits = self.rejects.first_waiting(SHOWN_ROWS)
        rows = [self._shown(reject) for reject in [*waits, *self._warnings][:SHOWN_ROWS]]
        figures: dict[str, int | float | str] = {"waiting": waiting, "bare": bare, "records": total}
        return CheckResult("references", not (waiting or bare), "warn", summary, figures, rows)

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
        guard, held = self.holding.guard, self.holding.held
        usual = f"{guard.absent} absent of {guard.known} known; {guard.rewritten} differ"
        summary = " ".join(found.reason for found in held) or usual
        figures: dict[str, int | float | str] = {
            "known": guard.known,
            "absent": guard.absent,
            "rewritten": guard.rewritten,
            "mapping_changed": str(guard.mapping_changed),
            HELD: sum(found.count for found in held if not found.is_delete),
            HELD_DELETES: sum(found.count for found in held if found.is_delete),
        }
        rows = [{"record": record, "held": WORDS[found.guard]} for found in held for record in found.records]
        return CheckResult(VOLUME, not held, "warn", summary, figures, rows)

    def _schema_drift(self) -> CheckResult:
        seen, expected = (
            set(self.notes.get("source_keys", [])),
            known_keys(self.spec.entity, self.session.settings.mappings_dir),
        )
        read = {path.split(".")[0] for path in self.spec.source_columns}
        missing, unheard = sorted(read - seen), sorted(seen - expected - {LEFT_OUT})
        if not seen:
            missing = []  # no record, no evidence
        rows = [{"field": key, "found": "missing from every record"} for key in missing]
        rows += [{"field": key, "found": "new at the source, not mapped"} for key in unheard] if expected else []
        summary = "as expected" if not rows else f"{len(missing)} mapped fields missing, {len(rows) - len(missing)} new"
        return CheckResult("schema_drift", not rows, "warn", summary, {"missing": len(missing)}, rows[:SHOWN_ROWS])


@dataclass(frozen=True, slots=True)
class _Once:
    """The parts of a batch, of these ids without the records that came before in the same form."""

    parts: Iterable[pd.DataFrame]
    repeated: Collection[str]

    def __iter__(self) -> Iterator[pd.DataFrame]:
        met: set[tuple[str, str]] = set()
        for raw in self.parts:
            again = pd.Series(False, index=raw.index)
            some = raw[raw["source_id"].isin(self.repeated)]
            for place, row in zip(some.index, zip(some["source_id"], some["source_hash"], strict=True), strict=True):
                again[place] = row in met
                met.add(row)
            yield raw[~again]


def conclude(
    session: Session, spec: EntitySpec, checking: Checking, days: Days | None, options: Options, *, run_id: str
) -> list[CheckResult]:
    """Write down the rejects - the only thing a blocked batch leaves - and return the results of all checks.

    The staging stays open for the load, if there will be one.
    """
    results, read_no = checking.results, checking.batch.read_no
    with ExitStack() as stack:
        stack.callback(checking.staging.close)
        if options.dry_run:
            return results
        ledger = session.ledger(spec)
        ledger.rejects.replace(_keys(days), checking.rejects, run_id=run_id, at=session.now(), read_no=read_no)
        if not why_blocked(results):
            session.stagings[spec.entity, read_no] = checking.staging
            stack.pop_all()
    if blocking := [result.name for result in results if result.blocks]:
        counts = {**asdict(checking.counts), "blocked_by": blocking}
        ended = Ended("blocked", counts, checking.counts.requests, why_blocked(results))
        note_sync(session, spec, checking.batch, days, ended, run_id=run_id)
    return results


@contextmanager
def checked(
    session: Session, spec: EntitySpec, days: Days | None, options: Options, *, independent: bool = False
) -> Iterator[Checking]:
    """Extract and check outside Dagster, for preview and verify: nothing is written but a temporary file."""
    with _directory(session.settings.batches) as directory:
        file = Path(directory) / f"{spec.entity}.parquet"
        write_batch(file, extract(session, spec, days, independent=independent))
        checking = Checking(session, spec, read_batch(file), days, options)
        with closing(checking.staging):
            yield checking


@contextmanager
def staged(
    session: Session, spec: EntitySpec, batch: Batch, days: Days | None, options: Options, *, run_id: str
) -> Iterator[Staging]:
    """The staging of a checked batch, as the check left it; where that is missing, the batch is checked once more.

    It is missing in another process than that of the check, as when a run is re-executed from its failure. Raises CheckFailed when the
    checks block now, or when the mapping is another one by now.
    """
    _refuse_other_pair(session, spec, batch)
    if batch.notes.get("decided_by") != decided_by(session, spec):
        message = f"The batch of {spec.entity} was checked under another mapping or another version of this program."
        raise CheckFailed(message, fix=READ_AGAIN)
    staging = session.stagings.pop((spec.entity, batch.read_no), None)
    with closing(staging or _checked_again(session, spec, batch, days, options, run_id)) as found:
        yield found


def _refuse_other_pair(session: Session, spec: EntitySpec, batch: Batch) -> None:
    if batch.notes.get("pair") != session.pair:
        raise CheckFailed(
            f"The batch of {spec.entity} belongs to other accounts than those that are set up now.", fix=READ_AGAIN
        )


def _checked_again(
    session: Session, spec: EntitySpec, batch: Batch, days: Days | None, options: Options, run_id: str
) -> Staging:
    checking = Checking(session, spec, batch, days, options)
    results = conclude(session, spec, checking, days, options, run_id=run_id)
    if why := why_blocked(results):
        raise CheckFailed(why)
    batch.notes |= checking.notes
    return session.stagings.pop((spec.entity, batch.read_no))


def why_blocked(results: Sequence[CheckResult]) -> str:
    """Why a batch is blocked and how to fix it, in one sentence; "" when it is not."""
    return "; ".join(f"{result.name}: {result.summary}" for result in results if result.blocks)


def _directory(batches: Path) -> TemporaryDirectory[str]:
    try:
        private_directory(batches)
        return TemporaryDirectory(dir=batches, prefix="prepared-")
    except OSError as error:
        raise unwritten(batches, error) from error


def _keys(days: Days | None) -> tuple[str, str] | None:
    return days.keys if days else None
