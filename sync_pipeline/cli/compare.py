"""`preview` and `verify`: what differs between the two sides, and what a sync would do about it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from shlex import quote
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any, TextIO

import click

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode, worst
from sync_pipeline.cli.opening import chosen, chosen_days, prepared, warn_of_days
from sync_pipeline.cli.options import (
    OPTIONAL_COLUMNS,
    Permissions,
    days_options,
    entities_argument,
    json_option,
    permission_options,
)
from sync_pipeline.errors import FatalApiError, NotGranted, SyncError
from sync_pipeline.private_files import naming
from sync_pipeline.session.session import open_session
from sync_pipeline.setup import trial as trials
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.setup.switching import read_live_status
from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.plan_file import PlanWriter, plan_writer
from sync_pipeline.stages.preview import preview as look
from sync_pipeline.stages.verify import verify as compare

SHOWN_CHANGES = 10
"""Changes of each entity in the table that people read."""
CHANGE_COLUMNS = ("action", "name", "record", "fields")
SHOWN = 50
"""Rows of a table that people read; `--json` has all."""


@click.command()
@entities_argument
@days_options
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the plan to a file, for `apply`.",
)
@click.option("--with-personal", is_flag=True, help="Write personal values to that file, too.")
@permission_options
@json_option
def preview(
    entities: list[str],
    first: date | None,
    last: date | None,
    out: Path | None,
    with_personal: bool,
    permissions: Permissions,
    as_json: bool,
) -> None:
    """Show what a sync would do; nothing is sent. The next sync carries out what is approved here.

    A preview of everything is also what `live on` asks for: it tests the connections, too, and counts for this configuration.

    With --out the plan is also written to a file that only you can read, with a line per record. Remove the lines you do not
    want; `sync-pipeline apply FILE` carries out the others, where nothing has changed since.
    """
    if with_personal and out is None:
        raise click.UsageError("--with-personal has no effect without --out: it adds personal values to that file.")
    options = Options(**permissions._asdict())
    with prepared() as settings, open_session(settings) as session:
        days = chosen_days(settings, first, last)
        is_whole = not (entities or first or last or out)
        entities = chosen(session, entities)
        warn_of_days(session.specs, entities, first, last)
        if is_whole and (setup := SetupService(actor("terminal"))) and read_live_status(setup).needs_preview:
            codes = _counted(setup, session, days, options, as_json)
        elif out is None:
            codes = show_preview(session, entities, days, options, as_json)
        else:
            specs = [session.specs[name] for name in entities]
            with plan_writer(out, with_personal=with_personal) as writer:
                writer.begin(session, specs, days)
                codes = show_preview(session, entities, days, options, as_json, writer)
    if out is not None:
        terminal.notice(f"The plan is in {out}; `sync-pipeline apply {quote(str(out))}` carries it out.")
    sys.exit(worst(codes))


def _counted(setup: SetupService, session: Any, days: Any, options: Options, as_json: bool) -> list[int]:
    """Preview everything, and store it as what live syncing asks for."""
    kind = trials.kind_for(session.settings)
    trial = trials.begin(setup, kind)
    try:
        previews = _previews(session, list(session.specs), days, options, as_json)
        found = trials.conclude(setup, trial, kind, previews, days)
    except BaseException as error:
        trials.abandon(setup, trial, kind, str(error) if isinstance(error, SyncError) else trials.INTERRUPTED)
        raise
    failed = [check for check in found.report["checks"] if not check["ok"]]
    for check in failed:
        terminal.problem(f"{check['what']}: {check['detail'].removesuffix('.')}.", check["fix"])
    if found.outcome == "passed":
        terminal.hint("It passed: `sync-pipeline live on` turns live syncing on.")
    return [*_codes(previews), *found.report["exit_codes"], *([ExitCode.FAILED] if failed else [])]


def show_preview(
    session: Any, entities: list[str], days: Any, options: Any, as_json: bool, out: PlanWriter | None = None
) -> list[int]:
    """Print what a sync would do, and write it to ``out``; returns how it would end."""
    return _codes(_previews(session, entities, days, options, as_json, out))


def _codes(previews: Sequence[Any]) -> list[int]:
    """How the sync would end."""
    return [
        *(check.exit_code for p in previews for check in p.blocked),
        *(ExitCode.HELD for p in previews for _ in p.held),
    ]


def _previews(
    session: Any, entities: list[str], days: Any, options: Any, as_json: bool, out: PlanWriter | None = None
) -> list[Any]:
    """Plan each entity, and print that; of those that a system refuses, the error is raised in the end."""
    home = session.settings.home
    with naming(home), TemporaryFile("w+", encoding="utf-8", dir=home) as changes:
        document = _Changes(changes, terminal.compact) if as_json else None
        previews, refused = [], dict[str, SyncError]()
        with terminal.progress():
            for spec in map(session.specs.__getitem__, entities):
                span = days if spec.partitioned else None
                listed = document.of(spec.entity) if document else None
                planned = partial(out.line, spec) if out is not None else None
                try:
                    previews.append(
                        look(session, spec, span, options, keep=SHOWN_CHANGES, on_change=listed, on_line=planned)
                    )
                except (FatalApiError, NotGranted) as error:
                    refused[spec.entity] = error
        blocked, held = [check for p in previews for check in p.blocked], [held for p in previews for held in p.held]
        if document is not None:
            document.end()
            _preview_json(previews, blocked, held, changes, refused)
        else:
            _preview_tables(previews, blocked, held)
    if refused:
        terminal.warning(f"Not previewed: {', '.join(refused)}.")
        raise max(refused.values(), key=lambda error: error.exit_code == ExitCode.NOT_AUTHORIZED)
    return previews


class _Changes:
    """Writes changes to a file as they are found: there may be more than memory holds.

    Not straight to standard output, where a failure half way would leave half a document.
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


