"""Won opportunities of HighLevel as the revenue of the reports: of the project, or of all projects of a client together."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from sync_pipeline.errors import FatalApiError, NotAuthorized
from sync_pipeline.reporting.reports import make_report
from sync_pipeline.reporting.revenue import SHARED, refresh_revenue
from sync_pipeline.session.session import Session
from sync_pipeline.store.period_figures import ALL_PROJECTS
from sync_pipeline.store.project_months import ReportSettings, recompute
from sync_pipeline.store.revenue import last_read
from sync_pipeline_tests.harness import morning, team
from sync_pipeline_tests.highlevel import HOME, VENDORS, HighLevelTeam, highlevel_team
from sync_pipeline_tests.highlevel_app import MINT, consent


def won(us: HighLevelTeam) -> Counter[str]:
    """What the home location has won, by month."""
    found: Counter[str] = Counter()
    for one in us.control("GET", "highlevel/opportunities")["opportunities"]:
        if (one["locationId"], one["status"]) == (HOME, "won"):
            found[one["lastStatusChangeAt"][:7]] += one["monetaryValue"]
    return found


def read(session: Session) -> str:
    """Read the revenue, as if it had not been read yet."""
    with session.store.writing() as tx:
        tx.execute(text("DELETE FROM revenue_reads"))
    recompute(session.store, session.pair, ReportSettings())
    return refresh_revenue(session)


def reported(session: Session, by: str) -> dict[str, tuple[Any, ...]]:
    """Revenue, currency and why there is none, by the name in a report."""
    rows = make_report(session, "performance", by, None, None).rows
    name = "client" if by == "client" else "project"
    return {str(row[name]): (row["revenue"], row["currency"], row["revenue_missing"]) for row in rows}


@pytest.mark.clock
def test_what_a_location_won_is_the_revenue_of_its_clients_projects(tmp_path: Path) -> None:
    """Of the only project; of several together and not split; null with the reason where the scope is missing."""
    made = VENDORS["highlevel"] | {"entries": 0, "projects": 0, "clients": 0}
    with team(tmp_path, **made) as us:
        assert isinstance(us, HighLevelTeam)
        for value, status in [(1200.5, "won"), (800, "won"), (99, "lost")]:
            us.control(
                "POST", "highlevel/opportunities", {"locationId": HOME, "monetaryValue": value, "status": status}
            )
        us.put_location(HOME, location_name="Agency")
        us.sync("locations")
        client = us.client("Agency")["id"]
        project = us.clockify("POST", "/projects", {"name": "One", "clientId": client})["id"]
        us.add_entry(us.users()[0]["id"], morning(2), projectId=project)
        us.sync()
        total = sum(won(us).values())
        assert total >= 2000.5
        with us.session(SNAPSHOTS_CURRENCY="USD") as session:
            others = "of 3 of 4 locations it is not known"
            assert read(session) == f"Revenue: {len(won(us))} figures of projects and months were read; {others}."
            assert reported(session, "project")["One"] == (pytest.approx(total), "USD", None)
        us.clockify("POST", "/projects", {"name": "Two", "clientId": client})
        us.sync("projects")
        with us.session(SNAPSHOTS_CURRENCY="USD") as session:
            read(session)
            assert reported(session, "project")[ALL_PROJECTS] == (pytest.approx(total), "USD", None)
            assert reported(session, "project")["One"] == (None, "USD", SHARED)
            assert reported(session, "client")["Agency"] == (pytest.approx(total), "USD", None)
            us.switch(missing_scopes={"pit-sandbox-home": ["opportunities.readonly"]})
            assert "The scope opportunities.readonly is missing" in read(session)
            last = last_read(session.store, session.pair)
            assert last is not None
            assert "opportunities.readonly" in str(last.missing)
            assert {revenue for revenue, *_ in reported(session, "client").values()} <= {None}


def test_a_token_of_another_location_is_named(tmp_path: Path) -> None:
    """With one location's token nothing is known of the others; where no location is a client, nothing is asked."""
    with team(tmp_path, **VENDORS["highlevel"] | {"entries": 0}) as us, us.session() as session:
        months = ("2026-01", "2026-12")
        with pytest.raises(FatalApiError, match=f"the token is for the location {HOME}, which is no client"):
            session.call(session.snapshots.project_figures, months, 10, ["another"])
        assert session.call(session.snapshots.project_figures, months, 10, []) == []
        assert session.requests == 0


