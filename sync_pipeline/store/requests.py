"""Requests: what people ask for in the console. The daemon starts them as runs, and runs report their progress here."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy import ColumnElement, Row, func, select, update

from sync_pipeline.errors import ConfigError
from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import requests

Kind = Literal["sync", "verify", "repair", "retry", "backfill", "sync_record"]
Outcome = Literal["done", "differs", "held", "failed", "cancelled"]
MOST_IDS = 500
MOST_RUNS = 1000
LONGEST_REASON = 2000


@dataclass(frozen=True, slots=True)
class WorkScope:
    """What a request is about; an empty entity means all, an empty day all days."""

    entity: str = ""
    first: str = ""
    last: str = ""
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.ids) > MOST_IDS or any(len(one) > 200 for one in self.ids):
            raise ConfigError(f"A request names at most {MOST_IDS} records, each by an id of at most 200 characters.")


@dataclass(frozen=True, slots=True)
class WorkRequest:
    """One request and its outcome."""

    id: int
    kind: str
    scope: WorkScope
    by: str
    asked_at: datetime
    taken_at: datetime | None
    runs: tuple[str, ...]
    progress: dict[str, Any]
    result: dict[str, dict[str, Any]] = field(repr=False)
    """By run and entity: the figures, and of a comparison the first differences."""
    cancel_asked_at: datetime | None
    cancel_by: str | None
    paused_at: datetime | None
    paused_by: str | None
    finished_at: datetime | None
    outcome: str | None
    reason: str

    @property
    def is_open(self) -> bool:
        """Whether it waits or is being worked on."""
        return self.finished_at is None

    @property
    def tag(self) -> str:
        """The tag of its runs; it contains the time, so that a run of another store is never taken for one of them."""
        return f"{self.id}-{self.asked_at:%Y%m%d%H%M%S%f}"


def ask(store: Store, pair: str, kind: Kind, scope: WorkScope, by: str) -> tuple[WorkRequest, bool]:
    """Ask for work; returns the request, and whether it is new: the same is asked for once at a time."""
    text = orjson.dumps(asdict(scope), option=orjson.OPT_SORT_KEYS)
    digest = hashlib.blake2b(text, digest_size=16).hexdigest()
    values = {"connection": pair, "kind": kind, "scope": text.decode(), "scope_hash": digest, "by": by, "runs": "[]"}
    same = (requests.c.connection == pair, requests.c.kind == kind, requests.c.scope_hash == digest)
    while True:
        with store.writing() as tx:
            new = insert_into(store, requests).values(**values, asked_at=store.now(tx)).on_conflict_do_nothing()
            number = tx.execute(new.returning(requests.c.id)).scalar()
            mine = (requests.c.id == number,) if number else (*same, requests.c.finished_at.is_(None))
            row = tx.execute(select(requests).where(*mine)).one_or_none()
        if row is not None:  # else the other one has just ended
            return _request(row), number is not None


def take(store: Store, number: int) -> bool:
    """Start on a request; False when it was cancelled before."""
    free = (requests.c.cancel_asked_at.is_(None), requests.c.finished_at.is_(None))
    with store.writing() as tx:
        taken = update(requests).where(requests.c.id == number, *free)
        return tx.execute(taken.values(taken_at=func.coalesce(requests.c.taken_at, store.now(tx)))).rowcount == 1


def note_runs(store: Store, number: int, runs: tuple[str, ...]) -> None:
    """Note which runs - or which backfill - work on it."""
    with store.writing() as tx:
        noted = orjson.dumps(runs[:MOST_RUNS]).decode()
        tx.execute(update(requests).where(requests.c.id == number).values(runs=noted))


def note_progress(store: Store, number: int, progress: dict[str, Any]) -> None:
    """Note what its run does now."""
    with store.writing() as tx:
        tx.execute(_open(number).values(progress=orjson.dumps(progress).decode()))


def note_result(store: Store, number: int, key: str, figures: dict[str, Any]) -> None:
    """Note what one of its runs did; ``key`` names run and entity."""
    with store.writing() as tx:
        found = tx.execute(select(requests.c.result).where(requests.c.id == number).with_for_update()).scalar()
        result = {**orjson.loads(found or "{}"), key: figures}
        noted = orjson.dumps(dict(list(result.items())[-MOST_RUNS:])).decode()
        tx.execute(update(requests).where(requests.c.id == number).values(result=noted))


def is_cancelled(store: Store, number: int) -> bool:
    """Whether its runs are to end."""
    with store.reading() as tx:
        mine = select(requests.c.cancel_asked_at, requests.c.finished_at).where(requests.c.id == number)
        row = tx.execute(mine).one_or_none()
    return row is None or row.cancel_asked_at is not None or row.finished_at is not None


def ask_cancel(store: Store, pair: str, number: int, by: str, *, finish_now: bool = False) -> bool:
    """Ask for its end; one that nothing was started for ends immediately. False when it has ended already.

    ``finish_now`` also ends one that was taken: no daemon and no run is there to do it.
    """
    with store.writing() as tx:
        now = store.now(tx)
        mine = (requests.c.connection == pair, requests.c.id == number, requests.c.finished_at.is_(None))
        asked = update(requests).where(*mine, requests.c.cancel_asked_at.is_(None))
        tx.execute(asked.values(cancel_asked_at=now, cancel_by=by))
        unstarted: tuple[ColumnElement[bool], ...] = () if finish_now else (requests.c.taken_at.is_(None),)
        ended = update(requests).where(*mine, *unstarted)
        ended_now = tx.execute(ended.values(finished_at=now, outcome="cancelled", progress=None)).rowcount
        return bool(ended_now) or tx.execute(select(requests.c.id).where(*mine)).scalar() is not None


def set_paused(store: Store, pair: str, number: int, by: str | None) -> bool:
    """Pause a backfill that is asked for, or with None resume it. False when it has ended, is cancelled, or is so already."""
    mine = (requests.c.connection == pair, requests.c.id == number, requests.c.kind == "backfill")
    is_other = requests.c.paused_at.isnot(None) if by is None else requests.c.paused_at.is_(None)
    is_open = (requests.c.finished_at.is_(None), requests.c.cancel_asked_at.is_(None), is_other)
    with store.writing() as tx:
        values = {"paused_at": store.now(tx) if by is not None else None, "paused_by": by}
        return tx.execute(update(requests).where(*mine, *is_open).values(**values)).rowcount == 1


def finish(store: Store, number: int, outcome: Outcome, reason: str = "") -> None:
    """Note how it ended; the first end counts."""
    with store.writing() as tx:
        values = {"outcome": outcome, "reason": reason[:LONGEST_REASON] or None, "progress": None}
        tx.execute(_open(number).values(finished_at=store.now(tx), **values))


def open_requests(store: Store, pair: str) -> list[WorkRequest]:
    """What waits or is being worked on, the oldest first."""
    mine = select(requests).where(requests.c.connection == pair, requests.c.finished_at.is_(None))
    with store.reading() as tx:
        return [_request(row) for row in tx.execute(mine.order_by(requests.c.id))]


def recent_requests(store: Store, pair: str, limit: int, before: int | None = None) -> list[WorkRequest]:
    """The newest requests, newest first; those older than ``before`` for the next page."""
    mine = select(requests).where(requests.c.connection == pair).order_by(requests.c.id.desc()).limit(limit)
    if before is not None:
        mine = mine.where(requests.c.id < before)
    with store.reading() as tx:
        return [_request(row) for row in tx.execute(mine)]


def request_of(store: Store, number: int, pair: str | None = None) -> WorkRequest | None:
    """One request."""
    mine = select(requests).where(requests.c.id == number)
    with store.reading() as tx:
        row = tx.execute(mine if pair is None else mine.where(requests.c.connection == pair)).one_or_none()
    return None if row is None else _request(row)


def _open(number: int) -> Any:
    return update(requests).where(requests.c.id == number, requests.c.finished_at.is_(None))


def _request(row: Row[Any]) -> WorkRequest:
    scope = orjson.loads(row.scope)
    return WorkRequest(
        id=row.id,
        kind=row.kind,
        scope=WorkScope(**{**scope, "ids": tuple(scope["ids"])}),
        by=row.by,
        asked_at=row.asked_at,
        taken_at=row.taken_at,
        runs=tuple(orjson.loads(row.runs)),
        progress=orjson.loads(row.progress or "{}"),
        result=orjson.loads(row.result or "{}"),
        cancel_asked_at=row.cancel_asked_at,
        cancel_by=row.cancel_by,
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        finished_at=row.finished_at,
        outcome=row.outcome,
        reason=row.reason or "",
    )
