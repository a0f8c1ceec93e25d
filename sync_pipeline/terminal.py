"""What the command line prints: progress while one waits, tables, and one clear line for an error.

Text is printed as text: neither Rich nor the terminal takes any of it for a command, whoever wrote it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sync_pipeline.printable import json_text, printable
from sync_pipeline.session.progress import Progress

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
"""The sign before a finding, and its colour."""


class _Plain(Console):
    """Where everything is printed. A string is never markup; what is styled, or has several lines, is a Text of ours."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string on its way to the screen: all of them pass here."""
        return super().render_str(printable(text), **options)


out = _Plain(width=WIDTH)
err = _Plain(stderr=True, soft_wrap=True)


def as_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json_text(value, indent=2) + "\n")


def emit(is_json: bool, document: Any, sentence: str) -> None:
    """What came of a command: a JSON document where that is asked for, else a sentence."""
    if is_json:
        as_json(document)
    else:
        say(sentence)


def compact(value: Any) -> str:
    """A piece of a JSON document, in one line."""
    return json_text(value)


class Lines(tuple[str, ...]):
    """A cell of a table with several lines."""

    __slots__ = ()


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
    if title:
        # Not as the table's own title: Rich breaks that to the width of the table, ids included.
        out.print(title, style="table.title", soft_wrap=True)
    grid = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
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
    err.print(Text("Error:", "bold red"), text)


def warning(text: str) -> None:
    """One warning, on standard error."""
    err.print(Text("Warning:", "yellow"), text)


def notice(text: str) -> None:
    """Something to act on meanwhile, on standard error: what is printed in the end may be one document."""
    err.print(text)


def say(text: str) -> None:
    """One line for people."""
    out.print(text, soft_wrap=True)


def marked(verdict: str, text: str) -> None:
    """A line that begins with a verdict; where it is too long for the screen, it goes on below its text."""
    mark, style = MARKS[verdict]
    lines = wrap(printable(text), out.width - len(mark) - 1, break_long_words=False, break_on_hyphens=False)
    indent = "\n" + " " * (len(mark) + 1)
    out.print(Text(mark, style), Text(indent.join(lines)), soft_wrap=True)


@contextmanager
def progress() -> Iterator[None]:
    """Show what the stages report meanwhile: a line per entity and stage that counts up."""
    with Bar(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.completed:,.0f}", markup=False),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        _screen.bar, _screen.tasks = bar, {}
        try:
            yield
        finally:
            _screen.bar = None


@dataclass
class _Screen:
    """The progress display that is on the screen, if one is, and its lines by entity."""

    bar: Bar | None = None
    tasks: dict[str, TaskID] = field(default_factory=dict)


_screen = _Screen()


def show(report: Progress) -> None:
    """A stage's report as a line of the progress display, where there is one."""
    bar = _screen.bar
    if bar is None:
        return
    task = _screen.tasks.get(report.entity)
    if task is None:
        task = _screen.tasks[report.entity] = bar.add_task(report.entity, total=None)
    text = f"{report.entity:<14} {report.stage:<8} {report.note}"
    bar.update(task, description=printable(text), completed=report.done)


def waiting(report: Progress) -> None:
    """For what one waits and until when, on standard error; also where there is no terminal."""
    err.print(Text.assemble((report.entity, "yellow"), ": ", printable(report.note)))


def _cell(value: Any) -> str | Text:
    if value is None:
        return ""
    if isinstance(value, Lines):
        return Text("\n".join(map(printable, value)))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
