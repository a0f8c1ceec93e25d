"""Alerts on figures: what a file of rules defines, what it finds in the entries, and what is sent of it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert

from sync_pipeline.alerts.configuration import configured
from sync_pipeline.alerts.current import open_alerts
from sync_pipeline.alerts.destinations import add
from sync_pipeline.alerts.evaluation import refresh_figures
from sync_pipeline.alerts.rules import FIGURES, ready_made
from sync_pipeline.alerts.sending import send_alerts
from sync_pipeline.clock import clock_from
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import Vault
from sync_pipeline.session.session import Session
from sync_pipeline.store.project_months import ReportSettings, recompute
from sync_pipeline.store.revenue import ProjectRevenue, keep_revenue
from sync_pipeline.store.schema import entry_facts, person_facts, project_facts
from sync_pipeline_tests.alerts.sinks import http_sink, smtp_sink
from sync_pipeline_tests.harness import Team

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BAD = {
    "rules: {budget: {figur: hours}}": "1: rules.budget.figur: is not a key of rules.budget. Did you mean 'figure'?",
    "rules:\n  budjet:": "2: rules.budjet: is empty, and no ready-made rule has that name. Ready-made are budget, estimate, "
    "unbilled, margin, revenue_margin, not_logged, timers. Did you mean 'budget'?",
    "rules:\n  a:\n    figure: ours\n    scope: project\n    above: 1": "3: rules.a.figure: found 'ours', expected one of ",
    "rules:\n  a:\n    figure: hours\n    scope: team\n    above: 1": "4: rules.a.scope: found 'team', expected one of project, "
    "client, person.",
    "rules:\n  a:\n    figure: budget_used\n    scope: person\n    above: 1": "4: rules.a.scope: budget_used is not available for a "
    "person. Its scope can be project.",
    "rules:\n  a:\n    figure: revenue\n    scope: client\n    period: week\n    above: 1": "5: rules.a.period: revenue is not known by "
    "week. Its period can be month or total.",
    "rules:\n  a:\n    figure: hours\n    scope: project": "2: rules.a: has no comparison. Give one of above, below, changed_by.",
    "rules:\n  a:\n    figure: hours\n    scope: project\n    missing_since: 2": "5: rules.a.missing_since: does not fit hours. hours "
    "takes above, below, changed_by.",
    "rules:\n  budget:\n    above: [70, most]": "3: rules.budget.above: found text 'most', expected a number or a list of numbers.",
    "rules:\n  budget:\n    severity: high": "3: rules.budget.severity: found 'high', expected one of critical, warning, info.",
    "rules:\n  not_logged:\n    missing_since: 1.5": "3: rules.not_logged.missing_since: found 1.5, expected working days, from 1 to 20.",
    "working_days: [mondy]": "1: working_days: found 'mondy', expected a day. Did you mean 'monday'?",
    "holidays: [yesterday]": "1: holidays: found 'yesterday', expected a day such as 2026-12-25.",
    "rules:\n  A B:\n    above: 1": "2: rules.A B: is no name. Use up to 40 lowercase letters, digits, - and _.",
    "rules: [": "is not YAML",
}


@dataclass
class Office:
    """A pair whose entries a test writes, and its file of rules."""

    session: Session
    file: Path
    written: list[dict[str, Any]] = field(default_factory=list)

    def rules(self, text: str) -> None:
        """Replace the content of the file."""
        self.file.write_text(textwrap.dedent(text))

    def log(self, project: str, person: str, start: datetime, hours: float | None = 1, **more: Any) -> None:
        """A time entry; one without hours runs."""
        self._write(entry_facts, "time_entries", f"e{len(self.written)}", {
            "project_id": project, "user_id": person, "start_time": start, "billable": True,
            "seconds": None if hours is None else int(hours * 3600), **more,
        })  # fmt: skip
        self.written.append(more)

    def name(self, id_: str, name: str, **more: Any) -> None:
        """A project or a person."""
        table, entity = (project_facts, "projects") if id_.startswith("p") else (person_facts, "users")
        self._write(table, entity, id_, {"name": name, **more})

    def _write(self, table: Any, entity: str, id_: str, values: dict[str, Any]) -> None:
        key = {"connection": self.session.pair, "entity": entity, "source_id": id_, "read_no": 1}
        with self.session.store.writing() as tx:
            tx.execute(insert(table).values(**key, **values))

    def evaluate(self, at: datetime = NOW) -> list[str]:
        """The titles of the open alerts, after an evaluation at that time."""
        with clock_from(at):
            recompute(self.session.store, self.session.pair, ReportSettings.of(self.session.settings))
            refresh_figures(self.session, every=timedelta())
            return [alert.title for alert in open_alerts(self.session)]


@pytest.fixture
def office(us: Team, tmp_path: Path) -> Iterator[Office]:
    """Two projects, of which one has a budget of 1,000, and two people."""
    file = tmp_path / "rules.yaml"
    file.write_text("rules: {}")
    with (
        clock_from(NOW),
        us.session(
            SYNC_ALERT_RULES_FILE=str(file), SYNC_REPORT_CURRENCY="EUR", SYNC_ALERT_GROUP_SECONDS="60"
        ) as session,
    ):
        found = Office(session, file)
        found.name("p1", "Website", client_id="c1", client_name="Acme", budget=100_000, estimate_seconds=36_000)
        found.name("p2", "Garden", client_id="c2", client_name="Brook")
        found.name("u1", "Ann")
        found.name("u2", "Ben")
        yield found


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_one_message_with_its_line(office: Office, text: str) -> None:
    """File, line, key, what was found, and what to write instead; it is an alert, and open ones stay."""
    office.rules(text)
    with pytest.raises(ConfigError) as caught:
        configured(office.session.settings)
    assert str(caught.value).startswith(f"{office.file}:")
    assert BAD[text] in str(caught.value)
    assert office.evaluate() == ["The alert rules have a mistake"]
    office.rules("rules: {}")
    assert office.evaluate() == []


def test_a_budget_is_reported_once_for_each_threshold(office: Office) -> None:
    """The highest of the passed thresholds; what is over is reported, too, and nothing while no threshold is passed."""
    office.rules("rules: {budget: }")
    titles_by_time = []
    with http_sink() as sink:
        vault = Vault(office.session.store, office.session.settings)
        add(vault, "ops", sink.address, "ann (test)", NOW)

        def at(minutes: int) -> None:
            titles = office.evaluate(NOW + timedelta(minutes=minutes))
            titles_by_time.append(titles)
            for wait in (0, 2):
                with clock_from(NOW + timedelta(minutes=minutes + wait)):
                    send_alerts(office.session)

        office.log("p1", "u1", NOW - DAY, amount=69_900)
        at(0)
        office.log("p1", "u1", NOW - DAY, amount=25_000)  # 949 of 1,000: both 70 and 90 %
        at(10)
        at(20)
        office.log("p1", "u1", NOW - DAY, amount=5_200)
        at(30)
        with office.session.store.writing() as tx:
            tx.execute(delete(entry_facts))
        at(40)
    words = "Website: use of the budget above"
    assert titles_by_time == [[], [f"{words} 90 %"], [f"{words} 90 %"], [f"{words} 100 %"], []]
    assert sink.titles == [
        f"sync_pipeline: {words} 90 %",
        f"sync_pipeline: {words} 100 %",
        f"sync_pipeline: resolved: {words} 100 % (and 1 more)",
    ]
    assert "Website: use of the budget: 94.9 % (rule `budget`)." in sink.messages[0][1]
    assert f"RESOLVED: {words} 90 %" in sink.messages[2][1]


def test_each_figure_is_what_the_entries_add_up_to(office: Office) -> None:
    """Of a project, a client and a person, in a month, a week or from the beginning; in each currency apart."""
    day = datetime(2026, 11, 24, 9, tzinfo=UTC)
    office.log("p1", "u1", day, 6, amount=60_000, cost=55_000)
    office.log("p1", "u2", day, 3, billable=False)
    office.log("p2", "u2", day - 40 * DAY, 8, amount=10_000, cost=1_000, currency="CHF")  # in October
    office.log("p2", "u2", day - 75 * DAY, 2, amount=10_000, currency="CHF")  # in September
    office.log("p2", "u1", NOW - 13 * HOUR, None)
    office.rules("""
        rules:
          hours: {figure: hours, scope: person, above: [5, 6, 7]}
          week: {figure: hours, scope: client, period: week, above: 8}
          unbilled: {above: 2}
          share: {figure: billable_share, scope: client, below: 70}
          amount: {figure: amount, scope: client, period: total, above: 100, severity: critical}
          margin:
          less: {figure: hours, scope: project, below: 9}
          changed: {figure: hours, scope: project, changed_by: 50}
          estimate: {severity: info}
          timers:
          mine: {figure: entries, scope: project, period: total, above: 1, only: Garden}
          none: {figure: entries, scope: project, period: total, above: 1, except: [Website, p2]}
    """)
    assert sorted(office.evaluate()) == sorted(
        [
            "Ann: hours in 2026-11 above 6 h",
            "Acme: hours in the week of 2026-11-23 above 8 h",
            "Website: hours that are not billable in 2026-11 above 2 h",
            "Acme: billable share of hours in 2026-11 below 70 %",
            "Acme: billed amount above 100 EUR",
            "Brook: billed amount above 100 CHF",
            "Website: margin as a share of the billed amount below 10 %",
            "Garden: hours in 2026-10 below 9 h",
            "Garden: hours in 2026-10 changed by more than 50 %",
            "Website: use of the estimated hours above 90 %",
            "Ann: a timer has been running for more than 12 hours",
            "Garden: time entries above 1",
        ]
    )
    with clock_from(NOW):
        severities = {alert.title: alert.severity for alert in open_alerts(office.session)}
    assert list(severities.values())[:2] == ["critical", "critical"]
    assert severities["Acme: billed amount above 100 EUR"] == "critical"
    assert severities["Website: use of the estimated hours above 90 %"] == "info"


def test_revenue_and_its_margin_are_those_of_the_snapshots_api(office: Office) -> None:
    """By project and client, in a month or from the beginning, each currency separately; nothing where there is no figure."""
    store, pair = office.session.store, office.session.pair
    months = ("2026-09", "2026-11")
    office.rules("""
        rules:
          revenue_margin:
          revenue: {figure: revenue, scope: client, above: 900}
          little: {figure: revenue, scope: project, below: 600}
          loss: {figure: revenue_margin, scope: client, below: 0, only: Acme}
          changed: {figure: revenue, scope: project, changed_by: 50}
    """)
    assert office.evaluate() == []
    rows = [
        ProjectRevenue("p1", "2026-11", "EUR", 100_000, None, 6_000),
        ProjectRevenue("p1", "2026-10", "EUR", 50_000, 1, -10_000),
        ProjectRevenue("p1", "2026-09", "EUR", 20_000, 1, None),
        ProjectRevenue("p1", "2026-10", "USD", 90_000, 1, 90_000),
        ProjectRevenue("p2", "2026-11", "EUR", 1, None, None),
        ProjectRevenue("gone", "2026-11", "EUR", 100, None, -100),
        ProjectRevenue("client:c2", "2026-11", "EUR", 99_999, None, -100),
    ]
    keep_revenue(store, pair, rows, months, NOW)
    assert sorted(office.evaluate()) == [
        "Acme: revenue in 2026-11 above 900 EUR",
        "Acme: revenue less cost in 2026-10 below 0 EUR",
        "Brook: revenue in 2026-11 above 900 EUR",
        "Website: revenue in 2026-10 below 600 EUR",
        "Website: revenue in 2026-10 changed by more than 50 %",
        "Website: revenue less cost as a share of the revenue below 10 %",
        "gone: revenue less cost as a share of the revenue below 10 %",
    ]


def test_a_name_is_one_line_of_a_message(office: Office) -> None:
    """Whatever people call a project, it begins no header of a mail and no line of its own, and hides nothing."""
    office.name("p9", "Evil\r\nBcc: x@evil.example\n\nRESOLVED: all is well\x1b[31m\u202e" + "x" * 500, client_id="c9")
    office.rules("rules: {hours: {figure: hours, scope: project, above: 1}}")
    office.log("p9", "u1", NOW - DAY, 2)
    with smtp_sink() as mail:
        add(Vault(office.session.store, office.session.settings), "ops", mail.address, "ann (test)", NOW)
        (title,) = office.evaluate()
        assert title.startswith("Evil\\r\\nBcc: x@evil.example\\n\\nRESOLVED: all is well\\x1b[31m\\u202ex")
        for wait in (5, 7, 9):
            with clock_from(NOW + timedelta(minutes=wait)):
                send_alerts(office.session)
    ((subject, text),) = mail.messages
    assert subject == f"sync_pipeline: {title}"
    assert [line for line in text.splitlines() if line.startswith(("Bcc", "RESOLVED"))] == []


def test_who_logs_nothing_on_working_days_is_reminded_of(office: Office) -> None:
    """Not on the weekend, not on a holiday, not who is excepted, has not worked here for weeks, or was deleted or forgotten."""
    friday = datetime(2026, 11, 20, 9, tzinfo=UTC)
    office.log("p1", "deleted", friday)
    office.log("p1", "u1", friday)
    office.log("p1", "u2", friday - 40 * DAY)
    office.rules("rules: {not_logged: }")
    assert office.evaluate(friday + 4 * DAY) == []  # on Tuesday only Monday is missing
    assert office.evaluate(friday + 5 * DAY) == ["Ann: no time logged for 2 working days"]
    office.rules("{holidays: [2026-11-24], rules: {not_logged: }}")
    assert office.evaluate(friday + 5 * DAY) == []
    office.rules("{working_days: [tuesday], rules: {not_logged: {missing_since: 1}}}")
    assert office.evaluate(friday + 5 * DAY) == ["Ann: no time logged for 1 working day"]
    office.rules("{rules: {not_logged: {except: [Ann]}}}")
    assert office.evaluate(friday + 5 * DAY) == []
    office.rules("{rules: {not_logged: {except: [Anne]}}}")
    assert office.evaluate(friday + 5 * DAY) == ["The alert rules have a mistake"]
    (alert,) = open_alerts(office.session)
    assert "rules.not_logged.except: names 'Anne', but there is no such person. Did you mean 'Ann'?" in alert.detail


def test_the_ready_made_rules_are_rules(office: Office) -> None:
    """Each of them as shipped, by its name alone."""
    office.rules("rules:\n" + "".join(f"  {name}:\n" for name in ready_made()))
    assert {rule.name: rule for rule in configured(office.session.settings).rules} == ready_made()
    page = (Path(__file__).parents[2] / "docs" / "figure-alerts.md").read_text()
    assert [f"| `{rule.name}` | {rule.said} |" in page for rule in ready_made().values()] == [True] * len(ready_made())
    assert [name for name in FIGURES if f"`{name}`" not in page] == []
