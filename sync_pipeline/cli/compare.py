"""`preview` and `verify`: what differs between the two sides, and what a sync would do about it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from itertools import chain, repeat
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any, TextIO

import click

from sync_pipeline.cli.opening import chosen, chosen_days, opened, prepared
from sync_pipeline.cli.options import days_options, entity_option, json_option, permission_options

OPTIONAL_COLUMNS = ("adopted", "rejected", "excluded", "waiting", "unconfirmed", "repaired")
"""Shown only where one of them is not zero."""
SHOWN_CHANGES = 10
"""Changes of each entity in the table that people read."""
SHOWN = 50
"""Differences in the table that people read."""


@click.command()
@entity_option
@days_options
@permission_options
@json_option
def preview(
    entity: str | None,
    first: date | None,
    last: date | None,
    accept_rewrite: bool,
    allow_deletes: bool,
    as_json: bool,
) -> None:
    """Show exactly what a sync would create, update and delete; nothing is sent."""
    from sync_pipeline.stages.check import Options

    options = Options(accept_rewrite=accept_rewrite, allow_deletes=allow_deletes)
    with prepared() as settings, opened(settings) as session:
        days = chosen_days(settings, first, last)
        blocked = show_preview(session, chosen(session, entity), days, options, as_json)
    sys.exit(1 if blocked else 0)


def show_preview(session: Any, entities: list[str], days: Any, options: Any, as_json: bool) -> bool:
    """Print what a sync would do; returns whether a check would block it."""
    from sync_pipeline import terminal
    from sync_pipeline.stages.preview import preview as look

    with TemporaryFile("w+", encoding="utf-8", dir=session.settings.home) as changes:
        told = _Changes(changes, terminal.compact) if as_json else None
        previews = []
        with terminal.progress():
            for spec in map(session.specs.get, entities):
                span = days if spec.partitioned else None
                listed = told.of(spec.entity) if told else None
                previews.append(look(session, spec, span, options, keep=SHOWN_CHANGES, told=listed))
        blocked = [check for p in previews for check in p.blocked]
        if told is not None:
            told.end()
            _preview_json(previews, blocked, changes)
        else:
            _preview_tables(previews, blocked)
    return bool(blocked)


class _Changes:
    """Writes changes to a file as they are found: there may be more than memory holds.

    Not to standard output at once, where a failure half way would leave half a document.
    """

    def __init__(self, file: TextIO, compact: Callable[[Any], str]) -> None:
        self._file, self._compact = file, compact
        self._closes = "{"

    def of(self, entity: str) -> Callable[[Any], object]:
        """What takes the changes of one more entity."""
        self._file.write(f"{self._closes}{self._compact(entity)}: [")
        self._closes, separators = "], ", chain(["\n    "], repeat(",\n    "))
        return lambda change: self._file.write(next(separators) + self._compact(asdict(change)))

    def end(self) -> None:
        """Complete the document, and go back to its beginning."""
        self._file.write("{}" if self._closes == "{" else "]}")
        self._file.seek(0)


def _preview_json(previews: Sequence[Any], blocked: Sequence[Any], changes: TextIO) -> None:
    from sync_pipeline import terminal

    counts = {p.entity: asdict(p.counts) for p in previews}
    sys.stdout.write(f'{{"entities": {terminal.compact(counts)},\n  "changes": ')
    copyfileobj(changes, sys.stdout)
    sys.stdout.write(f',\n  "blocked": {terminal.compact([asdict(check) for check in blocked])}}}\n')


def _preview_tables(previews: Sequence[Any], blocked: Sequence[Any]) -> None:
    from sync_pipeline import terminal

    counts = [{"entity": p.entity, **asdict(p.counts)} for p in previews]
    terminal.table("A sync would", counts, optional=OPTIONAL_COLUMNS)
    for p in previews:
        rows = [{"action": c.action, "record": c.record, "fields": _shown(c.fields)} for c in p.changes]
        terminal.table(f"{p.entity}: the first {len(rows)} of {p.total} changes", rows)
    for check in blocked:
        terminal.problem(f"{check.name} would block: {check.summary}")


def _shown(fields: dict[str, tuple[Any, Any]]) -> str:
    changes = (
        f"{name}: {new!r}" if old is None else f"{name}: {old!r} -> {new!r}" for name, (old, new) in fields.items()
    )
    return "\n".join(changes)


@click.command()
@entity_option
@days_options
@click.option("--repair", is_flag=True, help="Deliver what differs, then compare once more.")
@permission_options
@json_option
def verify(
    entity: str | None,
    first: date | None,
    last: date | None,
    repair: bool,
    accept_rewrite: bool,
    allow_deletes: bool,
    as_json: bool,
) -> None:
    """Read both sides in full and report every difference; exits 1 on drift."""
    from sync_pipeline import terminal
    from sync_pipeline.stages.check import Options
    from sync_pipeline.stages.reconcile import verify as compare

    if (accept_rewrite or allow_deletes) and not repair:
        raise click.UsageError("Only --repair writes: --accept-rewrite and --allow-deletes say nothing without it.")
    options = Options(accept_rewrite=accept_rewrite, allow_deletes=allow_deletes)
    with prepared() as settings, opened(settings) as session, terminal.progress():
        days = chosen_days(settings, first, last)
        verdicts = [
            compare(session, spec, days if spec.partitioned else None, repair=repair, options=options)
            for spec in (session.specs[name] for name in chosen(session, entity))
        ]
    in_sync = all(verdict.in_sync for verdict in verdicts)
    if as_json:
        terminal.as_json(
            {
                "in_sync": in_sync,
                "entities": {
                    v.entity: {**v.figures, "held_back": v.held_back, "differences": [asdict(d) for d in v.differences]}
                    for v in verdicts
                },
            }
        )
    else:
        terminal.table("Both sides", verdict_rows(verdicts), optional=OPTIONAL_COLUMNS)
        rows = [{"entity": v.entity, **asdict(d)} for v in verdicts for d in v.differences]
        shown = rows[:SHOWN]
        some = f" (the first {SHOWN} of {len(rows)}; --json lists all)" if len(rows) > SHOWN else ""
        terminal.table(f"Differences{some}", shown)
        for held_back in filter(None, (v.held_back for v in verdicts)):
            terminal.problem(held_back)
        if not in_sync and not repair:
            terminal.say("`sync-pipeline verify --repair` delivers the differences.")
    sys.exit(0 if in_sync and not any(v.held_back for v in verdicts) else 1)


def verdict_rows(verdicts: Sequence[Any]) -> list[dict[str, Any]]:
    """The verdicts as rows of a table."""
    return [{"entity": v.entity, "in_sync": "yes" if v.in_sync else "NO", **v.figures} for v in verdicts]
