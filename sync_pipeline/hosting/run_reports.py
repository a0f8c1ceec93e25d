"""What a finished Dagster run says to people: what failed, why, and what to do - read from its events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import dagster as dg
from dagster._core.events import HandledOutputData
from dagster._core.execution.plan.objects import ErrorSource

from sync_pipeline.errors import CheckFailed, Incomplete, SyncError
from sync_pipeline.hosting.steps import BLOCKED, CAUSE, ERROR, EXIT_CODE
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.check import HELD, HELD_DELETES, SET_APART, VOLUME

VALIDATED = "sealed"
"""The output of a check op that holds the batch; its other ones are the checks."""
ROWS = "rows"
NOTED = ("requests", *SET_APART)
"""The notes of a batch that Dagster shows with the output, beside its number of rows."""
LOADED_BY = "loaded_by_run"
"""The run that read a day again and loaded it, while this one had read it already."""

OUR_FAILURE = f"{dg.Failure.__module__}.{dg.Failure.__qualname__}: "
"""What Dagster puts before the sentence of a failure in a resource."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that went wrong or looks odd. Problems with the same ``cause`` are reported once."""

    entity: str
    text: str
    cause: str
    check: str = ""
    """The check that reported it, if any."""
    exit_code: int = SyncError.exit_code
    """The exit code of a command that fails with it."""


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
    """Entities that never started, because one they depend on failed, or is held."""
    held: dict[str, Counter[str]] = field(default_factory=dict)
    """What the guards hold of each entity: creates and updates (``held``), and ``held_deletes``."""
    checked: dict[str, Counter[str]] = field(default_factory=dict)
    """What the checks made of each entity's records: all that a dry run reports."""
    covered: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """By entity and run: the days that run has read again and loaded in the meantime."""

    def held_deletes(self, entity: str) -> int:
        """How many deletes of an entity are held."""
        return self.held.get(entity, Counter[str]())[HELD_DELETES]

    def forget_held(self, entity: str) -> None:
        """The same days are read once more: what that run holds of them counts."""
        self.held.pop(entity, None)
        self.warnings = [p for p in self.warnings if p.entity != entity or p.check != VOLUME]


def report_of(
    result: dg.ExecuteInProcessResult | dg.JobExecutionResult, days: Days | None, entities: Iterable[str]
) -> RunReport:
    """Read the events of a run that was to sync ``entities``; raises KeyboardInterrupt when Ctrl-C ended it."""
    if any(_interrupted(event) for event in result.all_events):
        raise KeyboardInterrupt  # Dagster has noted that the run failed, but continues as if nothing had happened
    report = RunReport(result.run_id, days, result.success)
    waiting = set(entities)
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.STEP_START:
            waiting.discard(_entity(event))
        _note(report, event)
    for (entity, run_id), read in report.covered.items():
        which = f"{read[0]} to {read[-1]} ({len(read)} days)" if read[1:] else read[0] or "all of it"
        text = f"{which} was read again in the meantime and is loaded by run {run_id}; this run left that unchanged."
        report.warnings.append(Problem(entity, text, f"{entity} {text}"))
    report.skipped = waiting if report.errors or report.held else set()
    if report.errors:
        text = "not started, because what it depends on failed; the next sync continues there."
        report.warnings += [Problem(entity, text, f"{entity} {text}") for entity in sorted(waiting)]
    if not report.success and not report.errors:
        # The failure is outside its steps: it stopped the steps that had not started.
        stopped = sorted(waiting) or [""]
        report.errors += [Problem(name, text, text) for text in _last_words(result.all_events) for name in stopped]
    return report


def _note(report: RunReport, event: dg.DagsterEvent) -> None:
    if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        _note_check(report, event)
    elif event.event_type == dg.DagsterEventType.HANDLED_OUTPUT:
        _note_batch(report, event)
    elif event.is_step_failure:
        _note_failure(report, event)
    elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
        _note_covered(report, event)


