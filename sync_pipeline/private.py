"""Files and directories only their owner may read: they hold records, keys, or what leads to them."""

from __future__ import annotations

import os
from pathlib import Path


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
