"""``python -m sync_pipeline_tests.bench``: run every configuration and print the table."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from sync_pipeline_tests.bench.measure import load_seconds, measure
from sync_pipeline_tests.bench.report import memory_ratio, show


def _numbers(_context: click.Context, _option: click.Parameter, value: str) -> list[int]:
    try:
        return [int(number) for number in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers like 10000,100000") from None


@click.command()
@click.option("--entries", default="10000,100000,500000", show_default=True, callback=_numbers, help="Time entries.")
@click.option(
    "--page-size", "page_sizes", default="200,1000", show_default=True, callback=_numbers, help="Rows a page."
)
@click.option("--users", default=100, show_default=True, help="Clockify users.")
@click.option("--days", default=365, show_default=True, help="Days the entries are spread over.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def bench(entries: list[int], page_sizes: list[int], users: int, days: int, as_json: bool) -> None:
    """Sync a made-up workspace twice for each configuration: in full, and once more when nothing has changed.

    Each sync is a process of its own, as a user would start it: real Dagster runs, imports included, verify excluded.
    """
    results = []
    with TemporaryDirectory(prefix="sync-bench-") as directory:
        for count in entries:
            for page_size in page_sizes:
                sys.stderr.write(f"{count:,} entries at page size {page_size:,} ...\n")
                results.append(measure(Path(directory), count, users, days, page_size))
    seconds = load_seconds()
    if as_json:
        document: dict[str, Any] = {
            "results": [asdict(result) for result in results],
            "memory_ratio": memory_ratio(results),
            "code_location_seconds": seconds,
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        show(results, seconds)


if __name__ == "__main__":
    bench()
