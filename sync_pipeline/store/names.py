"""Names as they were last read, for answers that give ids alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import delete, select, tuple_

from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.engine import Store, insert_into, plain
from sync_pipeline.store.forgotten import Forgotten
from sync_pipeline.store.schema import names

Key = tuple[str, str]
"""A kind and an id."""
ESCAPED = "\x01json:"
"""Begins a stored name that a database cannot hold as text: the rest is its JSON."""


@dataclass(frozen=True, slots=True)
class StoredNames:
    """The names of one pair. Those of forgotten people are not kept."""

    store: Store
    pair: str
    forgotten: Callable[[], Forgotten]

    def load(self, keys: Collection[Key]) -> dict[Key, str]:
        """Those of these names that are known."""
        found: dict[Key, str] = {}
        with self.store.reading() as tx:
            for some in chunks(sorted(filter(_is_storable, keys)), 200):
                mine = [names.c.connection == self.pair, tuple_(names.c.kind, names.c.id).in_(some)]
                found |= {(row.kind, row.id): _unescaped(row.name) for row in tx.execute(select(names).where(*mine))}
        return found

    def save(self, found: Mapping[Key, str]) -> None:
        """Keep names instead of those that were known; what is known already is not written.

        An id that cannot be stored has no name here: its record is rejected.
        """
        found = {key: name for key, name in found.items() if _is_storable(key)}
        known = self.load(found)
        forgotten = self.forgotten()
        news = sorted(key for key, name in found.items() if known.get(key) != name and not forgotten.knows(key[1]))
        if not news:
            return
        insert = insert_into(self.store, names)
        insert = insert.on_conflict_do_update(
            index_elements=[names.c.connection, names.c.kind, names.c.id], set_={"name": insert.excluded.name}
        )
        with self.store.writing() as tx:
            rows = [
                {"connection": self.pair, "kind": key[0], "id": key[1], "name": _escaped(found[key])} for key in news
            ]
            tx.execute(insert, rows)


def remove_names(store: Store, pair: str, ids: Collection[str]) -> None:
    """Delete the names of these ids."""
    for some in chunks(sorted(ids)):
        with store.writing() as tx:
            tx.execute(delete(names).where(names.c.connection == pair, names.c.id.in_(some)))


def _is_storable(key: Key) -> bool:
    return plain(key[1]) == key[1]


def _escaped(name: str) -> str:
    """The name, with NUL and lone surrogates in a form that every database holds and ``_unescaped`` reverses."""
    return name if plain(name) == name and not name.startswith(ESCAPED) else ESCAPED + json.dumps(name)


def _unescaped(stored: str) -> str:
    return str(json.loads(stored.removeprefix(ESCAPED))) if stored.startswith(ESCAPED) else stored
