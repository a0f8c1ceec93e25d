"""Dagster's own commands in a fresh checkout with an empty environment: they work, and share the history of `sync`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.hosting.launch import STORAGE, look_at, open_instance
from sync_pipeline.session.progress import WARNING, Progress, reporting
from sync_pipeline.settings import load_settings
from sync_pipeline_tests.scenarios.developing import free_port, wait_for

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PATIENCE = 120.0
IN_A_CHECKOUT = ("pyproject.toml", "dagster.yaml", "workspace.yaml")
COMMANDS = {
    "dagster definitions validate": "All code locations passed validation",
    "dagster asset list -m sync_pipeline.definitions": "time_entries",
    "dagster job list -w workspace.yaml": "sync_everything",
    "dg check defs": "All definitions loaded successfully",
    "dg list defs --json": '"sync_everything"',
    "dg launch --assets projects": "RUN_SUCCESS",
    "dg launch --job sync_locations": "RUN_SUCCESS",
}
RUNS = "{runsOrError{... on Runs{results{runId status}} ... on PythonError{message}} version}"
ASSETS = "{assetNodes{assetKey{path}}}"

pytestmark = pytest.mark.outside


@dataclass(frozen=True, slots=True)
class Checkout:
    """A directory with what a clone has; no one has set anything."""

    root: Path
    run_id: str = ""

    @property
    def environ(self) -> dict[str, str]:
        """All variables there are."""
        return {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(self.root.parent)}

    def run(self, command: str, code: int = 0, **more: str) -> str:
        """Type a command; returns what it printed on standard output, when that is asked for by ``--json``, else all."""
        program, *words = command.split()
        ended = subprocess.run(
            [BIN / program, *words],
            check=False,
            cwd=self.root,
            env=self.environ | more,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        printed = ended.stdout + ended.stderr
        assert ended.returncode == code, printed
        assert "Traceback" not in printed, printed
        return ended.stdout if "--json" in words else printed

    @contextmanager
    def serving(self, command: str) -> Iterator[httpx.Client]:
        """Run a server until the end of the block, when it ends in good order; yields a client of its GraphQL."""
        program, *words = command.split()
        port, log = free_port(), self.root.parent / f"{program}.log"
        with (
            log.open("w") as output,
            subprocess.Popen(
                [BIN / program, *words, "--port", str(port)],
                cwd=self.root,
                env=self.environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client,
        ):
            try:
                wait_for(lambda: process.poll() is not None or _answers(client), PATIENCE)
                assert process.poll() is None, log.read_text()
                yield client
                assert "Traceback" not in log.read_text()  # later ones are of ticks that the end interrupts
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(PATIENCE)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/server_info").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which `sync` ran once; only its port is not the usual one, which others may use at the moment."""
    root = tmp_path_factory.mktemp("somebody") / "sync_pipeline"
    root.mkdir()
    for name in IN_A_CHECKOUT:
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "sync_pipeline", root / "sync_pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".env").write_text(f"SYNC_SANDBOX_PORT={free_port()}\n")
    document = json.loads(Checkout(root).run("sync-pipeline sync --entity users --json"))
    return Checkout(root, *document["run_ids"])


@pytest.mark.parametrize(("command", "said"), COMMANDS.items(), ids=COMMANDS)
def test_a_command_that_ends(checkout: Checkout, command: str, said: str) -> None:
    """It ends well and leaves nothing in the checkout."""
    assert said in checkout.run(command)
    assert {path.name for path in checkout.root.iterdir()} <= {*IN_A_CHECKOUT, "sync_pipeline", ".env", ".sync"}


@pytest.mark.parametrize("command", ["dagster dev", "dagster-webserver"])
def test_a_server_shows_what_was_synced(checkout: Checkout, command: str) -> None:
    """The run of `sync` is in its history, and the definitions are loaded."""
    with checkout.serving(command) as client:
        runs = client.post("/graphql", json={"query": RUNS}).json()["data"]["runsOrError"]["results"]
        assets = client.post("/graphql", json={"query": ASSETS}).json()["data"]["assetNodes"]

    assert {"runId": checkout.run_id, "status": "SUCCESS"} in runs
    assert ["time_entries"] in [asset["assetKey"]["path"] for asset in assets]


def test_what_a_stock_command_ran_is_in_the_history_of_sync(checkout: Checkout) -> None:
    """The other way round: a run of `dg launch` is found under the Dagster home of `sync`."""
    printed = checkout.run("dg launch --assets users")

    listed = checkout.run("dagster run list", DAGSTER_HOME=str(checkout.root / ".sync" / "dagster"))
    assert checkout.run_id in listed
    assert any(f" {run_id} " in printed for run_id in _ids(listed) - {checkout.run_id})


def _ids(listed: str) -> set[str]:
    return {line.removeprefix("Run: ").strip() for line in listed.splitlines() if line.startswith("Run: ")}


def test_a_home_without_our_storage(checkout: Checkout, tmp_path: Path) -> None:
    """It works, and a command names it once, with the line to add; with that line nothing is printed."""
    printed = checkout.run("sync-pipeline sync --entity users", DAGSTER_HOME=str(tmp_path))
    (line,) = [line for line in printed.splitlines() if "Dagster's own SQLite storage" in line]

    added = line.partition("Add to it: ")[2]
    (tmp_path / "dagster.yaml").write_text(f"telemetry: {{enabled: false}}\n{added}\n")
    printed = checkout.run("sync-pipeline sync --entity users", DAGSTER_HOME=str(tmp_path))
    assert "Warning" not in printed


