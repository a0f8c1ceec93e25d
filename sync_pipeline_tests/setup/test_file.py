"""The set-up file: changed key by key, whole or not at all, and what a person wrote around it stays."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sync_pipeline.errors import ChangedMeanwhile, ConfigError, MappingFileError
from sync_pipeline.settings import read_setup
from sync_pipeline.setup.file import HEAD, change_file, revision

WRITTEN_BY_HAND = """\
# Ours since 2026; ask Ann before you change the workspace.
clockify:
  # the EU one
  base_url: "https://euc1.clockify.me/api/v1"   # not the global one
  workspace_id: w1
snapshots:
  base_url: https://snapshots.example/v1

start_date: 2026-02-01 # the day we moved
"""
ONE_MORE = """
import sys
from pathlib import Path
from sync_pipeline.setup.file import change_file
for number in range(10):
    change_file(Path(sys.argv[1]), {f"mappings.users.fields.f{sys.argv[2]}_{number}.source": "name"}, lambda draft: None)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A set-up somebody wrote by hand."""
    file = tmp_path / "setup.yaml"
    file.write_text(WRITTEN_BY_HAND)
    return file


def test_comments_quotes_and_order_stay(file: Path) -> None:
    """Only the line that was changed is another one."""
    change_file(file, {"clockify.workspace_id": "w2"}, read_setup)
    assert file.read_text().splitlines() == [line.replace("w1", "w2") for line in WRITTEN_BY_HAND.splitlines()]


def test_a_new_file_says_what_it_is(tmp_path: Path) -> None:
    """With a comment at its top, for its owner only, in a directory for its owner only."""
    file = tmp_path / "home" / "setup.yaml"
    now = change_file(file, {"snapshots.scopes": ["a", "b"], "clockify.plan": "paid"}, read_setup)
    assert file.read_text().startswith(f"# {HEAD}\n")
    assert read_setup(file) == {"snapshots_scopes": ("a", "b"), "clockify_plan": "paid"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert now == revision(file) != ""


def test_sections_come_and_go(file: Path) -> None:
    """None takes a key out, and the section with its last one; what is not there is taken out without a word."""
    change_file(file, {"mappings.users.fields.name.source": "email"}, lambda _: None)
    assert "mappings" in file.read_text()
    change_file(file, {"mappings.users.fields.name": None, "snapshots.base_url": None, "entities": None}, read_setup)
    text = file.read_text()
    assert "mappings" not in text
    assert "snapshots" not in text
    assert "the EU one" in text


def test_a_nested_key_that_is_named_twice_on_its_way(file: Path) -> None:
    """A section may hold one of its own name: the right one is emptied."""
    change_file(file, {"mappings.mappings.fields.mappings": "x", "mappings.users.fields.name": "drop"}, lambda _: None)
    change_file(file, {"mappings.mappings.fields.mappings": None}, lambda _: None)
    assert "users" in file.read_text()
    assert file.read_text().count("mappings") == 1


def test_another_state_is_not_overwritten(file: Path) -> None:
    """A change begun on an older state is refused, and the file stays as it is."""
    seen = revision(file)
    now = change_file(file, {"clockify.plan": "paid"}, read_setup, since=seen)
    with pytest.raises(ChangedMeanwhile, match="nothing was overwritten"):
        change_file(file, {"clockify.plan": "free"}, read_setup, since=seen)
    assert read_setup(file)["clockify_plan"] == "paid"
    assert change_file(file, {"clockify.plan": "free"}, read_setup, since=now) == revision(file)


def test_a_file_that_appeared_meanwhile_is_another_state(tmp_path: Path) -> None:
    """The revision of no file is the empty one."""
    file = tmp_path / "setup.yaml"
    change_file(file, {"clockify.plan": "paid"}, read_setup, since="")
    with pytest.raises(ChangedMeanwhile):
        change_file(file, {"clockify.plan": "free"}, read_setup, since="")


def test_what_is_not_valid_is_not_written(file: Path) -> None:
    """The error names the real file; nothing is left beside it."""
    with pytest.raises(MappingFileError) as caught:
        change_file(file, {"clockify.plan": "gold"}, read_setup)
    assert str(caught.value).startswith(f"{file}:6: clockify.plan: is not one of free, paid.")
    assert file.read_text() == WRITTEN_BY_HAND
    assert [path.name for path in file.parent.iterdir() if path.suffix == ".yaml"] == ["setup.yaml"]


def test_a_validation_that_fails_otherwise_leaves_nothing_behind(file: Path) -> None:
    """Whatever it raises."""

    def refuse(_draft: Path) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        change_file(file, {"clockify.plan": "paid"}, refuse)
    assert [path.name for path in file.parent.iterdir() if path.suffix == ".yaml"] == ["setup.yaml"]


@pytest.mark.parametrize(
    "text", ["clockify: {plan: paid", "a: 1\na: 2\n", "\tx: 1\n", "key: !!python/name:os.system\n"]
)
def test_a_broken_file_is_not_overwritten(file: Path, text: str) -> None:
    """A person mends it: the line is named, the file stays."""
    file.write_text(text)
    with pytest.raises(ConfigError):
        change_file(file, {"clockify.plan": "free"}, read_setup)
    assert file.read_text() == text


def test_a_list_at_the_top_is_not_overwritten(file: Path) -> None:
    """A file that holds something else is not ours to replace."""
    file.write_text("- mine\n")
    with pytest.raises(ConfigError, match="holds no mapping"):
        change_file(file, {"clockify.plan": "free"}, read_setup)
    assert file.read_text() == "- mine\n"


def test_a_file_with_comments_only_keeps_them(file: Path) -> None:
    """They are somebody's."""
    file.write_text("# mine\n")
    change_file(file, {"clockify.plan": "free"}, read_setup)
    assert file.read_text() == "# mine\nclockify:\n  plan: free\n"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The directory's place is taken by a file."""
    (tmp_path / "home").write_text("")
    with pytest.raises(ConfigError, match=r"The set-up file .* cannot be written"):
        change_file(tmp_path / "home" / "setup.yaml", {"clockify.plan": "free"}, read_setup)


def test_processes_that_write_together_lose_nothing(file: Path) -> None:
    """Four processes, ten changes each: all forty are there, and the comments too."""
    writers = [subprocess.Popen([sys.executable, "-c", ONE_MORE, str(file), str(number)]) for number in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    text = file.read_text()
    assert all(f"f{writer}_{number}:" in text for writer in range(4) for number in range(10))
    assert "ask Ann" in text
