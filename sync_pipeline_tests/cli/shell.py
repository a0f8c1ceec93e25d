"""The real command line, typed into this process: what it printed, how it ended, and what must never be printed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from sync_pipeline.cli import cli
from sync_pipeline.settings import SETTINGS, Settings, load_settings
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, Team


def _command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


COMMANDS = {name: _command(name) for name in cli.list_commands(click.Context(cli))}
"""Every command of the command line, imported."""
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""With this environment's programs: hints name ours without its directory."""
ROOT = Path(__file__).parents[2]
SECRETS = (CLOCKIFY_KEY, SNAPSHOTS_KEY, "sandbox-secret", "s3cret")
MARKS = ("Error: ", "Warning: ", "Settings are read from ", "Fix: ")
PERSON = {"TTY_COMPATIBLE": "1"}
"""What makes the program print for people, whatever its output is."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What ``--json`` printed: one document and nothing else."""
        return json.loads(self.out)

    @property
    def errors(self) -> list[str]:
        """The errors it printed, each with the line that names the fix."""
        text = self.err.replace(f"\n{MARKS[3]}", " ")
        return [line.removeprefix(MARKS[0]) for line in text.splitlines() if line.startswith(MARKS[0])]

    @property
    def warnings(self) -> list[str]:
        """The warnings it printed, one a line."""
        return [line.removeprefix(MARKS[1]) for line in self.err.splitlines() if line.startswith(MARKS[1])]

    @property
    def message(self) -> str:
        """The one message of a command that failed."""
        (message,) = self.errors
        strange = [line for line in self.err.splitlines() if line and not line.startswith(MARKS)]
        assert not strange, f"more than errors and warnings on standard error: {strange}"
        return message


@dataclass(frozen=True, slots=True)
class Shell:
    """A directory with the project's configuration in it, and the settings of a team."""

    team: Team
    root: Path
    changes: dict[str, str | None]

    @property
    def home(self) -> Path:
        """SYNC_HOME."""
        return self.root / "home"

    def with_(self, **changes: str | None) -> Shell:
        """The same shell with other variables; None unsets one."""
        return replace(self, changes={**self.changes, **changes})

    @property
    def environ(self) -> dict[str, str | None]:
        """Every variable of ours: set, or None when it must not be there."""
        ours: dict[str, str | None] = {spec.metadata["env"]: None for spec in SETTINGS}
        return {
            **ours,
            **self.team.environ,
            "DAGSTER_HOME": None,
            "SYNC_HOME": str(self.home),
            **PERSON,
            "PATH": PATH,
            **self.changes,
        }

    def settings(self) -> Settings:
        """The settings that a command would have."""
        return load_settings({name: value or "" for name, value in self.environ.items()}, root=self.root)

    def __call__(self, *words: str, code: int | None = None) -> Ended:
        """Type a command; ``code`` is how it must end."""
        return self._run(words, self.environ, code)

    def piped(self, *words: str, code: int | None = None) -> Ended:
        """Type a command whose output another program reads."""
        return self._run(words, {**self.environ, **dict.fromkeys(PERSON)}, code)

    def _run(self, words: tuple[str, ...], environ: dict[str, str | None], code: int | None) -> Ended:
        with chdir(self.root):
            result = CliRunner().invoke(cli, words, env=environ, prog_name="sync-pipeline")
        ended = Ended(result.exit_code, result.stdout, result.stderr)
        unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
        if unexpected:
            raise AssertionError(f"{words}: {ended}") from result.exception
        assert_clean(ended)
        assert code is None or ended.code == code, ended
        return ended

    def sync(self, *words: str, code: int | None = 0) -> dict[str, Any]:
        """``sync --json``: its document."""
        document: dict[str, Any] = self("sync", "--json", *words, code=code).document
        return document


def parsed(words: list[str]) -> click.Context:
    """The command that these words mean, with its arguments; raises click's UsageError where they mean none."""
    ctx = cli.make_context("sync-pipeline", list(words))
    while isinstance(ctx.command, click.Group):
        name, command, rest = ctx.command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert command is not None
        ctx = command.make_context(name or "", rest, parent=ctx)
    return ctx


def assert_clean(ended: Ended) -> None:
    """What holds for every command: no traceback, no secret."""
    for text in (ended.out, ended.err):
        assert "Traceback" not in text, ended
        assert not [secret for secret in SECRETS if secret in text], ended


@contextmanager
def shell_for(team: Team, root: Path, **changes: str | None) -> Iterator[Shell]:
    """A shell in a new directory."""
    root.mkdir(parents=True, exist_ok=True)
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, root / name)
    team.no_faults()
    yield Shell(team, root, {"SYNC_MAX_ATTEMPTS": "1", "SYNC_LOCK_SECONDS": "1", **changes})
