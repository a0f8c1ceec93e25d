"""`support-bundle`: a redacted file for those who help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import OutFile, json_option
from sync_pipeline.clock import utc_now
from sync_pipeline.printable import json_text
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.setup.support import file_name
from sync_pipeline.setup.support import support_bundle as bundle_of


@click.command("support-bundle")
@click.option("--out", type=OutFile(), help="The file. [default: support-bundle-TIME.json here]")
@json_option
def support_bundle(out: Path | None, as_json: bool) -> None:
    """Write a redacted file for those who help. Versions, settings, problems and runs; no secrets, no e-mail addresses."""
    found = bundle_of(SetupService(actor("terminal")))
    if as_json and out is None:
        terminal.as_json(found)
        return
    file = out or Path(file_name(utc_now()))
    write_private(file, found)
    terminal.emit(as_json, {"file": str(file)}, str(file))
    terminal.hint("Look through it before you send it: reasons of failures may name records.")


def write_private(file: Path, document: Any) -> None:
    """Write a JSON document that no other user may read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as written:
        written.write(json_text(document, indent=2) + "\n")
