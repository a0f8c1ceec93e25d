"""What the command line prints: progress while one waits, tables, and what went wrong with the command that fixes it.

Text is printed literally: neither Rich nor the terminal interprets any of it as markup or a command. Results are on standard
output, notes on standard error. People see tables, or blocks on a narrow screen; a pipe gets lines with tabs.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from textwrap import wrap
from time import monotonic
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sync_pipeline.printable import json_text, printable, rfc3339
from sync_pipeline.session.progress import Progress

WIDTH = None if sys.stdout.isatty() else 120
"""A file or a pipe has no width of its own; without one Rich would squeeze tables into 80 columns."""

UNBROKEN = re.compile(r"[\w.,:()%+-]{1,44}")
"""A word that is never broken: people copy ids, and one in two pieces is none. The longest are those of runs of single records."""
FOLDED = 20
"""Columns that a column needs at most for what may be broken: addresses, paths, pieces of JSON."""

NARROW = 80
"""On a screen with fewer columns each row is a block of lines."""
PROGRAM = "sync-pipeline"
OURS = re.compile(rf"`{PROGRAM}(?=[ `])")
COMMAND = re.compile(rf"`({PROGRAM}[^`]*)`|\b[Rr]un: (\S.*)$")
ONLY_COMMANDS = re.compile(r"(?:Run )?(?:`[^`]*`|[Rr]un: .*)(?:, then (?:run )?`[^`]*`)*\.?")
PLACEHOLDER = re.compile(r"(?<![\w=])[A-Z]{2,}(?![\w=])|\.\.\.|[<\[]")
"""What a person has to fill in before a command can be run."""

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
COLOURLESS = out.no_color
"""Whether NO_COLOR asks for it."""


@dataclass
class _Style:
    """How this run of a command prints."""

    quiet: bool = False
    utc: bool = False
    schema: str = ""
    """The name of the JSON document of the command that runs."""
    began: float | None = None
    """When a long command began; None for all others, and for those that have printed a document."""
    handler: logging.Handler | None = None


_style = _Style()


LOGGERS = ("sync_pipeline", "httpx")
"""What --verbose prints: our log, and each request without its secrets."""


class _Logged(logging.Handler):
    """Prints what the program logs."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(f"{record.levelname.lower()}: {record.getMessage()}", style="dim")


def adjust(option: str) -> None:
    """Print as one of the global options says."""
    if option == "no_color":
        out.no_color = err.no_color = True
    elif option == "verbose":
        _style.handler = _Logged(logging.INFO)
        for name in LOGGERS:
            logging.getLogger(name).addHandler(_style.handler)
            logging.getLogger(name).setLevel(logging.INFO)
    else:
        setattr(_style, option, True)


def restore() -> None:
    """Print as without any option."""
    if _style.handler is not None:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(_style.handler)
            logging.getLogger(name).setLevel(logging.NOTSET)
    for each in fields(_Style):
        setattr(_style, each.name, each.default)
    out.no_color = err.no_color = COLOURLESS


def describes(schema: str) -> None:
    """Name the JSON document of the command that runs."""
    _style.schema = schema


def as_json(value: Any) -> None:
    """One JSON document on standard output, with the name of its schema."""
    sys.stdout.write(json_document(value))


def json_document(value: Any) -> str:
    """The text of one JSON document, with the name of its schema."""
    _style.began = None
    return json_text(with_schema(value), indent=2) + "\n"


def schema() -> str:
    """The name of the JSON document of the command that runs."""
    _style.began = None
    return _style.schema


def with_schema(value: Any) -> Any:
    """The document with the name of its schema; a list has no room for it."""
    return {"schema": _style.schema, **value} if isinstance(value, dict) and _style.schema else value


def emit(is_json: bool, document: Any, shown: str | Callable[[], object]) -> None:
    """The result of a command: a JSON document where that is asked for, else a sentence or what a function prints.

    A document that is expensive to make is a function, too.
    """
    if is_json:
        as_json(document() if callable(document) else document)
    elif callable(shown):
        shown()
    else:
        say(shown)


def compact(value: Any) -> str:
    """A piece of a JSON document, in one line."""
    return json_text(value)


