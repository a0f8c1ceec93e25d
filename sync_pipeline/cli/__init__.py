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
    "init": ("init", "Connect Clockify and the Snapshots API, step by step; again, it goes on where it was left."),
    "trial": (
        "live",
        "Try the set-up: all that a sync would create, update, delete and reject; live syncing asks for it.",
    ),
    "live": ("live", "Turn live syncing on or off: whether sensors and schedules act by themselves."),
    "credentials": ("credentials", "Look after the secrets that are kept encrypted; none is ever shown."),
    "disconnect": ("credentials", "Forget SYSTEM: its part of the set-up and all its secrets; live syncing goes off."),
    "setup": ("setup", "Keep the set-up in a file, for git and scripts: export, import, diff."),
    "sync": ("sync", "Run the main job: everything, one entity, or some days."),
    "backfill": (
        "sync",
        "Sync years of time entries in bounded runs of the Dagster daemon; asked again, it goes on where it stopped.",
    ),
    "preview": ("compare", "Show exactly what a sync would create, update and delete; nothing is sent."),
    "apply": (
        "apply",
        "Carry out FILE, a plan of `preview --out`: each record in it is planned again, and nothing else is written.",
    ),
    "verify": ("compare", "Read both sides in full and report every difference; exits 5 on drift."),
    "check": (
        "state",
        "Test the connections, the permissions and the plan: one finding each, with what it means and what to do.",
    ),
    "status": (
        "state",
        "Show whether syncing is live and running, each connection's health, and each entity's last success and backlog.",
    ),
    "deliveries": ("state", "Show the audit: every write that was sent, newest first."),
    "trail": ("state", "Show the audit trail: who changed what of the set-up, newest first."),
    "forget": (
        "forget",
        "Remove everything kept here about PERSON - a user's id or e-mail address - who was deleted at Clockify.",
    ),
    "records": ("records", "Look at single records: what was heard of one, written, rejected, held and decided."),
    "rejects": ("rejects", "Look at the rejected records, and try them again."),
    "approvals": (
        "approvals",
        "Allow or decline what a guard holds: mass deletes, rewrites and creates, the first contact.",
    ),
    "mapping": ("mapping", "Look at the mappings and change them: which source field becomes which target field."),
    "webhooks": ("webhooks", "Hear of changes in Clockify within seconds: subscribe, and receive."),
    "sandbox": ("sandbox", "Serve both APIs on this machine, with realistic sample data."),
    "dev": (
        "dev",
        "Run console, webhooks, Dagster's daemon and its UI (and the sandbox, when no credentials are set) until Ctrl-C.",
    ),
    "console": (
        "console",
        "Set up both systems and look after them in a browser, on this machine only; Ctrl-C ends it.",
    ),
}
"""The module of each command, and what the list of commands says of it."""

ESCAPED = "sync_pipeline.escaped"
"""How characters are printed that the output's encoding does not have."""

cli.lazy = COMMANDS


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
        sys.stderr.write(f"Error: {describe_unwritable(error)}\n")
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