def _preview_json(
    previews: Sequence[Any],
    blocked: Sequence[Any],
    held: Sequence[Any],
    changes: TextIO,
    refused: Mapping[str, SyncError],
) -> None:
    counts = {p.entity: asdict(p.counts) for p in previews}
    with naming("The output"):
        sys.stdout.write(
            f'{{"schema": {terminal.compact(terminal.schema())},\n  "entities": {terminal.compact(counts)},\n  "changes": '
        )
        copyfileobj(changes, sys.stdout)
        sys.stdout.write(f',\n  "held": {terminal.compact([asdict(one) for one in held])}')
        failures = {entity: str(error) for entity, error in refused.items()}
        sys.stdout.write(f',\n  "failures": {terminal.compact(failures)}')
        sys.stdout.write(f',\n  "blocked": {terminal.compact([asdict(check) for check in blocked])}}}\n')


def _preview_tables(previews: Sequence[Any], blocked: Sequence[Any], held: Sequence[Any]) -> None:
    counts = [counts_row(p.entity, asdict(p.counts)) for p in previews]
    terminal.table("A sync would", counts, optional=OPTIONAL_COLUMNS)
    for p in previews:
        rows = [
            {"action": _action(c), "record": c.record, "fields": _shown(c.fields), "name": c.label or ""}
            for c in p.changes
        ]
        columns = CHANGE_COLUMNS if terminal.out.is_terminal else None  # what scripts read has the name last
        terminal.table(f"{p.entity}: the first {len(rows)} of {p.total} changes", rows, columns, optional=("name",))
    for check in blocked:
        terminal.problem(f"{check.name} would block: {check.summary}")
    for one in held:
        terminal.warning(f"Held: {one.reason}")


def counts_row(entity: str, counts: Mapping[str, int]) -> dict[str, Any]:
    """One entity's figures as a row of a table."""
    return {"entity": entity, "read": counts["extracted"], **{k: v for k, v in counts.items() if k != "extracted"}}


