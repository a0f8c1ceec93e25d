"""The tree of commands, what all of them take, and how they print for people, for pipes and for programs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from sync_pipeline import terminal
from sync_pipeline.cli import cli
from sync_pipeline.cli.examples import EXAMPLES
from sync_pipeline.printable import json_text
from sync_pipeline.session.progress import Progress
from sync_pipeline_tests.cli.shell import COMMANDS, Shell, parsed
from sync_pipeline_tests.harness import day

HERE = Path(__file__).parent
LINES, _, OPTIONS = (HERE / "old_command_lines.txt").read_text().partition("# The options")
OLD_LINES = [line for line in LINES.splitlines() if not line.startswith("#")]
OLD_OPTIONS = [line for line in OPTIONS.splitlines() if ": " in line]
SHELLS = {"bash": "complete -o nosort", "zsh": "compdef", "fish": "complete --no-files"}
AT = datetime(2026, 3, 1, 23, 30, 5, 250, tzinfo=UTC)
ROWS = [{"entity": "users", "at": AT, "read": 1234, "note": "a\tb", "none": None}]
RUN = "64a687e2-1c5b-4a0e-9d3f-0b7c5f2e8a91"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and group that is not hidden, with the words one types."""
    for name, command in COMMANDS.items():
        if not command.hidden:
            yield name, command
            if isinstance(command, click.Group):
                yield from ((f"{name} {sub}", each) for sub, each in command.commands.items() if not each.hidden)


@pytest.fixture(autouse=True)
def as_usual() -> Iterator[None]:
    """No test changes how others print."""
    yield
    terminal.restore()


@pytest.fixture(name="for_people")
def as_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a terminal."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")


def test_the_help_has_sections(shell: Shell) -> None:
    """Commands are listed by what they are for, in this order; older names are not listed."""
    text = shell("--help", code=0).out
    titles = re.findall(r"^(\w+):$", text, re.MULTILINE)
    assert titles[titles.index("Start") :] == ["Start", "Sync", "Watch", "Configure", "Other"]
    listed = {
        line.split()[0] for line in text.partition("Start:")[2].partition("Exit codes")[0].splitlines() if line.strip()
    }
    assert {"sync", "preview", "audit", "completion"} <= listed
    assert not listed & {"trial", "trail", "deliveries", "disconnect"}
    assert "list" in shell("audit", "--help", code=0).out.partition("Commands:")[2]
    assert "..." not in text.partition("Start:")[2]


def test_summaries_are_short() -> None:
    """At most 50 characters, so that none is cut off."""
    long = {path for path, command in commands() if len(command.get_short_help_str(1_000)) > 50}
    assert long == set()


def test_each_command_has_two_examples() -> None:
    """They are in its help, and each can be run as shown."""
    for path, command in commands():
        assert len(EXAMPLES[path]) == 2, path
        assert all(example in (command.epilog or "") for example in EXAMPLES[path])
    for example in (example for two in EXAMPLES.values() for example in two):
        parsed(shlex.split(example.partition(" > ")[0]))


@pytest.mark.parametrize("line", OLD_LINES)
def test_what_earlier_docs_show_is_understood(line: str) -> None:
    """Each command line that the docs of an earlier version show has a meaning still."""
    parsed(shlex.split(line.replace("ID", "1").replace("FILE", "plan.jsonl")))


@pytest.mark.parametrize("line", OLD_OPTIONS)
def test_options_of_earlier_versions_are_taken(line: str) -> None:
    """Each command of an earlier version is there and takes the options that it took."""
    path, _, options = line.partition(": ")
    name, *rest = path.split()
    command = COMMANDS[name]
    for word in rest or (["serve"] if isinstance(command, click.Group) else []):
        assert isinstance(command, click.Group)
        command = command.commands[word]
    taken = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    assert set(options.split()) <= taken


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (("sync", "--entity", "users", "--dry-run"), ("sync", "users", "--dry-run")),
        (("verify", "--entity", "users"), ("verify", "users")),
        (("rejects", "list", "--entity", "users"), ("rejects", "list", "users")),
        (("rejects", "retry", "--entity", "users", "none"), ("rejects", "retry", "users", "none")),
        (("approvals", "list", "--entity", "users"), ("approvals", "list", "users")),
        (("trail",), ("audit", "list")),
    ],
)
def test_older_forms_do_the_same(shell: Shell, older: tuple[str, ...], newer: tuple[str, ...]) -> None:
    """The same document, schema included."""
    first, second = shell(*older, "--json"), shell(*newer, "--json")
    assert first.code == second.code
    assert {**first.document, "run_ids": 0} == {**second.document, "run_ids": 0}


