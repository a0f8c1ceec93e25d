"""Secrets that are recognised wherever they turn up, and the hunt for them in everything that was printed and stored."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from sync_pipeline.sandbox.snapshots.entities import all_scopes
from sync_pipeline_tests.harness import CLOCKIFY_KEY, Team

OLD_KEY, NEW_KEY = "PL4NT+clockify/key=one", "PL4NT+clockify/key=two"
ADDON_TOKEN = "PL4NT.clockify.addon-token"
SANDBOX_ADDON_TOKEN = "sandbox-clockify-addon-token"
SNAPSHOTS_OLD, SNAPSHOTS_NEW = "PL4NT-snapshots-key-one", "PL4NT-snapshots-key-two"
CLIENT, CLIENT_SECRET = "planted-client", "PL4NT-oauth-client-secret"
WRONG = "PL4NT-wrong-but-secret"
PASSWORD = "PL4NT-database-password"
ENCRYPTION = [base64.urlsafe_b64encode(f"PL4NT-encryption-key-number-{n}!!!".encode()).decode() for n in "12"]
PLANTED = (
    *(OLD_KEY, NEW_KEY, ADDON_TOKEN, SNAPSHOTS_OLD, SNAPSHOTS_NEW, CLIENT_SECRET, WRONG, PASSWORD, *ENCRYPTION),
    *("PL4NT", "sbx_"),  # whatever else is planted begins like this, and so does every token of the sandbox
)
PRIVATE = ("encryption.key", "console.json")
"""Where keys may be stored in plain text: files of mode 0600, one made to hold the key, one to sign the console's links."""


def plant(us: Team) -> None:
    """Let both systems accept what is planted."""
    db = us.sandbox.world.db
    for key, like in ((OLD_KEY, CLOCKIFY_KEY), (NEW_KEY, CLOCKIFY_KEY), (ADDON_TOKEN, SANDBOX_ADDON_TOKEN)):
        copy = "INSERT INTO api_keys (key, kind, user_id, note) SELECT ?, kind, user_id, 'planted' FROM api_keys WHERE key = ?"
        db.execute(copy, (key, like))
    us.control("POST", "snapshots", {"keys": {SNAPSHOTS_OLD: "valid", SNAPSHOTS_NEW: "valid"}})
    client = {"client_id": CLIENT, "client_secret": CLIENT_SECRET, "scopes": list(all_scopes(us.sandbox.world.db))}
    us.control("POST", "clients", {**client, "redirect_uris": ["http://127.0.0.1/snapshots/callback"]})


@dataclass
class Hunt:
    """What is secret - more comes to light as we go - and everything that was seen, by where it was seen."""

    secrets: set[str] = field(default_factory=lambda: set(PLANTED))
    seen: list[tuple[str, bytes]] = field(default_factory=list)

    def learn(self, *secrets: str) -> None:
        """These are secret, too."""
        assert all(len(secret) >= 16 for secret in secrets), "so short that it would be found by chance"
        self.secrets.update(secrets)

    def look(self, where: str, text: object) -> None:
        """Keep what was shown or stored somewhere; it is searched at the end, when all secrets are known."""
        self.seen.append((where, text if isinstance(text, bytes) else str(text).encode()))

    def look_at_error(self, where: str, error: BaseException) -> None:
        """Keep all that a crash report could hold about an error and its causes."""
        self.look(where, "".join(traceback.TracebackException.from_exception(error).format()))
        cause: BaseException | None = error
        while cause is not None:
            self.look(where, f"{cause!r} {cause} {vars(cause)}")
            cause = cause.__cause__ or cause.__context__

    def look_into_files(self, root: Path) -> int:
        """Keep every file of a directory but the private ones; returns how many there were."""
        files = [path for path in root.rglob("*") if path.is_file()]
        for path in files:
            if path.name in PRIVATE:
                assert path.stat().st_mode & 0o077 == 0, path
            else:
                self.look(str(path.relative_to(root)), path.read_bytes())
        return len(files)

    def found(self) -> list[tuple[str, str, bytes]]:
        """Every secret that is found: where, which, and what is around it."""
        return list(self._found())

    def _found(self) -> Iterator[tuple[str, str, bytes]]:
        shapes = {secret: list(_shapes(secret)) for secret in self.secrets}
        for where, data in self.seen:
            for secret, forms in shapes.items():
                for form in forms:
                    if (at := data.find(form)) >= 0:
                        yield where, secret, data[max(at - 80, 0) : at + len(form) + 40]


def _shapes(secret: str) -> Iterator[bytes]:
    """A secret as anyone could read it: plain, in an address, in hexadecimal, and in Base64 wherever it begins."""
    data = secret.encode()
    yield data
    yield quote(secret, safe="").encode()
    if len(data) >= 8:
        yield data.hex().encode()
        for shift in range(3):
            text = base64.b64encode(b"\0" * shift + data)
            yield text[4 if shift else 0 : len(text) // 4 * 4 - 4]


def query_of(url: str, name: str) -> str:
    """A parameter of an address."""
    return parse_qs(urlsplit(url).query)[name][0]


def echo(secret: str) -> dict[str, Any]:
    """A body that repeats a secret in every place where an error may repeat it."""
    long = "x" * 185 + f" {secret} is not welcome"  # cut off in the middle of it
    return {
        "code": secret,
        "message": long,
        "detail": long,
        "error": secret,
        "error_description": long,
        "required_scope": secret,
    }
