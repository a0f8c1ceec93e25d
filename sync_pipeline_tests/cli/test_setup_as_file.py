"""`setup export`, `import` and `diff`: the set-up as a file, for git and scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline_tests.cli.shell import Shell
from sync_pipeline_tests.setup.services import write_document

MAPPED = "mappings:\n  users:\n    fields:\n      email: {transform: [upper]} # ours\n"


@pytest.fixture
def file(shell: Shell) -> Path:
    """A set-up in a repository."""
    file = shell.root / "team.yaml"
    file.write_text(MAPPED)
    return file


def test_there_and_back(shell: Shell, file: Path) -> None:
    """What was imported is exported unchanged; `diff` compares values, and exits 5 on a difference."""
    assert shell("setup", "export", code=0).out == ""
    assert shell("setup", "diff", str(file), "--json", code=5).document["differences"] == [
        {"key": "mappings.users.fields.email", "stored": None, "file": {"transform": ["upper"]}}
    ]
    assert shell("setup", "import", str(file), "--json", code=0).document["version"] == 1
    assert shell("setup", "diff", str(file), code=0).out == f"The set-up is as in {file}.\n"
    assert shell("setup", "export", code=0).out == MAPPED
    rows = shell("mapping", "show", "users", "--json", code=0).document["users"]
    assert "upper" in str(next(row for row in rows if row["field"] == "email"))
    shell("mapping", "set", "users", "name", "--transform", "lower", code=0)
    shell("setup", "export", str(file), code=0)
    assert "# ours" in file.read_text()
    assert "name" in file.read_text()
    assert shell("setup", "diff", str(file), "--json", code=0).document["differences"] == []


def test_the_same_file_again_is_no_version(shell: Shell, file: Path) -> None:
    """A script may run it each time."""
    first = shell("setup", "import", str(file), "--json", code=0).document
    assert shell("setup", "import", str(file), "--json", code=0).document == {**first, "differences": []}
    assert "set-up imported" in shell("trail", code=0).out


def test_a_file_with_a_mistake_changes_nothing(shell: Shell, file: Path) -> None:
    """It is named with its line; so is one that is not there."""
    file.write_text("clockify:\n  plan: gold\n")
    for words in ("import", "diff"):
        assert f"{file}:2: clockify.plan: is not one of free, paid." in shell("setup", words, str(file), code=2).message
        assert "cannot be read" in shell("setup", words, "nowhere.yaml", code=2).message
    assert shell.settings().setup_version == 0


def test_a_stored_set_up_with_a_mistake_is_replaced(shell: Shell, file: Path) -> None:
    """Every other command names it; these two show it and put another one in its place."""
    shell("setup", "import", str(file), code=0)
    write_document(shell.settings(), MAPPED.replace("upper", "nope"))
    assert "set-up:4:" in shell("mapping", "show", code=2).message
    assert "nope" in shell("setup", "export", code=0).out
    shell("setup", "import", str(file), code=0)
    shell("mapping", "show", code=0)


def test_a_file_that_appears_is_named_until_it_is_imported(shell: Shell) -> None:
    """By every command, on stderr; it is never read by itself."""
    shell("mapping", "set", "users", "name", "--transform", "lower", code=0)
    (shell.home / "setup.yaml").write_text(MAPPED)
    shown = shell("mapping", "show", "users", code=0)
    assert "setup.yaml is not read" in shown.err
    assert "upper" not in shown.out
    shell("setup", "import", code=0)
    assert "not read" not in shell("mapping", "show", "users", code=0).err
