"""The trial: what a sync would do with this exact configuration, record by record; nothing is written to either side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sync_pipeline.connectors.error_category import ErrorCategory, categorize
from sync_pipeline.diagnose.connection_test import diagnose, without_retries
from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.session.progress import Progress, reporting, silent
from sync_pipeline.session.session import Session
from sync_pipeline.settings import Settings
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.store.trials import (
    THROTTLED,
    Trial,
    TrialKind,
    TrialOutcome,
    begin_trial,
    end_trial,
    note_progress,
    trial_of,
)

if TYPE_CHECKING:
    from sync_pipeline.stages.preview import Preview

DAYS = 31
"""Time entries of so many days are tried: one range of Clockify's report, which fits the Free plan's budget."""
SHOWN = 200
"""Changes of each entity that are kept to be looked at."""
TAKEN = 16
"""Requests to Clockify that a trial of a small workspace takes."""
ANOTHER_TRY = timedelta(minutes=5)
"""When to try again if the budget does not say when."""
INTERRUPTED = "The preview was cut off. Start another one."


def kind_for(settings: Settings) -> TrialKind:
    """The kind of trial that lets a set-up go live: on the accounts themselves, without writing."""
    return "sandbox" if settings.sandbox else "dry_run"


def begin(setup: SetupService, kind: TrialKind) -> int:
    """Note that a trial of the present configuration begins; returns its id."""
    with setup.reading() as session:
        trial = begin_trial(session.store, session.pair, session.fingerprint, kind, setup.by, setup.now())
    setup.note(
        "preview started", f"in the sandbox ({trial})" if kind == "sandbox" else f"dry run on the accounts ({trial})"
    )
    return trial


def run(
    setup: SetupService,
    trial_id: int,
    kind: TrialKind,
    options: Options | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Trial:
    """Run a trial, storing what it finds while it runs; returns the ended trial.

    What the guards would hold is a request for an approval; what ``options`` allow is one that was allowed.
    """
    report = _report_of(kind)
    with setup.store() as store:
        outcome: TrialOutcome = "failed"
        keep = partial(note_progress, store, trial_id, report)
        settings = _settings_of(setup, kind)
        try:
            trial = trial_of(store, trial_id)
            of = trial.fingerprint if trial is not None and kind == kind_for(setup.settings()) else ""
            outcome = _check(setup, settings, report, keep) or _preview(
                setup, settings, report, keep, options, stop, of
            )
        except SyncError as error:
            report["error"], report["exit_codes"] = str(error), [error.exit_code]
            if categorize(error) is ErrorCategory.BUSY:
                outcome = _throttled(setup, settings, report)
        except BaseException:
            report["error"] = INTERRUPTED
            end_trial(store, trial_id, report, setup.now(), outcome)
            raise
        report["doing"] = ""
        end_trial(store, trial_id, report, setup.now(), outcome)
        found = trial_of(store, trial_id)
    assert found is not None  # noqa: S101  # we have just written it
    return found


def conclude(setup: SetupService, trial_id: int, kind: TrialKind, previews: Sequence[Preview], days: Days) -> Trial:
    """Store a preview of everything as the trial, after a connection test; returns the ended trial."""
    report = _report_of(kind) | {
        "days": str(days),
        "entities": {each.entity: _preview_report(each) for each in previews},
    }
    with setup.store() as store:
        outcome: TrialOutcome = "failed"
        try:
            settings = _settings_of(setup, kind)
            outcome = _check(setup, settings, report, lambda: None) or _outcome(report, previews)
        finally:
            report["doing"] = ""
            end_trial(store, trial_id, report, setup.now(), outcome)
        found = trial_of(store, trial_id)
    assert found is not None  # noqa: S101  # we have just written it
    return found


def abandon(setup: SetupService, trial_id: int, kind: TrialKind, error: str = INTERRUPTED) -> None:
    """Note that a trial ended early."""
    with setup.store() as store:
        end_trial(store, trial_id, _report_of(kind) | {"doing": "", "error": error}, setup.now(), "failed")


def _report_of(kind: TrialKind) -> dict[str, Any]:
    return {"kind": kind, "doing": "connecting", "checks": [], "entities": {}, "error": "", "exit_codes": []}


def _outcome(report: dict[str, Any], previews: Iterable[Preview]) -> TrialOutcome:
    """It passes when no check would block it and nothing would be held."""
    report["exit_codes"] += [check.exit_code for each in previews for check in each.blocked]
    return "failed" if report["exit_codes"] else "held" if held_by(report) else "passed"


def _settings_of(setup: SetupService, kind: TrialKind) -> Settings:
    """The settings to try with: nothing can be written, whatever a stage may want."""
    settings = setup.settings()
    if kind == "sandbox" and not settings.sandbox:
        settings = setup.settings(SYNC_MODE="sandbox")
    return replace(settings, mode="dry_run")


def _check(
    setup: SetupService, settings: Settings, report: dict[str, Any], keep: Callable[[], None]
) -> TrialOutcome | Literal[""]:
    """Run the connection test; returns the outcome of the trial when it ends here, otherwise ""."""
    report["doing"] = "connection test"
    findings = []
    with setup.session(without_retries(settings)) as session:
        for finding in diagnose(session):
            findings.append(finding)
            report["checks"].append(finding.as_json())
            keep()
    failed = [finding for finding in findings if not finding.ok]
    report["exit_codes"] = [finding.exit_code for finding in failed]
    if failed and all(finding.busy for finding in failed):
        return _throttled(setup, settings, report)
    return "failed" if failed else ""


def _throttled(setup: SetupService, settings: Settings, report: dict[str, Any]) -> TrialOutcome:
    """End a trial for which no requests are left, noting when there will be some."""
    with setup.session(settings) as session:
        budgets, now = session.budgets.values(), session.now()
    # Refused although some are left by our own count: another program used them, at most an hour ago.
    free = [budget.free_at(min(TAKEN, budget.limit)) for budget in budgets]
    again = max([*free, (now + ANOTHER_TRY).timestamp()])
    report["again_at"] = datetime.fromtimestamp(again, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return THROTTLED


def held_by(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What the guards would hold, of all entities."""
    return [held for found in report.get("entities", {}).values() for held in found.get("held", [])]


