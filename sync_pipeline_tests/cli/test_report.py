"""`report`: what the time entries at Clockify add up to, in every format."""

from __future__ import annotations

import csv
import io
import sqlite3
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest

from sync_pipeline import terminal
from sync_pipeline.reporting.export import write_xlsx
from sync_pipeline.reporting.reports import Report
from sync_pipeline.store.project_months import ReportSettings
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import Json, Team, morning, team

pytestmark = pytest.mark.clock

ZONE = "America/New_York"
EARLY, LATE = "--from 0001-01-01", "--to 9999-12-31"
EVIL = '=HYPERLINK("http://evil.example","x")'
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A directory in which everything has been synced, with a running timer and a project that a spreadsheet could obey."""
    with team(tmp_path_factory.mktemp("office")) as us:
        user = us.users()[0]["id"]
        project = us.clockify("POST", "/projects", {"name": EVIL})["id"]
        us.add_entry(user, morning(2), 1.5, projectId=project, billable=True)
        us.add_entry(user, morning(3, 1), 2, billable=False)
        us.clockify("POST", f"/user/{user}/time-entries", {"start": f"{morning(1):%Y-%m-%dT%H:%M:%SZ}"})
        with shell_for(us, tmp_path_factory.mktemp("synced")) as typed:
            typed.sync()
            yield typed.with_(SYNC_REPORT_TIME_ZONE=ZONE)


def started(entry: Json) -> datetime:
    """When an entry began."""
    return datetime.fromisoformat(entry["timeInterval"]["start"])


def figures(us: Team, key: Callable[[Json], Any], first: datetime | None = None) -> dict[Any, dict[str, Any]]:
    """What Clockify's entries add up to, by plain means."""
    groups: dict[Any, list[Json]] = defaultdict(list)
    for entry in us.entries():
        if entry["timeInterval"]["end"] and (first is None or started(entry) >= first):
            groups[key(entry)].append(entry)
    return {key: sums(entries) for key, entries in groups.items()}


def sums(entries: list[Json]) -> dict[str, Any]:
    """Entries, hours, billable hours, different people, and money in hundredths, each entry's rounded half up."""
    lengths = [
        (datetime.fromisoformat(each["timeInterval"]["end"]) - started(each)).total_seconds() for each in entries
    ]
    both = list(zip(entries, lengths, strict=True))
    return {
        "entries": len(entries),
        "hours": round(sum(lengths) / 3600, 4),
        "billable_hours": round(sum(length for each, length in both if each["billable"]) / 3600, 4),
        "people": len({each["userId"] for each in entries}),
        "amount": earned([(each["hourlyRate"], length) for each, length in both if each["billable"]]),
        "cost": earned([(each["costRate"], length) for each, length in both]),
    }


def earned(rates: list[tuple[Json | None, float]]) -> float | None:
    """None where no rate is set."""
    amounts = [int(rate["amount"] * length / 3600 + 0.5) for rate, length in rates if rate and rate["amount"]]
    return sum(amounts) / 100 if amounts else None


def local(entry: Json) -> datetime:
    """When an entry began, where the reports are read."""
    return started(entry).astimezone(ZoneInfo(ZONE))


def monday(entry: Json) -> str:
    """The first day of its week there."""
    return str((local(entry) - timedelta(days=local(entry).weekday())).date())


@pytest.mark.parametrize(
    ("words", "column", "key"),
    [
        ("performance", "project_id", lambda entry: entry["projectId"] or None),
        ("performance --by month", "month", lambda entry: f"{local(entry):%Y-%m}"),
        ("performance --by client", "client_id", lambda entry: (entry["project"] or {}).get("clientId") or None),
        ("hours", "project_id", lambda entry: entry["projectId"] or None),
        ("hours --by week", "week", monday),
        ("people", "user_id", lambda entry: entry["userId"]),
        ("people --by month", ("user_id", "month"), lambda entry: (entry["userId"], f"{local(entry):%Y-%m}")),
        ("clients", "client_id", lambda entry: (entry["project"] or {}).get("clientId") or None),
    ],
)
def test_each_report_says_what_the_entries_at_clockify_add_up_to(
    shell: Shell, words: str, column: str | tuple[str, ...], key: Callable[[Json], Any]
) -> None:
    """Line by line, also the totals: a running timer is not counted, and what no rate is known of has no amount."""
    found = shell("report", *words.split(), "--json", code=0).document
    expected = figures(shell.team, key)
    columns = (column,) if isinstance(column, str) else column

    lines = {tuple(row[name] for name in columns): row for row in with_currencies_added(found["rows"], columns)}

    assert lines.keys() == {key if isinstance(key, tuple) else (key,) for key in expected}
    for wanted, row in ((expected[key if len(key) > 1 else key[0]], row) for key, row in lines.items()):
        assert {name: row[name] for name in wanted if name in row} == pytest.approx(
            {name: value for name, value in wanted.items() if name in row}
        )
    assert sum(row["hours"] for row in found["totals"]) == pytest.approx(
        sum(row["hours"] for row in found["rows"]), abs=0.01
    )


