"""Configuration counts only where no other user can have written it; which `.env` is read is reported once."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.private_files import require_trusted
from sync_pipeline.settings import load_settings, project_root
from sync_pipeline_tests.cli.shell import Shell
from sync_pipeline_tests.harness import clean_environ

STRANGER = 54_321
"""A user who exists nowhere."""
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another user")
USERS = "fields:\n  email: {source: email, function: evil.run}\n"
EVIL = "from pathlib import Path\nPath(__file__).with_name('was_here').touch()\ndef run(value):\n    return value\n"


@dataclass(frozen=True, slots=True)
class Shared:
    """A directory with configuration of someone, and below it the one in which a user works."""

    root: Path
    shell: Shell

    @property
    def ran_code(self) -> bool:
        """Whether the function in the shared directory was loaded."""
        return (self.root / "mappings" / "was_here").exists()


@pytest.fixture
def shared(shell: Shell, tmp_path: Path) -> Shared:
    """Everything is in order: the command below uses what is above."""
    mappings = tmp_path / "mappings"
    mappings.mkdir()
    (mappings / "users.yaml").write_text(USERS)
    (mappings / "evil.py").write_text(EVIL)
    (tmp_path / ".env").write_text(f"SYNC_MAPPINGS_DIR={mappings}\n")
    project = tmp_path / "alice" / "project"
    project.mkdir(parents=True)
    return Shared(
        tmp_path, replace(shell, root=project).with_(SYNC_HOME=str(tmp_path / "home"), SYNC_MAPPINGS_DIR=None)
    )


def anyone_writes(path: Path) -> None:
    """Mode 0666 or 0777."""
    path.chmod(path.stat().st_mode | 0o022)


def a_stranger_owns(path: Path) -> None:
    """As if another user had made it."""
    os.chown(path, STRANGER, -1, follow_symlinks=False)


WAYS = [
    pytest.param(anyone_writes, "can be written by other users", "chmod go-w", id="mode"),
    pytest.param(a_stranger_owns, f"belongs to {STRANGER}", "chown -h root", id="owner", marks=only_root),
]
PLACES = ["workspace.yaml", ".env", "mappings", "mappings/users.yaml", "mappings/evil.py"]


def test_what_is_in_order_is_used(shared: Shared) -> None:
    """The other tests would pass as well if nothing were read."""
    shared.shell("status", code=0)
    assert shared.ran_code


@pytest.mark.parametrize(("spoil", "why", "remedy"), WAYS)
@pytest.mark.parametrize("place", PLACES)
def test_what_another_user_may_write_is_refused(
    shared: Shared, place: str, spoil: Callable[[Path], None], why: str, remedy: str
) -> None:
    """No code of theirs runs and no setting of theirs counts: the file and the remedy are named, which helps."""
    path = shared.root / place
    spoil(path)

    message = shared.shell("status", "--json", code=2).message

    assert message.startswith(f"{path} {why}")
    assert f"{remedy} {path}" in message
    assert not shared.ran_code
    path.chmod(path.stat().st_mode & ~0o022)
    os.chown(path, os.geteuid(), -1)
    shared.shell("status", code=0)


@pytest.mark.parametrize(("spoil", "why", "remedy"), WAYS)
def test_the_configuration_of_dagster_names_code_as_well(
    shared: Shared, spoil: Callable[[Path], None], why: str, remedy: str
) -> None:
    """It is refused before it is copied to where Dagster reads it."""
    path = shared.root / "dagster.yaml"
    spoil(path)
    message = shared.shell("sync", "--entity", "users", code=2).message
    assert message.startswith(f"{path} {why}")
    assert f"{remedy} {path}" in message
    assert not (shared.root / "home" / "dagster" / "dagster.yaml").exists()


def test_a_profile_says_where_secrets_are_sent(shell: Shell) -> None:
    """So the same holds for one of one's own."""
    profile = shell.root / "mine.yaml"
    profile.write_text("profile: mine\n")
    anyone_writes(profile)
    message = shell.with_(SNAPSHOTS_PROFILE=str(profile))("check", code=2).message
    assert message.startswith(f"{profile} can be written by other users")


@pytest.mark.parametrize("place", ["setup.yaml", "."])
@pytest.mark.parametrize(("spoil", "why", "remedy"), WAYS)
def test_the_set_up_says_where_keys_are_sent(
    shell: Shell, place: str, spoil: Callable[[Path], None], why: str, remedy: str
) -> None:
    """A home that someone left in the working directory gets no key of the environment."""
    shell.home.mkdir(mode=0o700)
    (shell.home / "setup.yaml").write_text("clockify:\n  base_url: http://127.0.0.1:1/api/v1\n")
    path = shell.home / place
    spoil(path)
    message = shell("check", "--json", code=2).message
    assert message.startswith(f"{path} {why}")
    assert f"{remedy} {path}" in message
    path.chmod(path.stat().st_mode & ~0o022)
    os.chown(path, os.geteuid(), -1)
    shell("check", "--json", code=0)


def test_a_directory_in_which_files_can_be_replaced(shared: Shared) -> None:
    """Who may write the directory may replace the file; where it is sticky, as /tmp is, only its owner may."""
    folder = shared.root / "mappings"
    folder.chmod(0o777)
    assert shared.shell("status", code=2).message.startswith(f"{folder} can be written by other users")
    with pytest.raises(ConfigError, match="chmod go-w"):
        require_trusted(folder / "users.yaml")
    folder.chmod(0o777 | stat.S_ISVTX)
    require_trusted(folder / "users.yaml")


