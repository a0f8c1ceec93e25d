"""Rules on figures and subscriptions in the console's forms: saved, previewed, exported, and what mistakes look like."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import playwright.sync_api
import pytest
from playwright.sync_api import expect
from sqlalchemy import insert

from sync_pipeline.alerts.configuration import configured
from sync_pipeline.alerts.evaluation import compute_figures
from sync_pipeline.alerts.sending import send_alerts
from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.setup.alert_rules import form_of, form_of_subscription
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.project_months import ReportSettings, recompute
from sync_pipeline.store.schema import entry_facts, person_facts, project_facts
from sync_pipeline_tests.alerts.sinks import smtp_sink
from sync_pipeline_tests.cli.shell import shell_for
from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.walk import walking
from sync_pipeline_tests.harness import Team, morning, team

HERE, NEW_RULE, NEW_SUBSCRIPTION = "/settings/alerts", "/settings/alerts/new-rule", "/settings/alerts/new-subscription"
RULE = {
    "name": "acme-hours",
    "figure": "hours",
    "scope": "client",
    "period": "total",
    "comparison": "above",
    "thresholds": "5, 8.5",
    "severity": "critical",
    "only": ["Acme", ""],
    "ignored": [""],
}
SUBSCRIPTION: dict[str, Any] = {
    "name": "acme",
    "about": ["new_entries"],
    "every": "hourly",
    "client": ["Acme"],
    "project": [""],
}
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def add_facts(setup: SetupService) -> None:
    """Two projects of two clients, nine hours of the one by Ann, and one hour of the other by one of two Bens."""
    with setup.reading() as session:
        at = utc_now() - 2 * HOUR

        def add(table: Any, entity: str, id_: str, **values: Any) -> None:
            key = {"connection": session.pair, "entity": entity, "source_id": id_, "read_no": 1}
            with session.store.writing() as tx:
                tx.execute(insert(table).values(**key, **values))

        for id_, name, client in (("p1", "Website", "Acme"), ("p2", "Garden", "Brook & Co")):
            add(project_facts, "projects", id_, name=name, client_id=f"c-{id_}", client_name=client)
        for id_, name in (("u1", "Ann"), ("u2", "Ben"), ("u3", "Ben")):
            add(person_facts, "users", id_, name=name)
        for id_, project, person, hours in (("e1", "p1", "u1", 9), ("e2", "p2", "u2", 1)):
            entry = {
                "project_id": project,
                "user_id": person,
                "start_time": at,
                "billable": True,
                "seconds": hours * 3_600,
            }
            add(entry_facts, "time_entries", id_, **entry)
        recompute(session.store, session.pair, ReportSettings.of(session.settings))


@contextmanager
def signed_in(home: Path, **environ: str) -> Iterator[Browser]:
    """A signed-in browser at a console with a few figures."""
    with consoling(home, None, **environ) as console, browsing(console) as browser:
        browser.sign_in()
        yield browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests that leave nothing behind."""
    with signed_in(tmp_path_factory.mktemp("rules") / "home") as browser:
        add_facts(service(browser))
        yield browser


def service(browser: Browser) -> SetupService:
    """The set-up of the console."""
    return browser.console.console.setup


def send(browser: Browser, path: str, fields: dict[str, Any], action: str = "save", of: str = HERE) -> Page:
    """Fill in a form of the settings and press one of its buttons."""
    return Page(browser.post(path, {**fields, "action": action}, of=of).text)