def with_currencies_added(rows: list[Json], columns: tuple[str, ...]) -> list[Json]:
    """Entries without any rate have no currency, and a line of their own: here they are put together."""
    found: dict[Any, Json] = {}
    for row in rows:
        key = tuple(row[name] for name in columns)
        if key not in found:
            found[key] = {**row}
            continue
        for name in ("entries", "hours", "billable_hours"):
            found[key][name] = round(found[key][name] + row[name], 4)
        for name in ("amount", "cost"):
            known = [value for value in (found[key].get(name), row.get(name)) if value is not None]
            found[key][name] = sum(known) if known else None
        found[key].pop("people", None)
    return list(found.values())


def test_a_period_is_days_in_the_zone_of_the_reports(shell: Shell) -> None:
    """An entry of one o'clock in UTC belongs to the day before in New York."""
    day = (morning(3, 1).astimezone(ZoneInfo(ZONE))).date()
    found = shell("report", "hours", "--from", str(day), "--json", code=0).document
    first = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
    expected = figures(shell.team, lambda _: "", first)
    assert found["totals"][0]["entries"] == expected[""]["entries"]
    assert shell("report", "hours", "--from", "2026-02-02", "--to", "2026-02-01", code=2).errors


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York"])
@pytest.mark.parametrize("days", [EARLY, LATE, f"{EARLY} {LATE}", "--from 0500-01-01 --to 9999-12-30"])
def test_the_first_and_the_last_day_there_are_include_everything(shell: Shell, zone: str, days: str) -> None:
    """Whatever day it is in UTC by then, or no day at all."""
    there = shell.with_(SYNC_REPORT_TIME_ZONE=zone)
    for kind in ("hours", "performance"):
        everything = there("report", kind, "--json", code=0).document
        assert there("report", kind, *days.split(), "--json", code=0).document == everything


def test_what_has_changed_is_in_the_next_report(shell: Shell) -> None:
    """The command computes what has changed before it prints."""
    user = shell.team.users()[1]["id"]
    before = shell("report", "performance", "--json", code=0).document
    shell.team.add_entry(user, morning(4), 3)
    shell.sync()
    after = shell("report", "performance", "--json", code=0).document
    hours = [sum(row["hours"] for row in found["totals"]) for found in (before, after)]
    assert hours[1] == pytest.approx(hours[0] + 3)


def test_months_with_days_that_are_not_read_yet_say_so(shell: Shell) -> None:
    """On an install of a version without reports: each month how many days, until they are read again."""
    shell("report", "hours", code=0)
    with closing(sqlite3.connect(shell.home / "sync.db")) as store, store:
        store.execute("UPDATE loads SET has_facts = 0 WHERE entity = 'time_entries'")
        unread = dict(store.execute("SELECT substr(day, 1, 7), COUNT(*) FROM loads WHERE NOT has_facts GROUP BY 1"))
        try:
            store.commit()
            found = shell("report", "hours", "--by", "month", "--json", code=0)
            assert found.document["days_unread"] == unread
            assert [row["days_unread"] for row in found.document["rows"]] == [
                unread[row["month"]] for row in found.document["rows"]
            ]
            words = ", ".join(f"{unread[month]} of {month}" for month in sorted(unread, reverse=True))
            sentence = f"Days not read yet: {words}. These figures are too low until then."
            assert sentence in found.warnings
            shown = shell.piped("report", "performance", "--by", "month", "--format", "csv", code=0)
            assert sentence in shown.warnings
            assert shown.out.splitlines()[0].endswith(",days_unread")
        finally:
            store.execute("UPDATE loads SET has_facts = 1")
    assert shell("report", "hours", "--json", code=0).document["days_unread"] == {}


def test_revenue_is_read_without_a_daemon(shell: Shell) -> None:
    """A report states when it was read last, and how to read it; reading it is a choice, and what fails is an error."""
    first = shell("report", "performance", code=0)
    hint = "Revenue has not been read yet. Read it now: sync-pipeline report performance --read-revenue"
    assert hint in " ".join(first.out.split())
    assert shell("report", "performance", "--json", code=0).document["revenue_read_at"] is None
    shell.team.fault("status", "*analytics*", status=503)
    assert "503" in shell("report", "performance", "--read-revenue", code=1).message
    shell.team.no_faults()
    read = shell("report", "performance", "--read-revenue", "--json", code=0)
    assert "figures of projects and months were read" in read.err
    served = shell.team.snapshots("GET", "/analytics/projects", limit=1000)["data"]
    (total,) = [row["revenue"] for row in read.document["totals"] if row["currency"] == "USD"]
    assert total == pytest.approx(sum(each["revenue"] for each in served))
    again = shell("report", "performance", code=0)
    assert "Read it now" not in again.out
    assert shell("report", "performance", "--json", code=0).document["revenue_read_at"]
    with closing(sqlite3.connect(shell.home / "sync.db")) as store, store:
        store.execute("UPDATE revenue_reads SET read_at = '2026-01-02 00:00:00.000000'")
    assert "Revenue was read 2026-01-02 00:00Z." in shell("report", "performance", "--utc", code=0).out
    assert shell("report", "hours", "--read-revenue", code=2).errors


