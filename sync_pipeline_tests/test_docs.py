"""The docs describe what the code does: commands, settings, generated passages, links, verbs."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from starlette.routing import Route

from sync_pipeline.hosting.launch import EVERYTHING
from sync_pipeline.sandbox.control.routes import routes
from sync_pipeline.sandbox.control.rules import KINDS
from sync_pipeline.sandbox.server import open_world
from sync_pipeline.sandbox.world import Options
from sync_pipeline.session import mode
from sync_pipeline.settings import describe_settings
from sync_pipeline.stages.check import CHECKS
from sync_pipeline_tests.cli.shell import COMMANDS, parsed
from sync_pipeline_tests.generate import PAGES, ROOT, env_example, renewed
from sync_pipeline_tests.shown_commands import PLAYED, commands_of, play, without_variables

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "deploy/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    """Every command of the command line, groups with a space."""
    found = []
    for name, command in COMMANDS.items():
        subcommands = command.commands if isinstance(command, click.Group) else {}
        found += [f"{name} {sub}" for sub in subcommands] or [name]
    return found


def test_env_example_is_generated() -> None:
    """``.env.example`` is what ``make docs`` writes."""
    assert env_example() == (ROOT / ".env.example").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_passages_are_current(page: Path) -> None:
    """The generated passage of each page is what ``make docs`` writes."""
    passage, content = PAGES[page]

    assert renewed(page.read_text(), passage, content()) == page.read_text()


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_docs_and_helps(command: str) -> None:
    """Each command is in the table of commands and explains itself."""
    group, *rest = command.split()
    found = COMMANDS[group]
    if rest and isinstance(found, click.Group):
        found = found.commands[rest[0]]

    assert found.hidden or re.search(rf"`sync-pipeline {command}[` ]", (ROOT / "docs" / "commands.md").read_text())
    assert found.help
    assert all(option.help for option in found.params if isinstance(option, click.Option))


def test_the_docs_name_only_what_exists() -> None:
    """Every ``sync-pipeline X`` in any document is a command, every ``--option`` an option, every ``make X`` a verb."""
    text = "\n".join(page.read_text() for page in DOCUMENTS)
    verbs = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    params = [option for command in _all_commands() for option in command.params]
    options = {name for option in params for name in (*option.opts, *option.secondary_opts)}

    assert set(re.findall(r"sync-pipeline ([a-z]+(?:-[a-z]+)*)", text)) <= set(COMMANDS)
    assert set(re.findall(r"`make ([a-z]+)", text)) <= verbs
    assert set(re.findall(r"`(--[a-z-]+)", text)) <= options | {"--help"}


def test_the_docs_name_every_check_and_the_main_job() -> None:
    """The checks people will meet in the UI are explained."""
    page = (ROOT / "docs" / "dagster.md").read_text()

    assert all(f"`{name}`" in page for name in CHECKS)
    assert f"`{EVERYTHING}`" in page


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link and image exists, with the heading that it names."""
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]

    assert [link for link in links if not _leads_somewhere(page, link)] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_shown_commands_are_understood(page: Path) -> None:
    """Each command of ours that a page shows has the options and arguments that it takes."""
    for shown in commands_of(page):
        for words in _ours(shown):
            parsed(words)


@pytest.mark.outside
@pytest.mark.parametrize("page", PLAYED, ids=lambda page: page.name)
def test_a_page_shows_what_its_commands_print(page: Path, tmp_path: Path) -> None:
    """Run from top to bottom on a sandbox, the commands of a page print what it shows, but for ids and times."""
    assert without_variables(play(page, tmp_path)) == without_variables(page.read_text())


def test_the_index_leads_to_every_page() -> None:
    """No page of the docs is found by its name alone."""
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}

    assert {name for name in pages if f"]({name}" not in index} == set()


def test_the_problems_are_messages_of_the_program() -> None:
    """Each heading of the page is what the program prints, ``...`` for what differs, so that it can be searched for."""
    page = (ROOT / "docs" / "symptoms.md").read_text()
    shown = [
        message for line in re.findall(r"^### (.*)$", page, re.MULTILINE) for message in re.findall(r"`(.+?)`", line)
    ]
    parts = [part.strip(" .:,();") for message in shown for part in message.split("...")]
    printed = "\n".join(_texts_of_the_program())

    assert len(shown) > 40
    assert [part for part in parts if part not in printed] == []


def test_the_readme_is_short() -> None:
    """It leads to the docs instead of repeating them."""
    assert len(README.splitlines()) < 80


def test_settings_in_documents_exist() -> None:
    """No document names a removed setting."""
    known = {row["env"] for row in describe_settings()}
    text = "\n".join(page.read_text() for page in DOCUMENTS)

    assert set(re.findall(r"\b((?:CLOCKIFY|SNAPSHOTS|SYNC)_[A-Z_]+)\b", text)) <= known


def test_the_table_of_modes_is_the_one_that_decides() -> None:
    """The docs' table of modes is the one in the code, row by row."""
    rows = [line for line in (mode.__doc__ or "").splitlines() if line.startswith("|")]

    assert len(rows) > 8
    assert "\n".join(rows) in (ROOT / "docs" / "setup.md").read_text()


def test_every_control_of_the_sandbox_is_explained(tmp_path: Path) -> None:
    """Path by path, and with the kinds of fault it can make."""
    page = (ROOT / "docs" / "sandbox.md").read_text()
    world = open_world(tmp_path / "sandbox.db", Options(users=2, projects=1, clients=1, locations=1, entries=1))
    try:
        paths = {route.path for route in routes(world) if isinstance(route, Route)}
    finally:
        world.db.close()
    explained = {
        path for line in page.splitlines() if line.startswith("| `/") for path in re.findall(r"`(/[a-z_/{}]+)`", line)
    }

    assert explained == paths
    assert all(f"`{kind}`" in page for kind in KINDS)


def test_the_constraints_hold_no_address() -> None:
    """The lock names versions, never the host of a registry."""
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_make_help_lists_the_verbs() -> None:
    """``make help`` prints each verb with what it does, those of the bench are in the docs."""
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    verbs = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = set(re.findall(r"`make ([a-z-]+)", "\n".join(page.read_text() for page in DOCUMENTS)))

    assert {"sync", "test", "dev", "bench", "bench-profile", "bench-path", "lint"} <= set(verbs)
    assert all(re.search(rf"make {verb} +\S", shown.stdout) for verb in verbs)
    assert {verb for verb in verbs if verb.startswith("bench")} <= named <= set(verbs)


def _texts_of_the_program() -> Iterator[str]:
    """Every text in the code, in profiles and on the pages of the console; of an f-string the parts between what is filled in."""
    for path in (ROOT / "sync_pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    texts = [*(ROOT / "sync_pipeline").rglob("*.yaml"), *(ROOT / "sync_pipeline" / "console").rglob("*.html")]
    yield from (path.read_text() for path in texts)


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not heading or heading in _anchors(target.read_text()))


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _ours(shown: str) -> list[list[str]]:
    """The words behind each ``sync-pipeline`` of a line of shell."""
    words = shlex.split(re.sub(r"\w+=\"?\$\(|\)\"?$", "", shown), comments=True)
    commands: list[list[str]] = [[]]
    for word in words:
        if word in ("|", "&&", ">"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [each[at + 1 :] for each in commands for at, word in enumerate(each) if word.endswith("sync-pipeline")]


def _all_commands() -> list[click.Command]:
    found: list[click.Command] = []
    for command in COMMANDS.values():
        found += [command, *(command.commands.values() if isinstance(command, click.Group) else [])]
    return found
