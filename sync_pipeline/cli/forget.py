"""`forget`: remove everything that is kept about a person."""

from __future__ import annotations

import click

from sync_pipeline import terminal
from sync_pipeline.cli.opening import prepared
from sync_pipeline.cli.options import json_option
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.session import open_session
from sync_pipeline.setup.service import actor
from sync_pipeline.store.audit import note


@click.command()
@click.argument("person")
@click.option("--yes", is_flag=True, help="Remove it; without this, what would be removed is shown.")
@json_option
def forget(person: str, yes: bool, as_json: bool) -> None:
    """Remove everything kept about a person. PERSON is a user's id or e-mail address, who was deleted at Clockify.

    Their deleted entries go, too. Entries that still exist stay, with the bare user id and without personal values.
    """
    from sync_pipeline.hosting.forget import find_person  # late: Dagster takes over a second to import
    from sync_pipeline.hosting.forget import forget as forget_person
    from sync_pipeline.hosting.launch import open_instance

    with prepared() as settings, open_session(settings) as session:
        found = find_person(session, person)
        deleted = sum(map(len, found.deleted.values()))
        kept = sum(map(len, found.kept.values()))
        shown = found.summary
        if not yes:
            raise ConfigError(
                f"Nothing was removed. It would be {shown}; this cannot be undone.", fix="Add --yes to remove it."
            )
        with open_instance(settings) as instance:
            left = forget_person(session, instance, found)
        note(session.store, actor("terminal"), "person forgotten", shown, session.now())
    figures = {"deleted": deleted, "kept": kept, "rejects": found.unowned}
    lines = [f"Removed: {shown}.", "Not reached from here:", *(f"- {sentence}" for sentence in left)]
    document = {"forgotten": True, **figures, "not_reached": left}
    terminal.emit(as_json, document, lambda: terminal.say(*lines))