@pytest.mark.clock
def test_with_an_app_every_location_that_has_it_is_read(tmp_path: Path) -> None:
    """Each with a token of its own that is kept nowhere; of one without the app the report states why nothing is known."""
    with highlevel_team(tmp_path, entries=0, users=1, projects=0, clients=0, highlevel_locations=7) as us:
        consent(us)
        first, second, third, fourth, *_ = ids = list(us.at_snapshots("locations"))
        for location, value in ((first, 100), (second, 200.25), (third, 300), (fourth, 400)):
            us.put_location(location, location_name=f"Client {value}")
            us.control(
                "POST", "highlevel/opportunities", {"locationId": location, "monetaryValue": value, "status": "won"}
            )
        us.switch(uninstalled=[third])
        us.sync("locations")
        for client in [one for one in us.clients() if one["name"].startswith("Client ")]:
            project = us.clockify("POST", "/projects", {"name": f"For {client['name']}", "clientId": client["id"]})[
                "id"
            ]
            us.add_entry(us.users()[0]["id"], morning(2), projectId=project)
        us.sync()
        us.forget_stats()
        with us.session(SNAPSHOTS_CURRENCY="USD") as session:
            assert read(session).endswith("were read; of 1 of 7 locations it is not known.")
            found = {name: row for name, row in reported(session, "client").items() if name.startswith("Client ")}
        assert {name: bool(found[name][2]) for name in found} == {
            "Client 100": False, "Client 200.25": False, "Client 300": True, "Client 400": False,
        }  # fmt: skip
        for name, (revenue, _, missing) in found.items():
            assert missing or revenue >= float(name.removeprefix("Client "))
        assert f"The app is not installed in the sub-account {third}" in found["Client 300"][2]
        assert us.requests()[MINT] == 5
        with us.session() as session:
            rows = session.call(session.snapshots.project_figures, ("2000-01", "2999-12"), 1000, [third, fourth])
            assert rows is not None
            assert [row["location"] for row in rows if "missing" in row] == [third]
            with pytest.raises(NotAuthorized, match="not installed"):
                session.call(session.snapshots.project_figures, ("2000-01", "2999-12"), 1000, [third])
        us.fault("status", MINT, status=503)
        us.forget_stats()
        with us.session() as session:
            rows = session.call(session.snapshots.project_figures, ("2000-01", "2999-12"), 1000, ids)
            assert rows is not None
            assert {row["location"] for row in rows if "missing" in row} == {*ids} - {first}
            assert us.requests()[MINT] <= 36  # of five: the rest is not tried when HighLevel does not answer for three


def test_with_a_token_of_one_location_the_others_say_so(tmp_path: Path) -> None:
    """That one is read; of the others the reason is given in place of figures."""
    with highlevel_team(tmp_path, entries=0, highlevel_locations=2) as us, us.session() as session:
        locations = sorted(us.at_snapshots("locations"))
        rows = session.call(session.snapshots.project_figures, ("2000-01", "2999-12"), 1000, locations)
        assert rows is not None
        assert {row["location"] for row in rows if "month" in row} <= {HOME}
        ((other, why),) = [(row["location"], row["missing"]) for row in rows if "missing" in row]
        assert other != HOME
        assert "Use an app in place of tokens" in why


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:00:00-05:00", "yesterday", 5, None, ["x"]])
def test_a_day_that_is_none_is_of_no_month(tmp_path: Path, at: Any) -> None:
    """An opportunity that was won at no moment is counted nowhere, and ends no run."""
    with highlevel_team(tmp_path, entries=0, highlevel_locations=1) as us, us.session() as session:
        one = {"id": "o1", "locationId": HOME, "status": "won", "monetaryValue": 5, "lastStatusChangeAt": at}
        us.fault("status", "GET /highlevel/opportunities/search", status=200, body=json.dumps({"opportunities": [one]}))
        assert session.call(session.snapshots.project_figures, ("0001-01", "9999-12"), 1000, [HOME]) == []
