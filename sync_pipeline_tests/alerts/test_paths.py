"""Where an alert on a figure leads: the dashboard of what it is about, in the months of its period."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.alerts.paths import paths_of
from sync_pipeline.settings import Settings
from sync_pipeline.store.alerts import FIGURE, AlertKey

RULES = """
rules:
  budget:
  not_logged:
  timers:
  hours: {figure: hours, scope: client, above: 1}
  week: {figure: cost, scope: person, period: week, below: 1}
"""


@pytest.mark.parametrize(
    ("rule", "of", "path"),
    [
        ("budget", "p1/EUR/total/above=90", "/dashboard?project=p1"),
        ("budget", "p1/total/above=90", "/dashboard?project=p1"),
        ("budget", "a/b/EUR/total/above=90", "/dashboard?project=a%2Fb"),
        ("not_logged", "u1/missing_since=2", "/dashboard?person=u1"),
        ("timers", "u1/above=12", "/dashboard?person=u1"),
        ("hours", "c1/2026-11/above=1", "/dashboard?client=c1&from=2026-11&to=2026-11"),
        ("hours", "c1/EUR/2026-11/above=1", "/dashboard?client=c1%2FEUR&from=2026-11&to=2026-11"),
        ("week", "u1/CHF/week-2026-11-30/below=1", "/dashboard?person=u1&from=2026-11&to=2026-12"),
        ("no-longer-there", "u1/total/below=1", "/dashboard"),
    ],
)
def test_an_alert_leads_to_its_figures(tmp_path: Path, rule: str, of: str, path: str) -> None:
    """Its project, client or person, and its period."""
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    assert paths_of(Settings(alert_rules_file=file))(AlertKey(FIGURE, rule, of)) == path


def test_while_the_rules_have_a_mistake(tmp_path: Path) -> None:
    """Alerts lead to the whole dashboard, others where they always do."""
    file = tmp_path / "rules.yaml"
    file.write_text("rules: {budget: {above: many}}")
    paths = paths_of(Settings(alert_rules_file=file))
    assert paths(AlertKey(FIGURE, "budget", "p1/total/above=90")) == "/dashboard"
    assert paths(AlertKey("rejects", "users")) == "/records?state=rejected&entity=users"
