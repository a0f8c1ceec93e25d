"""What the text of a setting may be: each of these turns it into a value, or raises ValueError saying what was expected."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit


def text(value: str) -> str:
    """Any text."""
    return value


def url(value: str) -> str:
    """A base URL."""
    if not re.match(r"https?://[^/?#]", value):
        raise ValueError("a URL that starts with http:// or https:// and names a host")
    if "@" in urlsplit(value).netloc or "?" in value or "#" in value:
        raise ValueError("a plain base URL, without user:password@, `?` and `#` (it is shown in tables and logs)")
    return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def day(value: str) -> date:
    """A day."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError("a date like 2026-01-31") from None


def count(value: str) -> int:
    """A whole number from 1."""
    if not value.isdigit() or int(value) < 1:
        raise ValueError("a whole number from 1")
    return int(value)


def port(value: str) -> int:
    """A port."""
    if not value.isdigit() or not 1 <= int(value) <= 65_535:
        raise ValueError("a port from 1 to 65535")
    return int(value)


def flag(value: str) -> bool:
    """True or false."""
    if value.lower() not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise ValueError("true or false")
    return value.lower() in {"true", "1", "yes", "on"}


def share(value: str) -> float:
    """A share from 0 to 1."""
    try:
        share = float(value)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise ValueError("a share from 0 to 1")
    return share


def directory(value: str) -> Path:
    """A directory that exists."""
    path = Path(value).expanduser()
    if not path.is_dir():
        raise ValueError("an existing directory")
    return path


def file(value: str) -> Path:
    """A file that exists."""
    path = Path(value).expanduser()
    if not path.is_file():
        raise ValueError("an existing file")
    return path


def words(value: str) -> tuple[str, ...]:
    """Words, separated by spaces or commas; each once."""
    return tuple(dict.fromkeys(value.replace(",", " ").split()))


def keys(value: str) -> str:
    """Keys that encrypt, newest first."""
    try:
        lengths = {len(base64.b64decode(key.strip(), altchars=b"-_", validate=True)) for key in value.split(",")}
    except ValueError:
        lengths = set()
    if lengths != {32}:
        raise ValueError("one or more keys of 32 bytes in URL-safe base64, separated by commas")
    return value


def one_of(*choices: str) -> Callable[[str], str]:
    """One word of a closed set."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return parse
