"""What one client may cost a server, and that all of them together cannot keep another one out."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.sync.client import connect as ws_connect

from sync_pipeline.serving import ServerLimits, bounded_server, in_thread, listen, url_of
from sync_pipeline_tests.strangers import answer, connect, crowd, ends, swallowed

LARGE = 32 * 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
LIMITS = ServerLimits(connections=20, body_bytes=2_000_000)


@dataclass
class Served:
    """A running server, the clock it uses, and what its application knows."""

    url: str = ""
    seconds: float = 1000.0
    started: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    held: threading.Event = field(default_factory=threading.Event)

    def pass_(self, seconds: float) -> None:
        """Let time pass, once the server has read all that was sent until now: it answers in order."""
        assert self.visit() == 200
        self.seconds += seconds

    def visit(self, address: str = "127.0.0.1") -> int:
        """What an honest client gets."""
        with connect(self.url, GET, address=address) as honest:
            return answer(honest)

    async def small(self, _: Request) -> Response:
        """Answer without a look at the body."""
        return PlainTextResponse("ok")

    async def read(self, request: Request) -> Response:
        """Answer after the body."""
        self.started.release()
        return PlainTextResponse(str(len(await request.body())))

    async def large(self, _: Request) -> Response:
        """Answer much."""
        return PlainTextResponse("x" * LARGE)

    async def talk(self, socket: WebSocket) -> None:
        """Echo what is sent."""
        await socket.accept()
        async for said in socket.iter_text():
            await socket.send_text(said)

    async def flood(self, socket: WebSocket) -> None:
        """Send much."""
        await socket.accept()
        self.started.release()
        await socket.send_text("x" * LARGE)
        await socket.receive()

    async def pending(self, socket: WebSocket) -> None:
        """Neither accept nor refuse until the client disconnects."""
        await socket.receive()
        await socket.receive()

    async def refused(self, socket: WebSocket) -> None:
        """Refuse."""
        await socket.close()

    async def hold(self, _: Request) -> Response:
        """Answer when the test releases it."""
        self.started.release()
        await run_sync(self.held.wait)
        return PlainTextResponse("ok")


@contextmanager
def serving(limits: ServerLimits = LIMITS) -> Iterator[Served]:
    """A server with these limits."""
    served = Served()
    pages = {"/": served.small, "/read": served.read, "/large": served.large, "/hold": served.hold}
    routes = [Route(path, page, methods=["GET", "POST"]) for path, page in pages.items()]
    sockets = {"/talk": served.talk, "/flood": served.flood, "/pending": served.pending, "/refused": served.refused}
    app = Starlette(routes=[*routes, *(WebSocketRoute(path, talk) for path, talk in sockets.items())])
    listener = listen("127.0.0.1", 0, "The test cannot listen", "Try again.")
    served.url = url_of("127.0.0.1", listener)
    server = bounded_server(
        "test", app, limits, clock=lambda: served.seconds, websockets=True, timeout_graceful_shutdown=1
    )
    with in_thread(server, listener, "served"):
        try:
            yield served
        finally:
            served.held.set()


@pytest.fixture
def served() -> Iterator[Served]:
    """A server with room for 20 connections."""
    with serving() as one:
        yield one


@pytest.mark.parametrize("head", [b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX: "], ids=["path", "header"])
def test_a_head_without_end_is_refused(served: Served, head: bytes) -> None:
    """After 32 KB and what was under way; nothing of it stays in memory."""
    with connect(served.url, head) as opened:
        assert swallowed(opened, b"x" * 65536, 64 * 1024 * 1024) < 16 * 1024 * 1024
    with connect(served.url, head + b"x" * 40_000) as opened:
        assert answer(opened) == 400


def test_headers_without_number_are_refused(served: Served) -> None:
    """As many as fit into 32 KB."""
    with connect(served.url, b"GET / HTTP/1.1\r\n") as opened:
        assert swallowed(opened, b"a: b\r\n" * 10_000, 64 * 1024 * 1024) < 16 * 1024 * 1024


@pytest.mark.parametrize("said", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "a byte", "half"])
def test_a_head_that_takes_too_long_ends_its_connection(served: Served, said: bytes) -> None:
    """Ten seconds from the connection; another byte now and then does not prolong them."""
    with connect(served.url, said) as opened:
        served.pass_(6)
        opened.sendall(b"X")
        served.pass_(6)
        assert ends(opened)


def test_the_next_head_may_take_as_long_as_the_first(served: Served) -> None:
    """From its first byte."""
    with connect(served.url, GET) as opened:
        assert answer(opened) == 200
        served.pass_(60)
        opened.sendall(b"GET / HT")
        served.pass_(11)
        assert ends(opened)


def test_an_idle_connection_is_kept_and_then_closed(served: Served) -> None:
    """Proxies keep theirs between two requests."""
    with connect(served.url, GET) as opened:
        assert answer(opened) == 200
        served.pass_(74)
        opened.sendall(GET)
        assert answer(opened) == 200
        served.pass_(76)
        assert ends(opened)


def test_a_body_that_takes_too_long_ends_its_connection(served: Served) -> None:
    """However often a byte of it comes."""
    with connect(served.url, POST % b"read") as opened:
        assert served.started.acquire(timeout=15)
        served.pass_(20)
        opened.sendall(b"x")
        served.pass_(20)
        assert ends(opened)


def test_an_unwanted_body_is_not_read_for_long(served: Served) -> None:
    """Its request was answered before: the connection has as long as for a head."""
    with connect(served.url, POST % b"") as opened:
        assert answer(opened) == 200
        served.pass_(6)
        opened.sendall(b"x")
        served.pass_(6)
        assert ends(opened)


@pytest.mark.parametrize("path", [b"read", b""], ids=["read", "not wanted"])
def test_a_body_without_end_is_cut_off(served: Served, path: bytes) -> None:
    """Whether the application reads it or not."""
    head = b"POST /%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path
    with connect(served.url, head) as opened:
        assert swallowed(opened, b"10000\r\n" + b"x" * 65536 + b"\r\n", 256 * 1024 * 1024) < 64 * 1024 * 1024


def test_an_unread_answer_ends_its_connection(served: Served) -> None:
    """Its rest is not kept."""
    with connect(served.url, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n") as opened, connect(served.url) as other:
        assert opened.recv(1)
        served.pass_(61)
        assert ends(other)  # before anything more is read here
        received = 0
        try:
            while part := opened.recv(1 << 20):
                received += len(part)
        except ConnectionError:
            pass
        assert received < LARGE


@pytest.mark.parametrize(
    "said",
    [b"", b"GET / HTTP/1.1\r\n", GET, POST % b"", POST % b"read"],
    ids=["silent", "slow", "idle", "refused", "unfinished"],
)
def test_the_one_that_waits_longest_for_nothing_makes_room(served: Served, said: bytes) -> None:
    """All from one address, as behind a proxy: five times as many as there may be, and an honest request is answered."""
    with crowd(served.url, 100, said) as strangers:
        assert served.visit() == 200
        assert ends(strangers[0])
        assert served.visit() == 200


def test_a_request_that_arrived_is_worked_for(served: Served) -> None:
    """It is not the one that makes room, though it is the oldest."""
    with connect(served.url, b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n") as patient:
        assert served.started.acquire(timeout=15)
        with crowd(served.url, 100) as strangers:
            assert ends(strangers[0])
            served.held.set()
            assert answer(patient) == 200


def test_while_all_are_worked_for_there_is_no_room(served: Served) -> None:
    """The next one is turned away, and may come back when one is done."""
    with crowd(served.url, 20, b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n") as patient:
        for _ in patient:
            assert served.started.acquire(timeout=15)
        assert served.visit() == 0
        served.held.set()
        assert [answer(one) for one in patient] == [200] * 20
        assert served.visit() == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only there every 127.x.x.x is this machine")
def test_an_address_with_many_connections_makes_room_for_others(served: Served) -> None:
    """One with a slow line keeps its connection, though it waits longest."""
    with connect(served.url, b"GET / HTTP/1.1\r\nHo", address="127.0.0.2") as slow, crowd(served.url, 100):
        assert served.visit() == 200
        slow.sendall(b"st: x\r\n\r\n")
        assert answer(slow) == 200


NO_HTTP = {
    "noise": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a bad chunk": b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a bad chunk after the answer": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    "noise after a request": GET + b"\x16\x03\x01\r\n\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\xff\xff",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
}


@pytest.mark.parametrize("said", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_fills_no_log(served: Served, said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A line for each would be a stranger's way to fill the disk."""
    logging.getLogger("uvicorn.error").propagate = True
    with connect(served.url, said) as opened:
        opened.recv(1)
        opened.sendall(b"zz\r\n" * 10)
        served.pass_(100)
        assert ends(opened)
    assert served.visit() == 200
    assert [one for one in caplog.records if one.name.startswith(("uvicorn", "asyncio"))] == []


