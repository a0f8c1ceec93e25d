"""The journal of all systems, for tests: every version of every record, each write received and each read answered.

Off by default. A step is one request that was served; its number rises by one, whatever the clock shows. A version
exists from the step that made it until the step that replaced or deleted it, and a read that was answered at step n saw
the versions of n. Kept in memory, the newest steps and versions only; what exists now is never dropped.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson
from starlette.requests import Request

from sync_pipeline.sandbox.lag import Frozen

MOST, MOST_BYTES = 50_000, 64 * 1024 * 1024
PAGE = 1_000
SEEDED, PAST_THE_API = "existed before the journal", "written past the API"

Key = tuple[str, str, str]
"""System, kind and id of a record."""

# table -> what a change of its row changes: the new row is called ROW here, the old one of a deletion too
_CHANGES = {
    "users": "VALUES ('clockify', 'users', ROW.id)",
    "roles": "VALUES ('clockify', 'users', ROW.user_id)",
    "clients": "VALUES ('clockify', 'clients', ROW.id)",
    "projects": "VALUES ('clockify', 'projects', ROW.id)",
    "time_entries": "VALUES ('clockify', 'time_entries', ROW.id)",
    "snapshots_records": "VALUES ('snapshots', ROW.entity, ROW.id)",
    "highlevel_records": "VALUES ('highlevel', ROW.object_key, ROW.id)",
    "highlevel_locations": "VALUES ('highlevel', 'locations', ROW.id)",
}
# A project shows its client's name, an entry those of its tags.
_SHOWN_IN = {
    "clients": "SELECT 'clockify', 'projects', id FROM projects WHERE parent = ROW.id",
    "tags": "SELECT 'clockify', 'time_entries', id FROM time_entries WHERE instr(tags, ROW.id)",
}
_EVERYTHING = """
    SELECT 'clockify', 'users', id FROM users UNION ALL SELECT 'clockify', 'clients', id FROM clients
    UNION ALL SELECT 'clockify', 'projects', id FROM projects
    UNION ALL SELECT 'clockify', 'time_entries', id FROM time_entries
    UNION ALL SELECT 'snapshots', entity, id FROM snapshots_records
    UNION ALL SELECT 'highlevel', object_key, id FROM highlevel_records
    UNION ALL SELECT 'highlevel', 'locations', id FROM highlevel_locations
