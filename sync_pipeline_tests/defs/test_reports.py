"""The figures of projects and months in Dagster: computed when entries have changed, checked, and shown month by month."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import delete, update

from sync_pipeline.defs.reports import AGAIN, CHECKS, KEY, NAME
from sync_pipeline.reporting.reports import up_to_date
from sync_pipeline.reporting.revenue import EVERY
from sync_pipeline.store.revenue import last_read
from sync_pipeline.store.schema import project_months, revenue_reads
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.harness import Team, morning

pytestmark = pytest.mark.clock


def materialized(on: Live, run: dg.ExecuteInProcessResult) -> dict[str, dict[str, object]]:
    """The months that a run has materialized, with their figures."""
    events = on.instance.fetch_materializations(KEY, limit=100).records
    return {
        str(record.partition_key): {name: value.value for name, value in record.asset_materialization.metadata.items()}
        for record in events
        if record.run_id == run.run_id and record.asset_materialization is not None
    }


def compute(on: Live) -> dg.ExecuteInProcessResult:
    """A run of the job, as the sensor asks for it."""
    return on.execute(dg.RunRequest(job_name=NAME))


def outcomes(run: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """What its checks found."""
    return {each.check_name: each.passed for each in run.get_asset_check_evaluations()}


def test_a_changed_entry_materializes_its_month_once(us: Team, on: Live) -> None:
    """The first run computes everything; later ones what has changed; nothing runs where nothing has."""
    assert len(on.look(NAME).requests) == 1
    first = compute(on)
    assert outcomes(first) == dict.fromkeys(CHECKS, True)
    assert sum(figures["entries"] for figures in materialized(on, first).values()) > 0  # type: ignore[misc]  # a number
    assert on.look(NAME).requests == []

    added = morning(2)
    us.add_entry(us.users()[0]["id"], added, 2)
    us.sync("time_entries")
    assert len(on.look(NAME).requests) == 1
    second = compute(on)

    assert outcomes(second) == dict.fromkeys(CHECKS, True)
    assert list(materialized(on, second)) == [f"{added:%Y-%m}"]
    assert on.look(NAME).requests == []


def test_revenue_is_read_again_although_no_entry_changes(us: Team, on: Live) -> None:
    """Figures that a person computed leave it to the job; while the target is down it is asked for once an hour."""
    with us.session() as session:
        up_to_date(session)
    assert len(on.look(NAME).requests) == 1
    assert on.look(NAME).requests == []
    compute(on)
    with us.session() as session, session.store.writing() as tx:
        assert last_read(session.store, session.pair) is not None
        tx.execute(update(revenue_reads).values(read_at=session.now() - EVERY))
    on.cursors[NAME] = (session.now() - AGAIN).isoformat()
    assert len(on.look(NAME).requests) == 1


def test_the_checks_find_what_is_wrong(us: Team, on: Live) -> None:
    """Figures that are not those of the entries, and a month without any; what has just changed is not wrong."""
    compute(on)
    with us.session() as session, session.store.writing() as tx:
        tx.execute(update(project_months).values(seconds=project_months.c.seconds + 1))
    assert outcomes(compute(on)) == {**dict.fromkeys(CHECKS, True), "sums_equal_entries": False}
    with us.session() as session, session.store.writing() as tx:
        tx.execute(delete(project_months))
    assert outcomes(compute(on)) == {
        "sums_equal_entries": False,
        "no_month_lost": False,
        "currencies_consistent": True,
        "within_rules": True,
    }


def test_the_rules_on_figures_are_a_check(on: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run evaluates them; the severity is that of the worst rule, and no project or person is named."""
    file = tmp_path / "rules.yaml"
    monkeypatch.setenv("SYNC_ALERT_RULES_FILE", str(file))
    file.write_text("rules: {busy: {figure: entries, scope: person, period: total, above: 0}}")
    (found,) = [each for each in compute(on).get_asset_check_evaluations() if not each.passed]
    assert (found.check_name, found.severity) == ("within_rules", dg.AssetCheckSeverity.WARN)
    shown = {name: value.value for name, value in found.metadata.items()}
    assert shown["rules"] == f"busy: {shown['found']}"
    file.write_text("rules: {busy: {figure: entries, scope: person, period: total, above: 0, severity: critical}}")
    (found,) = [each for each in compute(on).get_asset_check_evaluations() if not each.passed]
    assert found.severity == dg.AssetCheckSeverity.ERROR
    file.write_text("rules: {}")
    assert outcomes(compute(on)) == dict.fromkeys(CHECKS, True)
