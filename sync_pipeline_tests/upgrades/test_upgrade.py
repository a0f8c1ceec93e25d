"""An upgrade costs nothing: this version starts on an install of the one before and continues where that was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.selector import InstigatorSelector
from dagster._core.workspace.load_target import WorkspaceFileTarget
from sqlalchemy import create_engine, text

from sync_pipeline.definitions import build
from sync_pipeline.defs.first_sync import first_requests
from sync_pipeline.hosting.launch import RANGE_END
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline.store.retention import copies
from sync_pipeline.store.schema import HEAD
from sync_pipeline.store.trials import last_trial
from sync_pipeline_tests.properties.invariants import facts_are_right, facts_in
from sync_pipeline_tests.scenarios.commands import ROOT
from sync_pipeline_tests.scenarios.dagster_runs import enter, instance_of
from sync_pipeline_tests.store.conftest import postgres  # noqa: F401  # a fixture
from sync_pipeline_tests.upgrades.installs import DIALECTS, VERSIONS, Install, installed

KEPT = {
    "deliveries": "SELECT id, entity, source_id, kind, outcome, at FROM deliveries ORDER BY id",
    "events": "SELECT id, kind, source_id, closed_at FROM events ORDER BY id",
    "audit": 'SELECT id, at, "by", what, detail FROM audit ORDER BY id',
    "records": "SELECT connection, entity, source_id, target_id, fields_hash, delivered_hash, deleted_at FROM records ORDER BY 2, 3",
    "syncs": "SELECT id, run_id, outcome, counts FROM syncs ORDER BY id",
}


@pytest.fixture(params=[(version, dialect) for version in VERSIONS for dialect in DIALECTS], ids="-".join)
def us(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Install]:
    """An install of each earlier version on each database, untouched by this one."""
    version, dialect = request.param
    blank = request.getfixturevalue("postgres").create() if dialect == "postgresql" else ""
    with installed(version, dialect, tmp_path / "install", blank) as install:
        yield install


def test_it_migrates_stays_live_and_writes_nothing(us: Install) -> None:
    """The switch and the passed trial hold for the configuration as hashed now; a whole sync sends no record."""
    before = contents(us)
    us.forget_stats()
    with us.session() as session:
        assert (session.mode.name, session.mode.automatic) == ("live", True)
        trial = last_trial(session.store, session.pair, session.fingerprint)
        assert trial is not None
        assert trial.outcome == "passed"
    assert contents(us) == before
    us.sync()
    us.sync()
    assert us.writes() == {}
    assert [name for name, verdict in us.verify().items() if not verdict.in_sync] == []
    with us.session() as session:
        assert session.mode.automatic
        rejected = {row.source_id for row in list_rejects(session.store, session.pair)}
        facts_are_right(us, session)
        assert facts_in(session, "person_facts").keys() == {user["id"] for user in us.users()}
    assert rejected == set(us.facts["rejected"])
    after = contents(us)
    assert {name: after[name] for name in ("deliveries", "audit")} == {
        name: before[name] for name in ("deliveries", "audit")
    }


def test_a_change_at_clockify_still_arrives(us: Install) -> None:
    """What was delivered before the upgrade is updated, not created again."""
    (entry, *_) = [row for row in us.entries() if row["id"] in us.at_snapshots("time_entries")]
    count = len(us.at_snapshots("time_entries"))
    us.forget_stats()
    us.change_entry(entry, description="Changed after the upgrade")
    us.sync("time_entries")
    assert us.writes()["time_entries"] == 2  # once by hand at Clockify, once delivered
    assert us.at_snapshots("time_entries")[entry["id"]]["description"] == "Changed after the upgrade"
    assert len(us.at_snapshots("time_entries")) == count


def test_history_partitions_and_sensor_states_are_kept(us: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster finds its runs, green days and cursors, and `first_sync` asks for nothing."""
    enter(us, monkeypatch)
    defs = build(us.settings())
    with instance_of(us) as instance:
        assert len(instance.get_runs()) >= 5
        days = instance.get_materialized_partitions(dg.AssetKey("time_entries"))
        # Until schema 0011 the days ahead were green as soon as they had been read.
        last = us.days.last if us.version < "schema-0011" else us.written_at.date()
        assert days == {day for day in us.days if day <= last.isoformat()}
        sensors = {sensor.name for sensor in defs.sensors or []} - {
            "alerts",
            "console_requests",
            "reports",
        }  # which are new
        schedules = instance.schedule_storage
        assert schedules is not None
        states = {name: schedules.get_instigator_state(name, selector(name)) for name in sensors}
        assert {name for name, state in states.items() if state is None} == set()
        assert states["time_entries"].instigator_data.cursor  # type: ignore[union-attr]
        with us.session() as session:
            session.now = lambda: us.written_at
            # Versions before facts kept none: those days are read again, the newest first, and nothing else is.
            whole = (us.days.first.isoformat(), us.days.last.isoformat())
            lacking = session.ledger("time_entries").loads.without_facts(whole)
            asked = [(found.job_name, found.tags[RANGE_END]) for found in first_requests(instance, session)]
            assert asked == [("sync_time_entries", span[1]) for span in lacking[-1:] if span]
            assert bool(lacking) is (us.version < "schema-0006")


def test_a_copy_of_the_sqlite_database_is_kept(us: Install) -> None:
    """It is as the version before left it, and only its owner may read it."""
    if us.database_url:
        pytest.skip("PostgreSQL has tools of its own; docs/upgrade.md names them")
    database, has_file = us.home / "sync.db", (us.home / "setup.yaml").exists()
    old = database.read_bytes()
    us.session().__enter__().store.close()
    if us.version == f"schema-{HEAD}":
        assert list(copies(database)) == []
        return
    (copy,) = copies(database)
    assert copy.name == f"sync.db.{us.version}"
    assert copy.stat().st_mode & 0o077 == 0
    old_rows, new_rows = contents(us, f"sqlite:///{copy}"), contents(us)
    before, after = old_rows.pop("audit"), new_rows.pop("audit")
    assert after[: len(before)] == before
    assert [row[3] for row in after[len(before) :]] == (["set-up imported"] if has_file else [])
    assert old_rows == new_rows
    assert len(copy.read_bytes()) == len(old)


def selector(sensor: str) -> str:
    """The id under which Dagster keeps a sensor's state: of the code location as `workspace.yaml` names it."""
    (origin,) = WorkspaceFileTarget([str(ROOT / "workspace.yaml")]).create_origins()
    return InstigatorSelector(
        location_name=origin.location_name, repository_name="__repository__", name=sensor
    ).get_id()


def contents(us: Install, url: str = "") -> dict[str, list[Any]]:
    """What an upgrade has to leave unchanged."""
    engine = create_engine((url or us.settings().store_url).replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        found = {name: [tuple(row) for row in connection.execute(text(query))] for name, query in KEPT.items()}
    engine.dispose()
    return found
