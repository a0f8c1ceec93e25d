"""Who is signed in: sessions in memory, which end with the process, after a while without use, or by signing out."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from sync_pipeline.setup.accounts import ClockifyAccount, ClockifyForm, Consent

IDLE_SECONDS = 2 * 3600.0
MOST_CONSENTS = 8
"""Authorizations that may be under way in one session; the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A Clockify account that was looked at, and what it was found with: it is not connected before a workspace is chosen."""

    form: ClockifyForm = field(repr=False)
    account: ClockifyAccount


@dataclass(slots=True)
class Member:
    """One signed-in browser. What it keeps between two pages - a key just typed, even - stays on this side."""

    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    seen_at: float = 0.0
    notices: list[str] = field(default_factory=list)
    looked_at: LookedAt | None = None
    asked: dict[str, Consent] = field(default_factory=dict, repr=False)

    def may_post(self, token: str) -> bool:
        """Whether a form is one of this session's own."""
        return hmac.compare_digest(self.csrf.encode(), token.encode("utf-8", "replace"))

    def ask(self, consent: Consent) -> None:
        """Remember whose answer will be accepted."""
        self.asked[consent.state] = consent
        for state in list(self.asked)[:-MOST_CONSENTS]:
            del self.asked[state]

    def answered(self, state: str) -> Consent | None:
        """What was asked with this state; an answer is accepted once."""
        return self.asked.pop(state, None)


class Sessions:
    """Every session, by the value of its cookie, which is written nowhere else."""

    def __init__(self, clock: Callable[[], float], idle: float = IDLE_SECONDS) -> None:
        self._clock, self._idle = clock, idle
        self._members: dict[str, Member] = {}

    def open(self) -> str:
        """Sign a browser in; returns its cookie."""
        self._forget_idle()
        cookie = secrets.token_urlsafe(32)
        self._members[cookie] = Member(seen_at=self._clock())
        return cookie

    def find(self, cookie: str, *, counts_as_use: bool = True) -> Member | None:
        """The session of a cookie; a page that looks for news by itself keeps none alive."""
        self._forget_idle()
        member = self._members.get(cookie)
        if member is not None and counts_as_use:
            member.seen_at = self._clock()
        return member

    def close(self, cookie: str) -> None:
        """Sign out."""
        self._members.pop(cookie, None)

    def _forget_idle(self) -> None:
        oldest = self._clock() - self._idle
        self._members = {cookie: member for cookie, member in self._members.items() if member.seen_at > oldest}
