"""``python -m sync_pipeline_tests.bench``: run every configuration and print the table."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from sync_pipeline_tests.bench.flood import measure_flood
from sync_pipeline_tests.bench.latency import WAYS, measure_latency
from sync_pipeline_tests.bench.measure import load_seconds, measure
from sync_pipeline_tests.bench.report import memory_ratio, show, show_live


def _numbers(_context: click.Context, _option: click.Parameter, value: str) -> list[int]:
    try:
        return [int(number) for number in value.split(",") if number]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers like 10000,100000") from None


@click.command()
@click.option("--entries", default="10000,100000,500000", show_default=True, callback=_numbers, help="Time entries.")
@click.option(
    "--page-size", "page_sizes", default="200,1000", show_default=True, callback=_numbers, help="Rows a page."
)
@click.option("--users", default=100, show_default=True, help="Clockify users.")
@click.option("--days", default=365, show_default=True, help="Days the entries are spread over.")
@click.option("--edits", default=100, show_default=True, help="Edits whose way is timed, each way; 0 leaves it out.")
@click.option("--deliveries", default=50_000, show_default=True, help="Webhooks of the flood; 0 leaves it out.")
@click.option("--connections", default=100, show_default=True, help="Connections of the flood.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def bench(
    entries: list[int],
    page_sizes: list[int],
    users: int,
    days: int,
    edits: int,
    deliveries: int,
    connections: int,
    as_json: bool,
) -> None:
    """Sync a made-up workspace twice for each configuration: in full, and once more when nothing has changed.

    Each sync is a process of its own, as a user would start it: real Dagster runs, imports included, verify excluded.
    Then, with `sync-pipeline dev` running, how long an edit takes to arrive; and what a flood of webhooks costs.
    """
    results, latencies, floods = [], [], []
    with TemporaryDirectory(prefix="sync-bench-") as directory:
        for count in entries:
            for page_size in page_sizes:
                sys.stderr.write(f"{count:,} entries at page size {page_size:,} ...\n")
                results.append(measure(Path(directory), count, users, days, page_size))
        for way in WAYS if edits else ():
            sys.stderr.write(f"{edits} edits by {way} ...\n")
            latencies.append(measure_latency(Path(directory), edits, way))
        if deliveries:
            sys.stderr.write(f"{deliveries:,} webhooks ...\n")
            floods.append(measure_flood(Path(directory), deliveries, connections))
    seconds = load_seconds()
    if as_json:
        document: dict[str, Any] = {
            "results": [asdict(result) for result in results],
            "latency": [asdict(one) for one in latencies],
            "flood": [asdict(one) for one in floods],
            "memory_ratio": memory_ratio(results),
            "code_location_seconds": seconds,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        if results:
            show(results, seconds)
        show_live(latencies, floods)


if __name__ == "__main__":
    bench()