def first_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the first rows of what may be a long list."""
    some = f" (the first {SHOWN} of {len(rows)}; --json lists all)" if len(rows) > SHOWN else ""
    terminal.table(f"{title}{some}", rows[:SHOWN])


def _action(change: Any) -> str:
    word = change.action if change.action == "unconfirmed" else change.kind
    return f"{word}, held" if change.held else word


def held_table(held: Sequence[dict[str, Any]]) -> None:
    """Print what is held: a row per request, with its first records."""
    rows = [{**one, "records": _named(one)} for one in held]
    terminal.table("Held until approved", rows, ("approval", "entity", "what", "records"))


def _named(one: dict[str, Any]) -> str:
    more = one["count"] - len(one["records"])
    return ", ".join(one["records"]) + (f" and {more:,} more" if more > 0 else "")


def _shown(fields: dict[str, tuple[Any, Any]]) -> tuple[str, ...]:
    return terminal.Lines(
        f"{name}: {new!r}" if old is None else f"{name}: {old!r} -> {new!r}" for name, (old, new) in fields.items()
    )


@click.command()
@entities_argument
@days_options
@click.option("--repair", is_flag=True, help="Deliver what differs, then compare once more.")
@permission_options
@json_option
def verify(
    entities: list[str],
    first: date | None,
    last: date | None,
    repair: bool,
    permissions: Permissions,
    as_json: bool,
) -> None:
    """Compare both sides in full; repair on request. Reports every difference, and exits 5 on drift."""
    if any(permissions) and not repair:
        raise click.UsageError(
            "Only --repair writes: --accept-rewrite, --allow-deletes and --yes have no effect without it."
        )
    options = Options(**permissions._asdict())
    with prepared() as settings, open_session(settings) as session, terminal.progress():
        days = chosen_days(settings, first, last)
        entities = chosen(session, entities)
        warn_of_days(session.specs, entities, first, last)
        verdicts = [
            compare(session, spec, days if spec.partitioned else None, repair=repair, options=options)
            for spec in map(session.specs.__getitem__, entities)
        ]
    terminal.emit(as_json, lambda: _verdicts_document(verdicts), lambda: _verdicts_tables(verdicts, repair=repair))
    sys.exit(worst(codes_of(verdicts)))


def _verdicts_document(verdicts: Sequence[Any]) -> dict[str, Any]:
    entities = {
        v.entity: {
            **v.figures,
            "explanation": v.explanation,
            "held_back": v.held_back,
            "held": [asdict(one) for one in v.held],
            "differences": [asdict(d) for d in v.differences],
        }
        for v in verdicts
    }
    return {"in_sync": all(v.in_sync for v in verdicts), "entities": entities}


def _verdicts_tables(verdicts: Sequence[Any], *, repair: bool) -> None:
    show_verdicts(verdicts)
    first_rows("Differences", [{"entity": v.entity, **asdict(d)} for v in verdicts for d in v.differences])
    for held_back in filter(None, (v.held_back for v in verdicts)):
        terminal.problem(held_back)
    for held in (held for v in verdicts for held in v.held):
        terminal.warning(f"Held: {held.reason}")
    if not repair and not all(v.in_sync for v in verdicts):
        terminal.hint("`sync-pipeline verify --repair` delivers the differences.")


def codes_of(verdicts: Sequence[Any]) -> list[int]:
    """The exit codes of a comparison: drift that is left, a repair that was held in part, one that was blocked."""
    drift = [ExitCode.DRIFT for verdict in verdicts if not verdict.in_sync]
    held = [ExitCode.HELD for verdict in verdicts if verdict.held]
    return [*drift, *held, *(verdict.exit_code for verdict in verdicts if verdict.held_back)]


def show_verdicts(verdicts: Sequence[Any]) -> None:
    """Print the verdicts as a table, and why counts that differ are in sync."""
    rows = [{"entity": v.entity, "in_sync": "yes" if v.in_sync else "NO", **v.figures} for v in verdicts]
    terminal.table("Both sides", rows, optional=OPTIONAL_COLUMNS)
    for verdict in verdicts:
        if verdict.explanation:
            terminal.hint(verdict.explanation)