def test_a_rule_is_added_changed_and_removed(browser: Browser) -> None:
    """It is in force then, with a line of the audit trail for each change; live syncing continues with the same configuration."""
    with service(browser).reading() as session:
        configuration = session.fingerprint
    assert "The rule acme-hours is saved." in send(browser, NEW_RULE, RULE).text
    assert "acme-hours hours of a client (total): above 5, 8.5 h critical Acme none Change" in browser.page(HERE).text
    with service(browser).reading() as session:
        assert session.fingerprint == configuration
    page = browser.page(f"{HERE}/rules/acme-hours")
    assert (page.faults, page.value("thresholds"), page.value("only")) == ([], "5, 8.5", "Acme")
    send(browser, f"{HERE}/rules/acme-hours", RULE | {"comparison": "below", "thresholds": "3", "only": [""]})
    (rule,) = configured(service(browser).settings()).rules
    assert (rule.said, rule.only) == ("hours of a client (total): below 3 h", ())
    assert "The rule acme-hours is removed." in send(browser, f"{HERE}/rules/acme-hours", {}, "remove").text
    assert configured(service(browser).settings()).rules == ()
    assert "There is no rule acme-hours any more." in browser.page(f"{HERE}/rules/acme-hours").text
    assert "There is no rule 'acme-hours' any more." in send(browser, f"{HERE}/rules/acme-hours", {}, "remove").text
    trail = browser.page("/settings/audit").text
    for line in (
        "rule added acme-hours: hours",
        "rule changed acme-hours: hours of a client (total): below",
        "rule removed",
    ):
        assert f"alert {line}" in trail
    assert "alerts" not in service(browser).settings().setup_document


def test_a_ready_made_rule_is_switched(browser: Browser) -> None:
    """On as shipped, with a custom threshold, and off; only what differs is stored."""
    assert "The rule not_logged is on." in send(browser, f"{HERE}/rules/not_logged", {}, "on").text
    assert "not_logged: {}" in service(browser).settings().setup_document
    same = {
        "figure": "entries",
        "scope": "person",
        "period": "month",
        "comparison": "missing_since",
        "severity": "info",
    }
    changed = same | {"thresholds": "3", "only": [""], "ignored": ["Ann", "Ben"]}
    send(browser, f"{HERE}/rules/not_logged", changed)
    assert "not_logged no time entry of a person for 3 working days info all Ann, Ben" in browser.page(HERE).text
    document = service(browser).settings().setup_document
    assert "Ann" not in document  # people by their ids, so that no version keeps a name
    (rule,) = configured(service(browser).settings()).rules
    assert [each.text for each in rule.ignored] == ["u1", "u2", "u3"]
    assert "figure" not in document
    assert [each["value"] for each in browser.page(f"{HERE}/rules/not_logged").all("input") if each.get("name") == "ignored"] == [
        "Ann", "Ben", "",
    ]  # fmt: skip
    assert "The rule not_logged is off." in send(browser, f"{HERE}/rules/not_logged", {}, "remove").text
    assert "There is no ready-made rule 'x'" in send(browser, f"{HERE}/rules/x", {}, "on").text


def test_a_preview_says_what_the_rule_says_now(browser: Browser) -> None:
    """By the same evaluation, before anything is saved: what opens, of several thresholds the farthest, and the values."""
    before = service(browser).revision()
    page = send(browser, NEW_RULE, RULE, "look")
    assert page.faults == []
    assert "It opens 1 alert: Acme: hours above 8.5 h Values, worst first Name Now Acme 9.0 h" in page.text
    nothing = send(browser, NEW_RULE, RULE | {"thresholds": "40", "only": [""]}, "look").text
    assert "It opens no alert. Values, worst first Name Now Acme 9.0 h Brook & Co 1.0 h" in nothing
    people = {"figure": "running_hours", "scope": "person", "only": ["Ann"]}
    assert "There are no figures yet for this rule." in send(browser, NEW_RULE, RULE | people, "look").text
    page = send(browser, NEW_SUBSCRIPTION, SUBSCRIPTION, "look")
    assert (page.faults, "Nothing new in the last seven days." in page.text) == ([], True)
    assert service(browser).revision() == before


