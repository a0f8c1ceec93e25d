"""Who is signed in, until they sign out or do nothing for a while.

On one machine sessions are in memory, and end with the process. Behind a proxy they are in the database, where any instance
finds them: what a request changed is kept when it has been answered.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from sync_pipeline.connectors.preparation import SubAccount
from sync_pipeline.console.roles import Role
from sync_pipeline.setup.clockify import ClockifyAccount, ClockifyForm
from sync_pipeline.setup.consent import Consent
from sync_pipeline.setup.snapshots import SnapshotsForm
from sync_pipeline.store import browser_sessions
from sync_pipeline.store.engine import Store

IDLE_SECONDS = 2 * 3600.0
CONSENT = "consent"
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
    accounts: tuple[SubAccount, ...]


@dataclass(slots=True)
class BrowserSession:
    """One signed-in browser. What it keeps between two pages - a key just typed, even - stays on this side."""

    id: str = field(default_factory=lambda: secrets.token_hex(4))
    """Its name in the audit trail; no one can sign in with it."""
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    role: Role = "admin"
    user: str = ""
    """Whom the proxy named when it began; each later request has to come from the same one."""
    by_link: bool = True
    """Whether a link gave it its role; otherwise it is the user's."""
    refused: set[str] = field(default_factory=set)
    """The addresses it was refused, each noted once in the audit trail."""
    seen_at: float = 0.0
    notices: list[str] = field(default_factory=list)
    looked_at: LookedAt | None = None
    accounts: AccountsLookedAt | None = None
    asked: dict[str, Consent] = field(default_factory=dict, repr=False)

    def may_post(self, token: str) -> bool:
        """Whether a form is one of this session's own."""
        return hmac.compare_digest(self.csrf.encode(), token.encode("utf-8", "replace"))

    def ask(self, consent: Consent) -> None:
        """Store a consent, so that its answer will be accepted."""
        self.asked[consent.state] = consent
        for state in list(self.asked)[:-MOST_CONSENTS]:
            del self.asked[state]


class Sessions(Protocol):
    """Every session, by the value of its cookie, which is written nowhere else."""

    def open(self, browser: BrowserSession) -> str:
        """Sign a browser in; returns its cookie."""

    def find(self, cookie: str, *, counts_as_use: bool = True) -> BrowserSession | None:
        """The session of a cookie; a page that looks for news by itself keeps none alive."""

    def keep(self, browser: BrowserSession) -> None:
        """Keep what a request has changed."""

    def ask(self, browser: BrowserSession, consent: Consent) -> None:
        """Store a consent, so that its answer will be accepted."""

    def keep_answer(self, answer: Mapping[str, str]) -> bool:
        """Keep what a browser brought back from a consent page for the session that asked; whether there is one.

        The first answer counts; the browser need not be that session's.
        """

    def answered(self, browser: BrowserSession, state: str) -> tuple[Consent, Mapping[str, str]] | None:
        """The consent with this state and its answer; None without an answer. Each can be taken once."""

    def close(self, cookie: str) -> None:
        """Sign out."""


class SessionsInMemory:
    """Those of one process."""

    def __init__(self, clock: Callable[[], float], idle: float = IDLE_SECONDS) -> None:
        self._clock, self._idle = clock, idle
        self._members: dict[str, BrowserSession] = {}
        self._answers: dict[str, Mapping[str, str]] = {}
        self._lock = Lock()

    def open(self, browser: BrowserSession) -> str:
        """Sign a browser in; returns its cookie."""
        cookie = new_cookie()
        with self._lock:
            self._forget_idle()
            browser.seen_at = self._clock()
            self._members[cookie] = browser
        return cookie

    def find(self, cookie: str, *, counts_as_use: bool = True) -> BrowserSession | None:
        """The session of a cookie; a page that looks for news by itself keeps none alive."""
        with self._lock:
            self._forget_idle()
            browser = self._members.get(cookie)
            if browser is not None and counts_as_use:
                browser.seen_at = self._clock()
            return browser

    def keep(self, browser: BrowserSession) -> None:
        """Nothing to do: what was changed is the session itself."""

    def ask(self, browser: BrowserSession, consent: Consent) -> None:
        """Store a consent, so that its answer will be accepted."""
        with self._lock:
            browser.ask(consent)

    def keep_answer(self, answer: Mapping[str, str]) -> bool:
        """Keep an answer for the session that asked."""
        state = answer.get("state", "")
        with self._lock:
            self._forget_idle()
            is_asked = any(state in browser.asked for browser in self._members.values())
            if is_asked:
                self._answers.setdefault(state, answer)
            return is_asked

    def answered(self, browser: BrowserSession, state: str) -> tuple[Consent, Mapping[str, str]] | None:
        """What was asked and what came back, once."""
        with self._lock:
            if state not in browser.asked or state not in self._answers:
                return None
            return browser.asked.pop(state), self._answers.pop(state)

    def close(self, cookie: str) -> None:
        """Sign out."""
        with self._lock:
            self._members.pop(cookie, None)

    def _forget_idle(self) -> None:
        oldest = self._clock() - self._idle
        self._members = {cookie: browser for cookie, browser in self._members.items() if browser.seen_at > oldest}
        asked = {state for browser in self._members.values() for state in browser.asked}
        self._answers = {state: answer for state, answer in self._answers.items() if state in asked}