"""


@dataclass(frozen=True, slots=True)
class Version:
    """One state of one record, as a read by id shows it; while it exists ``until`` is None."""

    system: str
    kind: str
    id: str
    since: int
    until: int | None
    by: str
    """The request that made it."""
    body: bytes

    def as_json(self) -> dict[str, Any]:
        """The version as the control shows it."""
        return asdict(self) | {"body": orjson.loads(self.body)}


@dataclass(frozen=True, slots=True)
class Step:
    """One request that was served; ``as_of`` is an earlier step when a list was answered with an old state."""

    number: int
    request: str
    as_of: int
    refused: bool
    sent: bytes

    def as_json(self) -> dict[str, Any]:
        """The step as the control shows it; a body that is no JSON is left out."""
        try:
            sent = orjson.loads(self.sent) if self.sent else None
        except orjson.JSONDecodeError:
            sent = None
        return asdict(self) | {"sent": sent}


class Journal:
    """Everything since it was switched on; whatever existed then is version one of its record, since step 0."""

    def __init__(self, db: sqlite3.Connection, read: Callable[[str, str, str], bytes | None]) -> None:
        self.db, self.read = db, read
        self.number = 0
        self.complete_since = 0
        """Steps and versions that ended before this one may have been dropped."""
        self._steps: deque[Step] = deque()
        self._living: dict[Key, Version] = {}
        self._ended: deque[Version] = deque()
        self._sizes = {"steps": 0, "ended": 0}
        self._watch()

    def close(self) -> None:
        """Watch the tables no longer."""
        for table in {*_CHANGES, *_SHOWN_IN}:
            for event in ("INSERT", "UPDATE", "DELETE"):
                self.db.execute(f"DROP TRIGGER IF EXISTS temp.journal_{table}_{event}")
        self.db.execute("DROP TABLE IF EXISTS temp.journal_dirty")

    @contextmanager
    def serving(self, request: str, sent: bytes, as_of: int | None) -> Iterator[None]:
        """Number a request while its handler runs, and the versions it makes."""
        self.collect(PAST_THE_API)
        self.number += 1
        number, refused = self.number, True
        try:
            yield
            refused = False
        finally:
            self._note(Step(number, request, number if as_of is None else as_of, refused, sent))
            self._renew(request)

    def collect(self, request: str, sent: bytes = b"") -> None:
        """Number what was changed outside the APIs, if anything was."""
        if self.db.execute("SELECT 1 FROM temp.journal_dirty LIMIT 1").fetchone() is not None:
            self.number += 1
            self._note(Step(self.number, request, self.number, False, sent))
            self._renew(request)

    def after(self, step: int) -> dict[str, Any]:
        """What happened after a step, at most a page of it: ask again from the last one of the page.

        A version is in it when it began or ended after the step.
        """
        steps = [one for one in self._steps if one.number > step][:PAGE]
        last = steps[-1].number if steps else self.number
        versions = [one for one in self.versions() if step < max(one.since, one.until or 0) and one.since <= last]
        return {"steps": [one.as_json() for one in steps], "versions": [one.as_json() for one in versions]}

    def versions(self) -> list[Version]:
        """Every version that is kept, in no order."""
        return [*self._ended, *self._living.values()]

    def figures(self) -> dict[str, Any]:
        """Its current step, and since which one it is complete."""
        return {"on": True, "step": self.number, "complete_since": self.complete_since}

    def _watch(self) -> None:
        db = self.db
        existing = db.execute(f"SELECT count(*) FROM ({_EVERYTHING})").fetchone()[0]
        if existing > MOST:
            raise ValueError(f"the journal is for tests: there are {existing} records, it keeps {MOST}")
        self.close()
        db.execute("CREATE TEMP TABLE journal_dirty (system TEXT, kind TEXT, id TEXT, PRIMARY KEY (system, kind, id))")
        for table in sorted({*_CHANGES, *_SHOWN_IN}):
            for event in ("INSERT", "UPDATE", "DELETE"):
                db.execute(_trigger(table, event))
        db.execute(f"INSERT INTO temp.journal_dirty {_EVERYTHING}")
        self._renew(SEEDED)

    def _renew(self, request: str) -> None:
        """Number the new versions of what the triggers saw change."""
        db = self.db
        for row in db.execute("SELECT system, kind, id FROM temp.journal_dirty ORDER BY 1, 2, 3").fetchall():
            key: Key = tuple(row)
            old, body = self._living.get(key), self.read(*key)
            if old is not None and old.body == body:
                continue
            if old is not None:
                self._end(self._living.pop(key))
            if body is not None:
                self._living[key] = Version(*key, self.number, None, request, body)
        db.execute("DELETE FROM temp.journal_dirty")

    def _end(self, version: Version) -> None:
        if version.since == self.number:  # made and replaced by one request: no read can have seen it
            return
        self._ended.append(replace(version, until=self.number))
        self._sizes["ended"] += len(version.body)
        while len(self._ended) > MOST or self._sizes["ended"] > MOST_BYTES:
            dropped = self._ended.popleft()
            self._sizes["ended"] -= len(dropped.body)
            self.complete_since = max(self.complete_since, dropped.until or 0)

    def _note(self, step: Step) -> None:
        self._steps.append(step)
        self._sizes["steps"] += len(step.sent)
        while len(self._steps) > MOST or self._sizes["steps"] > MOST_BYTES:
            dropped = self._steps.popleft()
            self._sizes["steps"] -= len(dropped.sent)
            self.complete_since = max(self.complete_since, dropped.number)


def serving(
    journal: Journal | None, request: Request, sent: bytes, frozen: Frozen | None
) -> AbstractContextManager[None]:
    """The journal's part in serving a request, which it names by method, path and query; nothing when it is off."""
    if journal is None:
        return nullcontext()
    query = f"?{request.url.query}" if request.url.query else ""
    return journal.serving(
        f"{request.method} {request.scope['path']}{query}", sent, None if frozen is None else frozen.as_of
    )


def _trigger(table: str, event: str) -> str:
    row = "OLD" if event == "DELETE" else "NEW"
    values = [source[table].replace("ROW", row) for source in (_CHANGES, _SHOWN_IN) if table in source]
    inserts = " ".join(f"INSERT OR IGNORE INTO journal_dirty {value};" for value in values)
    return f"CREATE TEMP TRIGGER journal_{table}_{event} AFTER {event} ON main.{table} BEGIN {inserts} END"
