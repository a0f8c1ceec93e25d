"""Known slips in addresses and keys: what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

CORE_PATH, REPORT_PATH, REPORTS_HOST_PATH = "/api/v1", "/report/v1", "/v1"
GLOBAL_CORE, GLOBAL_REPORTS = "https://api.clockify.me/api/v1", "https://reports.api.clockify.me/v1"
REPORTS_HOST = "reports.api.clockify.me"
PAGES = ("app.clockify.me", "clockify.me", "www.clockify.me", "app.cake.com", "cake.com")
"""Where people use Clockify in a browser."""
DOCUMENTS = ("openapi.json", "openapi.yaml", "docs", "swagger")
JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")


def core_url(url: str) -> str:
    """What was probably meant by this address of Clockify's API; "" when it looks right."""
    host, base = _host(url), _base(url)
    if host in (*PAGES, REPORTS_HOST):
        meant = GLOBAL_CORE
    else:
        meant = base + re.sub(r"(/api(/v\d+)?|/reports?(/v\d+)?|/v\d+)(/.*)?$", "", _path(url)) + CORE_PATH
    return "" if meant == url else meant


def reports_url(url: str, core: str) -> str:
    """What was probably meant by this address of Clockify's reports API, beside that core API; "" when it looks right."""
    host, core_host = _host(url), _host(core)
    if host in (REPORTS_HOST, "api.clockify.me", *PAGES):
        meant = GLOBAL_REPORTS if core_host in ("api.clockify.me", *PAGES, REPORTS_HOST) else _beside(core)
    else:
        meant = _base(url) + re.sub(r"(/api(/v\d+)?|/reports?(/v\d+)?|/v\d+)(/.*)?$", "", _path(url)) + REPORT_PATH
    if meant == url and core_host != host:
        meant = _beside(core)
    return "" if meant == url else meant


def snapshots_url(url: str, entities: Iterable[str]) -> str:
    """What was probably meant by this address of a Snapshots API; "" when nothing can be said."""
    cut = url
    while (last := _path(cut).rpartition("/")[2]) and (last in DOCUMENTS or last in set(entities)):
        cut = cut.rpartition("/")[0]
    return "" if cut == url else cut


def did_you_mean(url: str) -> str:
    """The sentence that suggests an address."""
    return f"Did you mean {url}?" if url else ""


def wrong_key(key: str, other: str, *, remote: bool) -> str:
    """What kind of key this is instead of the right one, as far as its form shows; the key is not shown."""
    if key and key == other:
        return "The same key is set for both systems."
    if JWT.match(key):
        return "It has the form of a token (a JWT) of an add-on or a browser session, not of an API key."
    if key.lower().startswith(("bearer ", "basic ")):
        return "It begins with a word that belongs to the header, not to the key."
    if key.startswith("sandbox-") and remote:
        return "It is a key of the sandbox."
    if key[:1] in "\"'`<" or key[-1:] in "\"'`>":
        return "It is set between quotes or brackets that are not part of it."
    return ""


def _beside(core: str) -> str:
    """The reports address that belongs to a core address; only the global ones are on two hosts."""
    return GLOBAL_REPORTS if core == GLOBAL_CORE else core.removesuffix(CORE_PATH) + REPORT_PATH


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _path(url: str) -> str:
    return urlsplit(url).path.rstrip("/")


def _base(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
