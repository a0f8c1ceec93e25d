"""The bench measures what it claims, at sizes for which that takes seconds; its figures follow from its tables."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from sync_pipeline.reporting.dashboard import make_dashboard
from sync_pipeline.store.period_figures import Selection
from sync_pipeline.store.project_months import ReportSettings, month_before, recompute
from sync_pipeline.store.schema import entry_facts
from sync_pipeline_tests.bench.__main__ import bench
from sync_pipeline_tests.bench.aims import figures
from sync_pipeline_tests.bench.commands import Ran
from sync_pipeline_tests.bench.dashboard import CATALOGUE, PEOPLE, PageTime, fill
from sync_pipeline_tests.bench.latency import Latency
from sync_pipeline_tests.bench.minimum import Minimum
from sync_pipeline_tests.bench.profile import Profile, profile, rows
from sync_pipeline_tests.bench.report import show
from sync_pipeline_tests.bench.rounds import (
    AGAIN,
    BARE,
    CPU,
    FIRST,
    HIGHLEVEL,
    POSTGRESQL,
    PREVIEW,
    SQLITE,
    VERIFY,
    Measured,
    Plan,
    measure_rounds,
)
from sync_pipeline_tests.bench.sampling import NAMES, STAGES, stage_of
from sync_pipeline_tests.generate import ROOT
from sync_pipeline_tests.harness import team

SMALL = Plan(rounds=1, sizes=[40], users=3, days=10, page_size=20)


def ran(wall: float, *, cpu: float = 0.0, mb: float = 100.0, requests: int = 10) -> Ran:
    """A run with these figures."""
    return Ran(wall, cpu, mb, requests, 0)


def some() -> Measured:
    """Figures of three rounds at two sizes, and of one without entries."""
    found = Measured()
    for wall in (9.0, 2.0, 2.5):
        found.add(SQLITE, FIRST, 0, ran(wall, cpu=wall / 2))
    for size, ours, bare in ((100_000, 10.0, 4.0), (300_000, 30.0, 12.0)):
        for more in (0, 1, -1):
            found.add(SQLITE, FIRST, size, ran(ours + more, mb=size / 1_000))
            found.add(BARE, FIRST, size, ran(bare + more))
    found.add(POSTGRESQL, FIRST, 300_000, ran(60))
    found.fewest[300_000] = Minimum(first=9, second=3)
    found.add(SQLITE, AGAIN, 300_000, ran(20, requests=3))
    found.add(SQLITE, VERIFY, 1_000_000, ran(100))
    found.add(HIGHLEVEL, FIRST, 5_000, ran(100, requests=5_150))
    for size in (10_000, 100_000):
        found.add(HIGHLEVEL, AGAIN, size, ran(100, requests=6))
        found.add(HIGHLEVEL, VERIFY, size, ran(100, requests=1_010, mb=100 + size / 1_000))
    return found


def test_the_figures_are_made_as_they_are_named() -> None:
    """Medians, differences of sizes, ratios, peaks: each next to its aim, and only where there is something to compare."""
    by_name = {one.name: one for one in figures(some(), [Latency("webhook", 100, 0, 1.0, 4.0, 9.0)])}

    assert by_name["fixed: no entries, first"].value == 2.5
    assert by_name["per entry, first"].value == pytest.approx(100)
    assert by_name["per entry, first, bare reader"].value == pytest.approx(40)
    assert by_name["per entry, first, to the bare reader"].value == pytest.approx(2.5)
    assert by_name["requests to the minimum, 300,000 entries, first"].is_reached is False
    assert by_name["requests to the minimum, 300,000 entries, again"].is_reached is True
    assert by_name["PostgreSQL to SQLite, 300,000 entries, first"].value == 2
    assert by_name["memory, first"].value == 300
    assert by_name["memory, first, most to fewest entries"].is_reached is False
    assert by_name["verify, 1,000,000 entries"].is_reached is False
    assert by_name["an edit arrives by webhook, p95"].is_reached is True
    assert by_name["HighLevel: requests, 5,000 entries, first"].is_reached is True
    assert by_name["HighLevel: requests, 10,000 entries, again"].is_reached is False
    assert by_name["HighLevel: writes, 10,000 entries, again"].is_reached is True
    assert by_name["HighLevel: requests, 10,000 entries, verify"].is_reached is False
    assert by_name["HighLevel: requests, 100,000 entries, verify"].is_reached is True
    assert by_name["HighLevel: memory, verify, most to fewest entries"].is_reached is False
    assert not [name for name in by_name if "again" in name and "per entry" in name]


def test_the_dashboard_is_measured_on_so_many_entries(tmp_path: Path) -> None:
    """The store holds them, with its indexes, and the slowest page has an aim."""
    with team(tmp_path, entries=0) as us, us.session() as session:
        fill(session, 2_000, session.now())
        recompute(session.store, session.pair, ReportSettings())
        this = f"{session.now():%Y-%m}"
        found = make_dashboard(session, Selection(month_before(this, 23), this))
        assert found.totals["entries"] > 1_000
        assert len(found.tables["people"].rows) == PEOPLE
        with session.store.reading() as tx:
            stored = set(tx.scalars(text("SELECT name FROM sqlite_master WHERE tbl_name = 'entry_facts'")))
    assert stored >= {index.name for index in entry_facts.indexes}
    (slowest,) = figures(Measured(), pages=[PageTime("/dashboard", 900, 301, 90), PageTime("/", 90, 10, 9)])
    assert (slowest.value, slowest.is_reached) == (301, False)
    (catalogue,) = figures(Measured(), pages=[PageTime(CATALOGUE[0], 900, 100, 90)])
    assert (catalogue.name, catalogue.is_reached) == ("the slowest page of the catalogue, CPU", True)


def test_a_busy_machine_is_measured_by_processor_time() -> None:
    """The same figures, by the other clock."""
    measured = some()
    measured.clock = CPU

    assert measured.seconds(SQLITE, FIRST, 0) == 1.25


def test_the_report_has_every_run_and_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command at each size is a row, and each figure one with its aim and whether that is reached."""
    reported = figures(some())

    show(some(), reported, 1.5)
    shown = capsys.readouterr().out

    assert re.search(r"SQLite +first +300,000 +3 +30\.00", shown)
    assert re.search(r"bare reader +first +100,000", shown)
    assert re.search(r"fixed: no entries, first +2\.5 s +3 s +yes", shown)
    assert re.search(r"verify, 1,000,000 entries +100 s +90 s +no", shown)
    assert all(one.name in shown for one in reported)


