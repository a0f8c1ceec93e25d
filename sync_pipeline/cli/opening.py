"""What a command needs before it can do its work: settings, the sandbox, a session; and what it is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import click

from sync_pipeline.errors import ConfigError
from sync_pipeline.private import private_directory
from sync_pipeline.settings import Settings, load_settings


@contextmanager
def prepared() -> Iterator[Settings]:
    """The settings, with the embedded sandbox running when they need it."""
    from sync_pipeline.sandbox.embedded import embedded

    settings = load_settings()
    home = settings.home
    try:
        private_directory(home)
    except OSError as error:
        raise ConfigError(
            f"SYNC_HOME {home} cannot be used: {error.strerror}.", fix="Name a directory you can write."
        ) from None
    with embedded(settings.sandbox_port, sandbox_file(settings)) if settings.sandbox else nullcontext():
        yield settings


def sandbox_file(settings: Settings) -> Path:
    """Where the sandbox of this home keeps its data."""
    return settings.home / "sandbox.db"


def opened(settings: Settings) -> Any:
    """A session on these settings."""
    from sync_pipeline.stages.session import open_session

    return open_session(settings)


def chosen(session: Any, entity: str | None) -> list[str]:
    """The entity that was named, or all of them."""
    names = [entity] if entity else list(session.specs)
    must_exist(session.specs, names)
    return names


def must_exist(specs: Any, names: list[str]) -> None:
    """Every name is an entity, or it is a usage error that says which there are."""
    for name in names:
        if name not in specs:
            raise click.UsageError(f"There is no entity {name!r}; there are {', '.join(specs)}.")


def chosen_days(settings: Settings, first: date | None, last: date | None) -> Any:
    """The days that were named, or all there are."""
    from datetime import UTC, datetime

    from sync_pipeline.defs.launch import whole_range
    from sync_pipeline.defs.partitions import DAYS_AHEAD
    from sync_pipeline.stages.batch import Days

    whole = whole_range(settings, datetime.now(UTC).date(), DAYS_AHEAD)
    if settings.start_date > whole.last:
        raise ConfigError(
            f"SYNC_START_DATE, {settings.start_date}, lies more than {DAYS_AHEAD} days ahead: there is no day to sync.",
            fix="Choose an earlier day.",
        )
    days = Days(first or max(whole.first, settings.start_date), last or whole.last)
    if days.first > days.last:
        raise click.UsageError(f"--from {days.first} lies after --to {days.last}.")
    if days.first < settings.start_date:
        raise click.UsageError(f"--from {days.first} lies before SYNC_START_DATE, {settings.start_date}.")
    if days.last > whole.last:
        raise click.UsageError(
            f"--to {days.last} lies more than {DAYS_AHEAD} days ahead; the last day is {whole.last}."
        )
    return days
