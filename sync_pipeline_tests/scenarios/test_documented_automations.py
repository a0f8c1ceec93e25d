"""Automations on the sandbox's HighLevel: the shipped one, and the examples of docs/automations.md as the page has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sync_pipeline.connectors.highlevel.profile import HighLevelProfile
from sync_pipeline.errors import RetryableApiError
from sync_pipeline.sandbox.highlevel.contacts import OPERATIONS
from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.setup.automations import list_automations, preview_automation, switch_on
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.claims import held_records
from sync_pipeline_tests.generate import ROOT
from sync_pipeline_tests.harness import Json, Team, morning, team
from sync_pipeline_tests.sandbox.highlevel.agency import Agency
from sync_pipeline_tests.setup.agency import at_highlevel

FILE = re.compile(r"^```\w+\n# my_mappings/([\w.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team whose mappings are the files of the page."""
    mappings = tmp_path / "my_mappings"
    mappings.mkdir()
    for name, text in FILE.findall((ROOT / "docs" / "automations.md").read_text()):
        (mappings / name).write_text(text)
    assert {path.name for path in mappings.iterdir()} == {"client_companies.yaml", "budget_warnings.yaml", "budgets.py"}
    with team(tmp_path, locations=1, clients=2, entries=0, users=1, projects=0) as made:
        made.changes = at_highlevel(made) | {"SYNC_MAPPINGS_DIR": str(mappings)}
        yield made


def service(us: Team) -> SetupService:
    """Who works on the team's set-up."""
    return SetupService("a person", us.home, us.environ)


def companies(agency: Agency) -> list[Json]:
    """Those in the CRM."""
    found: list[Json] = agency.ask("GET", "/businesses/", params={"locationId": HOME})["businesses"]
    return found


def test_a_project_for_each_won_opportunity(us: Team) -> None:
    """Those that were won before are left alone; one that is won now becomes one project that names it, one that is open none."""
    setup, agency, name = service(us), Agency(us.sandbox, us.people), "won_opportunities"
    before = switch_on(setup, name)
    assert before == preview_automation(setup, name).records > 0
    agency.control("highlevel/opportunities", {"name": "Still open", "status": "open"})
    won = agency.control("highlevel/opportunities", {"name": "Harbour House", "status": "won"})["opportunity"]
    for made in (1, 0):
        counts = us.sync(name)[name]
        assert (counts.created, counts.excluded) == (made, before)
    (project,) = us.projects()
    assert (project["name"], project["note"], project["billable"]) == (
        "Harbour House",
        f"opportunity: {won['id']}",
        True,
    )


def test_a_company_for_each_new_client(us: Team) -> None:
    """Those that exist are left alone; a new one becomes one company, which stays removed once a person removed it."""
    setup, agency = service(us), Agency(us.sandbox, us.people)
    assert {"client_companies", "budget_warnings"} < {one.name for one in list_automations(setup) if not one.obstacle}
    assert switch_on(setup, "client_companies") == 2
    us.clockify("POST", "/clients", {"name": " Harbour House ", "email": "office@harbour.example"})
    for made in (1, 0):
        assert us.sync("client_companies")["client_companies"].created == made
    (company,) = companies(agency)
    assert (company["name"], company["email"]) == ("Harbour House", "office@harbour.example")
    agency.ask("DELETE", f"/businesses/{company['id']}")
    assert us.sync("client_companies")["client_companies"].writes == 0
    assert companies(agency) == []


def test_a_lost_answer_is_looked_up_when_highlevel_shows_what_was_made(us: Team) -> None:
    """Not before, or it would be made twice: its search shows a record late, by how much is in the profile."""
    switch_on(service(us), "client_companies")
    us.clockify("POST", "/clients", {"name": "Harbour House"})
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    us.fault("cut_after", "POST */businesses/", count=1)
    with open_session(us.settings(), sleep=sleep) as session:
        profile = session.snapshots.profile
        assert isinstance(profile, HighLevelProfile)
        assert us.sync_one(session, "client_companies").created == 1
    us.no_faults()
    assert profile.objects.find_lag_seconds in waited
    assert len(companies(Agency(us.sandbox, us.people))) == 1


def test_a_success_that_does_not_say_what_was_made_is_never_repeated(us: Team) -> None:
    """It is found in the list; where that does not show it, a person decides, and a retry finds it or makes it."""
    name, setup, agency = "client_companies", service(us), Agency(us.sandbox, us.people)
    switch_on(setup, name)
    us.clockify("POST", "/clients", {"name": "Shown"})
    us.fault("empty_object", "POST */businesses/")
    assert us.sync(name)[name].created == 1
    hidden = us.clockify("POST", "/clients", {"name": "Hidden"})["id"]
    us.fault("status", "GET */businesses/", status=200, body={"businesses": []})
    for _ in range(2):
        assert us.sync(name)[name].created == 0
    us.no_faults()
    assert sorted(company["name"] for company in companies(agency)) == ["Hidden", "Shown"]
    with us.session() as session:
        (reject,) = session.ledger(name).rejects.show(hidden)
        assert reject.reason.startswith(
            "HighLevel POST /businesses/ answered 201: the answer does not say what was made"
        )
        assert f"`sync-pipeline rejects retry {name} ID`" in reject.reason
        session.ledger(name).clear_refused([hidden])
    assert us.sync(name)[name].adopted == 1
    assert len(companies(agency)) == 2