@dataclass(slots=True)
class _StoredSession(BrowserSession):
    """A session as one request sees it."""

    cookie: str = field(default="", repr=False)
    before: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What it kept when the request began."""


@dataclass(frozen=True, slots=True)
class StoredSessions:
    """Those of all instances that share a database."""

    store: Callable[[], AbstractContextManager[Store]]
    clock: Callable[[], float]
    idle: float = IDLE_SECONDS

    def open(self, browser: BrowserSession) -> str:
        """Sign a browser in; returns its cookie."""
        cookie = new_cookie()
        with self.store() as store:
            browser_sessions.open_session(
                store, cookie, _KEPT.dump_python(browser, mode="json"), self._now(), self._idle
            )
        return cookie

    def find(self, cookie: str, *, counts_as_use: bool = True) -> BrowserSession | None:
        """The session of a cookie; a page that looks for news by itself keeps none alive."""
        if not cookie:
            return None
        now = self._now()
        with self.store() as store:
            found = browser_sessions.find_session(store, cookie, now, self._idle)
            if found is not None and counts_as_use:
                browser_sessions.note_use(store, cookie, found.seen_at, now)
        if found is None:
            return None
        try:
            kept = _KEPT.validate_python(found.state)
        except ValidationError:  # another version has kept it, in another form
            return None
        named = {each.name: getattr(kept, each.name) for each in fields(kept)}
        return _StoredSession(**named, cookie=cookie, before=found.state)

    def keep(self, browser: BrowserSession) -> None:
        """Keep what a request has changed."""
        assert isinstance(browser, _StoredSession)  # noqa: S101  # from ``find``
        now = _KEPT.dump_python(browser, mode="json")
        changes = {name: value for name, value in now.items() if value != browser.before.get(name)}
        if changes:
            with self.store() as store:
                browser_sessions.keep_changes(store, browser.cookie, changes)

    def ask(self, browser: BrowserSession, consent: Consent) -> None:
        """Store a consent, so that its answer will be accepted."""
        browser.ask(consent)
        with self.store() as store:
            browser_sessions.issue(store, CONSENT, consent.state, self._now(), self._now() + self._idle)

    def keep_answer(self, answer: Mapping[str, str]) -> bool:
        """Keep an answer for the session that asked."""
        with self.store() as store:
            return browser_sessions.answer(store, CONSENT, answer.get("state", ""), dict(answer), self._now())

    def answered(self, browser: BrowserSession, state: str) -> tuple[Consent, Mapping[str, str]] | None:
        """What was asked and what came back, once."""
        if state not in browser.asked:
            return None
        with self.store() as store:
            answer = browser_sessions.answered(store, CONSENT, state, self._now())
        return None if answer is None else (browser.asked.pop(state), answer)

    def close(self, cookie: str) -> None:
        """Sign out."""
        with self.store() as store:
            browser_sessions.close_session(store, cookie)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    @property
    def _idle(self) -> timedelta:
        return timedelta(seconds=self.idle)


def new_cookie() -> str:
    """A value that cannot be guessed."""
    return secrets.token_urlsafe(32)


_KEPT = TypeAdapter(BrowserSession)
"""A session as JSON and back."""
