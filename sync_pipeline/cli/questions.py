"""Asking: what an option answers is not asked, Enter keeps what is there, and without a terminal nothing is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import click

from sync_pipeline import terminal
from sync_pipeline.cli.global_options import may_ask
from sync_pipeline.cli.secret import Source
from sync_pipeline.errors import ConfigError, SyncError

T = TypeVar("T")
TRIES = 3


def confirm(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask for a yes unless it was given; UsageError where no one may be asked."""
    if yes:
        return
    if as_json or not may_ask():
        raise click.UsageError(f"{'--json' if as_json else '--no-input'} asks nothing: add --yes.")
    click.confirm(question, abort=True, err=True)


@dataclass(frozen=True, slots=True)
class Asker:
    """What answers: a person at a terminal, or options alone."""

    asks: bool

    def text(self, question: str, option: str, given: str | None, now: str = "", *, may_be_empty: bool = False) -> str:
        """An answer in words; ConfigError names the option when there is none and no one can be asked."""
        if given is not None:
            return given
        if self.asks:
            return str(click.prompt(question, default=now, show_default=bool(now), err=True)).strip()
        if now or may_be_empty:
            return now
        raise ConfigError(f"{question} is not known.", fix=f"Give {option}.")

    def choice(self, question: str, option: str, given: str | None, choices: Sequence[str], now: str) -> str:
        """One of some words."""
        if given is not None or not self.asks:
            return self.text(question, option, given, now)
        kinds = click.Choice(choices)
        return str(click.prompt(question, default=now or None, type=kinds, err=True))

    def secret(self, question: str, source: Source, *, is_there: bool) -> str:
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
