"""The first request to a system answers three questions: does anything answer, is it this API, does it take the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sync_pipeline.connectors.error_category import ErrorCategory, categorize, meaning
from sync_pipeline.diagnose.finding import Finding, fail, fine, refused
from sync_pipeline.diagnose.url_hints import did_you_mean
from sync_pipeline.errors import ApiError, SyncError

WRONG_ADDRESS = "The address is not that of this API: something else answers there."


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
    """What it means when nothing else can be said about a key."""
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
