"""What every server of ours keeps: limits for its clients, and nothing for pages of other sites.

Limits: uvicorn has none for the time a request takes and none for connections that send nothing. Here each connection is
known by what it waits for. If there are too many, the one that has waited longest for its client is closed: first
those without a request, of the address that has most of them, then those with an incomplete request. A request that has
arrived is never closed, so silent clients cannot keep an honest one out, even when all share the address of one proxy.
uvicorn hands a WebSocket to another protocol. Its connection is still counted: it is timed until the application accepts
it, and at most half of the allowed connections may be open WebSockets.

Pages of other sites: such a page can make a browser send requests to any address, by DNS rebinding even under a name of its
own. It cannot choose the Host of an address that is ours, the Origin it is sent from, or ``Sec-Fetch-Site``. Programs send
neither of the last two.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import urlsplit

import h11
import uvicorn
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sync_pipeline.errors import ConfigError
from sync_pipeline.setting_types import is_loopback

log = logging.getLogger(__name__)
Server = uvicorn.Server

USUAL_FILES = 1024
"""How many files most systems let a process open; the limits below are for that many."""
WAITING = 1024
"""Connections that may wait to be accepted: a burst is not turned away."""
SWEEP_SECONDS = 0.25
WARN_SECONDS = 60.0
READ_ONLY = "sync_pipeline.read_only"
"""The key of a request's scope by which an application knows that the person may only read."""
READING = ("GET", "HEAD")
WRONG_HOST = "This server answers at localhost or an IP address, not under another name."
FOREIGN = "A page of another site sent this; nothing was done."
NO_HANDSHAKE = "A WebSocket is opened by GET with Sec-WebSocket-Key, Sec-WebSocket-Version and no body."
HANDSHAKE_HEADERS = frozenset({b"sec-websocket-key", b"sec-websocket-version"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What the clients of one server may cost."""

    connections: int = 128
    head_bytes: int = 32 * 1024
    """Of request line and headers; more is answered with 400."""
    head_seconds: float = 10.0
    """From the connection, or the first byte of a later request, to the end of its headers; and for a WebSocket from there
    to its acceptance."""
    body_bytes: int = 2 * 1024 * 1024
    """Read of a body at all, also of one that is thrown away since its request was answered before its end."""
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    """How long a client may take to read an answer."""
    idle_seconds: float = 75.0
    """Between two requests."""

    @property
    def accepted_at_once(self) -> int:
        """How many more may be open until the event loop closes the excess."""
        return max(8, self.connections // 8)

    @property
    def websockets(self) -> int:
        """How many WebSockets may be open."""
        return self.connections // 2

    def within_open_files(self) -> ServerLimits:
        """With fewer connections where this process may open fewer files than usual."""
        files = _open_files()
        return replace(self, connections=max(8, min(self.connections, self.connections * files // USUAL_FILES)))


class _Phase(Enum):
    """What a connection waits for."""

    HEAD = auto()
    BODY = auto()
    WORK = auto()
    """The application."""
    ANSWER = auto()
    """The client, who does not read the answer."""
    REST = auto()
    """The rest of a body after its request was answered."""
    IDLE = auto()
    HANDSHAKE = auto()
    """The application, which has not accepted the WebSocket yet."""
    WEBSOCKET = auto()
    """Nothing: an open WebSocket is the application's."""


WITHOUT_REQUEST = frozenset({_Phase.HEAD, _Phase.REST, _Phase.IDLE})


class AskedToEnd(KeyboardInterrupt):
    """``kill``, or the terminal was closed: the process ends in the same order as with Ctrl-C."""


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_when_asked() -> None:
    """Let Ctrl-C, ``kill`` and a closed terminal end this process in order, which ends what it started."""
    for number in ENDING:
        signal.signal(number, _end)


def _end(number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt if number == signal.SIGINT else AskedToEnd


def bounded_server(
    name: str,
    app: ASGIApp,
    limits: ServerLimits,
    *,
    clock: Callable[[], float] = time.monotonic,
    websockets: bool = False,
    **options: Any,
) -> Server:
    """A server for ``app``, with ``name`` in the log; ``options`` are uvicorn's."""
    limits = limits.within_open_files()
    connections = _Connections(name, limits, clock)

    def protocol(**arguments: Any) -> _Connection:
        return _Connection(connections, **arguments)

    async def quietly(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientDisconnect):  # uvicorn would log each with its stack
            await app(scope, receive, send)

    config = uvicorn.Config(
        quietly,
        http=protocol,  # type: ignore[arg-type]  # it is only called
        ws="auto" if websockets else "none",
        log_level="error",  # it warns of each request that is not HTTP, so anyone could fill the disk
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=limits.head_bytes,
        timeout_keep_alive=int(limits.idle_seconds),
        backlog=limits.accepted_at_once,  # asyncio takes this for both, but see _BoundedServer
        **options,
    )
    return _BoundedServer(config)


def listen(host: str, port: int, failure: str, fix: str) -> socket.socket:
    """A socket that listens; port 0 lets the system choose. ConfigError begins with ``failure``."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{failure} on {host} port {port}: {error.strerror}.", fix=fix) from error
    return listener


def url_of(host: str, listener: socket.socket) -> str:
    """The address of what listens on ``host``."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


@contextmanager
def in_thread(server: Server, listener: socket.socket, name: str) -> Iterator[None]:
    """Run a server in a thread of this process for as long as the block lasts."""
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name=name, daemon=True)
    thread.start()
    try:
        yield  # the socket listens already: the first request waits in its backlog until the server accepts
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()


def name_of(host: str) -> str:
    """The name or address in a Host header, without the port; "" when it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        is_plain = parts.netloc == host and parts.username is None and parts.port != 0
        return (parts.hostname or "") if is_plain else ""
    except ValueError:
        return ""


def is_local(host: str) -> bool:
    """Whether a Host header is one that no foreign DNS can provide: localhost, or an IP address."""
    name = name_of(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_foreign(method: str, headers: Headers, *, own: str = "") -> bool:
    """Whether a page of another origin than ``own`` made a browser send this; without one, of what it takes this server for.

    A link that a person follows is not foreign.
    """
    own = own or f"http://{headers.get('host', '')}"
    if headers.get("origin", own) != own:
        return True
    site = headers.get("sec-fetch-site", "same-origin")
    if site == "same-origin":
        return False
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return method not in READING or not (site == "none" or is_link)


class LocalOnly:
    """Wraps an application that its own pages and programs may ask, but no page of another site.

    Paths that begin with one of ``public`` are not looked at; those of ``any_host`` may be asked for by any name. A name is
    compared only on connections to loopback: where the server listens elsewhere, its operator has given it names.
    """

    def __init__(self, app: ASGIApp, *, public: tuple[str, ...] = (), any_host: tuple[str, ...] = ()) -> None:
        self._app, self._public, self._any_host = app, public, any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        app = self._app
        if scope["type"] == "http" and not scope["path"].startswith(self._public):
            headers = Headers(scope=scope)
            if _is_on_loopback(scope) and not (
                scope["path"].startswith(self._any_host) or is_local(headers.get("host", ""))
            ):
                app = JSONResponse({"error": WRONG_HOST}, 421)
            elif is_foreign(scope["method"], headers):
                app = JSONResponse({"error": FOREIGN}, 403)
        await app(scope, receive, send)


class _BoundedServer(Server):
    """Checks ten times as often whether it should stop, and has a longer queue of waiting clients than uvicorn's default."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(WAITING)

    async def main_loop(self) -> None:
        """Serve until stopped."""
        ticks = 0
        while not await self.on_tick(ticks // 10):
            ticks += 1
            await asyncio.sleep(0.01)


class _Connection(H11Protocol):
    """One connection, which reports what it waits for. h11 parses one request at a time and limits its head."""

    def __init__(self, connections: _Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._others = connections
        self._blocked = False
        self._begun = False
        self._body = 0
        self._upgrade: _Phase | None = None
        self.phase = _Phase.HEAD
        self.since = 0.0
        self.address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection; close one when there are too many."""
        super().connection_made(transport)
        self.address = _address(self.client[0] if self.client else "")
        self._others.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        self._others.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, and close the connection when its body is too large."""
        before = self.cycle
        super().data_received(data)
        self._begun = self.cycle is before
        self._body = self._body + len(data) if self._begun and self.phase is not _Phase.HEAD else 0
        if self._body > self._others.limits.body_bytes:
            self.abort()
        else:
            self._note()

    def on_response_complete(self) -> None:
        """Wait for the next request, or begin with one that arrived early."""
        self._begun = False
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        self._blocked = True
        self._note()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._blocked = False
        self._note()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP; close instead when an answer has already started."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and (
            self.cycle is None or self.cycle.response_complete
        ):
            super().send_400_response(msg)
        else:
            self.abort()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Pass the connection to uvicorn's WebSocket protocol, but keep it counted; refuse what is no handshake."""
        if not _is_handshake(event):
            self.send_400_response(NO_HANDSHAKE)
        elif not self._others.may_open_websocket():
            self.abort()
        else:
            self._upgrade = _Phase.HANDSHAKE
            super().handle_websocket_upgrade(event)
            protocol: Any = self.transport.get_protocol()
            protocol.app = self._noting_acceptance(protocol.app)
            self.transport.set_protocol(_WebSocket(protocol, self))

    def _noting_acceptance(self, app: ASGIApp) -> ASGIApp:
        async def noting(scope: Scope, receive: Receive, send: Send) -> None:
            async def sending(message: Message) -> None:
                await send(message)
                if message["type"] == "websocket.accept":
                    self._upgrade = _Phase.WEBSOCKET
                    self._note()

            await app(scope, receive, sending)

        return noting

    @property
    def is_open_websocket(self) -> bool:
        """Whether the application has accepted a WebSocket here."""
        return self._upgrade is _Phase.WEBSOCKET

    def abort(self) -> None:
        """Close now, whatever has not been read or sent."""
        self._others.forget(self)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.abort()

    def _note(self) -> None:
        self._others.note(self, self._waits_for())

    def _waits_for(self) -> _Phase:
        if self._blocked:
            return _Phase.ANSWER
        if self._upgrade is not None:
            return self._upgrade
        if self.cycle is not None and not self.cycle.response_complete:
            return _Phase.BODY if self.cycle.more_body else _Phase.WORK
        if self.conn.their_state is h11.SEND_BODY:
            return _Phase.REST
        return _Phase.HEAD if self.cycle is None or self._begun else _Phase.IDLE


class _WebSocket(asyncio.Protocol):
    """Passes events to uvicorn's WebSocket protocol, and to the connection that is counted."""

    def __init__(self, protocol: asyncio.Protocol, connection: _Connection) -> None:
        self._protocol, self._connection = protocol, connection

    def data_received(self, data: bytes) -> None:
        """Pass on what arrived."""
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that the client sends no more."""
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        self._protocol.pause_writing()
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self._protocol.resume_writing()
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        self._protocol.connection_lost(exc)
        self._connection.connection_lost(exc)


class _Connections:
    """The connections of one server, in the order in which they began to wait."""

    def __init__(self, name: str, limits: ServerLimits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self._name = name
        self._clock = clock
        self._open: set[_Connection] = set()
        self._without_request: dict[str, dict[_Connection, None]] = {}
        self._incomplete: dict[_Connection, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._warned_at = -WARN_SECONDS
        self._allowed = {
            _Phase.HEAD: limits.head_seconds,
            _Phase.HANDSHAKE: limits.head_seconds,
            _Phase.REST: limits.head_seconds,
            _Phase.BODY: limits.body_seconds,
            _Phase.ANSWER: limits.answer_seconds,
            _Phase.IDLE: limits.idle_seconds,
        }

    def admit(self, one: _Connection) -> None:
        """Add one, making room for it."""
        if len(self._open) >= self.limits.connections:
            self._warn(
                "The %s has more than %d connections: those that have waited longest for their client are closed. "
                "If this continues, limit connections with a proxy in front of it.",
                self.limits.connections,
            )
            closed = self._longest_waiting() or one
            closed.abort()
            if closed is one:  # all others are being worked for
                return
        self._open.add(one)
        self._queue(one, _Phase.HEAD)
        if self._timer is None:
            self._sweep()

    def may_open_websocket(self) -> bool:
        """Whether one more WebSocket may be opened; others keep theirs."""
        if sum(one.is_open_websocket for one in self._open) < self.limits.websockets:
            return True
        self._warn(
            "The %s has %d open WebSockets, the most it allows, and refuses more. Close browser tabs that show it.",
            self.limits.websockets,
        )
        return False

    def forget(self, one: _Connection) -> None:
        """Remove one."""
        self._open.discard(one)
        self._unqueue(one)

    def note(self, one: _Connection, phase: _Phase) -> None:
        """Record what a connection waits for now."""
        if phase is not one.phase and one in self._open:
            self._unqueue(one)
            self._queue(one, phase)

    def _queue(self, one: _Connection, phase: _Phase) -> None:
        one.phase, one.since = phase, self._clock()
        if phase in WITHOUT_REQUEST:
            self._without_request.setdefault(one.address, {})[one] = None
        elif phase in self._allowed:
            self._incomplete[one] = None

    def _unqueue(self, one: _Connection) -> None:
        self._incomplete.pop(one, None)
        if (same := self._without_request.get(one.address)) is not None:
            same.pop(one, None)
            if not same:
                del self._without_request[one.address]

    def _longest_waiting(self) -> _Connection | None:
        if self._without_request:
            most = max(self._without_request.values(), key=len)
            return next(iter(most))
        return next(iter(self._incomplete), None)

    def _sweep(self) -> None:
        """Close what took too long, as long as there are connections."""
        now = self._clock()
        for one in [*self._open]:
            if now - one.since > self._allowed.get(one.phase, float("inf")):
                one.abort()
        again = asyncio.get_running_loop().call_later
        self._timer = again(SWEEP_SECONDS, self._sweep) if self._open else None

    def _warn(self, message: str, most: int) -> None:
        if self._clock() - self._warned_at >= WARN_SECONDS:
            self._warned_at = self._clock()
            log.warning(message, self._name, most)


def _is_handshake(event: h11.Request) -> bool:
    """Whether a request may open a WebSocket. h11 names headers in lower case and checks their values."""
    headers = dict(event.headers)
    has_body = b"transfer-encoding" in headers or int(headers.get(b"content-length", b"0")) > 0
    return event.method == b"GET" and headers.keys() >= HANDSHAKE_HEADERS and not has_body


@lru_cache(maxsize=1024)
def _address(host: str) -> str:
    """What counts as one client: an address, or in IPv6 the network that one client is usually given."""
    with suppress(ValueError):
        found = ipaddress.ip_address(host.partition("%")[0])
        if found.version == 6 and found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, 64), strict=False))
    return host


def _open_files() -> int:
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return USUAL_FILES
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return USUAL_FILES if soft == resource.RLIM_INFINITY else soft


def _is_on_loopback(scope: Scope) -> bool:
    server = scope.get("server")
    return server is not None and is_loopback(server[0])
