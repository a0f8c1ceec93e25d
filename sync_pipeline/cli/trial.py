"""`trial`: what a sync would do with the present set-up; nothing is written to either side."""

from __future__ import annotations

import sys
from typing import Any

import click

from sync_pipeline.cli.options import json_option

OPTIONAL_COLUMNS = ("adopted", "rejected", "excluded", "waiting", "unconfirmed", "repaired")


@click.command()
@click.option("--sandbox", "in_sandbox", is_flag=True, help="Try it with the sandbox's made-up data.")
@json_option
def trial(in_sandbox: bool, as_json: bool) -> None:
    """Try the set-up: all that a sync would create, update, delete and set aside; live syncing asks for it."""
    from sync_pipeline import terminal
    from sync_pipeline.setup import trial as trials
    from sync_pipeline.setup.desk import Desk, whoever

    desk = Desk(whoever("terminal"))
    kind = "sandbox" if in_sandbox else trials.kind_for(desk.settings())
    with terminal.progress():
        found = trials.run(desk, trials.begin(desk, kind), kind)
    passed = found.outcome == "passed"
    if as_json:
        terminal.as_json({"passed": passed, "id": found.id, **found.report})
    else:
        _tables(found.report)
        terminal.say("It passed: `sync-pipeline live on` turns live syncing on." if passed else "It did not pass.")
    sys.exit(0 if passed else 1)


def _tables(report: dict[str, Any]) -> None:
    from sync_pipeline import terminal

    for check in report["checks"]:
        if not check["ok"]:
            terminal.problem(f"{check['what']}: {check['detail']} {check['fix']}".strip())
    rows = [{"entity": name, **found["counts"]} for name, found in report["entities"].items()]
    terminal.table("A sync would", rows, optional=OPTIONAL_COLUMNS)
    for name, found in report["entities"].items():
        for blocked in found["blocked"]:
            terminal.problem(f"{name} would be blocked: {blocked}")
    if report["error"]:
        terminal.problem(report["error"])
