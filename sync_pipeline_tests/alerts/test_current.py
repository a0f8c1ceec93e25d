"""Alerts of a real pipeline: what happens to it opens them, what is repaired resolves them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sync_pipeline.alerts.current import Alert, acknowledge, alert_named, open_alerts, paths_of, refresh_alerts, silence
from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.session.secrets import SNAPSHOTS_KEY as SLOT
from sync_pipeline.session.session import Session
from sync_pipeline.settings import Settings
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import turn_on
from sync_pipeline.stages.extract import extract, remembering_failure
from sync_pipeline.store.alerts import FIGURE, AlertKey, open_rows, recent_rows
from sync_pipeline.store.audit import changes
from sync_pipeline_tests.harness import SNAPSHOTS_KEY, Team
from sync_pipeline_tests.setup.services import on_accounts
from sync_pipeline_tests.setup.test_switching import tried
from sync_pipeline_tests.stages.test_check import reads


def names(us: Team) -> list[str]:
    """The open alerts, read without writing and stored: both are the same."""
    with us.session() as session:
        read = [alert.name for alert in open_alerts(session)]
        before = set(open_rows(session.store, session.pair))
        assert [alert.name for alert in open_alerts(session)] == read
        assert set(open_rows(session.store, session.pair)) == before
        refresh_alerts(session)
        assert [alert.name for alert in open_alerts(session)] == read
        return read


def test_a_refused_key_and_what_follows_from_it(us: Team) -> None:
    """One alert, of the key; the runs that fail because of it are none. A good answer resolves it."""
    us.sync()
    before = names(us)
    us.control("POST", "snapshots", {"keys": {SNAPSHOTS_KEY: "revoked"}})
    with pytest.raises(SyncError, match="revoked"):
        us.sync()
    with us.session() as session:
        worst = open_alerts(session)[0]
    assert (worst.name, worst.severity, worst.title) == (
        "key_refused:snapshots",
        "critical",
        "Snapshots refuses its key",
    )
    assert "this key was revoked" in worst.detail
    assert [name for name in names(us) if name.startswith("run_failed")] == []
    us.control("POST", "snapshots", {"keys": {SNAPSHOTS_KEY: "valid"}})
    us.sync()
    assert names(us) == before


def test_a_missing_permission_is_named_for_its_entity(us: Team) -> None:
    """The key is accepted, but may not read: no refused key, and no mere failure."""
    us.fault(kind="status", status=403, route="GET /clockify/api/v1/workspaces/*/projects")
    fail(us)
    assert names(us)[:1] == ["permission_missing:projects"]
    us.no_faults()
    us.sync("users", "projects")
    assert "permission_missing:projects" not in names(us)


def test_runs_that_fail_are_counted_until_one_succeeds(us: Team) -> None:
    """With the reason of the last one, and its run."""
    us.fault(kind="status", status=418, route="GET /clockify/api/v1/workspaces/*/projects")
    for _ in range(2):
        fail(us)
    with us.session() as session:
        alert = alert_named(session, "run_failed:projects")
        assert alert.detail.startswith("It failed 2 times in a row. Clockify GET ")
        assert (alert.count, alert.subject[:4]) == (2, "run-")
    us.no_faults()
    us.sync("users", "projects")
    assert "run_failed:projects" not in names(us)


def test_drift_is_open_until_a_comparison_of_everything_finds_none(us: Team) -> None:
    """A sync that delivers what was missing does not prove it."""
    us.sync()
    entry = next(entry for entry in us.entries() if entry["timeInterval"]["end"])
    us.snapshots("DELETE", f"/time_entries/{entry['id']}")
    us.verify("time_entries")
    with us.session() as session:
        assert "`verify` found 1 missing." in alert_named(session, "drift:time_entries").detail
    us.sync("time_entries")
    assert "drift:time_entries" in names(us)
    assert us.verify("time_entries")["time_entries"].in_sync
    assert "drift:time_entries" not in names(us)


def test_other_fields_at_the_source_open_an_alert(us: Team) -> None:
    """They are named; it is resolved by the first sync that does not meet them."""
    us.sync("users")
    reads(us, *({**row, "brandNew": 1} for row in us.clockify("GET", "/projects")))
    us.sync("projects")
    with us.session() as session:
        detail = alert_named(session, "schema_changed:projects").detail
    assert detail.startswith("brandNew is new at the source, not mapped. Map what is new")
    us.no_faults()
    us.sync("projects")
    assert "schema_changed:projects" not in names(us)


def test_live_without_a_daemon_and_an_old_key(us: Team, setup: SetupService) -> None:
    """Facts of the set-up open alerts as well; a key that is replaced is young again."""
    turn_on(tried(on_accounts(setup, us)))
    assert setup.environ is not None
    old = SetupService(setup.by, setup.root, {**setup.environ, "SYNC_KEY_MAX_AGE_DAYS": "90"})
    with clock_from(utc_now() + timedelta(days=91)), old.reading() as session:
        session.now = utc_now
        found = {alert.name for alert in open_alerts(session)}
        assert {"no_heartbeat", "credentials_age:clockify", "credentials_age:snapshots"} <= found
        with old.vault() as vault:
            vault.rotate(SLOT, "another-key", utc_now())
    with clock_from(utc_now() + timedelta(days=91)), old.reading() as session:
        session.now = utc_now
        found = {alert.name for alert in open_alerts(session)}
        assert "credentials_age:snapshots" not in found
        assert "no_success:users" not in found, "the daemon that is missing explains it"


def test_acknowledged_alerts_come_last_and_both_are_in_the_audit_trail(us: Team) -> None:
    """Who deals with what, and what is not to be sent for a while."""
    us.fault(kind="status", status=418, route="GET /clockify/api/v1/workspaces/*/projects")
    fail(us)
    us.sync("locations", "users", "time_entries")
    with us.session() as session:
        first = open_alerts(session)[0]
        assert first.name == "run_failed:projects"
        done = acknowledge(session, first.name, "ann (test)")
        assert (done.acknowledged_by, open_alerts(session)[-1].name) == ("ann (test)", first.name)
        until = session.now() + timedelta(hours=2)
        assert silence(session, str(done.number), "ann (test)", until).silenced_until == until
        assert silence(session, first.name, "ann (test)", None).silenced_until is None
        trail = [(change.by, change.what, change.detail) for change in changes(session.store, 3)]
        assert trail == [
            ("ann (test)", "alert no longer silenced", "Syncing projects fails"),
            ("ann (test)", "alert silenced", f"Syncing projects fails, until {until:%Y-%m-%d %H:%M} UTC"),
            ("ann (test)", "alert acknowledged", "Syncing projects fails"),
        ]
        with pytest.raises(ConfigError, match=r"There is no open alert 'nonsense'\. Open are: "):
            acknowledge(session, "nonsense", "ann (test)")
        assert numbers(session) == [row.id for row in recent_rows(session.store, session.pair)]


def fail(us: Team) -> None:
    """A sync of the projects that meets a fault while it reads, as its op runs it."""
    with us.session() as session:
        spec = session.specs["projects"]
        batch = remembering_failure(session, spec, extract(session, spec, None), None, run_id="run-1")
        with pytest.raises(SyncError):
            list(batch.parts)


def numbers(session: Session) -> list[int]:
    """The numbers of the open alerts, newest first."""
    alerts: list[Alert] = open_alerts(session)
    return sorted((alert.number for alert in alerts if alert.number is not None), reverse=True)


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