class Lines(tuple[str, ...]):
    """A cell of a table with several lines."""

    __slots__ = ()


_Cell = str | Text
"""A value as people see it."""
MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\dZ?")
"""What `moment` prints."""


def table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] | None = None,
    *,
    optional: Sequence[str] = (),
    decimals: int | None = None,
    empty: str = "",
) -> None:
    """Rows as a table; numbers to the right, ``optional`` columns only where one is not zero; for no rows the hint ``empty``.

    ``decimals`` rounds fractions for people. Where not every figure and word has room, each row is a block of lines.
    """
    if not rows:
        if empty:
            hint(empty)
        return
    if not out.is_terminal:
        _lines(title, rows, list(columns or rows[0]))
        return
    names = [name for name in columns or rows[0] if name not in optional or any(row.get(name) for row in rows)]
    if title:
        # Not as the table's own title: Rich breaks that to the width of the table, ids included.
        out.print(title, style="table.title", soft_wrap=True)
    cells = [[_cell(row.get(name), decimals) for name in names] for row in rows]
    heads = [name.replace("_", " ") for name in names]
    widths = _widths([[head, *column] for head, column in zip(heads, zip(*cells, strict=True), strict=True)])
    if out.width < NARROW or not widths:
        _blocks(cells, heads)
        return
    grid = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name, head, width in zip(names, heads, widths, strict=True):
        values = [row.get(name) for row in rows]
        numeric = {type(value) for value in values if value is not None} <= {int, float}
        justify: JustifyMethod = "right" if numeric else "left"
        grid.add_column(head, justify=justify, overflow="fold", width=width)
    for line in cells:
        grid.add_row(*line)
    out.print(grid)


def _widths(columns: Sequence[Sequence[_Cell]]) -> list[int]:
    """The width of each column: the widest give way first, none below what it needs; empty where that is too much."""
    room = out.width - 2 * len(columns)  # two spaces between columns, and the edges
    texts = [[printable(cell) if isinstance(cell, str) else cell.plain for cell in column] for column in columns]
    least = [max(map(_needed, column)) for column in texts]
    whole = [max(cell_len(line) for text in column for line in text.split("\n")) for column in texts]
    for widest in range(room, 0, -1):
        widths = [max(need, min(full, widest)) for need, full in zip(least, whole, strict=True)]
        if sum(widths) <= room:
            return widths
    return []


def _needed(text: str) -> int:
    """The columns without which one of its words would be broken; a time is one word."""
    if MOMENT.fullmatch(text):
        return len(text)
    return max(
        (len(word) if UNBROKEN.fullmatch(word) else min(cell_len(word), FOLDED) for word in text.split()), default=0
    )


