"""The log of every attempt: kept in memory, written to the database when it is read or the sandbox ends."""

from __future__ import annotations

import random
import sqlite3
from collections import deque
from datetime import datetime
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.ids import SeededIds
from sync_pipeline.sandbox.database import transaction

KEPT = 500
RESPONSE = 1_000
SECONDS = 7 * 86_400


class Journal:
    """The newest attempts of each webhook, as Clockify keeps them: seven days. Here there is a limit, too."""

    def __init__(self) -> None:
        # Rising ids, so that two attempts of one second are read in the order they were made.
        self._ids = SeededIds(random.Random())
        self._unwritten: dict[str, deque[tuple[Any, ...]]] = {}

    def note(self, hook: str, delivery: str, status: int | None, sent: bytes, answered: str, at: datetime) -> None:
        """Remember one attempt; without a status there was no answer, and ``answered`` states why."""
        # Nothing is rendered yet: in a flood most rows are pushed out by newer ones before anyone reads them.
        row = (self._ids.at(at.timestamp()), delivery, status, sent, answered[:RESPONSE], at)
        self._unwritten.setdefault(hook, deque(maxlen=KEPT)).append(row)

    def write(self, db: sqlite3.Connection, now: float) -> None:
        """Put everything into the database and forget what is too old or too much."""
        pending, self._unwritten = self._unwritten, {}
        with transaction(db):
            for hook, rows in pending.items():
                db.executemany(
                    "INSERT INTO webhook_logs (id, webhook_id, at, succeeded, body) VALUES (?, ?, ?, ?, ?)",
                    [_record(hook, *row) for row in rows],
                )
                db.execute(
                    "DELETE FROM webhook_logs WHERE webhook_id = ? AND id NOT IN"
                    " (SELECT id FROM webhook_logs WHERE webhook_id = ? ORDER BY at DESC, id DESC LIMIT ?)",
                    (hook, hook, KEPT),
                )
            db.execute("DELETE FROM webhook_logs WHERE at < ?", (int(now) - SECONDS,))

    def forget(self, hook: str | None = None) -> None:
        """Drop what was not written yet, of one webhook or of all."""
        if hook is None:
            self._unwritten.clear()
        else:
            self._unwritten.pop(hook, None)


def _record(
    hook: str, log: str, delivery: str, status: int | None, sent: bytes, answered: str, at: datetime
) -> tuple[Any, ...]:
    succeeded = status is not None and 200 <= status < 300
    body = {
        "id": log,
        "webhookId": hook,
        "webhookEventStatusId": delivery,
        # Our answer to a question the reference leaves open: 0 when there was no answer.
        "statusCode": status or 0,
        "requestBody": sent.decode(),
        "responseBody": answered,
        "respondedAt": at.isoformat(timespec="milliseconds"),
    }
    return log, hook, int(at.timestamp()), succeeded, orjson.dumps(body).decode()