@pytest.mark.parametrize(
    ("path", "change", "place", "expected"),
    [
        (NEW_RULE, {"name": "A b"}, "name", "Use up to 40 lowercase letters, digits, - and _"),
        (NEW_RULE, {"name": "budget"}, "name", "There is a rule budget already."),
        (NEW_RULE, {"thresholds": "70, most"}, "thresholds", "Found text 'most', expected a number"),
        (NEW_RULE, {"thresholds": ""}, "thresholds", "Holds 0 thresholds. Give 1 to 10."),
        (NEW_RULE, {"figure": "cost", "comparison": "missing_since"}, "comparison", "Does not fit cost."),
        (
            NEW_RULE,
            {"figure": "budget_used"},
            "scope",
            "budget_used is not available for a client. Its scope can be project.",
        ),
        (NEW_RULE, {"figure": "luck"}, "figure", "Found 'luck', expected one of"),
        (NEW_RULE, {"only": ["Acmee"]}, "only", "Names 'Acmee', but there is no such client. Did you mean 'Acme'?"),
        (NEW_RULE, {"ignored": ["<b>x</b>"]}, "ignored", "Names '<b>x</b>', but there is no such client."),
        (NEW_SUBSCRIPTION, {"about": []}, "about", "Is empty. Known: new_entries"),
        (NEW_SUBSCRIPTION, {"every": "often"}, "every", "Found 'often', expected one of"),
        (NEW_SUBSCRIPTION, {"client": ["Nobody"]}, "client", "Names 'Nobody', but there is no such client."),
        (NEW_SUBSCRIPTION, {"to": ["ops"]}, "to", "Names the destination 'ops', which does not exist."),
        (NEW_SUBSCRIPTION, {"about": ["new_locations"], "project": ["Garden"]}, "project", "Does not fit locations"),
        (f"{HERE}/days", {"working_days": []}, "working_days", "No day is chosen."),
        (f"{HERE}/days", {"working_days": ["monday"], "holidays": "soon"}, "holidays", "Found 'soon', expected a day"),
    ],
)
def test_a_mistake_is_shown_next_to_its_field(
    browser: Browser, path: str, change: dict[str, Any], place: str, expected: str
) -> None:
    """One message, the summary leads to it, and all that was typed is still there; nothing is stored."""
    before = service(browser).revision()
    typed = {**(RULE if path == NEW_RULE else SUBSCRIPTION if path == NEW_SUBSCRIPTION else {}), **change}
    answer = browser.post(path, {**typed, "action": "save"}, of=HERE)
    page = Page(answer.text)
    assert (answer.status_code, page.faults) == (422, [])
    assert page.text.count(expected) == 2  # in the summary, and at the field
    assert f"#{place}" in {link["href"] for link in page.all("a")}
    assert place in {each.get("id") for each in page.all("input", "select", "fieldset")}
    kept = [
        each.get("value", "") for each in page.all("input") if "checked" in each or each.get("type") in (None, "text")
    ]
    for name in ("name", "thresholds", "holidays", "only", "ignored", "client", "project", "working_days", "about"):
        some = [typed[name]] if isinstance(typed.get(name), str) else typed.get(name, [])
        assert set(filter(None, some)) <= set(kept), name
    assert service(browser).revision() == before


def test_a_stale_form_changes_nothing(browser: Browser) -> None:
    """Someone else was faster; what was typed stays."""
    stale = browser.hidden(HERE)
    send(browser, f"{HERE}/days", {"working_days": ["monday", "sunday"], "holidays": "2026-12-25"})
    answer = browser.send(NEW_RULE, stale, {**RULE, "action": "save"})
    assert (answer.status_code, "changed in the meantime" in answer.text) == (422, True)
    assert Page(answer.text).value("name") == "acme-hours"
    calendar = configured(service(browser).settings()).calendar
    assert (sorted(calendar.days), [str(day) for day in calendar.holidays]) == ([0, 6], ["2026-12-25"])
    days = ["monday", "tuesday", "wednesday", "thursday", "friday"]
    send(browser, f"{HERE}/days", {"working_days": days, "holidays": ""})


