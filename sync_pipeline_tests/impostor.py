"""Servers that are not what they should be: another product, a web page, a wrong clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from sync_pipeline.clock import utc_now

NOT_PASSED_ON = {"host", "connection", "content-length", "accept-encoding"}


@dataclass(frozen=True, slots=True)
class Part:
    """Its answer to every request; with ``target`` it passes requests on instead."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    clock: timedelta = timedelta()


@contextmanager
def impostor(part: Part) -> Iterator[str]:
    """A server on this machine that plays the part; its address."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, kind, body = part.status, part.kind, part.body
            if part.target:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
                with httpx.Client(trust_env=False) as client:
                    real = client.request(self.command, part.target + self.path, headers=headers, content=sent)
                status, kind, body = real.status_code, real.headers.get("content-type", ""), real.content
            self.send_response(status)
            for name, value in {**part.headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names http.server looks for

        def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002 - the inherited signature
            return format_datetime(utc_now() + part.clock, usegmt=True)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
