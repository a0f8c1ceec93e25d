"""`report`: hours, money and budgets out of the time entries that were read."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.opening import prepared, reading
from sync_pipeline.cli.options import Day, OutFile, describe_document, json_option
from sync_pipeline.clock import utc_now
from sync_pipeline.reporting import revenue
from sync_pipeline.reporting.export import lines_of, write_csv, write_xlsx
from sync_pipeline.reporting.reports import KINDS, Report, make_report, unread_days
from sync_pipeline.session.session import Session, open_session

FORMATS = ("table", "csv", "xlsx", "json")


@click.group()
def report() -> None:
    """Report hours, money and budgets. They come from what was read before; no request is sent."""


def _command(name: str, sentence: str) -> click.Command:
    kind = KINDS[name]

    @click.option("--from", "first", type=Day(), help="First day, in SYNC_REPORT_TIME_ZONE.")
    @click.option("--to", "last", type=Day(), help="Last day, included.")
    @click.option("--by", type=click.Choice(kind.choices), default=kind.by, show_default=True, help="A line for each.")
    @click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How.")
    @click.option("--out", type=OutFile(), help="Write a file instead of printing.")
    @json_option
    def make(
        first: date | None, last: date | None, by: str, form: str, out: Path | None, as_json: bool, **more: bool
    ) -> None:
        if first and last and first > last:
            raise click.UsageError(f"--from {first} lies after --to {last}.")
        if form == "table" and out and not as_json:
            raise click.UsageError("A table is for the terminal: choose another --format for a file.")
        if form == "xlsx" and out is None and sys.stdout.isatty():
            raise click.UsageError("An XLSX file is not for a terminal: name it with --out.")
        with _opened(**more) as session:
            made = make_report(session, name, by, first, last)
        if made.unread:
            terminal.warning(f"Days not read yet: {unread_days(made.unread)}. These figures are too low until then.")
        _show(made, "json" if as_json else form, by, out)

    if "revenue" in kind.columns:
        make = click.option("--read-revenue", is_flag=True, help="Read revenue from the Snapshots API first.")(make)
    return click.command(name, help=sentence)(make)


@contextmanager
def _opened(read_revenue: bool = False) -> Iterator[Session]:
    """A session; it sends requests only where revenue is read."""
    with prepared() if read_revenue else reading() as settings, open_session(settings) as session:
        if read_revenue:
            terminal.notice(revenue.read_revenue(session))
        yield session


def _show(made: Report, form: str, by: str, out: Path | None) -> None:
    if form == "table":
        _print(made)
        return
    content = _content(made, form, by)
    if out is not None:
        _write(content, out)
    elif isinstance(content, str):
        sys.stdout.write(content)
    else:
        sys.stdout.buffer.write(content)


for _name, _sentence in {
    "performance": "Report projects with hours, money and budget. Whole months, those of --from and --to included.",
    "hours": "Report hours and their billable share. By project, client, person, month, week or tag.",
    "people": "Report people with hours and utilisation. That is their billable share; another --by divides each line.",
    "clients": "Report clients with hours and money. Another --by divides each line.",
}.items():
    report.add_command(_command(_name, _sentence))


def _print(made: Report) -> None:
    rows = [{name: line.get(name) for name in made.columns} for line in lines_of(made)]
    columns = [name for name in made.columns if not name.endswith("_id")]
    if terminal.out.is_terminal:  # what scripts read has every column
        columns = [name for name in columns if any(row[name] is not None for row in rows)]
    terminal.table(f"Report: {made.name}", rows, columns, decimals=2)
    if not made.rows:
        terminal.hint("There are no finished time entries in this period.")
    if "revenue" in made.columns and revenue.is_old(made.revenue, utc_now()):
        when = f"was read {terminal.moment(made.revenue.read_at)}" if made.revenue else "has not been read yet"
        terminal.hint(f"Revenue {when}. Read it now: sync-pipeline report performance --read-revenue")


def _write(content: str | bytes, out: Path) -> None:
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode(errors="replace"))
    terminal.notice(str(out))


def _content(made: Report, form: str, by: str) -> str | bytes:
    if form == "xlsx":
        sheet = io.BytesIO()
        write_xlsx(made, sheet)
        return sheet.getvalue()
    if form == "csv":
        text = io.StringIO()
        write_csv(made, text)
        return text.getvalue()
    describe_document(click.get_current_context())
    return terminal.json_document(report_document(made, by))


def report_document(made: Report, by: str) -> dict[str, Any]:
    """A report as JSON."""
    return {
        "by": by,
        "time_zone": made.settings.time_zone,
        "columns": list(made.columns),
        "rows": made.rows,
        "totals": made.totals,
        "days_unread": dict(made.unread),
        **({"revenue_read_at": made.revenue and made.revenue.read_at} if "revenue" in made.columns else {}),
    }
