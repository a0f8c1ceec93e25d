"""What the command line prints: progress while one waits, tables, and one clear line for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from sync_pipeline.stages.session import Progress, reporting

WIDTH = None if sys.stdout.isatty() else 120
"""A file or a pipe has no width of its own; without one Rich would squeeze tables into 80 columns."""

UNBROKEN = ("workspace", "source_id", "target_id", "record", "at", "entity", "kind", "outcome")
"""People copy ids, and one in two pieces is none; words that short are only harder to read."""

MARKS = {
    "ok": ("ok  ", "green"),
    "warning": ("warn", "yellow"),
    "failed": ("FAIL", "bold red"),
    "skipped": ("skip", "dim"),
}
"""What stands before a finding, and how it looks."""

out = Console(highlight=False, width=WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def as_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=False, indent=2) + "\n")


def compact(value: Any) -> str:
    """A piece of a JSON document, in one line."""
    return json.dumps(value, default=str, ensure_ascii=False)


def table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
    *,
    optional: Sequence[str] = (),
) -> None:
    """Rows as a table; numbers to the right, ``optional`` columns only where one is not zero, nothing for no rows."""
    if not rows:
        return
    names = [name for name in columns or rows[0] if name not in optional or any(row.get(name) for row in rows)]
    grid = Table(
        title=title or None,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in names:
        numeric = all(isinstance(row.get(name), int | float) for row in rows)
        grid.add_column(
            name.replace("_", " "),
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=numeric or name in UNBROKEN,
        )
    for row in rows:
        grid.add_row(*(_cell(row.get(name)) for name in names))
    out.print(grid)


def problem(text: str) -> None:
    """One error, on standard error."""
    err.print(f"[bold red]Error:[/] {_plain(text)}")


def warning(text: str) -> None:
    """One warning, on standard error."""
    err.print(f"[yellow]Warning:[/] {_plain(text)}")


def notice(text: str) -> None:
    """Something to act on meanwhile, on standard error: what is printed in the end may be one document."""
    err.print(_plain(text))


def say(text: str) -> None:
    """One line for people."""
    out.print(_plain(text), soft_wrap=True)


def marked(verdict: str, text: str) -> None:
    """A line that begins with a verdict; where it is too long for the screen, it goes on below its text."""
    mark, style = MARKS[verdict]
    lines = wrap(text, out.width - len(mark) - 1, break_long_words=False, break_on_hyphens=False)
    indent = "\n" + " " * (len(mark) + 1)
    out.print(f"[{style}]{mark}[/] {_plain(indent.join(lines))}", soft_wrap=True)


@contextmanager
def progress() -> Iterator[None]:
    """Show what the stages report: a line per entity and stage that counts up, and notes worth reading."""
    with Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        token = reporting.set(_Listener(bar))
        try:
            yield
        finally:
            reporting.reset(token)


class _Listener:
    """Turns the stages' reports into tasks of the progress display; without a terminal only notes are printed."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}
        self._said: set[str] = set()

    def __call__(self, report: Progress) -> None:
        if report.stage == "wait" and report.note not in self._said:
            self._said.add(report.note)
            err.print(f"[yellow]{report.entity}[/]: {_plain(report.note)}")
            return
        task = self._tasks.get(report.entity)
        if task is None:
            task = self._tasks[report.entity] = self._bar.add_task(report.entity, total=None)
        text = f"{report.entity:<14} {report.stage:<8} {report.note}"
        self._bar.update(task, description=_plain(text), completed=report.done)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _plain(str(value))


def _plain(text: str) -> str:
    """Text that Rich must not read as markup."""
    return text.replace("[", "\\[")