STORAGES = {
    "": True,
    "telemetry: {enabled: false}": True,
    "storage: {sqlite: {base_dir: /var/lib/dagster}}": True,
    STORAGE: False,
    "storage: {custom: {module: sync_pipeline.hosting.run_storage, class: History, config: {base_dir: {env: DAGSTER_HOME}}}}": False,
    "storage: {postgres: {postgres_url: 'postgresql+psycopg2://dagster@db/dagster'}}": False,
    "storage: {postgres: {postgres_url: {env: DAGSTER_PG_URL}}}": False,
    "storage: {postgres: {postgres_db: {username: d, hostname: db, db_name: d, scheme: postgresql+psycopg2}}}": False,
    "run_storage: {module: dagster_postgres.run_storage, class: PostgresRunStorage, config: {postgres_db: {username: d, hostname: db, db_name: d, scheme: postgresql+psycopg2}}}": False,
    "storage: {custom: {module: sync_pipeline.hosting.postgres_storage, class: PooledPostgresStorage, config: {postgres_url: {env: DAGSTER_PG_URL}}}}": False,
    "storage: [": True,
}
UNUSABLE = (
    "storage: {postgres: {postgres_url: 'postgresql://dagster@db/dagster'}}",
    "storage: {postgres: {postgres_url: 'postgresql+psycopg://dagster@db/dagster'}}",
    "storage: {postgres: {postgres_url: {env: DAGSTER_PG_BARE}}}",
    "storage: {custom: {module: sync_pipeline.hosting.postgres_storage, class: PooledPostgresStorage, config: {postgres_url: {env: DAGSTER_PG_BARE}}}}",
    "storage: {postgres: {postgres_db: {username: dagster, hostname: db, db_name: dagster}}}",
    "run_storage: {module: dagster_postgres.run_storage, class: PostgresRunStorage, config: {postgres_db: {username: d, hostname: db, db_name: d}}}",
)


@pytest.mark.parametrize(("config", "is_named"), STORAGES.items(), ids=STORAGES)
def test_which_storage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, is_named: bool) -> None:
    """Dagster's own SQLite only; what is no YAML is left to Dagster's own message."""
    monkeypatch.setenv("DAGSTER_PG_URL", "postgresql+psycopg2://dagster@db/dagster")
    file = tmp_path / "dagster.yaml"
    file.write_text(config)
    heard: list[Progress] = []
    token = reporting.set(heard.append)
    try:
        look_at(file)
    finally:
        reporting.reset(token)

    assert [(progress.stage, STORAGE in progress.note) for progress in heard] == [(WARNING, True)] * is_named


@pytest.mark.parametrize("config", UNUSABLE)
def test_postgresql_without_its_driver_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    """No run would ever start on it, and nothing would report why."""
    monkeypatch.setenv("DAGSTER_PG_BARE", "postgresql://dagster:s3cret@db/dagster")
    file = tmp_path / "dagster.yaml"
    file.write_text(config)

    with pytest.raises(ConfigError, match=r"dagster\.yaml.*postgresql\+psycopg2") as refused:
        look_at(file)
    assert "s3cret" not in str(refused.value)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a project whose dagster.yaml names PostgreSQL by a variable; DAGSTER_HOME is not set."""
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    (tmp_path / "dagster.yaml").write_text("storage: {postgres: {postgres_url: {env: DAGSTER_PG_URL}}}\n")
    monkeypatch.chdir(tmp_path)
    # Set and deleted, so that both are as before at the end: Dagster's home is put into the environment.
    for name in ("DAGSTER_HOME", "DAGSTER_PG_URL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, r"dagster\.yaml: the variable DAGSTER_PG_URL, .* is not set\. Set it in the environment or in \.env\."),
        ("postgresql://dagster:s3cret@db/dagster", r"dagster\.yaml.*postgresql\+psycopg2"),
        (
            "postgresql+psycopg2://dagster:s3cret@127.0.0.1:1/d",
            r"Dagster's storage, named in .*dagster\.yaml, .*refused",
        ),
    ],
)
def test_the_projects_own_dagster_yaml(
    project: Path, caplog: pytest.LogCaptureFixture, url: str | None, message: str
) -> None:
    """What it names and cannot be used is one message, without the password; the URL may be in `.env`."""
    (project / ".env").write_text(f"DAGSTER_PG_URL={url}\n" if url else "")
    (project / ".env").chmod(0o600)

    with pytest.raises(SyncError, match=message) as refused:
        open_instance(load_settings())

    assert "\n" not in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert "Retrying" not in caplog.text


def test_a_home_may_be_named_in_the_env_file(checkout: Checkout, tmp_path: Path) -> None:
    """Stock commands read `.env` themselves; so both use the same home."""
    env = checkout.root / ".env"
    usual = env.read_text()
    shutil.copy(ROOT / "dagster.yaml", tmp_path / "dagster.yaml")
    env.write_text(f"{usual}DAGSTER_HOME={tmp_path}\n")
    try:
        document = json.loads(checkout.run("sync-pipeline sync --entity users --json"))
        listed = checkout.run("dagster run list")
    finally:
        env.write_text(usual)

    assert _ids(listed) == set(document["run_ids"])
