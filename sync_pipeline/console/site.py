"""Where browsers reach a server: at a name of this machine, or at a public address through proxies that are trusted.

Forwarded headers are read only when the peer is a trusted proxy; from any other peer they are ignored.
"""

from __future__ import annotations

import errno
import re
import secrets
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.datastructures import URL, Headers
from starlette.requests import Request
from starlette.types import Scope

from sync_pipeline.errors import ConfigError
from sync_pipeline.private_files import written_once
from sync_pipeline.serving import name_of
from sync_pipeline.setting_types import Network
from sync_pipeline.settings import Settings

USER = "sync_pipeline.user"
"""The key of a request's scope for the user whom a trusted proxy names; "" for none."""
LONGEST_USER = 200
_NAME = re.compile(r"sync-[0-9a-f]{8}\.localhost")


@dataclass(frozen=True, slots=True)
class Site:
    """The address of a server, and the proxies it trusts."""

    host: str
    origin: str = ""
    """The public address; "" for a server that only this machine reaches."""
    proxies: tuple[Network, ...] = ()
    user_header: str = ""

    def is_asked(self, scope: Scope) -> bool:
        """Whether a request is for this address."""
        headers = Headers(scope=scope)
        if not self.origin:
            return name_of(headers.get("host", "")) == self.host
        named = headers.getlist("x-forwarded-host") if self.is_from_proxy(scope) else []
        named = named or headers.getlist("host")
        scheme, place = self.origin.split("://")
        usual = {"http": ":80", "https": ":443"}[scheme]
        return len(named) == 1 and named[0].lower().removesuffix(usual) == place

    def url_of(self, request: Request, path: str) -> URL:
        """The address of a page here, as browsers reach it."""
        if self.origin:
            return URL(self.origin + path)
        return request.url.replace(hostname=self.host, path=path, query="")

    def is_encrypted_as_asked(self, scope: Scope) -> bool:
        """Whether the browser used the public address's scheme, as far as the proxy says."""
        named = Headers(scope=scope).getlist("x-forwarded-proto") if self.is_from_proxy(scope) else []
        scheme = self.origin.split("://")[0]
        return named in ([], [scheme], [scheme.replace("http", "ws")])

    def is_from_proxy(self, scope: Scope) -> bool:
        """Whether a trusted proxy has sent a request."""
        try:
            peer = ip_address((scope.get("client") or ("",))[0].partition("%")[0])
        except ValueError:
            return False
        peer = (isinstance(peer, IPv6Address) and peer.ipv4_mapped) or peer
        return any(peer in each for each in self.proxies)

    def user(self, scope: Scope) -> str:
        """The user whom a trusted proxy names; "" for none. ValueError when that is not one name."""
        if not self.user_header or not self.is_from_proxy(scope):
            return ""
        found = [value for name, value in scope["headers"] if name == self.user_header.encode()]
        user = found[0].decode() if found else ""  # not stripped: a name with a blank is another one
        # A browser that sends the header, too, makes two of it, or a list, with a proxy that adds instead of replacing.
        if len(found) > 1 or "," in user or not user.isprintable() or len(user) > LONGEST_USER:
            raise ValueError("not one user")
        return user


def site_of(settings: Settings, origin: str, variable: str) -> Site:
    """The site at this public address, which ``variable`` names; without one on this machine."""
    for name, value in (("SYNC_TRUSTED_PROXIES", settings.trusted_proxies), ("SYNC_USER_HEADER", settings.user_header)):
        if value and not origin:
            raise ConfigError(
                f"{name} is set, but {variable} is not: what a proxy says is read at a public address only.",
                fix=f"Set {variable} to the address at which browsers reach the proxy, or unset {name}.",
            )
    if settings.user_header and not settings.trusted_proxies:
        raise ConfigError(
            "SYNC_USER_HEADER is set, but SYNC_TRUSTED_PROXIES is not: anyone could say who they are.",
            fix="Set SYNC_TRUSTED_PROXIES to the address or network of the proxy.",
        )
    if settings.user_header and not settings.user_roles:
        raise ConfigError(
            "SYNC_USER_HEADER is set, but SYNC_USER_ROLES names no one.",
            fix="Set SYNC_USER_ROLES, such as `ana@example.com=admin *=viewer`.",
        )
    if not origin:
        return Site(host_of(settings))
    return Site(urlsplit(origin).hostname or "", origin, settings.trusted_proxies, settings.user_header)


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
