"""Evaluating the rules on figures: alerts are opened and resolved by what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from sync_pipeline.alerts.configuration import Configuration, configured
from sync_pipeline.alerts.figures import FigureReader, Passed, passed, superseded
from sync_pipeline.alerts.rules import Rule
from sync_pipeline.clock import has_passed
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.health import FIGURE_RULES, note_finding
from sync_pipeline.session.session import Session
from sync_pipeline.store.alerts import FIGURE, AlertKey, open_rows, store_alerts
from sync_pipeline.store.health import read_health
from sync_pipeline.store.project_months import ReportSettings, recompute

EVERY = timedelta(minutes=2)


def refresh_figures(session: Session, *, every: timedelta = EVERY) -> None:
    """Open and resolve the alerts on figures, unless that was done less than ``every`` ago.

    A mistake in the file leaves all of them unchanged, one in a rule those of that rule; the mistake is an alert itself.
    """
    last = read_health(session.store, session.pair).get(FIGURE_RULES)
    with session.store.reading() as tx:
        now = session.store.now(tx)
    is_good = last is not None and last.failed_at is None
    if is_good and last is not None and last.ok_at is not None and not has_passed(last.ok_at, every, now):
        return
    try:
        rules = configured(session.settings)
    except ConfigError as error:
        note_finding(session, FIGURE_RULES, str(error))
        return
    is_open = {key for key in open_rows(session.store, session.pair) if key.kind == FIGURE}
    if rules.rules or is_open:
        outcomes = list(_outcomes(session, rules))
        _store(session, outcomes, is_open)
        problem = next((each.problem for each in outcomes if each.problem), "")
        note_finding(session, FIGURE_RULES, problem, keep_ok=True)
    else:
        note_finding(session, FIGURE_RULES, "")


def compute_figures(session: Session) -> None:
    """Compute again what has changed, where there are rules on it; the daemon has a job for that."""
    with suppress(ConfigError):  # a mistake in the file is reported by the evaluation
        if configured(session.settings).rules:
            recompute(session.store, session.pair, ReportSettings.of(session.settings))


@dataclass(frozen=True, slots=True)
class EvaluatedRule:
    """What came of one rule: the thresholds that are passed, or the mistake in it."""

    rule: Rule
    found: tuple[Passed, ...] = ()
    problem: str = ""


def _outcomes(session: Session, rules: Configuration) -> Iterator[EvaluatedRule]:
    settings = ReportSettings.of(session.settings)
    reader = FigureReader(session.store, session.pair, settings, session.now(), rules.calendar)
    for rule in rules.rules:
        try:
            yield EvaluatedRule(rule, tuple(passed(reader, rule)))
        except ConfigError as error:
            yield EvaluatedRule(rule, problem=str(error))


def _store(session: Session, outcomes: list[EvaluatedRule], is_open: set[AlertKey]) -> None:
    found = {each.key: each.state for outcome in outcomes for each in outcome.found}
    weaker = superseded(found)
    wrong = {outcome.rule.name for outcome in outcomes if outcome.problem}
    kept = weaker | {key for key in is_open if key.entity in wrong}
    states = {key: state for key, state in found.items() if key not in weaker}
    store_alerts(session.store, session.pair, states, kept, session.now(), figures=True)