def test_how_reading_was_planned_is_shown_on_request() -> None:
    """The words of the program are not on the screen of those who wait; --verbose shows them."""
    with terminal.progress() as bar:
        for option, shown in ((None, False), ("verbose", True)):
            if option:
                terminal.adjust(option)
            terminal.show(Progress("users", "plan", note="read by `report`"))
            assert ("`report`" in bar.tasks[0].description) is shown
            terminal.show(Progress("users", "read", 3, note="page 1"))
            assert "page 1" in bar.tasks[0].description


def test_what_is_misspelt_is_named(shell: Shell) -> None:
    """The nearest command or entity; none where nothing is near."""
    assert "No such command 'statu'. Did you mean 'status'?" in shell("statu", code=2).err
    assert "Did you mean 'users'?" in shell("sync", "user", code=2).err
    assert "Did you mean" not in shell("qqqq", code=2).err


def test_several_entities(shell: Shell) -> None:
    """They are named one after the other, in any order; no other one is synced."""
    document = shell.sync("users", "projects")
    assert list(document["entities"]) == ["projects", "users"]
    assert "There is no entity 'nobody'" in shell("sync", "nobody", code=2).err


def test_days_that_no_entity_has_are_not_ignored_silently(shell: Shell) -> None:
    """Users have no days: that --from has no effect is reported."""
    (warning,) = shell("sync", "users", "--from", day(3).isoformat(), code=0).warnings
    assert warning == "--from and --to have no effect: users are always synced in full."


@pytest.mark.parametrize(
    "words", [("--json", "rejects", "list"), ("rejects", "--json", "list"), ("rejects", "list", "--json")]
)
def test_global_options_may_be_anywhere(shell: Shell, words: tuple[str, ...]) -> None:
    """Before the command, between its words, and after it."""
    assert shell(*words, code=0).document == {"schema": "rejects-list/1", "rejects": []}


def test_quiet(shell: Shell) -> None:
    """Results stay; hints do not."""
    loud, quiet = shell("sync", "users", code=0), shell("-q", "sync", "users", code=0)
    assert "Next:" in loud.out
    assert "Took " in loud.out
    assert "users" in quiet.out
    assert "Next:" not in quiet.out + quiet.err
    assert "Took " not in quiet.out + quiet.err
    assert "Next:" in shell("sync", "users", code=0).out


def test_verbose(shell: Shell) -> None:
    """What the program logs is printed, on standard error, and no longer than for this command."""
    assert "info: HTTP Request: GET " in shell("verify", "users", "--verbose", code=0).err
    assert "info: " not in shell("verify", "users", code=0).err


def test_no_input(shell: Shell) -> None:
    """A command that has to ask states how to answer it beforehand."""
    assert "--no-input asks nothing: add --yes" in shell("disconnect", "clockify", "--no-input", code=2).err
    message = shell("--no-input", "credentials", "rotate", "clockify.api_key", code=2).err
    assert "--no-input asks nothing: say where the new secret is" in message


def test_a_pipe_gets_lines_with_tabs(shell: Shell) -> None:
    """Only values on standard output, the same columns whatever they hold; what they are is a note."""
    ended = shell.piped("sync", "users", code=0)
    (line,) = ended.out.splitlines()
    assert line.split("\t")[:3] == ["users", "4", "4"]
    note, *hints = ended.err.splitlines()
    assert note.startswith("Synced: entity, read, created, ")
    assert len(note.removeprefix("Synced: ").split(", ")) == len(line.split("\t"))
    assert any("Next:" in hint for hint in hints)
    assert shell.piped("rejects", "list", code=0).out == ""


@pytest.mark.usefixtures("for_people")
def test_a_narrow_screen_gets_blocks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Below 80 columns each value has a line of its own; from 80 on there is a table."""
    monkeypatch.setattr(terminal.out, "width", 79)
    terminal.table("Title", ROWS)
    printed = capsys.readouterr().out
    assert [line.split(":", 1)[0] for line in printed.splitlines() if ":" in line] == ["entity", "at", "read", "note"]
    assert "read:   1,234" in printed
    monkeypatch.setattr(terminal.out, "width", 80)
    terminal.table("Title", ROWS)
    assert "entity" in capsys.readouterr().out.splitlines()[2]


@pytest.mark.usefixtures("for_people")
@pytest.mark.parametrize("width", range(80, 181, 5))
def test_no_figure_and_no_word_is_cut(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the width: figures, ids, times and words are whole; where a table has no room for them there are blocks."""
    monkeypatch.setattr(terminal.out, "width", width)
    row = {
        "client": "Aurora Travel",
        "entries": 4997,
        "hours": 4100.5,
        "at": AT,
        "run_id": RUN,
        "entity": "time_entries",
    }
    money = {"in_sync": "yes", "amount": 751644.17, "cost": None, "margin": 1.0}
    terminal.table("Title", [{**row, **money}, {**row, **money, "amount": None}], decimals=2)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    for word in ("4,997", "4,100.50", "751,644.17", "1.00", RUN, "time_entries", "Aurora", "Travel", "yes", "client"):
        assert re.search(rf"(?<!\S){re.escape(word)}(?![^\s:])", printed), printed
    assert f"{AT.astimezone():%Y-%m-%d %H:%M}" in printed