def _preview(
    setup: SetupService,
    settings: Settings,
    report: dict[str, Any],
    keep: Callable[[], None],
    options: Options | None,
    stop: Callable[[], bool],
    of: str,
) -> TrialOutcome:
    """What a sync would do, entity by entity; it passes when no check would block it and nothing would be held.

    ``of`` is the configuration that the trial was started for, "" where another one is tried in its place.
    """
    from sync_pipeline.stages.preview import preview

    previews = []
    with setup.session(settings, report=_noting(report, keep)) as session:
        if of and session.fingerprint != of:
            raise ConfigError("The set-up was changed since this preview was started.", fix="Start another one.")
        days = _days(session)
        report["days"] = str(days)
        for name, spec in session.specs.items():
            if stop():
                report["error"] = INTERRUPTED
                return "failed"
            report["doing"] = name
            keep()
            found = preview(session, spec, days if spec.partitioned else None, options, keep=SHOWN)
            report["entities"][name] = _preview_report(found)
            previews.append(found)
            keep()
    return _outcome(report, previews)


def _days(session: Session) -> Days:
    today = session.now().astimezone(UTC).date()
    return Days(
        max(session.settings.start_date, today - timedelta(days=DAYS - 1)), max(session.settings.start_date, today)
    )


def _preview_report(found: Preview) -> dict[str, Any]:
    """What is kept of an entity's preview: figures, the first changes, the checks with their offending rows."""
    return {
        "counts": asdict(found.counts),
        "total": found.total,
        "changes": [asdict(change) for change in found.changes],
        "checks": [asdict(check) for check in found.checks],
        "blocked": [check.summary for check in found.blocked],
        "held": [asdict(held) for held in found.held],
        "labels": dict(found.labels),
    }


def _noting(report: dict[str, Any], keep: Callable[[], None]) -> Callable[[Progress], None]:
    """Store what a reader waits for, such as a request budget or a page, and pass it on to the current listener."""
    listener = reporting.get(silent)

    def note(progress: Progress) -> None:
        listener(progress)
        if progress.note:
            report["note"] = f"{progress.entity}: {progress.note}"
            keep()

    return note
