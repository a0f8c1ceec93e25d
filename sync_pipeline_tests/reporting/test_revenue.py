"""Revenue out of the Snapshots API: read, stored and joined with the hours; where there is none, null with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import insert, text

from sync_pipeline.clock import utc_now
from sync_pipeline.connectors.snapshots.api import Snapshots
from sync_pipeline.reporting import reports
from sync_pipeline.reporting.dashboard import make_dashboard
from sync_pipeline.reporting.reports import make_report
from sync_pipeline.reporting.revenue import NO_ANALYTICS, refresh_revenue, why_none
from sync_pipeline.session.session import Session
from sync_pipeline.store.period_figures import PeriodFigures, Selection
from sync_pipeline.store.project_months import ReportSettings, recompute
from sync_pipeline.store.revenue import last_read, note_missing
from sync_pipeline.store.schema import entry_facts
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.store.conftest import postgres

__all__ = ["postgres"]  # a fixture of the store's tests


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Both systems; the Snapshots API has figures of twelve months of each project."""
    with team(tmp_path_factory.mktemp("revenue")) as us:
        if request.param == "postgresql":
            us.changes["SYNC_DATABASE_URL"] = request.getfixturevalue("postgres").create()
        us.sync("projects")
        yield us


@pytest.fixture
def session(office: Team) -> Iterator[Session]:
    """Nothing was asked for yet."""
    office.no_faults()
    with office.session() as found:
        with found.store.writing() as tx:
            for table in ("project_revenue", "revenue_reads"):
                tx.execute(text(f"DELETE FROM {table}"))
        yield found


def served(office: Team) -> dict[tuple[str, str], dict[str, float]]:
    """What the API has, by project and month."""
    return {
        (each["project_id"], each["month"]): each for each in office.snapshots("GET", "/analytics/projects")["data"]
    }


def test_it_is_what_the_api_says(office: Team, session: Session) -> None:
    """Of each project and month in its currency, in the view and in the report, also where no hours were worked."""
    recompute(session.store, session.pair, ReportSettings())
    assert "figures of projects and months were read" in refresh_revenue(session)
    with session.store.reading() as tx:
        rows = tx.execute(text("SELECT project_id, month, currency, revenue, revenue_budget, revenue_margin, "
                               "revenue_missing, hours FROM mart_project_months")).all()  # fmt: skip
    expected = served(office)
    assert {(row[0], row[1]) for row in rows} == expected.keys()
    for project, month, currency, *numbers, missing, hours in rows:
        figure = expected[project, month]
        assert currency == figure["currency"]
        assert [float(each) for each in numbers] == [figure[name] for name in ("revenue", "budget", "margin")]
        assert (missing, hours) == (None, 0)
    made = make_report(session, "performance", "project", None, None)
    names = {project["id"]: project["name"] for project in office.projects()}
    for row in made.rows:
        of_project = [each["revenue"] for (project, _), each in expected.items() if project == row["project_id"]]
        assert (row["project"], row["currency"]) == (names[row["project_id"]], "USD")
        assert row["revenue"] == pytest.approx(sum(of_project))
    (total,) = make_report(session, "performance", "month", None, None).totals or [{"revenue": None}]
    assert total["revenue"] is None or total["revenue"] > 0


def test_it_is_read_again_after_some_hours(session: Session) -> None:
    """Not for each report: the budget of requests is for records."""
    refresh_revenue(session)
    sent = session.requests
    assert refresh_revenue(session) == "Revenue was read a short while ago."
    assert session.requests == sent
    with session.store.writing() as tx:
        tx.execute(text("UPDATE revenue_reads SET read_at = :at"), {"at": "2026-01-01 00:00:00.000000"})
    refresh_revenue(session)
    assert session.requests > sent


def test_where_there_is_none_it_says_why(office: Team, session: Session) -> None:
    """A profile without analytics, a missing scope, or not read yet: empty with the reason, never 0."""
    assert why_none(session) == "analytics of the Snapshots API are not read yet"
    office.fault(kind="status", status=403)
    assert refresh_revenue(session).startswith("Revenue is not known: ")
    assert "GET /analytics/projects answered 403" in why_none(session)
    office.no_faults()
    note_missing(session.store, session.pair, "old", utc_now() - timedelta(days=1))
    there = session.snapshots
    assert isinstance(there, Snapshots)
    there.profile = there.profile.model_copy(update={"analytics": None})
    assert refresh_revenue(session) == f"Revenue is not known: {NO_ANALYTICS}."
    found = last_read(session.store, session.pair)
    assert found is not None
    assert found.missing == NO_ANALYTICS


def test_a_failure_that_passes_keeps_what_was_read(office: Team, session: Session) -> None:
    """The figures of the last read count until the next one."""
    refresh_revenue(session)
    with session.store.writing() as tx:
        tx.execute(text("UPDATE revenue_reads SET read_at = :at"), {"at": "2026-01-01 00:00:00.000000"})
        before = tx.scalar(text("SELECT SUM(revenue) FROM project_revenue"))
    office.fault(kind="status", status=503)
    assert refresh_revenue(session).startswith("Revenue was not read: ")
    with session.store.reading() as tx:
        assert tx.scalar(text("SELECT SUM(revenue) FROM project_revenue")) == before


def test_lines_and_totals_are_of_one_state(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that arrives while a report or the dashboard is read is in all of its figures or in none."""
    numbers, now = count(), utc_now()

    def arrives() -> None:
        key = {"connection": session.pair, "entity": "time_entries", "source_id": f"e{next(numbers)}", "read_no": 1}
        facts = {"user_id": "u1", "seconds": 3_600, "start_time": now, "billable": True}
        with session.store.writing() as tx:
            tx.execute(insert(entry_facts).values(**key, **facts))
        recompute(session.store, session.pair, ReportSettings())

    def meanwhile(of: Any, name: str) -> None:
        before = getattr(of, name)

        def read(*args: Any, **more: Any) -> Any:
            found = before(*args, **more)
            with ThreadPoolExecutor() as another:
                another.submit(arrives).result()
            return found

        monkeypatch.setattr(of, name, read)

    arrives()
    meanwhile(reports, "sums_of_entries")
    meanwhile(PeriodFigures, "by_week")
    made = make_report(session, "hours", "person", None, None)
    assert [row["entries"] for row in made.rows] == [row["entries"] for row in made.totals] == [1]
    found = make_dashboard(session, Selection(f"{now:%Y-%m}", f"{now:%Y-%m}"))
    assert found.totals["entries"] == sum(row["entries"] for row in found.tables["people"].rows) == 3
