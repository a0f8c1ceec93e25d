"""Records in SQLite: merging upserts in one transaction, lists by keyset, all bodies kept as ready JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson

from sync_pipeline.sandbox.database import transaction
from sync_pipeline.sandbox.snapshots.entities import Entity
from sync_pipeline.sandbox.snapshots.validation import EPOCH, Refusal, check_id, check_whole, epoch_ms, normalise

SERVER_FIELDS = ("created_at", "updated_at")
Status = Literal["created", "updated", "unchanged", "refused"]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one sent record. ``body`` is the record after it."""

    id: str | None
    status: Status
    body: bytes = b""
    refusal: Refusal | None = None

    def as_json(self) -> dict[str, Any]:
        """The shape in which a batch reports it."""
        result: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.refusal is not None:
            result["error"] = self.refusal.as_json()
        return result


def get_record(db: sqlite3.Connection, entity: Entity, record_id: str) -> bytes | None:
    """One record's JSON, or None."""
    row = db.execute(
        "SELECT body FROM snapshots_records WHERE entity = ? AND id = ?", (entity.name, record_id)
    ).fetchone()
    return None if row is None else bytes(row[0])


def delete_record(db: sqlite3.Connection, entity: Entity, record_id: str) -> None:
    """Delete a record; a missing one is no error."""
    db.execute("DELETE FROM snapshots_records WHERE entity = ? AND id = ?", (entity.name, record_id))


def upsert_records(
    db: sqlite3.Connection, entity: Entity, items: Sequence[Any], now: datetime, *, check_references: bool = False
) -> list[Result]:
    """Merge each item into its record, in order and in one transaction; a refused one changes nothing."""
    with transaction(db):
        return _Merge(db, entity, items, now, check_references=check_references).run()


class _Merge:
    """One call of ``upsert_records``: the records before, the records now, what is to be written."""

    def __init__(
        self, db: sqlite3.Connection, entity: Entity, items: Sequence[Any], now: datetime, *, check_references: bool
    ) -> None:
        self.db = db
        self.entity = entity
        self.items = items
        self.now_us = (now - EPOCH) // timedelta(microseconds=1)
        self.now_text = f"{now:%Y-%m-%dT%H:%M:%S.%f}Z"
        self.check_references = check_references
        self.bodies = dict(self._stored())
        self.changed: dict[str, int | None] = {}

    def run(self) -> list[Result]:
        results = [self._one(item) for item in self.items]
        self.db.executemany(
            "INSERT INTO snapshots_records (entity, id, body, updated_us, start_ms) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (entity, id) DO UPDATE"
            " SET body = excluded.body, updated_us = excluded.updated_us, start_ms = excluded.start_ms",
            [(self.entity.name, key, self.bodies[key], self.now_us, start) for key, start in self.changed.items()],
        )
        return results

    def _stored(self) -> Iterator[tuple[str, bytes]]:
        name = self.entity.id_field
        ids = {i[name] for i in self.items if isinstance(i, dict) and isinstance(i.get(name), str)}
        marks = ",".join("?" * len(ids))
        return iter(
            self.db.execute(
                f"SELECT id, body FROM snapshots_records WHERE entity = ? AND id IN ({marks})",
                (self.entity.name, *ids),
            ).fetchall()
        )

    def _one(self, item: Any) -> Result:
        known_id = item.get(self.entity.id_field) if isinstance(item, dict) else None
        try:
            return self._merge(item)
        except Refusal as refusal:
            return Result(known_id if isinstance(known_id, str) else None, "refused", refusal=refusal)

    def _merge(self, item: Any) -> Result:
        if not isinstance(item, dict):
            raise Refusal("not_an_object", None, "an item must be a JSON object")
        key = check_id(item.get(self.entity.id_field), self.entity.id_field)
        old = orjson.loads(self.bodies[key]) if key in self.bodies else None
        stamps = {name: None if old is None else old.pop(name) for name in SERVER_FIELDS}
        record = self._merged(old, {k: v for k, v in item.items() if k not in SERVER_FIELDS})
        if record == old:
            return Result(key, "unchanged", self.bodies[key])
        body = {**record, "created_at": stamps["created_at"] or self.now_text, "updated_at": self.now_text}
        self.bodies[key] = orjson.dumps(body)
        window = self.entity.window_field
        self.changed[key] = epoch_ms(record[window]) if window else None
        return Result(key, "created" if old is None else "updated", self.bodies[key])

    def _merged(self, old: dict[str, Any] | None, sent: dict[str, Any]) -> dict[str, Any]:
        changes = normalise(self.entity, sent)
        record = {**(old or self.entity.empty), **changes}
        # Null clears: an undeclared field is removed, a known one stays and is empty.
        known = self.entity.empty
        record = {name: value for name, value in record.items() if value is not None or name in known}
        check_whole(self.entity, record)
        if self.check_references:
            self._check_references(record)
        return record

    def _check_references(self, record: dict[str, Any]) -> None:
        for name, known in self.entity.fields.items():
            if known.references is None or record[name] is None:
                continue
            found = self.db.execute(
                "SELECT 1 FROM snapshots_records WHERE entity = ? AND id = ?", (known.references, record[name])
            ).fetchone()
            if found is None:
                raise Refusal("unknown_reference", name, f"{name} {record[name]!r} is not in {known.references}")
