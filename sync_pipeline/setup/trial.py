"""The trial: what a sync would do with this exact configuration, record by record; nothing is written to either side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, timedelta
from functools import partial
from typing import Any

from sync_pipeline.errors import SyncError
from sync_pipeline.settings import Settings
from sync_pipeline.setup.desk import Desk
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.diagnose import diagnose, hasty
from sync_pipeline.stages.preview import Preview, preview
from sync_pipeline.stages.session import Progress, Session
from sync_pipeline.store.trials import Trial, TrialKind, begin_trial, end_trial, note_progress, trial_of

DAYS = 31
"""Time entries of so many days are tried: one range of Clockify's report, which fits the Free plan's budget."""
SHOWN = 200
"""Changes of each entity that are kept to be looked at."""
INTERRUPTED = "The trial was cut off. Begin another one."


def kind_for(settings: Settings) -> TrialKind:
    """The kind of trial that lets a set-up go live: on the accounts themselves, without writing."""
    return "sandbox" if settings.sandbox else "dry_run"


def begin(desk: Desk, kind: TrialKind) -> int:
    """Note that a trial of the present configuration begins; returns its id."""
    with desk.session() as session:
        trial = begin_trial(session.store, session.connection, session.fingerprint, kind, desk.by, desk.now())
    desk.note("trial begun", f"in the sandbox ({trial})" if kind == "sandbox" else f"dry run on the accounts ({trial})")
    return trial


def run(desk: Desk, trial_id: int, kind: TrialKind, *, stop: Callable[[], bool] = lambda: False) -> Trial:
    """Carry a trial out and keep what it finds as it goes; returns it as it ended."""
    report: dict[str, Any] = {"kind": kind, "doing": "connecting", "checks": [], "entities": {}, "error": ""}
    with desk.store() as store:
        passed = False
        keep = partial(note_progress, store, trial_id, report)
        try:
            settings = _settings_of(desk, kind)
            passed = _check(desk, settings, report, keep) and _preview(desk, settings, report, keep, stop)
        except SyncError as error:
            report["error"] = str(error)
        except BaseException:
            report["error"] = INTERRUPTED
            end_trial(store, trial_id, report, desk.now(), passed=False)
            raise
        report["doing"] = ""
        end_trial(store, trial_id, report, desk.now(), passed=passed)
        found = trial_of(store, trial_id)
    assert found is not None  # noqa: S101  # we have just written it
    return found


def _settings_of(desk: Desk, kind: TrialKind) -> Settings:
    """The settings to try with: nothing can be written, whatever a stage may want."""
    settings = desk.settings()
    if kind == "sandbox" and not settings.sandbox:
        settings = desk.settings(SYNC_MODE="sandbox")
    return replace(settings, mode="dry_run")


def _check(desk: Desk, settings: Settings, report: dict[str, Any], keep: Callable[[], None]) -> bool:
    """The connection test; returns whether nothing failed."""
    report["doing"] = "connection test"
    with desk.session(hasty(settings)) as session:
        for finding in diagnose(session):
            report["checks"].append(finding.as_json())
            keep()
    return all(check["ok"] for check in report["checks"])


def _preview(
    desk: Desk, settings: Settings, report: dict[str, Any], keep: Callable[[], None], stop: Callable[[], bool]
) -> bool:
    """What a sync would do, entity by entity; returns whether no check would block it."""
    passed = True
    with desk.session(settings, report=_noting(report, keep)) as session:
        days = _days(session)
        report["days"] = str(days)
        for name, spec in session.specs.items():
            if stop():
                report["error"] = INTERRUPTED
                return False
            report["doing"] = name
            keep()
            found = preview(session, spec, days if spec.partitioned else None, keep=SHOWN)
            report["entities"][name] = _told(found)
            passed = passed and not found.blocked
            keep()
    return passed


def _days(session: Session) -> Days:
    today = session.now().astimezone(UTC).date()
    return Days(
        max(session.settings.start_date, today - timedelta(days=DAYS - 1)), max(session.settings.start_date, today)
    )


def _told(found: Preview) -> dict[str, Any]:
    """What is kept of an entity's preview: figures, the first changes, the checks with their offending rows."""
    return {
        "counts": asdict(found.counts),
        "total": found.total,
        "changes": [asdict(change) for change in found.changes],
        "checks": [asdict(check) for check in found.checks],
        "blocked": [check.summary for check in found.blocked],
    }


def _noting(report: dict[str, Any], keep: Callable[[], None]) -> Callable[[Progress], None]:
    """Keep what a reader waits for: which request budget, which page."""

    def note(progress: Progress) -> None:
        if progress.note:
            report["note"] = f"{progress.entity}: {progress.note}"
            keep()

    return note
