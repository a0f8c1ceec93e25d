"""Clients that do not behave: raw connections that send nothing, too little, too slowly or too much."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

PATIENCE = 15.0
"""Seconds within which a server answers or closes, whatever others do."""
DRIP_SECONDS = 1.0


def connect(url: str, said: bytes = b"", *, address: str = "127.0.0.1") -> socket.socket:
    """A connection that has answered that much."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host.endswith(".localhost"):  # not every resolver knows these names
        host = "127.0.0.1"
    opened = socket.create_connection((host, parts.port or 80), PATIENCE, source_address=(address, 0))
    opened.sendall(said)
    return opened


@contextmanager
def crowd(url: str, number: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections that have all sent the same and wait."""
    with many_files(number), ExitStack() as held:
        yield [held.enter_context(connect(url, said)) for _ in range(number)]


@contextmanager
def many_files(number: int) -> Iterator[None]:
    """Let this process, which is the strangers, open so many more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    more = soft + number
    resource.setrlimit(resource.RLIMIT_NOFILE, (more if hard == resource.RLIM_INFINITY else min(more, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ends(opened: socket.socket) -> bool:
    """Wait until the server closes a connection; TimeoutError when it does not."""
    try:
        while opened.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def swallowed(opened: socket.socket, part: bytes, most: int) -> int:
    """Send the same again and again, up to ``most`` bytes; how many the server took before it closed."""
    sent = 0
    try:
        while sent < most:
            opened.sendall(part)
            sent += len(part)
    except (ConnectionError, TimeoutError):
        pass
    return sent


def answer(opened: socket.socket) -> int:
    """The status of the next answer; 0 when the connection was closed instead."""
    try:
        first = opened.recv(65536)
    except ConnectionError:
        return 0
    return int(first.split()[1]) if first else 0


@contextmanager
def joining(url: str, kinds: Mapping[str, bytes], each: int) -> Iterator[None]:
    """Strangers of all kinds next to the block, so many of each: who is closed comes back a second later."""
    ending = threading.Event()
    said = [words for words in kinds.values() for _ in range(each)]

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for words in said:
                group.create_task(_come_back(url, words, ending))

    with many_files(len(said)):
        thread = threading.Thread(target=asyncio.run, args=(run(),), name="strangers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()


async def _come_back(url: str, words: bytes, ending: threading.Event) -> None:
    parts = urlsplit(url)
    while not ending.is_set():
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(words)
            await _drip(reader, writer, ending)
            writer.close()
        await asyncio.sleep(DRIP_SECONDS)


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ending: threading.Event) -> None:
    """Send one letter more, now and then, until the connection is closed."""
    while not ending.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(DRIP_SECONDS):
                if not await reader.read(65536):
                    return
        writer.write(b"x")
        await writer.drain()