def _lines(title: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Rows for another program: values with tabs between; what they are is a note."""
    notice(f"{title}: {', '.join(names)}" if title else ", ".join(names))
    for row in rows:
        sys.stdout.write("\t".join(_value(row.get(name)) for name in names) + "\n")


def _value(value: Any) -> str:
    """A value for another program."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return rfc3339(value)
    return printable("; ".join(value) if isinstance(value, Lines) else str(value))


def _blocks(rows: Sequence[Sequence[_Cell]], heads: Sequence[str]) -> None:
    """Rows for a narrow screen: a line for each value that there is."""
    width = max(map(len, heads)) + 1
    for row in rows:
        out.print()
        for head, cell in zip(heads, row, strict=True):
            if cell != "":
                words = cell.plain.replace("\n", f"\n{'':<{width}} ") if isinstance(cell, Text) else printable(cell)
                out.print(Text(f"{f'{head}:':<{width}} ", "bold"), Text(words), sep="", soft_wrap=True)


def moment(at: datetime) -> str:
    """An instant for people: short, in the zone of this machine unless UTC is asked for."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%MZ}" if _style.utc else f"{at.astimezone():%Y-%m-%d %H:%M}"


def clock_time(at: datetime) -> str:
    """An instant of today or tomorrow for people."""
    return f"{at.astimezone(UTC):%H:%MZ}" if _style.utc else f"{at.astimezone():%H:%M}"


def problem(text: str, fix: str = "") -> None:
    """One error, on standard error; what fixes it is a second line, a command where there is one."""
    said, then = two_lines(text, fix)
    err.print(Text("Error:", "bold red"), runnable(said))
    if then:
        err.print(Text("Fix:", "bold"), then)


def two_lines(text: str, fix: str) -> tuple[str, str]:
    """What is wrong, and what fixes it: the command alone, where a person has nothing to fill in."""
    commands = [found[1] or found[2] for found in COMMAND.finditer(fix)]
    if not commands or any(map(PLACEHOLDER.search, commands)):
        return text, runnable(fix)
    pasted = [re.sub(rf"^{PROGRAM}(?= |$)", lambda _: _program(), command) for command in commands]
    if ONLY_COMMANDS.fullmatch(fix):
        return text, " && ".join(pasted)
    return f"{text} {fix}".strip(), pasted[0]


def runnable(text: str) -> str:
    """The text with our commands as they can be typed here."""
    return OURS.sub(lambda _: f"`{_program()}", text)


def _program() -> str:
    """What starts this program: its name where the shell finds it, otherwise its path."""
    here = Path(sys.argv[0]) if Path(sys.argv[0]).name == PROGRAM else Path(sys.executable).with_name(PROGRAM)
    if shutil.which(PROGRAM):
        return PROGRAM
    if not here.exists():
        return f"{quote(sys.executable)} -m sync_pipeline.cli"
    try:
        here, below = here.absolute(), Path.cwd()
    except OSError:  # the current directory was removed
        return quote(str(here))
    near = f"./{here.relative_to(below)}" if here.is_relative_to(below) else str(here)
    return quote(near.replace("./.", ".", 1))


def warning(text: str) -> None:
    """One warning, on standard error."""
    err.print(Text("Warning:", "yellow"), runnable(text))


def notice(text: str) -> None:
    """Something to act on meanwhile, on standard error: what is printed in the end may be one document."""
    if not _style.quiet:
        err.print(runnable(text))


def clear() -> None:
    """Empty the screen: what follows is shown in its place."""
    out.clear()


def say(*lines: str) -> None:
    """The result of a command in one line, or a few."""
    for text in lines:
        out.print(runnable(text), soft_wrap=True)


def hint(text: str) -> None:
    """What to do next, or what a table leaves out: for people, and never among lines for another program."""
    if out.is_terminal and not _style.quiet:
        say(text)
    else:
        notice(text)


def closing(console: Callable[[], str]) -> None:
    """The last line of a long command: how long it took, and where the console is."""
    if _style.began is not None:
        url = console()
        hint(f"Took {duration(monotonic() - _style.began)}.{f' Console: {url}' if url else ''}")
        _style.began = None


def duration(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 60:  # a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def marked(verdict: str, text: str) -> None:
    """A line that begins with a verdict; if it is too long for the screen, it continues below its text."""
    mark, style = MARKS[verdict]
    lines = wrap(printable(text), out.width - len(mark) - 1, break_long_words=False, break_on_hyphens=False)
    indent = "\n" + " " * (len(mark) + 1)
    out.print(Text(mark, style), Text(indent.join(lines)), soft_wrap=True)


@contextmanager
def progress(*, is_timed: bool = True) -> Iterator[Bar]:
    """Show what is reported meanwhile: a line per entity and stage that counts up. Only long commands need it, and are timed."""
    _style.began = monotonic() if is_timed else _style.began
    with Bar(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.completed:,.0f}", markup=False),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=_style.quiet or not sys.stderr.isatty(),
    ) as bar:
        _screen.bar, _screen.tasks = bar, {}
        try:
            yield bar
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
    # How the reading was planned is for those who ask for it: the words are those of the program.
    note = report.note if report.stage != "plan" or _style.handler is not None else ""
    text = f"{report.entity:<14} {report.stage:<8} {note}"
    bar.update(task, description=printable(text), completed=report.done)


def waiting(report: Progress) -> None:
    """For what one waits and until when, on standard error; also where there is no terminal."""
    if not _style.quiet:
        err.print(Text.assemble((report.entity, "yellow"), ": ", printable(report.note)))


def _cell(value: Any, decimals: int | None) -> _Cell:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Lines):
        return Text("\n".join(map(printable, value)))
    if isinstance(value, float) and decimals is not None:
        return f"{value:,.{decimals}f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
