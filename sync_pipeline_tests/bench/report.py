"""The table a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sync_pipeline_tests.bench.flood import Flood
from sync_pipeline_tests.bench.latency import Latency
from sync_pipeline_tests.bench.measure import CLOCKIFY_REQUESTS_PER_SECOND, Result

COLUMNS = (
    "entries",
    "page",
    "sync",
    "entries/s",
    "wall s",
    "CPU s",
    "requests",
    "minimum",
    "ratio",
    "writes",
    "MB",
    "sandbox s",
    "share",
)


def show(results: Sequence[Result], load_seconds: float) -> None:
    """Print everything that was measured."""
    console = Console(width=130, highlight=False)  # the table is the same wherever it is printed
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "sync" else "right", no_wrap=True)
    for result in results:
        for name, sync in (("first", result.first), ("second", result.second)):
            table.add_row(
                f"{result.entries:,}",
                f"{result.page_size:,}",
                name,
                f"{sync.entries_per_second:,.0f}",
                f"{sync.wall_seconds:.1f}",
                f"{sync.cpu_seconds:.1f}",
                f"{sync.requests:,}",
                f"{sync.minimum_requests:,}",
                f"{sync.request_ratio:.3f}",
                f"{sync.writes:,}",
                f"{sync.peak_mb:.0f}",
                f"{sync.sandbox_seconds:.1f}",
                f"{sync.sandbox_share:.0%}",
            )
    console.print(table)
    for line in notes(results, load_seconds):
        console.print(line)


def show_live(latencies: Sequence[Latency], floods: Sequence[Flood]) -> None:
    """Print how long changes take, and what a flood of webhooks costs."""
    console = Console(width=130, highlight=False)
    for one in latencies:
        console.print(
            f"An edit in Clockify stands in Snapshots after {one.p50:.1f} s (p50), {one.p95:.1f} s (p95), "
            f"{one.longest:.1f} s (longest) by {one.way}: {one.edits} edits, {one.lost} lost."
        )
    for flood in floods:
        console.print(
            f"{flood.sent:,} webhooks over {flood.connections} connections: {flood.a_second:,} a second, {flood.lost} lost, "
            f"{flood.doubled} doubled, {flood.refused} refused; the receiver had {flood.warm_mb:.0f} MB after a tenth of "
            f"them, {flood.half_mb:.0f} MB after half, {flood.end_mb:.0f} MB at the end, {flood.peak_mb:.0f} MB at its peak."
        )


def notes(results: Sequence[Result], load_seconds: float) -> list[str]:
    """What the table cannot say."""
    lines = [
        "first = everything is created; second = nothing has changed. Each is a process of its own; no verify.",
        "minimum = full pages for each window of 31 days, the small lists, and full batches; writes = records written.",
        "MB = the peak of the largest process of the sync; sandbox s = time the sandbox spent inside requests.",
        f"Code location loads in {load_seconds:.2f} s, interpreter included.",
    ]
    slowest = max(results, key=lambda result: result.limit_seconds)
    if slowest.limit_seconds >= 1:
        lines.append(
            f"Clockify's {CLOCKIFY_REQUESTS_PER_SECOND} requests a second are kept, although this sandbox has no limit: at "
            f"{slowest.entries:,} entries and page size {slowest.page_size:,} that alone costs {slowest.limit_seconds:.0f} s."
        )
    for page_size, ratio in memory_ratio(results).items():
        few, many = _ends(results, page_size)
        lines.append(
            f"Peak memory at {many.entries:,} is {ratio:.2f} times that at {few.entries:,} (page size {page_size})."
        )
    return lines


def memory_ratio(results: Sequence[Result]) -> dict[int, float]:
    """For each page size, the peak with the most entries over the peak with the fewest."""
    ratios = {}
    for page_size in dict.fromkeys(result.page_size for result in results):
        few, many = _ends(results, page_size)
        if few is not many:
            ratios[page_size] = round(_peak(many) / _peak(few), 3)
    return ratios


def _ends(results: Sequence[Result], page_size: int) -> tuple[Result, Result]:
    chosen = sorted((r for r in results if r.page_size == page_size), key=lambda result: result.entries)
    return chosen[0], chosen[-1]


def _peak(result: Result) -> float:
    return max(result.first.peak_mb, result.second.peak_mb)
