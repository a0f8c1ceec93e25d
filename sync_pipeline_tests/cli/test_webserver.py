"""`sync-pipeline webserver` as a process of its own: Dagster's real UI behind the console's gate."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx

from sync_pipeline_tests.harness import clean_environ
from sync_pipeline_tests.scenarios.commands import ROOT
from sync_pipeline_tests.scenarios.developing import free_port, wait_for

PATIENCE = 120.0
DELETE = 'mutation { deleteRun(runId: "00000000-0000-0000-0000-000000000000") { __typename } }'
READ = "{ version }"


def test_a_process_of_its_own_serves_the_ui_to_signed_in_users(tmp_path: Path) -> None:
    """Strangers and other hosts are refused, viewers read, admins change something; it ends when it is asked to."""
    workspace, port = tmp_path / "workspace.yaml", free_port()
    workspace.write_text("load_from: []\n")
    environ = clean_environ(
        SYNC_HOME=str(tmp_path / "home"),
        SYNC_DAGSTER_URL="https://dagster.example",
        SYNC_TRUSTED_PROXIES="127.0.0.1",
        SYNC_USER_HEADER="X-Forwarded-User",
        SYNC_USER_ROLES="ana=admin ben=viewer",
    )
    command = [
        sys.executable,
        "-m",
        "sync_pipeline.cli",
        "webserver",
        "--port",
        str(port),
        "--workspace",
        str(workspace),
    ]
    with (
        subprocess.Popen(command, cwd=ROOT, env=environ) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client,
    ):
        try:
            wait_for(lambda: is_well(client) or server.poll() is not None, PATIENCE)
            check_users(client)
        finally:
            server.terminate()
            server.wait(PATIENCE)
    assert server.returncode == 0


def is_well(client: httpx.Client) -> bool:
    """Whether it answers."""
    with suppress(httpx.TransportError):
        return client.get("/healthz", headers={"host": "10.0.0.9:3000"}).is_success
    return False


def check_users(client: httpx.Client) -> None:
    """What each of them may do."""
    host = {"host": "dagster.example", "x-forwarded-proto": "https"}
    ana, ben = ({**host, "x-forwarded-user": name} for name in ("ana", "ben"))
    assert client.get("/runs", headers=host).status_code == 401
    assert client.get("/runs", headers={**ana, "host": "evil.example"}).status_code == 421
    page = client.get("/runs", headers=ben)
    assert "Dagster" in page.text
    assert page.headers["x-frame-options"] == "DENY"

    def asked(user: dict[str, str], query: str) -> str:
        return client.post("/graphql", json={"query": query}, headers=user).text

    assert '"version"' in asked(ben, READ)
    assert "UnauthorizedError" in asked(ben, DELETE)
    assert "RunNotFoundError" in asked(ana, DELETE)
