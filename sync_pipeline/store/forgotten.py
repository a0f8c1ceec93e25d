"""Ids of forgotten people and their records, kept as keyed hashes, so that no late batch or event stores them again."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, false, func, or_, select, update

from sync_pipeline.store import credentials
from sync_pipeline.store.alerts import FIGURE
from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.credentials import Keyring
from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.records import TOMBSTONE
from sync_pipeline.store.schema import (
    alert_notices,
    alerts,
    events,
    forgotten,
    metadata,
    records,
    rejects,
    trials,
)
from sync_pipeline.store.scope import accounts_of

NAME = "forgotten"
"""The key of the hashes, among the encrypted secrets."""
NO_PAYLOAD = "{}"
REPLACED = "(forgotten)"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten of one pair."""

    hashes: frozenset[str] = frozenset()
    key: bytes = field(default=b"", repr=False)

    def knows(self, source_id: object) -> bool:
        """Whether this id was forgotten."""
        return bool(self.hashes) and isinstance(source_id, str) and _hash(self.key, source_id) in self.hashes

    def cleaned(self, payload: str) -> str:
        """The body of an event as it may be stored: empty when it names a forgotten id."""
        if not self.hashes:
            return payload
        try:
            found = any(self.knows(value) for value in _strings(json.loads(payload)))
        except (ValueError, RecursionError):
            return payload
        return NO_PAYLOAD if found else payload


def load_forgotten(
    store: Store, pair: str, keyring: Callable[[], Keyring], *, known: Forgotten | None = None
) -> Forgotten:
    """What was forgotten; ``keyring`` is only called when there is something, or more than is ``known``."""
    with store.reading() as tx:
        hashes = frozenset(tx.scalars(select(forgotten.c.id_hash).where(forgotten.c.connection == pair)))
    if known is not None and hashes == known.hashes:
        return known
    if not hashes:
        return Forgotten()
    return Forgotten(hashes, bytes.fromhex(credentials.get(store, keyring(), pair, NAME) or ""))


def remember(store: Store, keyring: Keyring, pair: str, entity: str, ids: Iterable[str], at: datetime) -> None:
    """Keep the hashes of these ids."""
    key = credentials.get(store, keyring, pair, NAME)
    if key is None:
        key = secrets.token_hex(32)
        credentials.put(store, keyring, pair, NAME, key, at)
    made = bytes.fromhex(key)
    rows = [{"connection": pair, "entity": entity, "id_hash": _hash(made, each), "at": at} for each in ids]
    if rows:
        with store.writing() as tx:
            tx.execute(insert_into(store, forgotten).on_conflict_do_nothing(), rows)


def _hash(key: bytes, source_id: str) -> str:
    return hmac.digest(key, source_id.encode(), "sha256").hex()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def unowned_values(store: Store, pair: str, personal: Mapping[str, Collection[str]]) -> int:
    """How many rejects quote a personal field of a record that is not stored, so that its owner is unknown.

    ``personal``: the personal fields by entity.
    """
    with store.reading() as tx:
        return int(tx.scalar(select(func.count()).select_from(rejects).where(*_unowned(pair, personal))) or 0)


def remove_unowned_values(store: Store, pair: str, personal: Mapping[str, Collection[str]]) -> None:
    """Remove these values; the rejects stay, with their reasons."""
    with store.writing() as tx:
        tx.execute(update(rejects).where(*_unowned(pair, personal)).values(value=None))


def _unowned(pair: str, personal: Mapping[str, Collection[str]]) -> list[ColumnElement[bool]]:
    same = (rejects.c.connection, rejects.c.entity, rejects.c.source_id)
    is_stored = select(records.c.source_id).where(*(records.c[column.name] == column for column in same)).exists()
    fields = (
        and_(rejects.c.entity == entity, or_(rejects.c.field.in_(names), rejects.c.field.is_(None)))
        for entity, names in personal.items()
    )
    return [rejects.c.connection == pair, rejects.c.value.isnot(None), ~is_stored, or_(false(), *fields)]


def accounts_with(store: Store, pair: str, entity: str, source_id: str) -> list[str]:
    """The accounts of other pairs for which this record, or one that refers to it, is stored."""
    is_about = or_(
        and_(records.c.entity == entity, records.c.source_id == source_id, records.c.fields_hash != TOMBSTONE),
        records.c.fields.contains(json.dumps(source_id), autoescape=True),
    )
    mine = select(records.c.connection).where(records.c.connection != pair, is_about)
    with store.reading() as tx:
        keys = sorted(tx.scalars(mine.distinct()))
    return [accounts_of(store, key) for key in keys]


def remove_quotes(store: Store, pair: str, ids: Collection[str], values: Collection[str]) -> None:
    """Empty bodies and reports that name the ids or hold the values, and replace the values wherever they are quoted."""
    searched = [variant for value in values for variant in variants(value)]
    for table, column, empty in ((events, events.c.payload, NO_PAYLOAD), (trials, trials.c.report, None)):
        for some in chunks([*ids, *searched], 50):
            mine = or_(*(column.contains(text, autoescape=True) for text in some))
            with store.writing() as tx:
                tx.execute(update(table).where(table.c.connection == pair, mine).values({column: empty}))
    _remove_alerts(store, pair, ids)
    for table in metadata.sorted_tables:
        for column in table.c:
            if column.info.get("personal") and column not in (records.c.fields, events.c.payload, trials.c.report):
                for text in searched:
                    quoting = update(table).where(column.contains(text, autoescape=True))
                    with store.writing() as tx:
                        tx.execute(quoting.values({column: func.replace(column, text, REPLACED)}))


def _remove_alerts(store: Store, pair: str, ids: Collection[str]) -> None:
    """Remove the alerts on figures of a person, which carry the id."""
    for some in chunks(ids, 50):
        are_theirs = or_(*(alerts.c.system.startswith(f"{id_}/", autoescape=True) for id_ in some))
        mine = select(alerts.c.id).where(alerts.c.connection == pair, alerts.c.kind == FIGURE, are_theirs)
        with store.writing() as tx:
            tx.execute(delete(alert_notices).where(alert_notices.c.alert_id.in_(mine)))
            tx.execute(delete(alerts).where(alerts.c.id.in_(mine)))


def variants(value: str) -> list[str]:
    """How a text may be written: plain, and encoded as JSON once or twice."""
    found = {value}
    for _ in range(2):
        found |= {json.dumps(each, ensure_ascii=ascii_only)[1:-1] for each in found for ascii_only in (True, False)}
    return sorted(found, key=len, reverse=True)
