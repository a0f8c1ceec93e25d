"""What commands print with ``--json`` fits the schemas in the docs."""

from __future__ import annotations

import json
from pathlib import Path

import click
import jsonschema_rs
import pytest

from sync_pipeline_tests.cli.shell import COMMANDS
from sync_pipeline_tests.document_schemas import FILE, documents

SCHEMAS = json.loads(FILE.read_text())
WITHOUT = {
    "alerts ack", "alerts add", "alerts remove", "alerts send", "alerts show", "alerts silence", "alerts test", "backfill",
    "backfills cancel", "backfills list", "backfills pause", "backfills resume",
    "console link", "console open", "console serve", "dev", "forget", "mapping discard", "mapping draft", "mcp",
    "mapping publish", "mapping try", "setup back", "setup versions", "sandbox serve", "webhooks register",
    "webhooks serve", "webserver",
}  # fmt: skip
"""Commands that the scenario does not run: they serve, send, need someone else, change what the others print, or print a list."""


def names() -> set[str]:
    """Every command that is not hidden, with the words one types."""
    found = set()
    for name, command in COMMANDS.items():
        if not command.hidden:
            subs = command.commands if isinstance(command, click.Group) else {}
            found |= {f"{name} {sub}" for sub, each in subs.items() if not each.hidden} or {name}
    return found


def test_every_command_has_a_schema() -> None:
    """But for those named above."""
    written = {name.partition("/")[0] for name in SCHEMAS}
    assert {name for name in names() - WITHOUT if name.replace(" ", "-") not in written} == set()


@pytest.mark.outside
def test_documents_fit_their_schemas(tmp_path: Path) -> None:
    """Every document of the scenario, each named in it; and no schema is of a document that is not printed any more."""
    met = set()
    for document in documents(tmp_path):
        schema = SCHEMAS[document["schema"]]
        assert [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(document)] == []
        met.add(document["schema"])
    assert met == set(SCHEMAS)
