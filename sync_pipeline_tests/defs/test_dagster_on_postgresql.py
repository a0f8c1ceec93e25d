"""Dagster's own storage on PostgreSQL, as docs/operations.md has it: a real daemon starts a real run through it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml
from sqlalchemy import Engine, event, make_url

from sync_pipeline.clock import utc_now
from sync_pipeline.hosting.postgres_storage import KEPT, PooledPostgresStorage
from sync_pipeline.hosting.run_retention import delete_run, prune_runs
from sync_pipeline_tests.harness import Team, clean_environ, team
from sync_pipeline_tests.scenarios.commands import ROOT
from sync_pipeline_tests.scenarios.developing import wait_for
from sync_pipeline_tests.store.conftest import Server, postgres

__all__ = ["postgres"]  # a fixture of the store's tests

PATIENCE = 120.0
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.outside


def as_documented(text: str) -> str:
    """The storage section that the docs give to put in place of ours."""
    docs = (ROOT / "docs" / "operations.md").read_text()
    section = docs.partition("```yaml\nstorage:\n")[2].partition("```")[0]
    assert section
    return text.replace(yaml_section(text), f"storage:\n{section}")


def yaml_section(text: str) -> str:
    """The section `storage` of a dagster.yaml, as text."""
    first, rest = text.index("storage:\n"), text.partition("storage:\n")[2]
    ending = next(n for n, line in enumerate(rest.splitlines()) if line and not line.startswith(" "))
    return text[first : first + len("storage:\n" + "".join(rest.splitlines(keepends=True)[:ending]))]


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A small team that is not live, so that the daemon has nothing else to do."""
    with team(tmp_path / "team", users=3, projects=2, locations=2, clients=1, entries=20) as opened:
        yield opened


@contextmanager
def dagster(home: Path, environ: dict[str, str], *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of Dagster's programs until the end of the block, in the project's directory."""
    with (
        (home / f"{words[0]}.log").open("w") as log,
        subprocess.Popen([BIN / words[0], *words[1:]], cwd=ROOT, env=environ, stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)


def test_a_run_is_started_through_it(
    us: Team, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables first, by Dagster's own command; then the daemon takes a run from the queue, and it ends well."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(as_documented((ROOT / "dagster.yaml").read_text()))
    assert "postgres" in yaml.safe_load((home / "dagster.yaml").read_text())["storage"]
    url = postgres.create().replace("postgresql://", "postgresql+psycopg2://")
    environ = clean_environ(**us.environ, DAGSTER_HOME=str(home), DAGSTER_POSTGRES_URL=url)
    subprocess.run([BIN / "dagster", "instance", "migrate"], cwd=ROOT, env=environ, check=True, capture_output=True)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)

    asked = [str(BIN / "dagster"), "job", "launch", "-w", "workspace.yaml", "-j", "sync_users"]
    subprocess.run(asked, cwd=ROOT, env=environ, check=True, capture_output=True)
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs(dg.RunsFilter(job_name="sync_users"))
        with dagster(home, environ, "dagster-daemon", "run", "-w", "workspace.yaml") as daemon:
            wait_for(lambda: daemon.poll() is not None or _ended(instance, run.run_id), PATIENCE)
        ended = instance.get_run_by_id(run.run_id)

        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.SUCCESS
        assert instance.get_latest_materialization_event(dg.AssetKey("users")) is not None
        assert set(us.at_snapshots("users")) == {user["id"] for user in us.users()}

        assert prune_runs(instance, [], utc_now() + timedelta(days=1)) == 0  # it holds the newest state of the asset
        delete_run(instance, run.run_id)
        assert instance.get_run_by_id(run.run_id) is None


@contextmanager
def hearing(statements: list[str]) -> Iterator[None]:
    """Note the statements that are executed within the block."""

    def hear(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


def _ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.is_finished


def test_a_process_keeps_a_few_connections_and_replaces_those_that_the_server_has_ended(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage of a fleet: the tables are made, however many instances are, and none uses a connection of its own."""
    url = postgres.create()
    config = {"postgres_url": url.replace("postgresql://", "postgresql+psycopg2://")}
    pooled = {"module": PooledPostgresStorage.__module__, "class": PooledPostgresStorage.__name__, "config": config}
    of_it = f"FROM pg_stat_activity WHERE datname = '{make_url(url).database}'"
    make = partial(dg.DagsterInstance.local_temp, str(tmp_path), overrides={"storage": {"custom": pooled}})
    asked: list[str] = []

    def ask() -> set[int]:
        with make() as instance:
            assert instance.get_runs_count() == 0
            assert instance.all_asset_keys() == []
            assert instance.all_instigator_state() == []
        with psycopg.connect(postgres.url("postgres")) as connection:
            return {pid for (pid,) in connection.execute(f"SELECT pid {of_it}".encode())}

    first = ask()
    assert 0 < len(first) <= KEPT
    assert all(ask() == first for _ in range(5))
    with hearing(asked):
        with make():
            assert asked == []
        ask()
        assert asked
    postgres.run(f"SELECT pg_terminate_backend(pid, 10000) {of_it}")
    before = ask()
    assert first.isdisjoint(before)
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: 0)  # as in a process that was forked: those of its parent are not its own
        assert ask() > before
