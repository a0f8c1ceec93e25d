"""A reverse proxy with TLS in front of several servers of ours: a real one, as small as it can be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn import Config, Server

from sync_pipeline.serving import in_thread, listen

NAME = "sync.localhost"
USER = "x-forwarded-user"
HOP = {"connection", "content-length", "keep-alive", "transfer-encoding", USER}


@dataclass
class Proxy:
    """Where browsers reach it, where it leads, and whom it has signed in."""

    url: str
    target: str = ""
    user: str = ""
    more: list[tuple[str, str]] = field(default_factory=list)
    """Headers that are added to those of the browser, as a proxy does that is not set up well."""

    async def forward(self, request: Request) -> Response:
        """Ask the server that is next."""
        kept = [(name.decode(), value.decode("latin-1")) for name, value in request.headers.raw]
        sent = [(name, value) for name, value in kept if name not in HOP]
        sent += [("x-forwarded-proto", "https"), ("x-forwarded-for", "203.0.113.7"), *self.more]
        sent += [(USER, self.user)] if self.user else []
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.request(
                request.method, self.target + path, headers=sent, content=await request.body()
            )
        given = Response(answer.content, answer.status_code)
        given.raw_headers = [
            (name.lower(), value) for name, value in answer.headers.raw if name.lower() != b"connection"
        ]
        return given


@contextmanager
def proxying(place: Path) -> Iterator[Proxy]:
    """A proxy that listens on this machine."""
    listener = listen("127.0.0.1", 0, "The proxy cannot listen", "")
    proxy = Proxy(f"https://{NAME}:{listener.getsockname()[1]}")
    methods = ["GET", "HEAD", "POST", "PUT"]
    app = Starlette(routes=[Route("/{path:path}", proxy.forward, methods=methods)])
    certificate = _certificate(place)
    config = Config(app, ssl_certfile=certificate, log_level="error", lifespan="off", proxy_headers=False)
    with in_thread(Server(config), listener, "proxy"):
        yield proxy


def _certificate(place: Path) -> Path:
    """A key and a certificate that it has signed itself, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    begins = datetime(2020, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(begins).not_valid_after(begins + timedelta(days=36_500))
    coded, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = place / "proxy.pem"
    file.write_bytes(
        key.private_bytes(coded, serialization.PrivateFormat.PKCS8, plain)
        + made.sign(key, hashes.SHA256()).public_bytes(coded)
    )
    return file
