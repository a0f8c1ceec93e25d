"""`sync-pipeline dev` as people run it: in a directory of its own, on ports no one uses, until it answers everywhere."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import httpx
import psutil

from sync_pipeline.clock import unix_time
from sync_pipeline.console.sign_in_links import fresh_link
from sync_pipeline.errors import ConfigError
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, clean_environ

ROOT = Path(__file__).parents[2]
START_SECONDS = 120.0
STOP_SECONDS = 60.0
PAUSE_SECONDS = 0.05
BELOW_OUTGOING = range(20_000, 32_000)
HEALTH = (
    "{instance{daemonHealth{allDaemonStatuses{healthy required}}}"
    " repositoriesOrError{... on RepositoryConnection{nodes{name}}}}"
)


@dataclass(frozen=True, slots=True)
class Developing:
    """A running `dev`: its process, and everything that listens."""

    process: subprocess.Popen[str]
    home: Path
    ports: Mapping[str, int]
    client: httpx.Client

    @property
    def sandbox(self) -> str:
        """The sandbox's address."""
        return f"http://127.0.0.1:{self.ports['sandbox']}"

    @property
    def receiver(self) -> str:
        """The receiver's address."""
        return f"http://127.0.0.1:{self.ports['webhooks']}"

    @property
    def host(self) -> str:
        """The installation's host."""
        return (self.home / "host").read_text().strip()

    @property
    def ui(self) -> str:
        """The address of the Dagster UI."""
        return f"http://{self.host}:{self.ports['ui']}"

    @property
    def console(self) -> str:
        """The console's address."""
        return f"http://{self.host}:{self.ports['console']}"

    def sign_in(self) -> None:
        """Sign the client in, with a fresh link."""
        self.client.get(fresh_link(self.home, unix_time), follow_redirects=True).raise_for_status()

    def ask(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """One request to the sandbox, with the key of the API it goes to."""
        key = CLOCKIFY_KEY if path.startswith("/clockify") else SNAPSHOTS_KEY
        content = {} if body is None else {"json": body}
        answer = self.client.request(
            method, self.sandbox + path, headers={"X-Api-Key": key}, params=params, **content
        ).raise_for_status()
        return answer.json() if answer.content else None

    def clockify(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Someone works in Clockify; ``path`` is below the workspace."""
        workspace = self.ask("GET", "/clockify/api/v1/workspaces")[0]["id"]
        return self.ask(method, f"/clockify/api/v1/workspaces/{workspace}{path}", body, **params)

    def graphql(self, query: str) -> Any:
        """Ask the Dagster UI, signed in."""
        if not any(cookie.name.startswith("sync_") for cookie in self.client.cookies.jar):
            self.sign_in()
        return self.client.post(f"{self.ui}/graphql", json={"query": query}).raise_for_status().json()["data"]

    def tree(self) -> list[psutil.Process]:
        """The process and everything it started."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def is_ready(self) -> bool:
        """Whether everything answers the definitions are loaded, and the daemon's parts report themselves healthy."""
        try:
            if "webhooks" in self.ports:
                self.client.get(f"{self.receiver}/healthz").raise_for_status()
            found = self.graphql(HEALTH)
            health = found["instance"]["daemonHealth"]["allDaemonStatuses"]
            loaded = bool(found["repositoriesOrError"].get("nodes"))
        except (httpx.HTTPError, KeyError, ConfigError):
            return False
        return loaded and all(daemon["healthy"] for daemon in health if daemon["required"])


@contextmanager
def developing(root: Path, *words: str, **environ: str) -> Iterator[Developing]:
    """Run `dev` until the end of the block; it has ended, with all it started, when this returns."""
    place(root)
    ports = {"sandbox": int(environ.get("SYNC_SANDBOX_PORT") or free_port()), "ui": free_port(), "console": free_port()}
    if "--no-webhooks" not in words:
        ports["webhooks"] = free_port()
    asked = ["dev", "--port", str(ports["ui"]), "--webhook-port", str(ports.get("webhooks", 1))]
    asked += ["--console-port", str(ports["console"]), *words]
    variables = environment(root, **{"SYNC_SANDBOX_PORT": str(ports["sandbox"]), **environ})
    with (
        (root / "dev.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "sync_pipeline.cli", *asked],
            cwd=root,
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
        local_client(timeout=30) as client,
    ):
        us = Developing(process, Path(variables["SYNC_HOME"]), ports, client)
        try:
            wait_for(lambda: us.is_ready() or process.poll() is not None, START_SECONDS)
            assert process.poll() is None, (root / "dev.log").read_text()
            yield us
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


class _Local(httpx.HTTPTransport):
    """Finds every name below localhost on this machine, as browsers do; not every system's resolver does."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        if request.url.host.endswith(".localhost"):
            url = request.url.copy_with(host="127.0.0.1")
            request = httpx.Request(
                request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
        return super().handle_request(request)


def local_client(*, verify: bool = True, **options: Any) -> httpx.Client:
    """A client that takes nothing from the environment and finds the host of an installation."""
    return httpx.Client(trust_env=False, transport=_Local(verify=verify), **options)


def place(root: Path) -> None:
    """The project's configuration, so that this directory is its root."""
    root.mkdir(parents=True, exist_ok=True)
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, root / name)


def environment(root: Path, **more: str) -> dict[str, str]:
    """An environment without credentials: everything runs on the embedded sandbox, with its state below ``root``."""
    return clean_environ(**{"SYNC_HOME": str(root / "home"), "PYTHONPATH": str(ROOT), **more})


def free_port() -> int:
    """A port no one listens on, of those that no system gives to an outgoing connection meanwhile."""
    while True:
        port = secrets.choice(BELOW_OUTGOING)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_for(so: Any, seconds: float) -> None:
    """Look again and again until something is so; fails when it takes forever."""
    pause, deadline = Event(), monotonic() + seconds
    while not so():
        assert monotonic() < deadline, "waited for too long"
        pause.wait(PAUSE_SECONDS)
