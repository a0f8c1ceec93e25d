"""How commands end: the codes, their order, and the tables that list them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import permutations
from pathlib import Path

import pytest

from sync_pipeline import errors
from sync_pipeline.cli.exit_codes import ExitCode, worst
from sync_pipeline.store.schema import HEAD, VERSION_TABLE
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import team

ROOT = Path(__file__).parents[2]


def test_the_order() -> None:
    """The worst of what happened is reported, whatever happened first."""
    for several in permutations(ExitCode, 3):
        assert worst(several) == next(code for code in (130, 2, 4, 1, 6, 3, 5, 0) if code in several)
    assert worst([]) == ExitCode.DONE


def test_every_error_ends_in_one_of_them() -> None:
    """No error brings a code of its own."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SyncError)]
    assert {kind.exit_code for kind in kinds} == {1, 2, 4, 6}
    assert {kind.exit_code for kind in kinds} <= set(ExitCode)


@pytest.mark.parametrize("page", ["docs/commands.md", "docs/operations.md"])
def test_the_docs_list_them(page: str) -> None:
    """Each code is named with its meaning, in the order in which the worst is chosen."""
    text = (ROOT / page).read_text()
    rows = [f"| {code:d} | {code.meaning} |" for code in ExitCode]
    assert "\n".join(rows) in text


def test_the_help_lists_them(shell: Shell) -> None:
    """``--help`` as well."""
    text = shell("--help", code=0).out
    assert all(code.meaning in text for code in ExitCode)


def test_whether_there_is_anything_to_migrate(shell: Shell) -> None:
    """A new home has no tables yet; a script that upgrades learns by the code whether old processes have to stop."""
    before = shell("migrate", "--check", "--json", code=ExitCode.DRIFT).document
    assert (before["database"], before["dagster"]) == ("", False)
    shell("migrate", code=ExitCode.DONE)
    assert HEAD in shell("migrate", "--check", code=ExitCode.DONE).out
    with closing(sqlite3.connect(shell.home / "sync.db")) as database, database:
        database.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    assert "has schema 9999" in shell("migrate", "--check", code=ExitCode.FAILED).err


def test_a_write_with_an_unknown_outcome(tmp_path: Path) -> None:
    """No answer to a create, however often it is looked up and tried: exit code 6. The next sync creates nothing twice."""
    with team(tmp_path / "team") as us, shell_for(us, tmp_path / "shell") as shell:
        us.fault("cut_before", "POST */clients")
        ended = shell("sync", "--entity", "locations", "--yes", code=ExitCode.UNKNOWN_OUTCOME)
        assert (
            "/clients: the connection was cut before the answer was complete. It may or may not have been" in ended.err
        )
        us.no_faults()
        shell("sync", "--entity", "locations", code=ExitCode.DONE)
        names = [client["name"] for client in us.clients()]
        assert len(names) == len(set(names))