def test_what_a_form_made_is_a_file_and_a_file_is_in_force(tmp_path: Path, office: Team) -> None:
    """The download and the command print the same configuration; with the file the form states that and refuses."""
    with signed_in(tmp_path / "home") as browser:
        add_facts(service(browser))
        browser.post(HERE, {"name": "ops", "address": "json://127.0.0.1:9/x"}, of=HERE)
        send(browser, NEW_RULE, RULE)
        send(browser, f"{HERE}/rules/budget", {}, "on")
        send(browser, NEW_SUBSCRIPTION, SUBSCRIPTION | {"to": ["ops"]})
        send(browser, f"{HERE}/days", {"working_days": ["tuesday"], "holidays": "2026-12-24 2026-12-25"})
        answer = browser.get(f"{HERE}/rules.yaml")
        assert 'filename="alert-rules.yaml"' in answer.headers["content-disposition"]
        stored = service(browser).settings()
    file = tmp_path / "alert-rules.yaml"
    file.write_text(answer.text)
    with signed_in(tmp_path / "home", SYNC_ALERT_RULES_FILE=str(file)) as browser:
        of_file, of_form = configured(service(browser).settings()), configured(stored)
        assert of_file.calendar == of_form.calendar
        assert [*map(form_of, of_file.rules)] == [*map(form_of, of_form.rules)]
        assert [*map(form_of_subscription, of_file.subscriptions)] == [
            *map(form_of_subscription, of_form.subscriptions)
        ]
        page = browser.page(HERE)
        notice = f"The rules and subscriptions of the file {file} are in force (SYNC_ALERT_RULES_FILE). What the console has stored is not in force."
        assert notice in page.text
        assert [link["href"] for link in page.all("a") if "/settings/alerts/" in link["href"]] == [f"{HERE}/rules.yaml"]
        before = service(browser).revision()
        for path, fields in ((NEW_RULE, RULE | {"name": "other"}), (f"{HERE}/days", {"working_days": ["friday"]})):
            assert (
                f"Nothing was changed: the file {file} is in force" in send(browser, path, fields, of="/mapping").text
            )
        assert "is in force" in send(browser, f"{HERE}/rules/budget", {}, "remove", "/mapping").text
        assert browser.get(f"{HERE}/rules/budget").url.path == browser.get(NEW_SUBSCRIPTION).url.path == HERE
        assert service(browser).revision() == before
    with shell_for(office, tmp_path) as shell:
        at_home = shell.with_(SYNC_HOME=str(tmp_path / "home"))
        assert at_home("alerts", "rules", "--yaml", code=0).out == answer.text
        assert at_home("alerts", "rules", "--json", code=0).document["in_force"] == "set-up"
        with_file = at_home.with_(SYNC_ALERT_RULES_FILE=str(file))
        assert with_file("alerts", "rules", "--yaml", code=0).out == answer.text
        assert with_file("alerts", "rules", "--json", code=0).document["file"] == str(file)
        assert notice in with_file("alerts", "rules", code=0).out
        assert "two forms of the same" in at_home("alerts", "rules", "--yaml", "--json", code=2).err


