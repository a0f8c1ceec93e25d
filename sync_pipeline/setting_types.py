"""What the text of a setting may be: each of these turns it into a value, or raises ValueError saying what was expected."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import available_timezones

Network = IPv4Network | IPv6Network
Role = Literal["dashboard", "viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""What someone who is signed in may do; each may what those before it may."""
PROFILE_FILES = {file.stem: file for file in sorted(Path(__file__).parent.glob("connectors/profiles/*.yaml"))}
PROFILES = tuple(PROFILE_FILES)
"""The built-in ones."""
MOST = 1_000_000
"""The largest number of rows, megabytes, attempts or seconds: as milliseconds it fits into 32 bits."""
MOST_DAYS = 36_500
SHORTEST_KEY = 32
"""Bytes of a public key."""
EARLIEST, LATEST = date(2000, 1, 1), date(2999, 12, 31)


def text(value: str) -> str:
    """Any text."""
    return value


def label(value: str) -> str:
    """A short name."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise ValueError("a name of letters, digits, dots, hyphens and underscores")
    return value


def vendor_id(value: str) -> str:
    """An id that a vendor gave out."""
    if not re.fullmatch(r"[A-Za-z0-9]{1,64}", value):
        raise ValueError("an id of letters and digits")
    return value


def id_like(start: str) -> Callable[[str], str]:
    """An id that begins like this, as those of some vendors do."""

    def parse(value: str) -> str:
        if not re.fullmatch(f"{start}[A-Za-z0-9_]{{1,64}}", value):
            raise ValueError(f"an id like {start}1a2B3c")
        return value

    return parse


def public_key(value: str) -> str:
    """A public key as vendors print it."""
    try:
        found = base64.b64decode(value, validate=True)
    except ValueError:
        found = b""
    if len(found) < SHORTEST_KEY:
        raise ValueError("a public key in base64")
    return value


def token(value: str) -> str:
    """A secret that a program sends."""
    if not re.fullmatch(r"[!-~]{16,200}", value):
        raise ValueError("a token of 16 to 200 characters without spaces")
    return value


def url(value: str) -> str:
    """A base URL."""
    if not re.match(r"https?://[^/?#]", value):
        raise ValueError("a URL that starts with http:// or https:// and names a host")
    if "@" in urlsplit(value).netloc or "?" in value or "#" in value:
        raise ValueError("a plain base URL, without user:password@, `?` and `#` (it is shown in tables and logs)")
    return value.rstrip("/")


def broker(value: str) -> str:
    """The address of a Valkey or Redis server."""
    if not re.match(r"rediss?://[^/?#\s]", value):
        raise ValueError("the URL of a Valkey or Redis server, such as redis://broker:6379/0")
    return value


def heartbeat(value: str) -> str:
    """An address that is requested unchanged: any part of it may be a token."""
    wanted = "a URL that starts with http:// or https:// and names a host"
    if not re.fullmatch(r"https?://[^\s/?#][^\s#]{0,2000}", value):
        raise ValueError(wanted)
    try:
        is_one = bool(urlsplit(value).hostname) and urlsplit(value).port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError(wanted)
    return value


def page(value: str) -> str:
    """The address of pages for people: nothing is sent there."""
    return url(value)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def origin(value: str) -> str:
    """Scheme, host and port of a URL, written in one way."""
    parts = urlsplit(value)
    place = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme.lower()}://{place.removesuffix(':80') if parts.scheme.lower() == 'http' else place}"


def http_origins(value: str) -> tuple[str, ...]:
    """Addresses with plain http."""
    found = words(value)
    if not all(re.match(r"http://[^/?#@]+/?$", each) for each in found):
        raise ValueError("a list of addresses like http://snapshots.internal:8080, without a path")
    return tuple(map(origin, found))


def public_origin(value: str) -> str:
    """Where browsers reach a server: scheme, host and port. Without TLS only on this machine."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    is_plain = parts.scheme in ("http", "https") and parts.path in ("", "/") if host else False
    if not is_plain or "@" in value or "?" in value or "#" in value or port == 0:
        raise ValueError("an address such as https://sync.example.com, without a path")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("an https:// address: sessions and keys would travel unencrypted")
    shown = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}" + ("" if port in (None, usual) else f":{port}")