@pytest.mark.usefixtures("for_people")
def test_what_is_no_word_is_folded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A long address or path takes no more room than is left; nothing of it is lost."""
    monkeypatch.setattr(terminal.out, "width", 80)
    address = f"https://example.com/{'a' * 100}"
    terminal.table("Title", [{"name": "A setting", "value": address, "source": "default"}])
    printed = capsys.readouterr().out
    assert any(line.startswith(" A setting ") and line.endswith(" default ") for line in printed.splitlines())
    assert address in "".join(
        line.removeprefix(" A setting").replace("default", "").strip() for line in printed.splitlines()
    )


@pytest.mark.usefixtures("for_people")
def test_one_format_of_times(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Short and local for people, UTC on request; RFC 3339 with Z for programs."""
    terminal.table("", ROWS)
    assert f"{AT.astimezone():%Y-%m-%d %H:%M} " in capsys.readouterr().out
    terminal.adjust("utc")
    terminal.table("", ROWS)
    assert "2026-03-01 23:30Z" in capsys.readouterr().out
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    terminal.table("", ROWS)
    assert capsys.readouterr().out == "users\t2026-03-01T23:30:05.000250Z\t1234\ta\\tb\t\n"
    assert json_text({"at": AT}) == '{"at": "2026-03-01T23:30:05.000250Z"}'


@pytest.mark.parametrize(
    ("text", "fix", "expected"),
    [
        ("It is wrong.", "Correct it.", ("It is wrong.", "Correct it.")),
        ("It is wrong.", "Run `sync-pipeline init`.", ("It is wrong.", "sync-pipeline init")),
        (
            "It is off.",
            "Run `sync-pipeline preview`, then `sync-pipeline live on`.",
            ("It is off.", "sync-pipeline preview && sync-pipeline live on"),
        ),
        (
            "There is none.",
            "`sync-pipeline rejects list` shows them.",
            ("There is none. `sync-pipeline rejects list` shows them.", "sync-pipeline rejects list"),
        ),
        ("It is open.", "Run: chmod 600 '/a b'", ("It is open.", "chmod 600 '/a b'")),
        ("Held.", "Run `sync-pipeline approvals allow ID`.", ("Held.", "Run `sync-pipeline approvals allow ID`.")),
    ],
)
def test_an_error_has_two_lines(
    text: str, fix: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is wrong, and the command that fixes it where there is one that can be pasted."""
    (tmp_path / "sync-pipeline").write_text("#!/bin/sh\n")
    (tmp_path / "sync-pipeline").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert terminal.two_lines(text, fix) == expected


def test_commands_are_shown_as_they_can_be_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The name where the shell finds it, otherwise the path, from the directory where one is if it is below it."""
    program = tmp_path / ".venv" / "bin" / "sync-pipeline"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    assert (
        terminal.runnable("Run `sync-pipeline init`, then `make dev`.")
        == "Run `.venv/bin/sync-pipeline init`, then `make dev`."
    )
    assert terminal.two_lines("No.", "Run `sync-pipeline init`.") == ("No.", ".venv/bin/sync-pipeline init")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert terminal.runnable("`sync-pipeline`") == f"`{program}`"


@pytest.mark.parametrize("name", sorted(SHELLS))
def test_completion(shell: Shell, name: str) -> None:
    """Each shell gets its script, and the program completes what the script asks for."""
    script = shell("completion", name, code=0).out
    assert SHELLS[name] in script
    assert "_SYNC_PIPELINE_COMPLETE=" in script
    environ = {"_SYNC_PIPELINE_COMPLETE": "bash_complete", "COMP_WORDS": "sync-pipeline rejects re", "COMP_CWORD": "2"}
    program = str(Path(sys.executable).with_name("sync-pipeline"))
    found = subprocess.run([program], env=environ, capture_output=True, text=True, check=True).stdout
    assert found == "plain,retry\n"


def test_the_tree_is_imported_only_when_it_is_used() -> None:
    """The help of everything is printed without a command's module."""
    code = "import sys, sync_pipeline.cli as c; c.cli.main(['--help'], standalone_mode=False); print([m for m in sys.modules if 'cli.sync' in m or m == 'rich'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("[]\n")
    assert cli.lazy