def test_a_rule_by_keyboard_in_a_real_browser(chrome: playwright.sync_api.Browser, tmp_path: Path) -> None:
    """From the list to a name that is chosen, a preview and a saved rule; each page in light, dark and on a phone."""
    with consoling(tmp_path / "home") as console, walking(chrome, console.link()) as ana:
        add_facts(console.console.setup)
        page = ana.page
        ana.to(NEW_RULE)
        page.get_by_label("Name", exact=True).focus()
        page.keyboard.type("people")
        ana.tabs_to(page.get_by_label("Of", exact=True))
        page.keyboard.type("each person")
        expect(page.get_by_label("In", exact=True)).to_be_visible()
        ana.tabs_to(page.get_by_label("Thresholds"))
        page.keyboard.type("1")
        ana.tabs_to(page.get_by_label("All but these, 1"))
        page.keyboard.type("Ann")
        ana.tabs_to(page.get_by_role("button", name="Add another to: All but these"))
        page.keyboard.press("Enter")
        expect(page.get_by_label("All but these, 2")).to_be_focused()
        ana.tabs_to(page.get_by_role("button", name="Preview"))
        page.keyboard.press("Enter")
        expect(page.get_by_text("It opens 1 alert:")).to_be_focused()
        ana.sees("Ben: hours in")
        page.get_by_label("Fires when it").select_option("missing_since")
        expect(page.get_by_label("In", exact=True)).to_be_hidden()
        page.get_by_label("Thresholds").press("Enter")
        ana.is_refused_at("comparison", "Does not fit hours")
        ana.audit()
        page.get_by_label("Fires when it").select_option("above")
        page.get_by_label("Thresholds").press("Enter")
        ana.sees_notice("The rule people is saved.")
        ana.to(NEW_SUBSCRIPTION)
        page.get_by_label("Name", exact=True).fill("acme")
        page.get_by_label("New time entries").check()
        page.get_by_label("Only these clients, 1").fill("Acme")
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_text("Nothing new in the last seven days.")).to_be_focused()
        page.get_by_label("Only these clients, 1").press("Enter")
        ana.sees_notice("The subscription acme is saved.")
        ana.audit()


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A sandbox of its own."""
    with team(tmp_path / "us") as found:
        yield found


def test_what_a_person_does_first(us: Team) -> None:
    """Subscribes to new entries of one client by mail, sets a budget rule at 90 %, exports the month: one digest, one alert, two files."""
    us.changes |= {"SYNC_ALERT_GROUP_SECONDS": "60", "SYNC_REPORT_CURRENCY": "EUR"}
    client, other = (us.clockify("POST", "/clients", {"name": name}) for name in ("Orchard", "Mill"))
    rate = {"hourlyRate": {"amount": 100_00, "currency": "EUR"}, "billable": True}
    project, next_door = (
        us.clockify("POST", "/projects", {"name": name, "clientId": each["id"], **rate})
        for name, each in (("Trees", client), ("Wheel", other))
    )
    us.clockify(
        "PATCH", f"/projects/{project['id']}/estimate", {"budgetEstimate": {"estimate": 1_000_00, "active": True}}
    )
    us.sync()
    environ = us.environ | {"SYNC_HOME": str(us.home)}
    with smtp_sink() as mail, signed_in(us.home, **environ) as browser:
        browser.post(HERE, {"name": "me", "address": mail.address}, of=HERE)
        subscribed = SUBSCRIPTION | {"name": "orchard", "client": ["Orchard"], "to": ["me"]}
        assert "The subscription orchard is saved." in send(browser, NEW_SUBSCRIPTION, subscribed).text
        budget: dict[str, Any] = {"figure": "budget_used", "scope": "project", "period": "total", "comparison": "above"}
        budget |= {"thresholds": "90", "severity": "warning", "only": ["Trees"], "ignored": [""]}
        assert "The rule budget is saved." in send(browser, f"{HERE}/rules/budget", budget).text

        def tick(after: timedelta) -> None:
            with us.session() as session, clock_from(started + after):
                compute_figures(session)
                send_alerts(session, console="http://sync-1.localhost:8770")

        started = utc_now()
        tick(timedelta())
        user = us.users()[0]["id"]
        us.add_entry(user, morning(1), 9.5, projectId=project["id"], description="Plant", billable=True)
        us.add_entry(user, morning(2), 2, projectId=next_door["id"], description="Grind", billable=True)
        us.sync()
        for minutes in (3, 6, 64, 67, 130, 300):
            tick(minutes * MINUTE)
        titles = sorted(mail.titles)
        assert titles == ["sync_pipeline: 1 new time entry", "sync_pipeline: Trees: use of the budget above 90 %"]
        texts = dict(mail.messages)
        assert texts[titles[0]].startswith("new time entry: Plant (Trees, Orchard), ")
        link = f"/dashboard?project={project['id']}"
        assert f"http://sync-1.localhost:8770{link}" in texts[titles[1]]
        shown = browser.page(link).text
        assert ("Trees" in shown, "Wheel 2.0" in shown) == (True, False)
        month = morning(1).strftime("%Y-%m")
        period = f"from={month}&to={month}&client={client['id']}"
        answer = browser.get(f"/dashboard/export/projects.csv?{period}")
        (row,) = [row for row in csv.DictReader(io.StringIO(answer.text.lstrip("\ufeff"))) if row["project"] == "Trees"]
        assert (row["client"], float(row["hours"]), float(row["amount"])) == ("Orchard", 9.5, 950.0)
        book = ZipFile(io.BytesIO(browser.get(f"/dashboard/export/projects.xlsx?{period}").content))
        assert "Trees" in "".join(
            book.read(name).decode() for name in book.namelist() if "haredStrings" in name or "sheet1" in name
        )
