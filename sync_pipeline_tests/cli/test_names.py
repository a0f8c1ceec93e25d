"""Names of all kinds through every command that prints names of records: text stays text, JSON reads back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline_tests.cli.shell import Ended, Shell, shell_for
from sync_pipeline_tests.connectors.scripted import in_turn, reply, scripted
from sync_pipeline_tests.harness import team
from sync_pipeline_tests.test_printable import PIECES, harmless

NAMES = st.lists(PIECES | st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=5).map(
    "".join
)
EVIL = [
    r"Cafe \[/b] one",
    "[link=http://evil.test]click[/link] :smile:",
    "\x1b]0;title\x07\x1b[2Jgone\x9b31m",
    "in\u202evoice\u2028\u2066",
    "two\nError: all is lost",
]
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("preview",),
    ("sync",),
    ("verify",),
    ("status",),
    ("deliveries",),
    ("rejects", "list"),
    ("approvals", "list"),
    ("mapping", "fields", "locations"),
    ("mapping", "try", "locations"),
    ("mapping", "try", "projects"),
)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Systems whose records are renamed again and again."""
    root = tmp_path_factory.mktemp("names")
    with team(root / "office") as us, shell_for(us, root / "shell", SYNC_MAX_REJECT_SHARE="1") as typed:
        yield typed


def rename(shell: Shell, names: list[str]) -> None:
    """Give the names to locations, clients, projects, users, tasks and entries, past the sandbox's rules for names."""
    us, world = shell.team, shell.team.sandbox.world
    for number, name in enumerate(names):
        us.put_location(f"L-{number}", location_name=f"{name} {number}", address=name)
    us.put_location("L-same", location_name=f"{names[0]} 0", address="another of that name")
    for table in ("projects", "users"):
        ids = [row[0] for row in world.db.execute(f"SELECT id FROM {table} ORDER BY id")]
        for record, name in zip(ids, names, strict=False):
            world.db.execute(f"UPDATE {table} SET body = json_set(body, '$.name', ?) WHERE id = ?", (name, record))
    entry = us.entries()[0]
    us.change_entry(entry, description=names[0])


def typed(shell: Shell, *words: str) -> Ended:
    """Type a command: it ends as it may, and what it prints is text."""
    ended = shell(*words)
    for text in (ended.out, ended.err):
        assert all(harmless(line) for line in text.split("\n")), (words, text)
        assert not [line for line in text.split("\n") if line.startswith("Error: all is lost")], words
    return ended


def logged(shell: Shell) -> str:
    """What Dagster has written down of all runs: its own lines and ours, errors included."""
    home = str(shell.home / "dagster")
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("DAGSTER_HOME", home)
        with dg.DagsterInstance.from_config(home) as instance:
            entries = [entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]
    events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    failures = [event.step_failure_data for event in events if event.is_step_failure]
    lines = [line for entry in entries for line in (entry.message, entry.user_message)]
    return "\n".join([*lines, *(failure.error.to_string() for failure in failures if failure.error)])


def strings(value: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, dict):
        yield from strings(list(value.values()))
        value = list(value)
    if isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


@given(names=st.lists(NAMES, min_size=8, max_size=16))
@example(names=EVIL)
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_names_of_all_kinds(shell: Shell, names: list[str]) -> None:
    """Each command, as a table and as JSON, before and after a sync; and each reject on its own."""
    rename(shell, names)
    found = set(strings(typed(shell, "preview", "--json").document))
    if names == EVIL:  # others may be trimmed, or too long for the target
        assert {f"{name} {number}" for number, name in enumerate(names)} - found == {f"{names[0]} 0"}  # there twice
    for words in COMMANDS:
        assert typed(shell, *words).code != ExitCode.USAGE, words
        json.loads(typed(shell, *words, "--json").out)
    assert "Description: " in logged(shell)
    assert all(harmless(line) for line in logged(shell).split("\n"))
    for reject in typed(shell, "rejects", "list", "--json").document["rejects"]:
        typed(shell, "rejects", "show", reject["entity"], reject["source_id"])
        typed(shell, "rejects", "show", reject["entity"], reject["source_id"], "--json")


def test_markup_is_shown_as_written(shell: Shell) -> None:
    """A name with brackets, a backslash before them, and what looks like an emoji's code."""
    name = r"A \[/b] [b]x[/b] :smile:"
    shell.team.put_location("L-markup", location_name=name)
    assert repr(name) in typed(shell, "preview", "--entity", "locations").out


@pytest.mark.parametrize("words", [("sync", "--yes"), ("verify",), ("check",)])
def test_what_an_api_says_of_an_error_is_text(shell: Shell, words: tuple[str, ...]) -> None:
    """The cause is reported, whatever the body holds; today's message and not a crash of the terminal."""
    evil = r"no \[/b] [/] [link=http://evil.test]x " + "\x1b]0;t\x07\u202e\x9b"
    with scripted(in_turn(reply(400, {"message": evil, "detail": evil, "code": "\x1b[2J"}))) as server:
        ended = typed(shell.with_(SNAPSHOTS_BASE_URL=server.url), *words)
    assert ended.code == 1
    said = " ".join((ended.out + ended.err).split())
    expected = r"no \[/b] [/] [link=http://evil.test]x \x1b]0;t\x07\u202e\x9b"
    assert expected in said
    if words[0] == "sync":
        assert expected in logged(shell)
        assert all(harmless(line) for line in logged(shell).split("\n"))