def test_a_success_without_an_id_is_not_repeated_when_looking_for_it_fails(us: Team) -> None:
    """The run ends there; the next one is shown a list that lags behind, and leaves the decision to a person, too."""
    name, setup, agency = "client_companies", service(us), Agency(us.sandbox, us.people)
    switch_on(setup, name)
    us.clockify("POST", "/clients", {"name": "Hidden"})
    us.fault("empty_object", "POST */businesses/")
    us.fault("status", "GET */businesses/", status=503, skip=1)
    with pytest.raises(RetryableApiError):
        us.sync(name)
    us.no_faults()
    us.fault("status", "GET */businesses/", status=200, body={"businesses": []})
    assert us.sync(name)[name].created == 0
    us.no_faults()
    assert len(companies(agency)) == 1


def test_what_was_done_without_an_id_is_not_done_again_under_another_name(us: Team) -> None:
    """Neither when its source is renamed, nor by a retry of everything: a person decides about this one record."""
    name, setup, agency = "client_companies", service(us), Agency(us.sandbox, us.people)
    switch_on(setup, name)
    hidden = us.clockify("POST", "/clients", {"name": "Hidden"})["id"]
    us.fault("empty_object", "POST */businesses/", count=1)
    us.fault("status", "GET */businesses/", status=200, body={"businesses": []})
    assert us.sync(name)[name].created == 0
    with us.session() as session:
        assert session.ledger(name).clear_refused() == 0
    us.clockify("PUT", f"/clients/{hidden}", {"name": "Hidden Ltd"})
    assert us.sync(name)[name].created == 0
    us.no_faults()
    assert us.sync(name)[name].created == 0
    assert [company["name"] for company in companies(agency)] == ["Hidden"]


def test_what_was_done_without_an_id_is_found_by_the_run_after_a_killed_one(
    us: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends while it waits until the list shows what was made: the record is linked, and held by no one."""
    name, setup, agency = "client_companies", service(us), Agency(us.sandbox, us.people)
    switch_on(setup, name)
    client = us.clockify("POST", "/clients", {"name": "Hidden"})["id"]
    us.fault("empty_object", "POST */businesses/", count=1)

    def killed(_session: Session, _seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "pause", killed)
        with pytest.raises(KeyboardInterrupt):
            us.sync(name)
    us.no_faults()
    us.sync(name)
    with us.session() as session:
        ledger = session.ledger(name)
        assert ledger.lookup([client])[client].target_id
        assert (ledger.open_intents(), ledger.rejects.show(client)) == ([], [])
        assert held_records(session.store, session.pair) == {}
    assert len(companies(agency)) == 1


def test_two_equal_operations_are_both_done_though_no_answer_says_what_was_made(us: Team, tmp_path: Path) -> None:
    """What the first one made is found, so that the second one is no repetition of it."""
    name, mapping = "client_companies", tmp_path / "my_mappings" / "client_companies.yaml"
    mapping.write_text(mapping.read_text().replace("source: name,", "source: address,"))
    switch_on(service(us), name)
    for number in range(2):
        us.clockify("POST", "/clients", {"name": f"Harbour House {number}", "address": "Quay 1"})
    us.fault("empty_object", "POST */businesses/")
    counts = us.sync(name)[name]
    assert (counts.created, counts.rejected) == (2, 0)
    assert [company["name"] for company in companies(Agency(us.sandbox, us.people))] == ["Quay 1", "Quay 1"]
    assert us.sync(name)[name].writes == 0


def test_a_task_when_a_project_has_used_most_of_its_estimate(us: Team) -> None:
    """None before, one after, and no second one however much more is tracked."""
    setup, agency, me = service(us), Agency(us.sandbox, us.people), us.users()[0]["id"]
    estimate = {"estimate": {"estimate": "PT10H", "type": "MANUAL"}}
    project = us.clockify("POST", "/projects", {"name": "Retainer", **estimate})["id"]
    assert preview_automation(setup, "budget_warnings", {"contactId": OPERATIONS}).records == 1
    switch_on(setup, "budget_warnings", {"contactId": OPERATIONS}, backfill=True)
    for hours, made in ((7, 0), (1, 1), (5, 0)):
        us.add_entry(me, morning(3) + timedelta(hours=hours), hours, projectId=project)
        assert us.sync("budget_warnings")["budget_warnings"].created == made
    (task,) = agency.ask("GET", f"/contacts/{OPERATIONS}/tasks")["tasks"]
    assert (task["title"], task["completed"]) == ("Retainer () has used 80 % of its estimate", False)


def test_an_estimate_that_starts_anew_is_left_out(us: Team) -> None:
    """What was tracked in all periods says nothing about one of them."""
    setup, agency, me = service(us), Agency(us.sandbox, us.people), us.users()[0]["id"]
    project = us.clockify("POST", "/projects", {"name": "Retainer"})["id"]
    time: Json = {"estimate": "PT10H", "type": "MANUAL", "active": True, "resetOption": "MONTHLY"}
    monthly: Json = {"timeEstimate": time, "estimateReset": {"interval": "MONTHLY"}}
    us.clockify("PATCH", f"/projects/{project}/estimate", monthly)
    us.add_entry(me, morning(40), 12, projectId=project)
    switch_on(setup, "budget_warnings", {"contactId": OPERATIONS}, backfill=True)
    done = us.sync("budget_warnings")["budget_warnings"]
    assert (done.created, done.excluded) == (0, 1)
    assert agency.ask("GET", f"/contacts/{OPERATIONS}/tasks")["tasks"] == []
