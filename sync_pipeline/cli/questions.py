"""Prompts: values given as options are not asked for, Enter keeps the current value, no terminal means no prompt; and reading secrets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import may_ask
from sync_pipeline.errors import ConfigError, SyncError

T = TypeVar("T")
TRIES = 3


def confirm(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask for confirmation unless ``yes`` was given; UsageError if prompts are off."""
    if yes:
        return
    require_prompts(as_json, "add --yes")
    click.confirm(question, abort=True, err=True)


def require_prompts(as_json: bool, instead: str) -> None:
    """Before a question: UsageError with what to do ``instead`` if prompts are off."""
    if as_json or not may_ask():
        raise click.UsageError(f"{'--json' if as_json else '--no-input'} asks nothing: {instead}.")


@dataclass(frozen=True, slots=True)
class Asker:
    """What answers: a person at a terminal, or options alone."""

    asks: bool
    answers: dict[str, str] = field(default_factory=dict)
    """What a person has answered, by option, and never a secret: it is offered where the same is asked again."""

    def text(
        self,
        question: str,
        option: str,
        given: str | None,
        now: str = "",
        *,
        may_be_empty: bool = False,
        among: Collection[str] = (),
    ) -> str:
        """An answer in words; ConfigError names the option when there is none and no one can be asked.

        An earlier answer that is not ``among`` the possible ones, where these are known, is not offered.
        """
        if given is not None:
            return given
        if self.asks:
            now = self._offered(option, now, among)
            return self._kept(option, click.prompt(question, default=now, show_default=bool(now), err=True))
        if now or may_be_empty:
            return now
        raise ConfigError(f"{question} is not known.", fix=f"Give {option}.")

    def choice(self, question: str, option: str, given: str | None, choices: Sequence[str], now: str) -> str:
        """One of some words."""
        if given is not None or not self.asks:
            return self.text(question, option, given, now)
        now, kinds = self._offered(option, now, choices), click.Choice(choices)
        return self._kept(option, click.prompt(question, default=now or None, type=kinds, err=True))

    def _offered(self, option: str, now: str, among: Collection[str]) -> str:
        earlier = self.answers.get(option, now)
        return earlier if earlier in among or not among else now

    def _kept(self, option: str, answer: str) -> str:
        answer = str(answer).strip()
        if option:
            self.answers[option] = answer
        return answer

    def secret(self, question: str, source: SecretSource, *, is_there: bool) -> str:
        """A secret, hidden while it is typed; "" keeps the stored one."""
        if source.is_named:
            return source.read()
        if not self.asks:
            return ""
        hint = " (Enter keeps the stored one)" if is_there else ""
        return str(click.prompt(question + hint, default="", hide_input=True, show_default=False, err=True))

    def again(self, work: Callable[[], T]) -> T:
        """What the work gives; a person may correct what was wrong, options cannot."""
        for _ in range(TRIES - 1 if self.asks else 0):
            try:
                return work()
            except SyncError as error:
                terminal.problem(str(error))
        return work()


@dataclass(frozen=True, slots=True)
class SecretSource:
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
