"""How another program of the installation asks whose browser a request is from."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sync_pipeline.console.sessions import IDLE_SECONDS, BrowserSession
from sync_pipeline.console.sharing import LONGEST, SharedSignIn, SignIn, shared
from sync_pipeline_tests.console.browsing import Time

COOKIE = "sync_console_8770"


@pytest.fixture
def time() -> Time:
    """The clock of the sessions."""
    return Time()


@pytest.fixture
def sign_in(time: Time) -> SignIn:
    """Who is signed in."""
    return SignIn(COOKIE, clock=time)


@pytest.fixture
def other(sign_in: SignIn) -> Iterator[SharedSignIn]:
    """The other program's end."""
    with TemporaryDirectory() as place, shared(sign_in, Path(place) / "s") as at:
        yield SharedSignIn(at)


def test_a_link_is_redeemed_once_wherever(sign_in: SignIn, other: SharedSignIn, time: Time) -> None:
    """The session is the same for both, and ends for both: by signing out, or by itself."""
    token = sign_in.links.issue()
    found = other.redeem(token)
    assert found is not None
    name, value = found
    assert name == COOKIE
    assert other.redeem(token) is None
    assert sign_in.redeem(token) is None
    assert other.is_member({name: value, "another": "x"})
    time.at += IDLE_SECONDS - 1
    assert other.is_member({name: value})  # which counts as use
    time.at += IDLE_SECONDS - 1
    assert sign_in.browser({name: value}) is not None
    sign_in.sessions.close(value)
    assert not other.is_member({name: value})


@pytest.mark.parametrize(
    "cookies", [{}, {COOKIE: ""}, {COOKIE: "guessed"}, {"x": "y"}, {COOKIE: "x" * LONGEST}], ids=len
)
def test_no_one_else_is_signed_in(sign_in: SignIn, other: SharedSignIn, cookies: dict[str, str]) -> None:
    """Whatever cookies a request has."""
    sign_in.sessions.open(BrowserSession())
    assert not other.is_member(cookies)


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"{}\n", b"[1]\n", b"\xff\n", b'{"cookies": 1}\n', b"x" * (LONGEST + 1)], ids=len
)
def test_a_question_that_makes_no_sense_is_not_answered(sign_in: SignIn, other: SharedSignIn, line: bytes) -> None:
    """The next one is."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(other.place))
        one.sendall(line)
        one.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # it hung up before it had read all
            assert one.recv(100) == b""
    assert other.is_member({COOKIE: sign_in.sessions.open(BrowserSession())})


def test_when_the_console_has_ended_no_one_is_signed_in(sign_in: SignIn) -> None:
    """The UI that is still there shows nothing."""
    with TemporaryDirectory() as place:
        with shared(sign_in, Path(place) / "s") as at:
            cookies = {COOKIE: sign_in.sessions.open(BrowserSession())}
            assert SharedSignIn(at).is_member(cookies)
        assert not SharedSignIn(at).is_member(cookies)
        assert SharedSignIn(at).redeem(sign_in.links.issue()) is None


def test_many_ask_in_parallel(sign_in: SignIn, other: SharedSignIn) -> None:
    """A page of the UI asks for dozens of files: no session is lost, no link is redeemed twice."""
    token = sign_in.links.issue()
    cookies = [{COOKIE: sign_in.sessions.open(BrowserSession())} for _ in range(50)]
    with ThreadPoolExecutor(16) as pool:
        redeemed = [pool.submit(other.redeem, token) for _ in range(50)]
        members = list(pool.map(other.is_member, cookies))
    assert all(members)
    assert sum(one.result() is not None for one in redeemed) == 1
