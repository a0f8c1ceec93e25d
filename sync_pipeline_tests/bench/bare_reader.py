"""The least a reader of Clockify's time entries can do: ``bare_reader.py URL WORKSPACE KEY FIRST LAST PAGE_SIZE DATABASE``.

Standard library only. Four threads read the per-user lists; a row whose hash is new is stored. It maps, checks, proves and
delivers nothing. `make bench` measures beside it, so it must never change: a test knows its checksum.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from threading import local
from typing import Any
from urllib.parse import urlencode, urlsplit

URL, WORKSPACE, KEY, FIRST, LAST, PAGE_SIZE, DATABASE = sys.argv[1:]
THREADS = 4
HERE = local()


def ask(path: str, **params: str | int) -> list[dict[str, Any]]:
    """One page of a list."""
    if not hasattr(HERE, "connection"):
        HERE.connection = HTTPConnection(urlsplit(URL).netloc)
    target = f"{urlsplit(URL).path}/workspaces/{WORKSPACE}/{path}?{urlencode(params)}"
    HERE.connection.request("GET", target, headers={"X-Api-Key": KEY})
    answer = HERE.connection.getresponse()
    rows: list[dict[str, Any]] = json.loads(answer.read())
    if answer.status != 200:
        raise SystemExit(f"{target}: {answer.status} {rows}")
    return rows


def entries_of(user: str) -> list[tuple[str, str, str]]:
    """The id, the hash and the text of every entry of a user."""
    found: list[tuple[str, str, str]] = []
    window: dict[str, str | int] = {
        "start": f"{FIRST}T00:00:00Z",
        "end": f"{LAST}T23:59:59Z",
        "page-size": PAGE_SIZE,
    }
    for page in range(1, 1_000_000):
        rows = ask(f"user/{user}/time-entries", page=page, **window)
        texts = ((row["id"], json.dumps(row, sort_keys=True)) for row in rows)
        found += [(key, hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), text) for key, text in texts]
        if len(rows) < int(PAGE_SIZE):
            break
    return found


def read() -> Iterator[list[tuple[str, str, str]]]:
    """The entries of all users, user by user."""
    users = [row["id"] for row in ask("users", **{"page-size": "5000", "status": "ALL"})]
    with ThreadPoolExecutor(THREADS) as threads:
        yield from threads.map(entries_of, users)


store = sqlite3.connect(DATABASE)
store.execute("CREATE TABLE IF NOT EXISTS entries (id TEXT PRIMARY KEY, hash TEXT, body TEXT)")
known = dict(store.execute("SELECT id, hash FROM entries"))
for batch in read():
    changed = [row for row in batch if known.get(row[0]) != row[1]]
    store.executemany(
        "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, body = excluded.body",
        changed,
    )
store.commit()
print(json.dumps({"entries": len(known) or store.execute("SELECT count(*) FROM entries").fetchone()[0]}))  # noqa: T201
