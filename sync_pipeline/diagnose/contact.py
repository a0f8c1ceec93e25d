"""The first request to a system answers whether anything answers, whether it is this API, and whether it takes the key; and hints if not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sync_pipeline.connectors.error_category import ErrorCategory, categorize, meaning
from sync_pipeline.diagnose.finding import Finding, fail, fine, refused
from sync_pipeline.errors import ApiError, SyncError

WRONG_ADDRESS = "The address is not that of this API: something else answers there."
CORE_PATH, REPORT_PATH = "/api/v1", "/report/v1"
GLOBAL_CORE, GLOBAL_REPORTS = "https://api.clockify.me/api/v1", "https://reports.api.clockify.me/v1"
REPORTS_HOST = "reports.api.clockify.me"
PAGES = ("app.clockify.me", "clockify.me", "www.clockify.me", "app.cake.com", "cake.com")
"""Where people use Clockify in a browser."""
DOCUMENTS = ("openapi.json", "openapi.yaml", "docs", "swagger")
JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")


@dataclass(slots=True)
class Contact:
    """One request, sent when the first question is asked."""

    ask: Callable[[], Any]
    base_url: str
    setting: str
    """What holds the base URL."""
    is_theirs: Callable[[ApiError], bool]
    """Whether a refusal can be this API's."""
    suggest: Callable[[], str]
    """What address was probably meant."""
    wrong_key: Callable[[], str]
    """What kind of key it is instead of the right one."""
    otherwise: str = ""
    """What it means when nothing more is known about a key."""
    codes: frozenset[str] = frozenset()
    """Codes that only this API gives: it says one, so it is this API, whatever it refuses."""
    fixes: Mapping[str, str] = field(default_factory=dict)
    """Code of a refusal -> what to do about it beyond what the error says."""
    answer: Any = None
    error: SyncError | None = None

    def look_at_address(self) -> Finding:
        """Whether anything answers."""
        try:
            self.answer = self.ask()
        except SyncError as error:
            self.error = error
            if categorize(error) is ErrorCategory.BUSY or not isinstance(error, ApiError):  # nothing was asked
                raise
        if self._is(ErrorCategory.AWAY) and self.error:
            return refused(self.error)
        return fine(f"{self.base_url} answers")

    def look_at_api(self) -> Finding:
        """Whether it is this API."""
        error = self.error
        if self._code in self.codes:
            return fine("it is this API")
        if isinstance(error, ApiError) and error.request.status == 404:
            # In other places a 404 is about a workspace or a record; here it is about the address.
            return fail(f"{error.request}: there is no such address.", WRONG_ADDRESS, self._where())
        if self._is(ErrorCategory.OTHER_API) and error:
            return refused(error, meaning(error) or WRONG_ADDRESS, hint=self._where(error))
        if isinstance(error, ApiError) and not self.is_theirs(error):
            return fail(
                error.message,
                "It does not refuse requests as this API does: another product answers there.",
                self._where(),
            )
        return fine("it is this API")

    def look_at_key(self) -> Finding:
        """Whether it takes the key."""
        if self.error is None or self._is(ErrorCategory.FORBIDDEN) or self._is(ErrorCategory.OTHER_API):
            return fine("accepted")
        means = ""
        if self._is(ErrorCategory.NOT_ACCEPTED):
            means = f"{meaning(self.error)} {self.wrong_key()}".strip() or self.otherwise
        return refused(self.error, means, hint=self.fixes.get(self._code, ""))

    def _where(self, error: SyncError | None = None) -> str:
        named = error is not None and self.setting in error.fix
        where = "" if named else f"Check {self.setting} ({self.base_url})."
        return f"{where} {did_you_mean(self.suggest())}".strip()

    @property
    def _code(self) -> str:
        return (self.error.request.code or "") if isinstance(self.error, ApiError) else ""

    def _is(self, trouble: ErrorCategory) -> bool:
        return self.error is not None and categorize(self.error) is trouble


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
    """What was probably meant by this address of a Snapshots API; "" if there is no hint."""
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
