"""The main job as one call: Dagster runs over the days, what they counted, and - when asked - the proof that both sides agree."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import dagster as dg

from sync_pipeline.defs.launch import open_instance, run_sync, spans_of
from sync_pipeline.defs.orphans import close_orphans
from sync_pipeline.defs.reports import Problem, RunReport
from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch import Counts, Days
from sync_pipeline.stages.check import Options
from sync_pipeline.stages.reconcile import Verdict, verify
from sync_pipeline.stages.session import Session, open_session
from sync_pipeline.stages.spool import unwritten
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
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def success(self) -> bool:
        """Whether every run succeeded and what was compared agrees."""
        return not self.errors and all(verdict.in_sync for verdict in self.verdicts)

    @property
    def rejects(self) -> int:
        """How many records were set aside."""
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
    errors = in_plain_words(problem for report in reports for problem in report.errors)
    if not errors and not all(report.success for report in reports):
        errors.append("A run failed without saying why; the Dagster UI shows its events.")
    with open_session(settings) as session:
        counted = _checked(entities, reports) if options.dry_run else _counts(session, entities, reports)
        verdicts = _verify(session, entities, days) if verify_after and not options.dry_run and not errors else []
    return SyncReport(
        run_ids=[report.run_id for report in reports],
        entities=counted,
        errors=errors,
        warnings=in_plain_words(problem for report in reports for problem in report.warnings),
        verdicts=verdicts,
    )


@contextmanager
def dagster_files(settings: Settings) -> Iterator[None]:
    """Dagster's own files fail like ours do - disk full, locked, damaged - and are explained like ours."""
    home = Path(os.environ.get("DAGSTER_HOME") or settings.dagster_home)
    with store_errors(f"Dagster's history in {home}"):
        try:
            yield
        except OSError as error:
            raise unwritten(home, error) from error


def in_plain_words(problems: Iterable[Problem]) -> list[str]:
    """One line a cause: the same trouble met by several entities is told once, naming all of them."""
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


def _verify(session: Session, entities: Sequence[str], days: Days) -> list[Verdict]:
    specs = [session.specs[name] for name in entities]
    return [verify(session, spec, days if spec.partitioned else None) for spec in specs]
