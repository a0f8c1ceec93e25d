"""The main job as one call: Dagster runs over the days, what they counted, and - when asked - the proof that both sides agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import dagster as dg

from sync_pipeline.errors import SyncError
from sync_pipeline.hosting.launch import open_instance, run_sync, spans_of
from sync_pipeline.hosting.liveness import close_orphans
from sync_pipeline.hosting.run_reports import Problem, RunReport
from sync_pipeline.hosting.run_storage import home_of
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.setup.approvals import SHOWN, title_of
from sync_pipeline.stages.batch import Counts, Days, Options
from sync_pipeline.stages.batch_files import unwritten
from sync_pipeline.stages.guards import NAMED
from sync_pipeline.stages.verify import VerifyResult, verify
from sync_pipeline.store.approvals import lines_of, list_approvals
from sync_pipeline.store.errors import store_errors
from sync_pipeline.store.syncs import by_run

FIGURES = tuple(figure.name for figure in fields(Counts))


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one ``sync`` did."""

    run_ids: list[str]
    entities: dict[str, Counter[str]]
    errors: list[str]
    warnings: list[str]
    verdicts: list[VerifyResult] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    """The exit code of each of the errors."""
    held: list[dict[str, Any]] = field(default_factory=list)
    """What the guards hold: an item per request for approval, with its first records."""

    @property
    def is_held(self) -> bool:
        """Whether something is held until it is approved."""
        return any(counts["held"] or counts["held_deletes"] for counts in self.entities.values())

    @property
    def success(self) -> bool:
        """Whether every run succeeded and what was compared agrees."""
        return not self.errors and all(verdict.in_sync for verdict in self.verdicts)

    @property
    def rejects(self) -> int:
        """How many records were rejected."""
        return sum(counts["rejected"] for counts in self.entities.values())


def run_main_job(
    settings: Settings,
    defs: dg.Definitions,
    entities: Sequence[str],
    days: Days,
    options: Options,
    *,
    verify_after: bool = False,
) -> SyncReport:
    """Sync the entities over the days as real Dagster runs in this process; then compare both sides if all went well."""
    with dagster_files(settings), open_instance(settings) as instance:
        close_orphans(instance)
        reports = list(run_sync(instance, defs, entities, spans_of(days, settings.days_per_run), options))
    problems = [problem for report in reports for problem in report.errors]
    errors, codes = in_plain_words(problems), [problem.exit_code for problem in problems]
    if not errors and not all(report.success for report in reports):
        errors.append("A run failed without saying why; the Dagster UI shows its events.")
        codes.append(SyncError.exit_code)
    with open_session(settings) as session:
        counted = _checked(entities, reports) if options.dry_run else _counts(session, entities, reports)
        held, unconfirmed = _held(session, counted), _unconfirmed(session, counted)
        verdicts = _verify(session, entities, days) if verify_after and not options.dry_run and not errors else []
    return SyncReport(
        run_ids=[report.run_id for report in reports],
        entities=counted,
        errors=errors,
        warnings=[
            *in_plain_words(problem for report in reports for problem in report.warnings),
            *unconfirmed,
        ],
        verdicts=verdicts,
        exit_codes=codes,
        held=held,
    )


def _held(session: Session, counted: Mapping[str, Counter[str]]) -> list[dict[str, Any]]:
    """The requests of the entities with held records."""
    found = list_approvals(session.store, session.pair, session.now(), limit=SHOWN)
    return [
        {
            "approval": asked.id,
            "entity": asked.entity,
            "guard": asked.guard,
            "what": title_of(session, asked),
            "count": asked.shown,
            "declined": asked.decision == "declined",
            "records": [line.source_id for line in lines_of(session.store, asked.id, NAMED)],
        }
        for asked in found
        if asked.decision != "allowed" and (counts := counted.get(asked.entity)) is not None
        if counts["held_deletes" if asked.guard == "deletes" else "held"]
    ]


def _unconfirmed(session: Session, counted: Mapping[str, Counter[str]]) -> list[str]:
    """What is missing and not proven deleted, by entity, with the first ids."""
    lines = []
    for entity, counts in counted.items():
        if number := counts["unconfirmed"]:
            names = ", ".join(session.ledger(entity).unconfirmed_ids(NAMED))
            lines.append(
                f"{entity}: {number:,} records are missing at the source and not confirmed as deleted: nothing was deleted for "
                f"them; the next sync looks again. Missing: {names}{', ...' if number > NAMED else ''}"
            )
    return lines


@contextmanager
def dagster_files(settings: Settings) -> Iterator[None]:
    """Dagster's own files fail like ours do - disk full, locked, damaged - and are explained like ours."""
    home = home_of(settings)
    with store_errors(f"Dagster's history in {home}"):
        try:
            yield
        except OSError as error:
            raise unwritten(home, error) from error


def in_plain_words(problems: Iterable[Problem]) -> list[str]:
    """One line for each cause: the same error of several entities is reported once, naming all of them."""
    met: dict[str, tuple[str, list[str]]] = {}
    for problem in problems:
        _, entities = met.setdefault(problem.cause, (problem.text, []))
        if problem.entity and problem.entity not in entities:
            entities.append(problem.entity)
    return [f"{', '.join(entities)}: {text}" if entities else text for text, entities in met.values()]


def _checked(entities: Sequence[str], reports: Sequence[RunReport]) -> dict[str, Counter[str]]:
    """A dry run leaves nothing in the store: its figures are what the runs say of their batches."""
    totals = _nothing(entities)
    for report in reports:
        for entity, counts in report.checked.items():
            totals[entity].update(counts)
        for entity, held in report.held.items():
            totals[entity].update(held)
    return totals


def _nothing(entities: Sequence[str]) -> dict[str, Counter[str]]:
    return {name: Counter(dict.fromkeys(FIGURES, 0)) for name in entities}


def _counts(session: Session, entities: Sequence[str], reports: Sequence[RunReport]) -> dict[str, Counter[str]]:
    totals = _nothing(entities)
    syncs = by_run(session.store, [report.run_id for report in reports])
    last = {(done.entity, done.partitions): done for done in syncs}  # of days that were tried twice
    for done in last.values():
        counts = {name: value for name, value in done.counts.items() if name in FIGURES and name != "requests"}
        totals[done.entity].update(counts)
    for done in syncs:
        totals[done.entity]["requests"] += done.requests or 0
    return totals


def _verify(session: Session, entities: Sequence[str], days: Days) -> list[VerifyResult]:
    specs = [session.specs[name] for name in entities]
    return [verify(session, spec, days if spec.partitioned else None) for spec in specs]
