"""A circle of names: renamed one after the other while one client waits under a temporary name - or not at all."""

from __future__ import annotations

from sync_pipeline.errors import RejectedRecord
from sync_pipeline.mapping.canonical import canonical_target
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.names import parked_name
from sync_pipeline.stages.roster import Clients
from sync_pipeline.stages.session import Session
from sync_pipeline.store.records import forget_delivered, observe_target
from sync_pipeline.store.staging import Pending


class Circle:
    """The rows of one circle, with the clients and names they had; empty when no names go round."""

    def __init__(self, session: Session, spec: EntitySpec, clients: Clients, rows: list[Pending]) -> None:
        self._session, self._spec, self._clients = session, spec, clients
        self._key = (session.store, session.connection, spec.entity)
        self._rows = rows
        owned = ((row.source_id, clients.own(row)) for row in rows)
        self._before = {source_id: (client["id"], client["name"]) for source_id, client in owned if client}
        self._renamed: list[Pending] = []

    @property
    def parked(self) -> Pending:
        """The row whose client waits under a temporary name."""
        return self._rows[0]

    def open(self) -> None:
        """Free the first name. Raises RejectedRecord when Clockify will not have it; nothing is changed then."""
        client_id, name = self._before[self.parked.source_id]
        try:
            self._write(self.parked, client_id, parked_name(name, client_id))
        except RejectedRecord:
            self._observe(self.parked, self.parked.delivered_hash)
            raise

    def note_renamed(self, row: Pending) -> None:
        """The row's client has its new name, as far as it is one of the circle."""
        if row.source_id in self._before:
            self._renamed.append(row)

    def undo(self) -> list[Pending]:
        """Give all their old names back, the last renamed first; returns those that had their new ones."""
        renamed, self._renamed = self._renamed, []
        for row in [*reversed(renamed), self.parked]:
            client_id, name = self._before[row.source_id]
            holder = self._clients.by_name.get(name)
            if holder is None:
                self.rename(row, client_id, name)
        return renamed

    def rename(self, row: Pending, client_id: str, name: str) -> None:
        """Give a client its old name back and note what stands there now; one that refuses stays as it is."""
        try:
            self._write(row, client_id, name)
        except RejectedRecord:
            return
        if (client := self._clients.by_id.get(client_id)) is not None:
            self._observe(row, canonical_target(self._spec, client)[1])

    def _observe(self, row: Pending, found: str | None) -> None:
        observe_target(*self._key, [(row.source_id, found)], self._session.now())

    def _write(self, row: Pending, client_id: str, name: str) -> None:
        # Forgotten first: should we die in between, the row is still pending.
        forget_delivered(*self._key, row.source_id, keep_link=True)
        client = self._session.call(self._session.clockify.update_client, client_id, {"name": name})
        if client is not None:
            self._clients.put(client)