def test_a_name_is_no_formula_in_a_csv_file(shell: Shell) -> None:
    """And nothing else differs from the document."""
    text = shell.piped("report", "performance", "--format", "csv", code=0).out
    rows = list(csv.DictReader(io.StringIO(text)))
    document = shell("report", "performance", "--json", code=0).document
    assert [row["project"] for row in rows if "HYPERLINK" in row["project"]] == [f"'{EVIL}"]
    assert len(rows) == len(document["rows"]) + len(document["totals"])
    assert [float(row["hours"]) for row in rows[: len(document["rows"])]] == [row["hours"] for row in document["rows"]]


def test_an_excel_file_has_numbers_a_frozen_header_and_totals(shell: Shell) -> None:
    """And no formula."""
    shell("report", "performance", "--format", "xlsx", "--out", "report.xlsx", code=0)
    document = shell("report", "performance", "--json", code=0).document
    with zipfile.ZipFile(shell.root / "report.xlsx") as book:
        sheet = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
        texts = ["".join(each.itertext()) for each in ET.fromstring(book.read("xl/sharedStrings.xml"))]
    pane = sheet.find(f".//{SHEET}pane")
    assert pane is not None
    assert pane.get("state") == "frozen"
    assert sheet.findall(f".//{SHEET}f") == []
    assert EVIL in texts
    rows = sheet.findall(f".//{SHEET}row")
    assert len(rows) == 1 + len(document["rows"]) + len(document["totals"])
    cells = [each for each in rows[1] if each.get("r", "").startswith(place(document["columns"], "hours"))]
    assert [(each.get("t", "n"), float(each.findtext(f"{SHEET}v") or "")) for each in cells] == [
        ("n", document["rows"][0]["hours"])
    ]
    assert (shell.root / "report.xlsx").stat().st_mode & 0o077 == 0


def test_no_name_damages_an_excel_file() -> None:
    """Whatever people call a project: control characters, what XML cannot hold, and more than a cell takes."""
    names = ["a\x00b\x07", "\ufffe\uffff", "x" * 40_000, "_x003D_1", "<b>&", EVIL]
    rows = [{"project": name, "hours": 1.0} for name in names]
    file = io.BytesIO()
    write_xlsx(Report("performance", ("project", "hours"), rows, [], ReportSettings()), file)
    with zipfile.ZipFile(file) as book:
        texts = ["".join(each.itertext()) for each in ET.fromstring(book.read("xl/sharedStrings.xml"))]
        sheet = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
    assert (len(sheet.findall(f".//{SHEET}row")), sheet.findall(f".//{SHEET}f")) == (len(names) + 1, [])
    assert texts[1:-1] == ["a_x0000_b_x0007_", "\ufffd\ufffd", "x" * 32_767, "_x005F_x003D_1", "<b>&", EVIL]


def place(columns: list[str], name: str) -> str:
    """The letter of a column."""
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[columns.index(name)]


@pytest.mark.parametrize("width", [80, 110, 160])
@pytest.mark.parametrize("kind", ["performance", "hours", "people", "clients"])
def test_every_figure_is_whole_on_any_screen(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, kind: str, width: int
) -> None:
    """With two decimals; names are there, and no column that is empty in every line. A pipe gets each column."""
    found = shell("report", kind, "--json", code=0).document
    monkeypatch.setattr(terminal.out, "width", width)
    out = shell("report", kind, code=0).out
    words = out.split()
    for row in [*found["rows"], *found["totals"]]:
        wanted = {f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" for value in figures_of(row)}
        assert wanted <= set(words)
        names = [row.get(name) or "" for name in ("project", "person", "client")]
        assert {word for name in names if name != EVIL for word in name.split()} <= set(words)
    lines = [*found["rows"], *found["totals"]]
    filled = {name for name in found["columns"] if any(line.get(name) is not None for line in lines)}
    first_words = {name.split("_")[0] for name in filled}
    empty = {name.split("_")[0] for name in found["columns"]} - first_words
    assert not empty & set(words)
    note = shell.piped("report", kind, code=0).err
    assert ", ".join(name for name in found["columns"] if not name.endswith("_id")) in note


def figures_of(row: Json) -> list[float]:
    """The numbers in a line."""
    return [value for value in row.values() if isinstance(value, int | float)]
