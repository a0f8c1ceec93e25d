"""`credentials`: the secrets in the database - which there are, and replacing them without a gap."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import json_option
from sync_pipeline.cli.questions import SecretSource, require_prompts, secret_options
from sync_pipeline.setup.rotation import NAMES, encrypt_again, held, remove, retire, rotate
from sync_pipeline.setup.service import SetupService, actor

SECRETS = ("clockify.api_key", "clockify.addon_token", "snapshots.api_key", "snapshots.client_secret")
name_argument = click.argument("name", type=click.Choice(SECRETS))


@click.group()
def credentials() -> None:
    """Look after the stored secrets. They are encrypted, and never shown."""


@credentials.command("list")
@json_option
def credentials_list(as_json: bool) -> None:
    """List the stored secrets. What each is for, whether it is in use, and whether an old one is kept as a fallback."""
    found = [
        {
            "name": row.name,
            "where": row.where,
            "in_use": row.in_use,
            "fallback": row.fallback,
            "key": row.key_id,
            "changed": row.updated_at,
        }
        for row in held(SetupService(actor("terminal")))
    ]
    flags = ("in_use", "fallback")
    rows = [{**row, **{name: "yes" if row[name] else "" for name in flags}} for row in found]
    none = "No secret is stored."
    terminal.emit(as_json, {"credentials": found}, lambda: terminal.table("Stored secrets", rows, empty=none))


@credentials.command("rotate")
@name_argument
@secret_options("", "the new secret")
@json_option
def credentials_rotate(name: str, stdin: bool, file: Path | None, env: str, as_json: bool) -> None:
    """Replace a secret; the new one is tried first. The old one stays as a fallback until it is retired.

    The secret of an OAuth client that acts for a person is tried with the next refresh.
    """
    source = SecretSource(stdin, file, env)
    if not source.is_named:
        require_prompts(as_json, "say where the new secret is (--stdin, --file or --env)")
    if not source.is_named and not sys.stdin.isatty():
        terminal.notice(f"The new {name} is read from standard input.")
        source = SecretSource(stdin=True)
    secret = source.read() or click.prompt(f"New {name}", hide_input=True)
    rotate(SetupService(actor("terminal")), NAMES[name], secret)
    said = f"{name} was rotated; `sync-pipeline credentials list` shows whether an old one is left."
    terminal.emit(as_json, {"rotated": name}, said)


@credentials.command("retire")
@name_argument
@json_option
def credentials_retire(name: str, as_json: bool) -> None:
    """Delete the old secret kept as a fallback."""
    had = retire(SetupService(actor("terminal")), NAMES[name])
    said = f"The old {name} is forgotten." if had else f"{name} has no fallback."
    terminal.emit(as_json, {"retired": name if had else None}, said)


@credentials.command("remove")
@name_argument
@json_option
def credentials_remove(name: str, as_json: bool) -> None:
    """Delete a stored secret. Nothing can be synced with it any more."""
    had = remove(SetupService(actor("terminal")), NAMES[name])
    said = f"{name} is forgotten." if had else f"No {name} is stored."
    terminal.emit(as_json, {"removed": name if had else None}, said)


@credentials.command("encrypt-again")
@json_option
def credentials_encrypt_again(as_json: bool) -> None:
    """Encrypt every secret with the newest key. The older keys of SYNC_ENCRYPTION_KEY can then be removed."""
    changed = encrypt_again(SetupService(actor("terminal")))
    said = f"{changed} secrets were encrypted again; the older keys can be taken out."
    terminal.emit(as_json, {"encrypted_again": changed}, said)
