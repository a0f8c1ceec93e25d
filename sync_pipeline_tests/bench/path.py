"""``python -m sync_pipeline_tests.bench.path``: the way of one changed time entry through a real sync, file by file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from sync_pipeline.clock import utc_now
from sync_pipeline_tests.bench.commands import Workplace, sync_words
from sync_pipeline_tests.bench.sandbox import Sandbox, running

TRACING = "sync_pipeline_tests.bench.tracing"
BASELINE = Path(__file__).parent / "path_baseline.json"
USERS, ENTRIES, DAYS = 3, 30, 20
TEXT = "the traced entry"
KEPT = ("projectId", "taskId", "tagIds", "billable")


def trace_entry(directory: Path) -> dict[str, Any]:
    """Sync a small workspace, edit one entry in Clockify, and trace the sync that brings the change."""
    first_day = utc_now().date() - timedelta(days=DAYS)
    out = directory / "trace.json"
    with running(directory / "sandbox.db", USERS, ENTRIES, DAYS) as sandbox:
        work = Workplace.make(directory / "work", sandbox, first_day)
        work.run(*sync_words())
        entry = _edited(sandbox)
        work.start("-m", TRACING, str(out), TEXT, entry, *sync_words())
    found: dict[str, Any] = json.loads(out.read_text())
    if not found["is_complete"]:
        raise RuntimeError("The trace saw no answer to a write of the entry.")
    return found


def _edited(sandbox: Sandbox) -> str:
    """Give one stopped entry another description; returns its id."""
    base = f"/clockify/api/v1/workspaces/{sandbox.workspace}"
    users = sandbox.ask(f"{base}/users?page-size=200")
    found = [row for user in users for row in sandbox.ask(f"{base}/user/{user['id']}/time-entries?page-size=200")]
    entry = next(row for row in found if row["timeInterval"]["end"])
    interval = {name: entry["timeInterval"][name] for name in ("start", "end")}
    body = {**{name: entry[name] for name in KEPT}, **interval, "description": TEXT}
    sandbox.ask(f"{base}/time-entries/{entry['id']}", body, method="PUT")
    return str(entry["id"])


def figures(found: Mapping[str, Any]) -> dict[str, int]:
    """The figures of a trace."""
    passes, asked = len(found["passes"]), len(found["asked"])
    return {
        "files that hold the entry": passes,
        "files that are only asked": asked,
        "files, both together": passes + asked,
        "stops": found["stops"],
        "changes of package": found["changes_of_package"],
    }


def lines(found: Mapping[str, Any], baseline: Mapping[str, int]) -> list[str]:
    """What is printed: the files in the order of their first visit with their visits, then the figures."""
    files = [f"{count:6}  {file}" for file, count in found["passes"].items()]
    asked = [f"{count:6}  {file}" for file, count in found["asked"].items()]
    rows = [f"{value:6}  {name} (before the redesign: {baseline[name]})" for name, value in figures(found).items()]
    return [
        "Files that hold the entry, by first visit, and how many calls of their functions held it:",
        *files,
        "Files that were asked meanwhile and never held it, with their calls:",
        *asked,
        "",
        *rows,
    ]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def path(as_json: bool) -> None:
    """Trace one changed time entry from the first byte of the answer that carries it to the answer of its write."""
    with TemporaryDirectory(prefix="sync-path-") as directory:
        found = trace_entry(Path(directory))
    if as_json:
        text = json.dumps({"figures": figures(found), **found}, indent=2)
    else:
        text = "\n".join(lines(found, json.loads(BASELINE.read_text())["figures"]))
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    path()
