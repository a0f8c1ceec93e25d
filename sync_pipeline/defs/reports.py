"""What a finished Dagster run says to people: what failed, why, and what to do - read from its events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import dagster as dg
from dagster._core.events import HandledOutputData
from dagster._core.execution.plan.objects import ErrorSource

from sync_pipeline.defs.failures import CAUSE
from sync_pipeline.defs.io import NOTED, ROWS, SEALED
from sync_pipeline.defs.metadata import SUPERSEDED
from sync_pipeline.stages.batch import Days


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that went wrong or looks odd. Problems with the same ``cause`` are told once."""

    entity: str
    text: str
    cause: str
    check: str = ""
    """The check that said so, if one did."""


@dataclass(slots=True)
class RunReport:
    """How one Dagster run ended: its id, what failed, and the checks that did not pass."""

    run_id: str
    days: Days | None
    success: bool
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Entities stopped by an error - not by a check, which is about the records of these days only."""
    blocked: set[tuple[str, str]] = field(default_factory=set)
    """Entity and check of each check that held back a load."""
    skipped: set[str] = field(default_factory=set)
    """Entities that never started, because one they depend on failed."""
    checked: dict[str, Counter[str]] = field(default_factory=dict)
    """What the checks made of each entity's records: all that a dry run has to tell."""

    def forgive(self, entity: str, check: str) -> None:
        """The same days are tried once more: what that run says of them counts."""
        self.blocked.discard((entity, check))
        self.errors = [problem for problem in self.errors if problem.check != check or problem.entity != entity]
        self.success = not self.errors


def report_of(
    result: dg.ExecuteInProcessResult | dg.JobExecutionResult, days: Days | None, entities: Iterable[str]
) -> RunReport:
    """Read the events of a run that was to sync ``entities``; raises KeyboardInterrupt when Ctrl-C ended it."""
    if any(_interrupted(event) for event in result.all_events):
        raise KeyboardInterrupt  # Dagster has noted that the run failed, but goes on as if nothing had happened
    report = RunReport(result.run_id, days, result.success)
    waiting = set(entities)
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.STEP_START:
            waiting.discard(_entity(event))
        _note(report, event)
    if report.errors:
        report.skipped = waiting
        text = "not started, because what it depends on failed; the next sync goes on there."
        report.warnings += [Problem(entity, text, f"{entity} {text}") for entity in sorted(waiting)]
    if not report.success and not report.errors:
        report.errors += [Problem("", text, text) for text in _last_words(result.all_events)]
    return report


def _note(report: RunReport, event: dg.DagsterEvent) -> None:
    if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        _note_check(report, event)
    elif event.event_type == dg.DagsterEventType.HANDLED_OUTPUT:
        _note_batch(report, event)
    elif event.is_step_failure:
        _note_failure(report, event)
    elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
        _note_superseded(report, event)


def _note_check(report: RunReport, event: dg.DagsterEvent) -> None:
    evaluation = event.asset_check_evaluation_data
    if evaluation.passed:
        return
    entity = evaluation.asset_key.to_user_string()
    text = f"{evaluation.check_name}: {evaluation.description}"
    if evaluation.severity == dg.AssetCheckSeverity.ERROR:
        where = f"{text} ({report.days})" if report.days else text
        report.errors.append(Problem(entity, where, f"{entity} {where}", evaluation.check_name))
        report.blocked.add((entity, evaluation.check_name))
    else:
        report.warnings.append(Problem(entity, text, f"{entity} {text}"))


def _note_superseded(report: RunReport, event: dg.DagsterEvent) -> None:
    """A batch that was not loaded, because a newer one had been."""
    materialization = event.step_materialization_data.materialization
    if materialization.asset_key.to_user_string() != _entity(event):
        return  # said of the asset, and of what it is delivered to
    if (said := materialization.metadata.get(SUPERSEDED)) is not None:
        report.warnings.append(Problem(_entity(event), str(said.value), str(said.value)))


def _note_batch(report: RunReport, event: dg.DagsterEvent) -> None:
    output = cast("HandledOutputData", event.event_specific_data)
    if output.output_name == SEALED:
        figures: dict[str, Any] = {name: value.value for name, value in output.metadata.items()}
        report.checked[_entity(event)] = Counter(extracted=figures[ROWS], **{name: figures[name] for name in NOTED})


def _note_failure(report: RunReport, event: dg.DagsterEvent) -> None:
    failure, entity = event.step_failure_data, _entity(event)
    said = failure.user_failure_data
    if said and said.description:
        cause = said.metadata.get(CAUSE)
        report.errors.append(Problem(entity, said.description, str(cause.value) if cause else said.description))
    elif failure.error and "DagsterAssetCheckFailedError" in failure.error.to_string():
        return  # told by the check itself
    elif failure.error:
        text = f"{event.step_key} failed: {_innermost(failure.error)}"
        report.errors.append(Problem(entity, f"{text} The Dagster UI has the whole story.", text))
    report.broken.add(entity)


def _innermost(error: object) -> str:
    """The first cause, in one line: Dagster wraps what an op raised in errors of its own."""
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]
    return str(getattr(error, "message", error)).strip().splitlines()[0]


def _last_words(events: Iterable[dg.DagsterEvent]) -> list[str]:
    """Why a run failed outside its steps: a resource that could not be opened, an interruption."""
    errors = [getattr(event.event_specific_data, "error", None) for event in events if event.is_failure]
    return list(dict.fromkeys(_innermost(error) for error in errors if error))


def _interrupted(event: dg.DagsterEvent) -> bool:
    return event.is_step_failure and event.step_failure_data.error_source == ErrorSource.INTERRUPT


def _entity(event: dg.DagsterEvent) -> str:
    """The entity a step belongs to: ``users.users_extract`` -> ``users``."""
    return str(event.step_key).split(".", maxsplit=1)[0]
