"""`setup`: export, import and diff - the set-up as a file, for git and scripts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.cli.options import OutFile, json_option
from sync_pipeline.mapping.text import value_text
from sync_pipeline.setup.drafts import Version, go_back, versions
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.setup.switching import is_paused
from sync_pipeline.setup.transfer import SettingDifference, diff_setup, export_setup, import_setup


@click.group()
def setup() -> None:
    """Keep the set-up in a file, for git and scripts. Secrets are not in it."""


@setup.command("export")
@click.argument("file", type=OutFile(), required=False)
@json_option
def setup_export(file: Path | None, as_json: bool) -> None:
    """Write the set-up to FILE, or print it."""
    document = export_setup(SetupService(actor("terminal")))
    if file is not None:
        file.write_text(document, "utf-8")
    described = {"file": str(file) if file else None, "document": document}
    terminal.emit(as_json, described, f"Written to {file}." if file else lambda: sys.stdout.write(document))


@setup.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@json_option
def setup_import(file: Path | None, as_json: bool) -> None:
    """Make FILE the set-up, as a new version. Default: the file that SYNC_SETUP_FILE names."""
    service = SetupService(actor("terminal"))
    file = file or service.given().setup_file
    number, found = import_setup(service, file)
    paused = is_paused(service)

    def show() -> None:
        _show(found, f"{file} is the set-up now, version {number}.")
        if paused:
            terminal.warning(
                "Live syncing is paused until the change has passed `sync-pipeline preview`; then: live on."
            )

    terminal.emit(as_json, {"version": number, **_differences(found), "live_paused": paused}, show)


@setup.command("diff")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@json_option
def setup_diff(file: Path | None, as_json: bool) -> None:
    """Compare the set-up with FILE. Exits 5 when they differ. Default: the file that SYNC_SETUP_FILE names."""
    service = SetupService(actor("terminal"))
    file = file or service.given().setup_file
    found = diff_setup(service, file)
    said = f"{len(found)} values differ in {file}." if found else f"The set-up is as in {file}."
    terminal.emit(as_json, {"file": str(file), **_differences(found)}, lambda: _show(found, said))
    sys.exit(ExitCode.DRIFT if found else ExitCode.DONE)


@setup.command("versions")
@json_option
def setup_versions(as_json: bool) -> None:
    """List the versions, newest first. Each names who made it, when, and what it changed."""
    found = versions(SetupService(actor("terminal")))
    every = [_version(one) for one in found]
    rows = [{**one, "changes": len(one["changes"])} for one in every]
    terminal.emit(as_json, {"versions": every}, lambda: terminal.table("Versions of the set-up", rows))


@setup.command("back")
@click.argument("version", type=click.IntRange(1, 2**31))
@json_option
def setup_back(version: int, as_json: bool) -> None:
    """Make a draft of what VERSION said. Accounts stay; `mapping publish` publishes it."""
    draft = go_back(SetupService(actor("terminal")), version, since=None)
    found = draft.changes if draft else ()
    said = "It is a draft: `sync-pipeline mapping publish` publishes it." if draft else "Nothing differs."
    terminal.emit(as_json, {"draft": draft and draft.id, **_differences(found)}, lambda: _show(found, said))


def _version(one: Version) -> dict[str, Any]:
    found = one.version
    shown = {"version": found.id, "state": found.state, "at": found.at, "by": found.by, "note": found.note}
    return {**shown, "changes": [asdict(each) for each in one.changes]}


def _differences(found: Sequence[SettingDifference]) -> dict[str, Any]:
    return {"differences": [asdict(one) for one in found]}


def _show(found: Sequence[SettingDifference], said: str) -> None:
    rows = [{"key": one.key, "stored": _cell(one.stored), "file": _cell(one.file)} for one in found]
    terminal.table("Differences", rows)
    terminal.say(said)


def _cell(value: object) -> str:
    return "" if value is None else value_text(value)