def networks(value: str) -> tuple[Network, ...]:
    """Addresses and networks, such as 10.0.0.7 and 10.1.0.0/16; not all there are."""
    try:
        found = tuple(ip_network(each) for each in words(value))
    except ValueError:
        found = ()
    if not found or any(each.prefixlen == 0 for each in found):
        raise ValueError("a list of addresses and networks, such as `10.0.0.7 10.1.0.0/16`; not every address")
    return found


def header(value: str) -> str:
    """The name of a header, in lower case as servers compare it."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,98}[A-Za-z0-9])?", value):
        raise ValueError("the name of a header, such as X-Forwarded-User")
    if value.lower() in {"host", "origin", "cookie", "referer", "authorization", "user-agent"}:
        raise ValueError("a header that only a proxy sets: browsers send this one themselves")
    return value.lower()


def user_roles(value: str) -> tuple[str, ...]:
    """Which role each user has, and with `*` any other."""
    found = words(value)
    users = [user for user, _, role in (each.rpartition("=") for each in found) if user and role in ROLES]
    if len(set(users)) < max(1, len(found)):
        raise ValueError(f"a list such as `ana@example.com=admin *=viewer`, each once; roles: {', '.join(ROLES)}")
    return found


def local_name(value: str) -> str:
    """A name of this machine."""
    if not re.fullmatch(r"127\.0\.0\.1|([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.){0,3}localhost", value):
        raise ValueError("127.0.0.1, localhost, or a name in lower case that ends in .localhost")
    return value


def day(value: str) -> date:
    """A day."""
    try:
        found = date.fromisoformat(value)
    except ValueError:
        raise ValueError("a date like 2026-01-31") from None
    if not EARLIEST <= found <= LATEST:
        raise ValueError(f"a date from {EARLIEST} to {LATEST}")
    return found


def zone(value: str) -> str:
    """A time zone."""
    if value not in _zones():
        raise ValueError("the name of a time zone, such as Europe/Berlin")
    return value


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def count(value: str) -> int:
    """A whole number from 1."""
    return _whole(value, MOST, "a whole number")


def days(value: str) -> int:
    """A number of days."""
    return _whole(value, MOST_DAYS, "a whole number")


def port(value: str) -> int:
    """A port."""
    return _whole(value, 65_535, "a port")


def _whole(value: str, most: int, what: str) -> int:
    # Python refuses to read thousands of digits.
    if not value.isdecimal() or len(value) > 20 or not 1 <= int(value) <= most:
        raise ValueError(f"{what} from 1 to {most}")
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


def profile(value: str) -> str:
    """A flavour of the Snapshots API."""
    if value not in PROFILES and not (value.endswith((".yaml", ".yml")) and Path(value).is_file()):
        raise ValueError(f"a built-in profile ({', '.join(PROFILES)}) or an existing YAML file")
    return value


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


def currency(value: str) -> str:
    """A currency's code."""
    if not re.fullmatch(r"[A-Z]{3}", value):
        raise ValueError("the code of a currency in capitals, such as EUR")
    return value


def rounding(value: str) -> tuple[str, int] | None:
    """How hours are rounded: a direction and minutes."""
    if value == "none":
        return None
    direction, _, minutes = value.partition(" ")
    if direction not in {"up", "down", "nearest"} or not minutes.isdecimal() or not 1 <= int(minutes[:5]) <= 1_440:
        raise ValueError("none, or `up`, `down` or `nearest` and minutes, such as `nearest 15`")
    return direction, int(minutes)
