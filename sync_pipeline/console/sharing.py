"""Signing in, and how the Dagster UI - another program of the same installation - asks which user sent a request.

It asks over a socket in a directory that only this user can open: one question a connection, a line of JSON each way.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any

from sync_pipeline.clock import unix_time
from sync_pipeline.console.roles import Role, may, role_named
from sync_pipeline.console.sessions import IDLE_SECONDS, BrowserSession, Sessions, SessionsInMemory, StoredSessions
from sync_pipeline.console.sign_in_links import Links, SignInLinks, StoredLinks
from sync_pipeline.store.engine import Store

LONGEST = 64 * 1024
"""Bytes of a question; cookies are most of it."""
SECONDS = 10.0


Opening = Callable[[], AbstractContextManager[Store]]


@dataclass
class SignIn:
    """Sign-in links, sessions and the name of their cookie, shared by all servers of one installation."""

    cookie: str
    """On one machine it contains the port of the server that sets it: cookies ignore ports, and no two installations may share one."""
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    clock: Callable[[], float] = unix_time
    idle_seconds: float = IDLE_SECONDS
    store: Opening | None = None
    """Where links and sessions are kept for all instances; None keeps them in this process."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """Of the users whom a trusted proxy names; ``*`` is any other."""

    def __post_init__(self) -> None:
        self.links: Links = SignInLinks(self.key, self.clock)
        self.sessions: Sessions = SessionsInMemory(self.clock, self.idle_seconds)
        if self.store is not None:
            self.links = StoredLinks(self.store, self.clock)
            self.sessions = StoredSessions(self.store, self.clock, self.idle_seconds)

    def browser(
        self, cookies: Mapping[str, str], user: str = "", *, counts_as_use: bool = True
    ) -> BrowserSession | None:
        """The browser session of these cookies; None if it is not signed in."""
        found = self.sessions.find(cookies.get(self.cookie, ""), counts_as_use=counts_as_use)
        if found is None or found.user != user:
            return None
        role = found.role if found.by_link else self.role_of(user)
        if role is not None:
            found.role = role
        return found if role is not None else None

    def role_of(self, user: str) -> Role | None:
        """The role of a user whom the proxy names; None for one who has none."""
        return self.roles.get(user, self.roles.get("*")) if user else None

    def begin(self, user: str) -> tuple[str, str] | None:
        """Name and value of the cookie of a new session, for a user whom the proxy names and who has a role."""
        role = self.role_of(user)
        return role and (self.cookie, self.sessions.open(BrowserSession(role=role, user=user, by_link=False)))

    def redeem(self, token: str, user: str = "") -> tuple[str, str] | None:
        """Name and value of the cookie of a new session, for a link that is good."""
        role = self.links.redeem(token)
        return (self.cookie, self.sessions.open(BrowserSession(role=role, user=user))) if role else None

    def role_at_ui(self, cookies: Mapping[str, str], user: str = "") -> Role | None:
        """The role at the Dagster UI, which is for everyone but those who may see the dashboard only."""
        browser = self.browser(cookies, user)
        role = browser.role if browser is not None else self.role_of(user)
        return role if role is not None and may(role, "viewer") else None

    def answer(self, asked: Mapping[str, Any]) -> Any:
        """The answer to a question of ``SharedSignIn``."""
        return self.redeem(str(asked["token"])) if "token" in asked else self.role_at_ui(dict(asked["cookies"]))


@contextmanager
def shared(sign_in: SignIn, place: Path) -> Iterator[Path]:
    """Answer other programs on a socket until the block ends; yields its path."""

    class Handler(StreamRequestHandler):
        timeout = SECONDS

        def handle(self) -> None:
            asked = json.loads(self.rfile.readline(LONGEST))
            self.wfile.write(json.dumps(sign_in.answer(asked)).encode() + b"\n")

    class Server(ThreadingUnixStreamServer):
        daemon_threads = True
        request_queue_size = 1024  # a full queue refuses immediately, and a page requests many files together

        def handle_error(self, request: object, client_address: object) -> None:
            """Send no answer to a malformed question: the client takes that for "not signed in"."""

    with Server(str(place), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield place
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True)
class SharedSignIn:
    """The client of ``shared``, for another program."""

    place: Path

    def is_member(self, cookies: Mapping[str, str]) -> bool:
        """Whether these cookies are a signed-in browser's."""
        return self.role_at_ui(cookies) is not None

    def role_at_ui(self, cookies: Mapping[str, str], user: str = "") -> Role | None:  # noqa: ARG002  # no proxy names one
        """The role of the signed-in browser that sends these cookies; None for any other."""
        return role_named(str(self._ask({"cookies": dict(cookies)}))) if cookies else None

    def redeem(self, token: str, user: str = "") -> tuple[str, str] | None:  # noqa: ARG002  # no proxy names one
        """Name and value of the cookie for a link; None when it is not good."""
        found = self._ask({"token": token})
        return None if not found else (found[0], found[1])

    def _ask(self, question: Mapping[str, Any]) -> Any:
        line = json.dumps(question).encode() + b"\n"
        if len(line) > LONGEST:
            return None
        try:
            with socket.socket(socket.AF_UNIX) as one, one.makefile("rwb") as stream:
                one.settimeout(SECONDS)
                one.connect(str(self.place))
                stream.write(line)
                stream.flush()
                return json.loads(stream.readline(LONGEST))
        except (OSError, ValueError):  # the server is starting or stopping
            return None
