"""The host name of an installation: ``sync-<8 hex>.localhost``, made once and kept in SYNC_HOME.

Browsers resolve every name below localhost to this machine by themselves. Cookies ignore ports: under a name of its own an
installation's cookie goes to no other program that listens on this machine.
"""

from __future__ import annotations

import errno
import re
import secrets

from sync_pipeline.errors import ConfigError
from sync_pipeline.private_files import written_once
from sync_pipeline.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The names under which everything on this machine can be asked for; ours links from there to the installation's host."""
_NAME = re.compile(r"sync-[0-9a-f]{8}\.localhost")


def host_of(settings: Settings) -> str:
    """The host of this installation, the same at every start; ConfigError when it cannot be kept."""
    if settings.console_host:
        return settings.console_host
    file = settings.home / "host"
    try:
        name = written_once(file, lambda: f"sync-{secrets.token_hex(4)}.localhost\n").strip()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise  # another directory is not what helps
        raise ConfigError(
            f"The host name of console and Dagster UI cannot be kept in {file}: {error.strerror}.",
            fix="Make SYNC_HOME a directory you can write, or set SYNC_CONSOLE_HOST=127.0.0.1.",
        ) from None
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{file} does not hold a host name of ours.", fix="Remove it; a new one is made.")
    return name
