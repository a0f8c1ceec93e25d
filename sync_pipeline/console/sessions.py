"""Who is signed in: sessions in memory, which end with the process, after a while without use, or by signing out."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from sync_pipeline.connectors.preparation import Account
from sync_pipeline.console.roles import Role
from sync_pipeline.setup.clockify import ClockifyAccount, ClockifyForm
from sync_pipeline.setup.consent import Consent
from sync_pipeline.setup.snapshots import SnapshotsForm

IDLE_SECONDS = 2 * 3600.0
MOST_CONSENTS = 8
"""Authorizations that may be under way in one session; the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A Clockify account that was looked at, and what it was found with: it is not connected before a workspace is chosen."""

    form: ClockifyForm = field(repr=False)
    account: ClockifyAccount | None
    """None where another one is wanted: of the form its secret is forgotten then."""


@dataclass(frozen=True, slots=True)
class AccountsLookedAt:
    """The accounts that a key on the Snapshots side is for, and what they were found with: one of them is connected then."""

    form: SnapshotsForm = field(repr=False)
    accounts: tuple[Account, ...]


@dataclass(slots=True)
class BrowserSession:
    """One signed-in browser. What it keeps between two pages - a key just typed, even - stays on this side."""

    id: str = field(default_factory=lambda: secrets.token_hex(4))
    """Its name in the audit trail; no one can sign in with it."""
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    role: Role = "admin"
    refused: set[str] = field(default_factory=set)
    """The addresses it was refused, each noted once in the audit trail."""
    seen_at: float = 0.0
    notices: list[str] = field(default_factory=list)
    looked_at: LookedAt | None = None
    accounts: AccountsLookedAt | None = None
    asked: dict[str, Consent] = field(default_factory=dict, repr=False)
    answers: dict[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """What a browser came back with, by state, until the session redeems it."""

    def may_post(self, token: str) -> bool:
        """Whether a form is one of this session's own."""
        return hmac.compare_digest(self.csrf.encode(), token.encode("utf-8", "replace"))

    def ask(self, consent: Consent) -> None:
        """Remember whose answer will be accepted."""
        self.asked[consent.state] = consent
        for state in list(self.asked)[:-MOST_CONSENTS]:
            del self.asked[state]
            self.answers.pop(state, None)

    def answered(self, state: str) -> tuple[Consent, Mapping[str, str]] | None:
        """What was asked with this state and what came back; None without an answer. Each is given out once."""
        answer = self.answers.pop(state, None)
        return None if answer is None else (self.asked.pop(state), answer)


class Sessions:
    """Every session, by the value of its cookie, which is written nowhere else."""

    def __init__(self, clock: Callable[[], float], idle: float = IDLE_SECONDS) -> None:
        self._clock, self._idle = clock, idle
        self._members: dict[str, BrowserSession] = {}
        self._lock = Lock()

    def open(self, role: Role = "admin") -> str:
        """Sign a browser in with a role; returns its cookie."""
        cookie = secrets.token_urlsafe(32)
        with self._lock:
            self._forget_idle()
            self._members[cookie] = BrowserSession(role=role, seen_at=self._clock())
        return cookie

    def find(self, cookie: str, *, counts_as_use: bool = True) -> BrowserSession | None:
        """The session of a cookie; a page that looks for news by itself keeps none alive."""
        with self._lock:
            self._forget_idle()
            browser = self._members.get(cookie)
            if browser is not None and counts_as_use:
                browser.seen_at = self._clock()
            return browser

    def keep_answer(self, answer: Mapping[str, str]) -> bool:
        """Keep what a browser brought back from a consent page for the session that asked; whether there is one.

        The first answer counts; the browser need not be that session's.
        """
        state = answer.get("state", "")
        with self._lock:
            self._forget_idle()
            for browser in self._members.values():
                if state in browser.asked:
                    browser.answers.setdefault(state, answer)
                    return True
        return False

    def close(self, cookie: str) -> None:
        """Sign out."""
        with self._lock:
            self._members.pop(cookie, None)

    def _forget_idle(self) -> None:
        oldest = self._clock() - self._idle
        self._members = {cookie: browser for cookie, browser in self._members.items() if browser.seen_at > oldest}
