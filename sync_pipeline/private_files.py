"""Files that other users may not read, because they hold records or keys; and files that no other user may have written."""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import shlex
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sync_pipeline.errors import ConfigError


def private_directory(directory: Path) -> None:
    """Make sure it exists; what has to be made, parents included, has mode 0700."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
    directory.mkdir(exist_ok=True)  # raises when it is a file


def private_file(file: Path) -> None:
    """Make sure it exists, in a directory that does; what has to be made has mode 0600, its directories 0700.

    SQLite gives the files it keeps beside a database the database's own mode.
    """
    private_directory(file.parent)
    if not file.exists():
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def written_once(file: Path, make: Callable[[], str]) -> str:
    """The text of a file, which is made on first use: whole or not at all, mode 0600, and never over another one.

    A process that starts at the same moment reads the same text.
    """
    if not file.exists():
        private_directory(file.parent)
        draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        opened = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with naming(file), os.fdopen(opened, "w", encoding="ascii") as out:
                out.write(make())
            with suppress(FileExistsError):
                os.link(draft, file)
        finally:
            draft.unlink()
    return file.read_text(encoding="ascii", errors="replace")


@contextmanager
def naming(place: Path | str) -> Iterator[None]:
    """Name a place in errors of the system that name none: those of writing, in contrast to opening."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(place)
        raise


def require_trusted(path: Path) -> None:
    """Raise ConfigError unless only this user and root can have written a file or directory of configuration.

    Who writes it decides where keys are sent and what code runs. A link has to be theirs like what it leads to, and
    so has the directory of each: anyone who may write that can replace the file.
    """
    for entry in dict.fromkeys((path.absolute(), path.resolve())):
        folder = entry.parent
        _require_owner(entry, entry.lstat())
        _require_owner(folder, folder.stat())
        if not entry.is_symlink():  # the mode of a link means nothing
            _require_unwritable(entry, entry.stat().st_mode)
        if not folder.stat().st_mode & stat.S_ISVTX:  # there no one replaces what belongs to another user
            _require_unwritable(folder, folder.stat().st_mode)


def readable_by_others(path: Path) -> bool:
    """Whether users other than this one and root may read a file."""
    found = path.stat()
    return bool(found.st_mode & stat.S_IROTH or (found.st_mode & stat.S_IRGRP and _has_others(found.st_gid)))


def _require_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid in (0, os.geteuid()):
        return
    raise ConfigError(
        f"{path} belongs to {_name(found.st_uid)}, so it is not used: it could make this program run their code or send "
        "them keys.",
        fix=f"If you trust its content, run: chown -h {_name(os.geteuid())} {shlex.quote(str(path))}; else remove it, or "
        "work in another directory.",
    )


def _require_unwritable(path: Path, mode: int) -> None:
    others = mode & stat.S_IWOTH or (mode & stat.S_IWGRP and _has_others(path.stat().st_gid))
    if others and not os.statvfs(path).f_flag & os.ST_RDONLY:
        raise ConfigError(
            f"{path} can be written by other users, so nothing in it is used: it could make this program run their code "
            "or send them keys.",
            fix=f"Check its content, then run: chmod go-w {shlex.quote(str(path))}",
        )


def _has_others(group: int) -> bool:
    """Whether a group has members other than this user and root; many systems give each user a group of their own."""
    ours = (0, os.geteuid())
    try:
        names = grp.getgrgid(group).gr_mem
    except KeyError:
        return True
    members = [user.pw_uid for user in pwd.getpwall() if user.pw_gid == group or user.pw_name in names]
    # A group without members is one that programs run as.
    return not members or any(member not in ours for member in members)


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
