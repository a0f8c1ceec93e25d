"""What a command needs before it can do its work: settings, the sandbox, a session; and what it is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.cli.options import did_you_mean
from sync_pipeline.clock import utc_now
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import records_of
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.private_files import private_directory
from sync_pipeline.sandbox.embedded import embedded
from sync_pipeline.serving import AskedToEnd, end_when_asked
from sync_pipeline.session.secrets import require_key
from sync_pipeline.session.session import Session
from sync_pipeline.settings import Settings, load_settings
from sync_pipeline.stages.batch import DAYS_AHEAD, Days, whole_range
from sync_pipeline.store.record_search import labels_of


@contextmanager
def prepared(*, needs_key: bool = True) -> Iterator[Settings]:
    """The settings, with the embedded sandbox running when they need it; ConfigError where another key encrypts the secrets."""
    with reading() as settings, ExitStack() as held:
        if needs_key:
            require_key(settings)
        if settings.sandbox:
            prepares, records = settings.prepares_sandbox, records_of(settings)
            place = settings.sandbox_port, settings.sandbox_file
            held.enter_context(embedded(*place, records, highlevel_prepared=prepares))
        yield settings


@contextmanager
def reading() -> Iterator[Settings]:
    """The settings, for a command that only reads what is stored here: it starts no server."""
    settings = load_settings()
    home = settings.home
    try:
        private_directory(home)
    except OSError as error:
        raise ConfigError(
            f"SYNC_HOME {home} cannot be used: {error.strerror}.", fix="Name a directory you can write."
        ) from None
    yield settings


@contextmanager
def until_asked() -> Iterator[None]:
    """A server runs until it is asked to stop, which is no error: 0 after ``kill``, 130 after Ctrl-C."""
    end_when_asked()
    try:
        yield
    except AskedToEnd:
        pass
    except KeyboardInterrupt:
        terminal.notice("Stopped.")
        raise SystemExit(ExitCode.INTERRUPTED) from None


def typed(verb: str) -> str:
    """How a command is typed here: by make where our Makefile is, as in a checkout."""
    with suppress(OSError, UnicodeError):
        if "sync-pipeline" in Path("Makefile").read_text("utf-8"):
            return f"`make {verb}`"
    return f"`sync-pipeline {verb}`"


def chosen(session: Session, entities: list[str]) -> list[str]:
    """The entities that were named, or all of them; what others refer to comes first."""
    must_exist(session.specs, entities)
    return sorted(entities or session.specs, key=list(session.specs).index)


def warn_of_days(specs: Mapping[str, EntitySpec], entities: list[str], first: date | None, last: date | None) -> None:
    """Say so where days were named for entities that have none."""
    if (first or last) and not any(specs[name].partitioned for name in entities):
        terminal.warning(f"--from and --to have no effect: {', '.join(entities)} are always synced in full.")


def must_exist(specs: Mapping[str, EntitySpec], names: list[str]) -> None:
    """Every name is an entity, or it is a usage error that says which there are."""
    for name in names:
        if name not in specs:
            raise click.UsageError(
                f"There is no entity {name!r}; there are {', '.join(specs)}.{did_you_mean(name, specs)}"
            )


def chosen_days(settings: Settings, first: date | None, last: date | None) -> Days:
    """The days that were named, or all there are."""
    whole = whole_range(settings, utc_now().date(), DAYS_AHEAD)
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


def with_names(session: Session, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with what people call its record; None where that is unknown."""
    labels = labels_of(session.store, session.pair, [(row["entity"], row["source_id"] or "") for row in rows])
    return [{**row, "name": labels.get((row["entity"], row["source_id"] or ""))} for row in rows]