def _note_check(report: RunReport, event: dg.DagsterEvent) -> None:
    evaluation = event.asset_check_evaluation_data
    if evaluation.passed:
        return
    entity = evaluation.asset_key.to_user_string()
    text = f"{evaluation.check_name}: {evaluation.description}"
    if evaluation.severity == dg.AssetCheckSeverity.ERROR:
        where = f"{text} ({report.days})" if report.days else text
        code = CheckFailed.exit_code
        report.errors.append(Problem(entity, where, f"{entity} {where}", evaluation.check_name, code))
        report.blocked.add((entity, evaluation.check_name))
    else:
        report.warnings.append(Problem(entity, text, f"{entity} {text}", evaluation.check_name))
    if evaluation.check_name == VOLUME:
        figures: dict[str, Any] = {name: value.value for name, value in evaluation.metadata.items()}
        report.held[entity] = Counter({name: figures[name] for name in (HELD, HELD_DELETES)})


def _note_covered(report: RunReport, event: dg.DagsterEvent) -> None:
    """A day that this run did not load, because a newer read of it is loaded."""
    materialization = event.step_materialization_data.materialization
    if materialization.asset_key.to_user_string() != _entity(event):
        return  # the target's, which shows the whole load
    if (run := materialization.metadata.get(LOADED_BY)) is not None:
        days = report.covered.setdefault((_entity(event), str(run.value)), [])
        days.append(materialization.partition or "")


def _note_batch(report: RunReport, event: dg.DagsterEvent) -> None:
    output = cast("HandledOutputData", event.event_specific_data)
    if output.output_name == VALIDATED:
        figures: dict[str, Any] = {name: value.value for name, value in output.metadata.items()}
        report.checked[_entity(event)] = Counter(extracted=figures[ROWS], **{name: figures[name] for name in NOTED})


def _note_failure(report: RunReport, event: dg.DagsterEvent) -> None:
    failure, entity = event.step_failure_data, _entity(event)
    said = failure.user_failure_data
    if said and BLOCKED in said.metadata:
        return  # the checks have reported it
    if said and said.description:
        facts = {name: value.value for name, value in said.metadata.items()}
        cause, code = str(facts.get(CAUSE, said.description)), int(str(facts.get(EXIT_CODE, SyncError.exit_code)))
        report.errors.append(Problem(entity, said.description, cause, exit_code=code))
    elif failure.error:
        text = f"{event.step_key} failed: {_innermost(failure.error)}"
        report.errors.append(Problem(entity, f"{text} The Dagster UI shows the full error.", text))
    if not _is_incomplete(event):
        report.broken.add(entity)


def _is_incomplete(event: dg.DagsterEvent) -> bool:
    """Whether only some days were not loaded, which says nothing about later ones."""
    said = event.step_failure_data.user_failure_data
    name = said.metadata.get(ERROR) if said else None
    return name is not None and name.value == Incomplete.__name__


def _innermost(error: object) -> str:
    """The first cause, in one line: Dagster wraps what an op raised in errors of its own."""
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]
    words = str(getattr(error, "message", error)).strip().splitlines()[0]
    return words.removeprefix(OUR_FAILURE)


def _last_words(events: Iterable[dg.DagsterEvent]) -> list[str]:
    """Why a run failed outside its steps: a resource that could not be opened, an interruption."""
    errors = [getattr(event.event_specific_data, "error", None) for event in events if event.is_failure]
    return list(dict.fromkeys(_innermost(error) for error in errors if error))


def _interrupted(event: dg.DagsterEvent) -> bool:
    return event.is_step_failure and event.step_failure_data.error_source == ErrorSource.INTERRUPT


def _entity(event: dg.DagsterEvent) -> str:
    """The entity a step belongs to: ``users.users_extract`` -> ``users``."""
    return str(event.step_key).split(".", maxsplit=1)[0]
