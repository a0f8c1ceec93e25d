"""Names that an answer leaves out: of the user, project, client, task and tags of a time entry.

The report and the hydrated lists give them all, a read by id gives no user, the list of running entries gives ids alone.
What is missing comes from the last answer that held it, so that every reader yields the same entry, without a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from sync_pipeline.connectors.paging import Record

Key = tuple[str, str]
"""A kind and an id."""
USER, PROJECT, CLIENT, TASK, TAG = "user", "project", "client", "task", "tag"
CLIENT_OF = "client_of"
"""Not a name, but a link: the id of a project's client; empty when it has none."""
KINDS = (USER, PROJECT, CLIENT, TASK, TAG, CLIENT_OF)
LISTS = {"users": USER, "projects": PROJECT, "clients": CLIENT, "tasks": TASK, "tags": TAG}
"""Last part of a list's path -> the kind of its records."""
MOST_KEPT = 100_000
"""Names kept in memory; with more they are looked up again."""
_NOT_ASKED: Final = object()


class NameStore(Protocol):
    """Where names outlive a read."""

    def load(self, keys: Collection[Key]) -> Mapping[Key, str]:
        """Those of these names that are known."""

    def save(self, found: Mapping[Key, str]) -> None:
        """Keep names, instead of those that were known."""


class NoStore:
    """Keeps nothing beyond this process."""

    def load(self, keys: Collection[Key]) -> Mapping[Key, str]:  # noqa: ARG002  # as the protocol wants it
        """Know nothing."""
        return {}

    def save(self, found: Mapping[Key, str]) -> None:
        """Keep nothing."""


class Names:
    """The names read last. Entries are compared with them by a few look-ups each: most bring nothing new."""

    def __init__(self, store: NameStore | None = None) -> None:
        self._store = store or NoStore()
        self._forget()

    def _forget(self) -> None:
        # None as a key: no id; as a value: the store has no name either, so it is not asked again.
        self._known: dict[str, dict[Any, Any]] = {kind: {None: None} for kind in KINDS}

    async def complete(self, entries: Sequence[Record]) -> None:
        """Learn the names of canonical entries, and fill in those they lack."""
        if odd := self._unlike(entries):
            await self._learn(key for entry in odd for key in _given(entry))
            await self._fill(odd, _lacking)
            await self._fill(odd, _lacking_client)  # whose id may just have been filled in

    async def learn(self, path: str, rows: Iterable[Record]) -> None:
        """Learn the names of the records of a list or of one of them; other paths hold none."""
        if kind := LISTS.get(path.removesuffix("/{id}").rpartition("/")[2]):
            await self._learn(key for row in rows for key in _of_record(kind, row))

    def _unlike(self, entries: Sequence[Record]) -> list[Record]:
        """The entries that bring a new name or lack one; nearly all are sorted out here, so it is written for speed."""
        users, projects, clients, tasks, tags, client_of = self._known.values()
        odd = []
        for entry in entries:
            try:
                project, client = entry["projectId"], entry["clientId"]
                if (
                    users.get(entry["userId"], _NOT_ASKED) != entry["userName"]
                    or projects.get(project, _NOT_ASKED) != entry["projectName"]
                    or client_of.get(project, _NOT_ASKED) != client
                    or clients.get(client, _NOT_ASKED) != entry["clientName"]
                    or tasks.get(entry["taskId"], _NOT_ASKED) != entry["taskName"]
                    or (entry["tags"] and any(tags.get(tag["id"], _NOT_ASKED) != tag["name"] for tag in entry["tags"]))
                ):
                    odd.append(entry)
            except TypeError:  # an id that is a list: the checks will see it
                odd.append(entry)
        return odd

    async def _learn(self, found: Iterable[tuple[Key, str]]) -> None:
        news = {}
        for (kind, key), name in found:
            if self._known[kind].get(key, _NOT_ASKED) != (name or None):
                news[kind, key] = name
                self._known[kind][key] = name or None
        if news:
            await asyncio.to_thread(self._store.save, news)
        if sum(map(len, self._known.values())) > MOST_KEPT:
            self._forget()

    async def _fill(self, entries: Iterable[Record], lacking: Any) -> None:
        wanted = [(record, field, key) for entry in entries for record, field, key in lacking(entry)]
        unknown = {key for _, _, key in wanted if key[1] not in self._known[key[0]]}
        if unknown:
            loaded = await asyncio.to_thread(self._store.load, unknown)
            for kind, key in unknown:
                self._known[kind][key] = loaded.get((kind, key)) or None
        for record, field, (kind, key) in wanted:
            record[field] = self._known[kind][key]


def _given(entry: Record) -> Iterable[tuple[Key, str]]:
    """The names that an entry carries."""
    yield from _pair(USER, entry["userId"], entry["userName"])
    yield from _pair(PROJECT, entry["projectId"], entry["projectName"])
    yield from _pair(CLIENT, entry["clientId"], entry["clientName"])
    yield from _pair(TASK, entry["taskId"], entry["taskName"])
    if entry["projectName"]:  # who gives a project's name gives its client
        yield from _pair(CLIENT_OF, entry["projectId"], entry["clientId"] or "")
    for tag in entry["tags"]:
        yield from _pair(TAG, tag["id"], tag["name"])


def _of_record(kind: str, row: Record) -> Iterable[tuple[Key, str]]:
    """The names that a record of a list carries."""
    yield from _pair(kind, row.get("id"), row.get("name") or None)
    if kind == PROJECT and "clientId" in row:
        yield from _pair(CLIENT, row["clientId"], row.get("clientName") or None)
        yield from _pair(CLIENT_OF, row.get("id"), row["clientId"] or "")


def _pair(kind: str, key: Any, name: Any) -> Iterable[tuple[Key, str]]:
    if isinstance(key, str) and key and isinstance(name, str):
        yield (kind, key), name


def _lacking(entry: Record) -> Iterable[tuple[Record, str, Key]]:
    """Where a name is missing, and which; a project without a name has no client yet, either."""
    if entry["projectName"] is None:
        yield from _missing(entry, "clientId", CLIENT_OF, entry["projectId"])
    for kind in (USER, PROJECT, TASK):
        yield from _missing(entry, f"{kind}Name", kind, entry[f"{kind}Id"])
    for tag in entry["tags"]:
        yield from _missing(tag, "name", TAG, tag["id"])


def _lacking_client(entry: Record) -> Iterable[tuple[Record, str, Key]]:
    yield from _missing(entry, "clientName", CLIENT, entry["clientId"])


def _missing(record: Record, field: str, kind: str, key: Any) -> Iterable[tuple[Record, str, Key]]:
    if record[field] is None and isinstance(key, str) and key:
        yield record, field, (kind, key)
