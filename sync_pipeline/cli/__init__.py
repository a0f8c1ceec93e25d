"""The command line: parse, call, format; no logic. A module for each noun, imported when its command is called."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress

from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.cli.group import cli, describe_unwritable
from sync_pipeline.gc_pause import gc_relaxed

__all__ = ["cli", "main"]

COMMANDS = {
    "Start": {
        "init": ("init", "Connect Clockify and the Snapshots API."),
        "prepare": ("prepare", "Make the objects and fields that mappings need."),
        "dev": ("dev", "Run everything on this machine until Ctrl-C."),
        "sandbox": ("sandbox", "Serve both APIs locally, with sample data."),
        "console": ("console", "Serve the console, the pages in a browser."),
    },
    "Sync": {
        "sync": ("sync", "Sync everything, some entities or some days."),
        "preview": ("compare", "Show what a sync would do; nothing is sent."),
        "apply": ("apply", "Carry out a plan file of `preview --out`."),
        "verify": ("compare", "Compare both sides in full; repair on request."),
        "backfill": ("sync", "Sync years of time entries in bounded runs."),
        "backfills": ("backfills", "Watch, pause, resume and cancel backfills."),
        "live": ("live", "Turn live syncing on or off."),
        "approvals": ("approvals", "Allow or decline what a guard holds."),
    },
    "Watch": {
        "status": ("state", "Show what is wrong, and each entity's state."),
        "alerts": ("alerts", "Show open alerts, and who is notified."),
        "check": ("state", "Test the connections and permissions."),
        "report": ("report", "Report hours, money and budgets."),
        "runs": ("runs", "Look at runs, and run one again."),
        "records": ("records", "Search, look at and sync single records."),
        "rejects": ("rejects", "Look at rejected records, and retry them."),
    },
    "Configure": {
        "mapping": ("mapping", "Look at the mappings, and change them."),
        "connections": ("connections", "Look at both connections, or disconnect one."),
        "credentials": ("credentials", "Look after the stored secrets."),
        "webhooks": ("webhooks", "Receive changes in Clockify within seconds."),
        "setup": ("setup", "Keep the set-up in a file, for git and scripts."),
        "settings": ("settings", "Show the settings, and where each comes from."),
    },
    "Other": {
        "automations": ("automations", "Make something once for each new record."),
        "operations": ("operations", "Find and run operations of both APIs."),
        "mcp": ("mcp", "Serve read-only MCP tools on standard input."),
        "audit": ("audit", "Show who changed what of the set-up."),
        "webserver": ("webserver", "Serve the Dagster UI behind your reverse proxy."),
        "forget": ("forget", "Remove everything kept about a person."),
        "migrate": ("migrate", "Migrate the databases, ours and Dagster's."),
        "support-bundle": ("support_bundle", "Write a redacted file for those who help."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
    "": {
        "trial": ("live", "Preview the configuration for the gate to live."),
        "trail": ("audit", "List who changed what of the set-up."),
        "deliveries": ("audit", "List every write that was sent."),
        "disconnect": ("connections", "Forget a system and its secrets."),
    },
}
"""By section of the help, the module of each command and its line there; those of no section are not listed."""

ESCAPED = "sync_pipeline.escaped"
"""How characters are printed that the output's encoding does not have."""

cli.sections = COMMANDS


def main() -> None:
    """Entry point."""
    codecs.register_error(ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)
    gc_relaxed()
    try:
        try:
            cli()
        finally:
            sys.stdout.flush()  # at the end of the process a failure would go unreported
    except BrokenPipeError:  # the reader closed the pipe
        _end(ExitCode.FAILED)
    except OSError as error:
        problem, fix = describe_unwritable(error)
        sys.stderr.write(f"Error: {problem}\nFix: {fix}\n")
        _end(ExitCode.FAILED)


def _end(code: ExitCode) -> None:
    """End without another try to write what cannot be written, which would print a traceback."""
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """The JSON escape of what the output's encoding does not have; ``--json`` stays valid with it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True)), error.end