@pytest.mark.parametrize(
    "words", [["--parts", "everything"], ["--parts", "postgresql"], ["--sizes", "many"], ["--sizes", ","]]
)
def test_what_cannot_be_measured_is_refused(words: list[str]) -> None:
    """Before anything is started."""
    assert CliRunner().invoke(bench, words).exit_code == 2


@pytest.mark.outside
def test_a_round_runs_every_command(tmp_path: Path) -> None:
    """The real command line on a real sandbox, and nothing is left behind."""
    measured = Measured()

    measure_rounds(tmp_path, replace(SMALL, sizes=[]), measured, say=lambda _: None)

    assert list(measured.runs) == [(SQLITE, command, 0) for command in (FIRST, AGAIN, VERIFY, PREVIEW)]
    (first,), (again,) = measured.runs[SQLITE, FIRST, 0], measured.runs[SQLITE, AGAIN, 0]
    assert first.requests >= measured.fewest[0].first > again.requests >= measured.fewest[0].second
    assert first.writes > again.writes == 0
    assert first.peak_mb > 50
    assert first.wall_seconds > 0 < first.cpu_seconds
    assert not (tmp_path / "work").exists()


@pytest.mark.outside
def test_a_profile_says_where_all_the_time_went(tmp_path: Path) -> None:
    """The stages add up to the run, and the way from there to the aim is named."""
    first, again = profile(tmp_path, SMALL, 40)

    for one in (first, again):
        assert set(one.stages) == set(NAMES)
        assert sum(one.stages.values()) == pytest.approx(one.wall_seconds)
        assert one.bare_seconds > 0
        assert one.stages["start-up"] > 0
        assert one.stages["Dagster"] > 0
        assert [row[0] for row in rows(one)][-1] == "between figure and aim"


def test_what_is_between_figure_and_aim() -> None:
    """The aim is what is fixed and the bare reader's time, times what the figure's aim allows."""
    one = Profile(AGAIN, 1_000_000, 60.0, 20.0, {"read": 60.0}, {"read": 50.0})

    assert one.aim_seconds == pytest.approx(33)
    assert next(rows(one)) == ("read", "60.00", "100%", "60.0", "50.00")
    assert list(rows(one))[-1][1] == "+27.00"


@pytest.mark.parametrize(
    ("stack", "stage"),
    [
        ([("<frozen importlib._bootstrap>", "_load"), ("/x/sync_pipeline/stages/load.py", "load")], "start-up"),
        ([("/x/sqlalchemy/engine.py", "execute"), ("/x/sync_pipeline/store/staging.py", "merge")], "merge"),
        ([("/x/sync_pipeline/store/staging.py", "add"), ("/x/sync_pipeline/stages/check.py", "walk")], "stage"),
        ([("/x/sync_pipeline/store/errors.py", "f"), ("/x/sync_pipeline/stages/deliver.py", "g")], "deliver"),
        ([("/x/sync_pipeline/mapping/apply.py", "f"), ("/x/dagster/op.py", "g")], "map"),
        ([("/x/dagster/log.py", "f"), ("/x/sync_pipeline/stages/load.py", "load")], "Dagster"),
        ([("/x/sync_pipeline/defs/history.py", "f"), ("/x/dagster/op.py", "g")], "Dagster"),
        ([("/x/sync_pipeline/clock.py", "f"), ("/x/sync_pipeline/cli/sync.py", "g")], "the rest of ours"),
        ([("/x/click/core.py", "main")], "other"),
    ],
)
def test_the_innermost_function_that_is_no_helper_says_the_stage(stack: list[tuple[str, str]], stage: str) -> None:
    """Read from the innermost outwards: libraries and helpers count for who called them."""
    assert stage_of(stack) == stage


def test_every_stage_is_somewhere_in_the_package() -> None:
    """A renamed module does not silently leave a stage without files."""
    files = [path.relative_to(ROOT / "sync_pipeline").as_posix() for path in (ROOT / "sync_pipeline").rglob("*.py")]
    found = {stage for prefix, _, stage in STAGES if any(file.startswith(prefix) for file in files)}

    assert found == {stage for _, _, stage in STAGES}
