"""Very many webhooks from many connections, next to strangers: none lost, none doubled, the receiver's memory stays flat."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from sync_pipeline.store.engine import open_store
from sync_pipeline_tests.bench.sandbox import Sandbox, running
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, clean_environ
from sync_pipeline_tests.scenarios.developing import ROOT, free_port, place, wait_for
from sync_pipeline_tests.strangers import joining

EVENT = "TIME_ENTRY_UPDATED"
LOOK_SECONDS = 0.2
STRANGERS_OF_A_KIND, KINDS = 275, 4
PATIENCE = 900.0


@dataclass(frozen=True, slots=True)
class Flood:
    """The results of the deliveries, and what the receiver needed for them."""

    sent: int
    accepted: int
    """Answered as new."""
    lost: int
    doubled: int
    refused: int
    connections: int
    seconds: float
    a_second: float
    warm_mb: float
    """Memory after the first tenth."""
    half_mb: float
    end_mb: float
    peak_mb: float
    strangers: int
    """Silent, slow, unfinished and guessing ones, who come back whenever they are closed."""
    slowest_answer: float
    """Seconds that /healthz took meanwhile, over a connection of its own each time."""


def measure_flood(directory: Path, deliveries: int, connections: int) -> Flood:
    """Deliver a tenth to warm up, then the rest; then count what is in the inbox."""
    root = directory / "flood"
    place(root)
    with running(root / "sandbox.db", users=25, entries=5_000, days=90) as sandbox:
        environ = _environ(root, sandbox)
        with _receiver(root, environ) as (url, process), httpx.Client(trust_env=False, timeout=30) as client:
            _command(root, environ, "webhooks", "register", "--url", url, "--limit", "1")
            first = deliveries // 10
            _flood(client, sandbox, first, connections)
            warm = process.memory_info().rss
            with joining(url, _strangers(client, sandbox), STRANGERS_OF_A_KIND):
                seconds, sizes, answers = _flood(client, sandbox, deliveries - first, connections, (url, process))
            end = process.memory_info().rss
            accepted, refused = _answered(client, url)
        kept, different = _kept(root)
    return Flood(
        sent=deliveries,
        accepted=accepted,
        lost=deliveries - different,
        doubled=kept - different,
        refused=refused,
        connections=connections,
        seconds=round(seconds, 1),
        a_second=round((deliveries - first) / seconds),
        warm_mb=round(warm / 1e6, 1),
        end_mb=round(end / 1e6, 1),
        half_mb=round(sizes[len(sizes) // 2] / 1e6, 1),
        peak_mb=round(max(sizes) / 1e6, 1),
        strangers=STRANGERS_OF_A_KIND * KINDS,
        slowest_answer=round(max(answers), 1),
    )


def _environ(root: Path, sandbox: Sandbox) -> dict[str, str]:
    return clean_environ(
        CLOCKIFY_API_KEY=CLOCKIFY_KEY,
        CLOCKIFY_WORKSPACE_ID=sandbox.workspace,
        CLOCKIFY_BASE_URL=f"{sandbox.url}/clockify/api/v1",
        CLOCKIFY_REPORTS_URL=f"{sandbox.url}/clockify/report/v1",
        CLOCKIFY_PLAN="paid",
        SNAPSHOTS_BASE_URL=f"{sandbox.url}/snapshots",
        SNAPSHOTS_API_KEY=SNAPSHOTS_KEY,
        SYNC_HOME=str(root / "home"),
        PYTHONPATH=str(ROOT),
    )


@contextmanager
def _receiver(root: Path, environ: dict[str, str]) -> Iterator[tuple[str, psutil.Process]]:
    port = free_port()
    command = [sys.executable, "-m", "sync_pipeline.cli", "webhooks", "serve", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=root, env=environ, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: _answers(url), PATIENCE)
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _command(root: Path, environ: dict[str, str], *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "sync_pipeline.cli", *words], cwd=root, env=environ, check=True, capture_output=True
    )


def _flood(
    client: httpx.Client,
    sandbox: Sandbox,
    count: int,
    connections: int,
    receiver: tuple[str, psutil.Process] | None = None,
) -> tuple[float, list[int], list[float]]:
    """Deliver so many; how long it took, how large the receiver was all the time, and how long it took to answer."""
    asked = {"event": EVENT, "count": count, "connections": connections}
    client.post(f"{sandbox.url}/_control/webhooks/flood", json=asked).raise_for_status()
    pause, sizes, answers = threading.Event(), [0], [0.0]
    while (figures := _figures(client, sandbox))["flood"]["running"] or figures["queued"]:
        if receiver:
            url, process = receiver
            began = monotonic()
            httpx.get(f"{url}/healthz", trust_env=False, timeout=PATIENCE).raise_for_status()
            answers.append(monotonic() - began)
            sizes.append(process.memory_info().rss)
        pause.wait(LOOK_SECONDS)
    return float(figures["flood"]["seconds"]), sizes, answers


def _strangers(client: httpx.Client, sandbox: Sandbox) -> dict[str, bytes]:
    """What they send: two kinds know nothing, one knows the path and guesses, one knows the secret and does not continue."""
    hooks = client.get(
        f"{sandbox.url}/clockify/api/v1/workspaces/{sandbox.workspace}/webhooks", headers={"X-Api-Key": CLOCKIFY_KEY}
    ).raise_for_status()
    (hook,) = hooks.json()["webhooks"]
    path = urlsplit(hook["url"]).path

    def head(token: str) -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n"
            f"clockify-signature: {token}\r\nclockify-webhook-event-type: {EVENT}\r\n\r\n"
        ).encode()

    return {"silent": b"", "slow": b"POST /hooks/", "guessing": head("guess"), "unfinished": head(hook["authToken"])}


def _figures(client: httpx.Client, sandbox: Sandbox) -> Any:
    return client.get(f"{sandbox.url}/_control/webhooks").raise_for_status().json()


def _answered(client: httpx.Client, url: str) -> tuple[int, int]:
    """How many deliveries the receiver answered as new, and how many genuine ones it asked to come back."""
    lines = client.get(f"{url}/metrics").raise_for_status().text.splitlines()
    samples = [line.rpartition(" ") for line in lines if line.startswith("sync_pipeline_webhooks_")]
    stored = sum(float(value) for name, _, value in samples if name.endswith("_stored_total"))
    refused = sum(float(value) for name, _, value in samples if "_refused_total" in name and "busy" in name)
    return int(stored), int(refused)


def _kept(root: Path) -> tuple[int, int]:
    """How many events are in the inbox, and how many different ones: no two deliveries of a flood have the same content."""
    store = open_store(f"sqlite:///{root / 'home' / 'sync.db'}")
    try:
        with store.reading() as own:
            found = own.exec_driver_sql("SELECT count(*), count(DISTINCT payload) FROM events").one()
        return int(found[0]), int(found[1])
    finally:
        store.close()
