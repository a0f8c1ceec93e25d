"""Figures for Prometheus: who may read them, what they are, and that the shipped rules and dashboard know them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.console.server import RunningConsole
from sync_pipeline.session.health import beat, note_evaluated
from sync_pipeline.setup.metrics import Metrics
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.health import note_failure
from sync_pipeline_tests.console.browsing import consoling
from sync_pipeline_tests.harness import Team, morning, team

TOKEN = "t0ken-of-the-scraper"
DEPLOY = Path(__file__).parents[2] / "deploy"
CASES = Path(__file__).parent / "prometheus_cases.yaml"
Values = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def us(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """A pair with its console on a Free plan."""
    with team(tmp_path_factory.mktemp("metrics")) as found:
        found.changes["CLOCKIFY_PLAN"] = "free"
        yield found


@pytest.fixture
def console(us: Team) -> Iterator[RunningConsole]:
    """The console of that pair, which has a token for Prometheus."""
    with us.session(), consoling(us.home, None, **us.environ, SYNC_METRICS_TOKEN=TOKEN) as found:
        yield found


def scrape(console: RunningConsole, path: str = "/metrics", **headers: str) -> httpx.Response:
    """Ask as Prometheus does, by the address of loopback."""
    url = f"http://127.0.0.1:{urlsplit(console.url).port}{path}"
    return httpx.get(url, headers={"authorization": f"Bearer {TOKEN}", **headers}, trust_env=False)


def scraped(text: str) -> Values:
    """Each value by its name and labels."""
    families = text_string_to_metric_families(text)
    return {(one.name, *one.labels.values()): one.value for each in families for one in each.samples}


def promtool(*arguments: str, given: str = "") -> str:
    """What promtool prints about what it is given; a test without it is skipped."""
    if shutil.which("promtool") is None:
        pytest.skip("No promtool is installed. Debian and Ubuntu: apt-get install prometheus")
    ended = subprocess.run(
        ["promtool", *arguments], input=given, capture_output=True, text=True, check=False
    )  # as installed
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_only_who_knows_the_token_may_scrape(console: RunningConsole, tmp_path: Path) -> None:
    """From this machine, and no page of another site; while no token is set no one may."""
    assert scrape(console).status_code == 200
    assert scrape(console, authorization="").status_code == 401
    assert scrape(console, authorization="Bearer x").status_code == 401
    assert scrape(console, authorization=f"Basic {TOKEN}").status_code == 401
    assert scrape(console, host="evil.example").status_code == 421
    assert scrape(console, origin="https://evil.example").status_code == 403
    with consoling(tmp_path / "home") as closed:
        refused = scrape(closed)
    assert (refused.status_code, "Set SYNC_METRICS_TOKEN" in refused.text) == (403, True)


def test_the_state_is_scraped_without_names(console: RunningConsole, us: Team) -> None:
    """Of both systems and each entity; no person, client or project is in it, nor an id of one."""
    before = scraped(scrape(console).text)
    assert (before["sync_pipeline_up",], before["sync_pipeline_requests_total",]) == (1, 0)
    us.sync("users", "projects")
    entry = us.add_entry(us.users()[0]["id"], morning(2), description="Secret of a client")
    us.sync("time_entries")
    with us.session() as session:
        note_failure(session.store, session.pair, "verify:users", "1 missing", "1 missing")
        note_failure(session.store, session.pair, "clockify", "key refused", "Replace it.")
        beat(session)
        note_evaluated(session)
    text = scrape(console).text
    found = scraped(text)
    assert found["sync_pipeline_mode_live",] == 0
    assert found["sync_pipeline_records", "users"] == len(us.users())
    assert found["sync_pipeline_deliveries_total", "users", "delivered"] == len(us.users())
    assert found["sync_pipeline_requests_total",] > 0
    assert found["sync_pipeline_requests_room", "clockify"] <= found["sync_pipeline_requests_limit", "clockify"] == 30
    assert (found["sync_pipeline_drift", "users"], found["sync_pipeline_drift", "projects"]) == (1, 0)
    assert found["sync_pipeline_last_success_timestamp_seconds", "users"] > 0
    opened = {key[1]: value for key, value in found.items() if key[0] == "sync_pipeline_alerts_open"}
    assert (opened["critical"], opened["warning"]) == (1, 1)
    people = [each[name] for each in us.users() for name in ("name", "email", "id")]
    others = [each[name] for each in [*us.projects(), *us.clients()] for name in ("name", "id")]
    assert [name for name in (*people, *others, entry["id"], entry["description"], TOKEN) if name in text] == []
    assert scraped(scrape(console).text)["sync_pipeline_requests_total",] == found["sync_pipeline_requests_total",]

    # The rules and the dashboard that are shipped ask for nothing else than what is there.
    names = {key[0] for key in found}
    dashboard = (DEPLOY / "grafana" / "sync_pipeline.json").read_text()
    rules = (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    for asked in (
        rules,
        "\n".join(target["expr"] for panel in json.loads(dashboard)["panels"] for target in panel["targets"]),
    ):
        wanted = set(re.findall(r"\bsync_pipeline_[a-z_]+", asked))
        assert len(wanted) > 5
        assert wanted - names == set()


def test_health_is_red_while_live_syncing_is_on_and_nothing_is_evaluated(us: Team) -> None:
    """Without a token, for programs on this machine; it is well where nothing is live, or was evaluated lately."""
    with us.session() as session, consoling(us.home, None, **us.environ, SYNC_MODE="live") as live:
        note_evaluated(session)
        well = scrape(live, "/healthz", authorization="")
        with clock_from(utc_now() + timedelta(minutes=15)):
            red = scrape(live, "/healthz", authorization="")
            assert (red.status_code, "the alerts were not evaluated since" in red.text) == (503, True)
    assert (well.status_code, well.json()) == (200, {"status": "ok"})
    with clock_from(utc_now() + timedelta(minutes=15)), consoling(us.home, None, **us.environ) as off:
        assert scrape(off, "/healthz", authorization="").status_code == 200


def test_without_a_database_that_answers_only_that_is_scraped(tmp_path: Path) -> None:
    """The console reports it; it does not end."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "sync.db").write_text("This is no database.")
    metrics = Metrics(SetupService("Ana (test)", root=tmp_path, environ={"SYNC_HOME": str(tmp_path / "home")}))
    assert scraped(metrics.text().decode()) == {("sync_pipeline_up",): 0}


def test_the_shipped_rules_fire_as_they_say() -> None:
    """As Prometheus itself evaluates them, on series that are made up."""
    assert "SUCCESS" in promtool("check", "rules", str(DEPLOY / "prometheus" / "alerts.yaml"))
    assert "SUCCESS" in promtool("test", "rules", str(CASES))


def test_prometheus_finds_no_fault_with_the_names(console: RunningConsole) -> None:
    """Its own check of what is scraped."""
    promtool("check", "metrics", given=scrape(console).text)
