"""The tables a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sync_pipeline_tests.bench.aims import Figure
from sync_pipeline_tests.bench.dashboard import PageTime
from sync_pipeline_tests.bench.flood import Flood
from sync_pipeline_tests.bench.latency import Latency
from sync_pipeline_tests.bench.rounds import Measured
from sync_pipeline_tests.bench.workers import Together

WIDTH = 130
"""The table is the same wherever it is printed."""
RUNS = ("who", "command", "entries", "rounds", "seconds", "CPU s", "requests", "writes", "MB")


def show(measured: Measured, figures: Sequence[Figure], load_seconds: float) -> None:
    """Print what was measured, then the figures next to their aims."""
    console = Console(width=WIDTH, highlight=False)
    console.print(table(RUNS, _runs(measured)))
    console.print(
        "first = everything is created; again = nothing has changed. Each is a process of its own; no verify."
    )
    console.print("MB = the peak of the largest process; per entry = between the two largest workspaces of the rounds.")
    console.print(f"Code location loads in {load_seconds:.2f} s, interpreter included.")
    show_figures(figures)


def show_figures(figures: Sequence[Figure]) -> None:
    """Print figures next to their aims."""
    Console(width=WIDTH, highlight=False).print(
        table(("figure", "measured", "aim", "reached"), map(_figure_row, figures))
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table whose numbers are to the right."""
    found = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        found.add_column(
            column, justify="left" if column in ("who", "command", "figure", "stage", "page") else "right", no_wrap=True
        )
    for row in rows:
        found.add_row(*row)
    return found


def _runs(measured: Measured) -> Iterable[Sequence[str]]:
    for (who, command, entries), runs in measured.runs.items():
        seconds = measured.seconds(who, command, entries) or 0
        cpu, requests = max(ran.cpu_seconds for ran in runs), max(ran.requests for ran in runs)
        yield (
            who,
            command,
            f"{entries:,}",
            str(len(runs)),
            f"{seconds:.2f}",
            f"{cpu:.1f}",
            f"{requests:,}",
            f"{max(ran.writes for ran in runs):,}",
            f"{max(ran.peak_mb for ran in runs):.0f}",
        )


def _figure_row(figure: Figure) -> Sequence[str]:
    aim = "" if figure.aim is None else f"{figure.aim:g} {figure.unit}"
    reached = {None: "", True: "yes", False: "no"}[figure.is_reached]
    return (figure.name, f"{figure.value:.4g} {figure.unit}", aim, reached)


def show_live(latencies: Sequence[Latency], floods: Sequence[Flood]) -> None:
    """Print how long changes take, and what a flood of webhooks costs."""
    console = Console(width=WIDTH, highlight=False)
    for one in latencies:
        console.print(
            f"An edit arrives after {one.p50:.1f} s (p50), {one.p95:.1f} s (p95), {one.longest:.1f} s (longest) "
            f"by {one.way}: {one.edits} edits, {one.lost} lost."
        )
    for flood in floods:
        console.print(
            f"{flood.sent:,} webhooks over {flood.connections} connections: {flood.a_second:,} a second, {flood.lost} lost, "
            f"{flood.doubled} doubled, {flood.refused} refused; the receiver had {flood.warm_mb:.0f} MB after a tenth of "
            f"them, {flood.half_mb:.0f} MB after half, {flood.end_mb:.0f} MB at the end, {flood.peak_mb:.0f} MB at its peak."
        )
        console.print(
            f"Beside them {flood.strangers:,} silent, slow, unfinished and guessing strangers: the slowest answer to an "
            f"honest request took {flood.slowest_answer:.1f} s."
        )


def show_pages(pages: Sequence[PageTime]) -> None:
    """Print what each page of the dashboard takes."""
    rows = ((one.path, f"{one.wall_ms:.0f}", f"{one.cpu_ms:.0f}", f"{one.kilobytes:,}") for one in pages)
    if pages:
        Console(width=WIDTH, highlight=False).print(table(("page", "wall ms", "CPU ms", "kB"), rows))


def show_workers(found: Sequence[Together]) -> None:
    """Print how long workers take together for the same days."""
    for one in found:
        Console(width=WIDTH, highlight=False).print(
            f"{one.workers} at work: {one.seconds:.1f} s for {one.writes:,} records, {one.requests:,} requests of 200 ms, "
            f"{one.refused} refused."
        )
