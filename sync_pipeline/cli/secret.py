"""Reading a secret: from standard input, a file, a variable or a hidden prompt, never from the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from sync_pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Source:
    """Where a secret comes from; nowhere, unless that was given."""

    stdin: bool = False
    file: Path | None = None
    variable: str = ""

    @property
    def is_named(self) -> bool:
        """Whether it was given where it comes from."""
        return bool(self.stdin or self.file or self.variable)

    def read(self) -> str:
        """The secret as it was read, not cleaned yet; ConfigError when there is none. "" from nowhere."""
        if self.stdin:
            text = sys.stdin.readline()
            return _needed(text, "Standard input held no line for it.")
        if self.file:
            try:
                return _needed(self.file.read_text("utf-8"), f"The file {self.file} is empty.")
            except (OSError, UnicodeDecodeError):
                raise ConfigError(f"The file {self.file} cannot be read as text.", fix="Name another one.") from None
        if self.variable:
            return _needed(os.environ.get(self.variable, ""), f"The variable {self.variable} is not set.")
        return ""


def _needed(text: str, problem: str) -> str:
    if not text.strip():
        raise ConfigError(problem, fix="Put the secret there.")
    return text


def secret_options(prefix: str, what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--<prefix>stdin``, ``--<prefix>file`` and ``--<prefix>env``, as parameters of these names."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        name = prefix.replace("-", "_")
        for option in (
            click.option(
                f"--{prefix}env", f"{name}env", metavar="NAME", default="", help=f"Variable that holds {what}."
            ),
            click.option(
                f"--{prefix}file",
                f"{name}file",
                type=click.Path(dir_okay=False, path_type=Path),
                help=f"File that holds {what}.",
            ),
            click.option(f"--{prefix}stdin", f"{name}stdin", is_flag=True, help=f"Read {what} from standard input."),
        ):
            command = option(command)
        return command

    return decorate