def test_that_there_are_too_many_is_said_once(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Not for each of them."""
    with crowd(served.url, 100):
        assert served.visit() == 200
    with crowd(served.url, 100):
        assert served.visit() == 200

    assert [one.getMessage() for one in caplog.records] == [
        "The test has more than 20 connections: those that have waited longest for their client are closed. "
        "If this continues, limit connections with a proxy in front of it."
    ]


def test_requests_one_after_another_are_answered_in_order(served: Served) -> None:
    """Also when they arrive together."""
    with connect(served.url, GET * 50) as opened, ExitStack() as held:
        file = held.enter_context(opened.makefile("rb"))
        answers = 0
        while answers < 50:
            answers += b"HTTP/1.1 200" in file.readline()
        assert answers == 50


def test_a_websocket_stays_open(served: Served) -> None:
    """It is a conversation: what it waits for is the application's matter, and strangers do not take its place."""
    with ws_connect(served.url.replace("http", "ws") + "/talk") as socket:
        socket.send("a")
        assert socket.recv(timeout=15) == "a"
        with crowd(served.url, 100) as strangers:
            assert ends(strangers[0])
        served.pass_(1000)
        socket.send("b")
        assert socket.recv(timeout=15) == "b"


UPGRADE = b"%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
HANDSHAKE = UPGRADE % b"GET /pending" + KEY + VERSION
NO_HANDSHAKE = {
    "a length": UPGRADE % b"GET /talk" + KEY + VERSION + b"Content-Length: 100000\r\n",
    "chunks": UPGRADE % b"GET /talk" + KEY + VERSION + b"Transfer-Encoding: chunked\r\n",
    "a POST": UPGRADE % b"POST /talk" + KEY + VERSION,
    "a POST with chunks": UPGRADE % b"POST /talk" + b"Transfer-Encoding: chunked\r\n",
    "no key": UPGRADE % b"GET /talk" + VERSION,
    "no version": UPGRADE % b"GET /talk" + KEY,
    "another version": UPGRADE % b"GET /talk" + KEY + b"Sec-WebSocket-Version: 99\r\n",
}


@pytest.mark.parametrize("said", NO_HANDSHAKE.values(), ids=NO_HANDSHAKE.keys())
def test_what_opens_no_websocket_is_refused(served: Served, said: bytes) -> None:
    """With 400 and without waiting for a body, also after an earlier request on the same connection."""
    for first in (b"", GET):
        with connect(served.url, first) as opened:
            assert not first or answer(opened) == 200
            opened.sendall(said + b"\r\n")
            assert answer(opened) == 400
            assert ends(opened)


def test_a_websocket_without_body_by_length_is_opened(served: Served) -> None:
    """Some programs send a length of zero."""
    with connect(served.url, UPGRADE % b"GET /talk" + KEY + VERSION + b"Content-Length: 0\r\n\r\n") as opened:
        assert answer(opened) == 101


TOO_LONG = HANDSHAKE + b"X: " + b"x" * 20_000 + b"\r\n"
"""Valid HTTP, but more than the WebSocket library reads; it then waits."""


@pytest.mark.parametrize("said", [HANDSHAKE, TOO_LONG], ids=["pending", "too long"])
def test_a_handshake_that_takes_too_long_ends_its_connection(served: Served, said: bytes) -> None:
    """Ten seconds for the application to accept or refuse it."""
    with connect(served.url, said + b"\r\n") as opened:
        served.pass_(6)
        opened.sendall(b"x")
        served.pass_(6)
        assert ends(opened)


@pytest.mark.parametrize("said", [HANDSHAKE, TOO_LONG], ids=["pending", "too long"])
def test_pending_handshakes_are_counted(served: Served, said: bytes) -> None:
    """The oldest makes room: an honest request is answered, and an honest WebSocket opened."""
    with crowd(served.url, 100, said + b"\r\n") as strangers:
        assert ends(strangers[0])
        assert served.visit() == 200
        with ws_connect(served.url.replace("http", "ws") + "/talk") as socket:
            socket.send("a")
            assert socket.recv(timeout=15) == "a"


def test_a_refused_websocket_is_closed(served: Served) -> None:
    """Its client does nothing for that."""
    with crowd(served.url, 100, UPGRADE % b"GET /refused" + KEY + VERSION + b"\r\n") as strangers:
        assert [answer(one) for one in strangers] == [403] * 100
        assert all(ends(one) for one in strangers)


def test_open_websockets_are_half_of_the_connections(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Further ones are closed, until one of the open ones ends; requests are answered all the time."""
    talk = UPGRADE % b"GET /talk" + KEY + VERSION + b"\r\n"
    with ExitStack() as held:
        opened = [held.enter_context(connect(served.url, talk)) for _ in range(10)]
        assert [answer(one) for one in opened] == [101] * 10
        with connect(served.url, talk) as further:
            assert answer(further) == 0
        assert served.visit() == 200
        opened[0].sendall(b"\x88\x80abcd")  # a closing frame
        assert ends(opened[0])
        with connect(served.url, talk) as further:
            assert answer(further) == 101
    assert [one.getMessage() for one in caplog.records] == [
        "The test has 10 open WebSockets, the most it allows, and refuses more. Close browser tabs that show it."
    ]


def test_an_unread_websocket_is_closed(served: Served) -> None:
    """After the time a client may take to read an answer."""
    flood = UPGRADE % b"GET /flood" + KEY + VERSION + b"\r\n"
    with connect(served.url, flood) as opened, connect(served.url) as other:
        assert opened.recv(1)
        assert served.started.acquire(timeout=15)
        served.pass_(61)
        assert ends(other)  # before anything more is read here
        received = 0
        try:
            while part := opened.recv(1 << 20):
                received += len(part)
        except ConnectionError:
            pass
        assert received < LARGE


def test_fewer_open_files_mean_fewer_connections() -> None:
    """In proportion: the rest of the process needs its files, too."""
    code = (
        "import resource; from sync_pipeline.serving import ServerLimits;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]));"
        "print(ServerLimits(connections=512).within_open_files().connections)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "128\n"