@only_root
@pytest.mark.parametrize("spoiled", ["link", "target", "directory of the target"])
def test_a_link_counts_like_what_it_leads_to(tmp_path: Path, spoiled: str) -> None:
    """A link of one's own to a file of one's own is fine; each of the three can be someone else's."""
    target = tmp_path / "kept" / "env"
    target.parent.mkdir()
    target.touch()
    link = tmp_path / ".env"
    link.symlink_to(target)
    require_trusted(link)
    a_stranger_owns({"link": link, "target": target, "directory of the target": target.parent}[spoiled])
    with pytest.raises(ConfigError, match="belongs to"):
        require_trusted(link)


@only_root
@pytest.mark.parametrize(("group", "is_trusted"), [(0, True), (1, False), (STRANGER, False)])
def test_a_group_of_ones_own_counts_as_oneself(tmp_path: Path, group: int, is_trusted: bool) -> None:
    """Where each user has a group of their own, files may be writable for it; not for one with other or unknown members."""
    file = tmp_path / ".env"
    file.touch()
    os.chown(file, -1, group)
    file.chmod(0o664)
    if is_trusted:
        require_trusted(file)
        return
    with pytest.raises(ConfigError, match="can be written by other users"):
        require_trusted(file)


def test_the_search_ends_at_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is above it belongs to someone else even on a machine with one user; in it and below it counts."""
    home, project = tmp_path / "alice", tmp_path / "alice" / "project"
    project.mkdir(parents=True)
    (tmp_path / "workspace.yaml").touch()
    assert project_root(project) == tmp_path
    monkeypatch.setenv("HOME", str(home))
    assert project_root(project) == project
    (home / "workspace.yaml").touch()
    assert project_root(project) == home


def test_which_env_file_was_read_is_said_once(shared: Shared) -> None:
    """Each command reports it in one line, next to what it prints."""
    for words in (("status", "--json"), ("check", "--json"), ("mapping", "show", "users")):
        ended = shared.shell(*words, code=0)
        assert ended.err.splitlines() == [f"Settings are read from {shared.root / '.env'}."]
        assert "Settings are read" not in ended.out


def test_without_an_env_file_nothing_is_said(shell: Shell) -> None:
    """There is nothing to report."""
    assert shell("status", code=0).err == ""


@pytest.mark.parametrize(
    ("text", "mode", "warned"),
    [
        ("SNAPSHOTS_CLIENT_SECRET=s3cret\n", 0o644, True),
        ("SNAPSHOTS_CLIENT_SECRET=s3cret\n", 0o600, False),
        ("SNAPSHOTS_CLIENT_SECRET=\n", 0o644, False),
        ("SYNC_RESCAN_DAYS=3\n", 0o644, False),
    ],
)
def test_an_env_file_with_secrets_is_private(shell: Shell, text: str, mode: int, warned: bool) -> None:
    """One that others can read gets a warning with the remedy, in one line and never in the document."""
    file = shell.root / ".env"
    file.write_text(text)
    file.chmod(mode)
    plain = {name: None for name in shell.environ if name.startswith("SNAPSHOTS_CLIENT")}
    ended = replace(shell, changes={**shell.changes, **plain})("status", "--json", code=0)
    expected = f"{file} holds secrets and can be read by other users. Run: chmod go-rwx {file}"
    assert ended.warnings == ([expected] if warned else [])
    assert "chmod" not in ended.out


def test_an_env_file_that_cannot_be_read(shell: Shell) -> None:
    """One message, not a traceback, and not as if there were none."""
    file = shell.root / ".env"
    file.write_bytes(b"SYNC_HOME=\xff\xfe\n")
    assert shell("status", code=2).message.startswith(f"{file} cannot be read: it is not UTF-8 text.")
    file.unlink()
    file.mkdir()  # a virtual environment, as some people call it
    assert shell("status", code=0).err == ""


def test_a_directory_that_was_removed(tmp_path: Path) -> None:
    """A user in it gets a notice."""
    place = tmp_path / "gone"
    place.mkdir()
    code = "import os, sys; os.rmdir(sys.argv.pop()); from sync_pipeline.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "status", str(place)],
        cwd=place, env=clean_environ(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (
        2,
        "Error: The current directory was removed.\nFix: Change to a directory that exists.\n",
    )


def test_stock_commands_of_dagster_run_no_code_of_others(shared: Shared) -> None:
    """Dagster reads files itself, but our definitions do not load with configuration that others may write."""
    anyone_writes(shared.root / "mappings" / "evil.py")
    home = shared.root / "dagster"
    home.mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "sync_pipeline.definitions"],
        cwd=shared.root,
        env=clean_environ(DAGSTER_HOME=str(home), SYNC_HOME=str(shared.root / "home")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert f"{shared.root / 'mappings' / 'evil.py'} can be written by other users" in ended.stdout + ended.stderr
    assert not shared.ran_code


def test_a_container_without_a_user_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOME and without a name the search goes up to the root, and settings load."""
    monkeypatch.delenv("HOME", raising=False)
    assert load_settings({}, root=tmp_path).sandbox
    assert project_root(tmp_path) == tmp_path
