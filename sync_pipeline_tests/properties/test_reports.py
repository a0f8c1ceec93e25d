"""Reports, dashboard and views show what both systems add up to, whatever happened there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from sync_pipeline_tests.properties.report_histories import HISTORIES, Office, Part, report_office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """One sandbox for all histories."""
    with report_office(tmp_path_factory.mktemp("reports")) as here:
        yield here


@settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],  # an example takes seconds: shrinking it would take minutes
    suppress_health_check=list(HealthCheck),
)
@given(history=HISTORIES)
def test_whatever_happens_reports_are_what_both_systems_add_up_to(office: Office, history: list[Part]) -> None:
    """Month ends, clock changes, timers, moved, split and deleted entries, renames, currencies, hidden rates, revenue.

    One edit computes at most two projects and months again, and a rebuild changes no byte. More of them: `make laws LAW=reports`.
    """
    office.holds(history)
