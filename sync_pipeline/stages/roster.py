"""The workspace's clients: who has which name, whose client is whose, and which of them may be taken over."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from typing import Any, Self

import orjson

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.session import Session
from sync_pipeline.store.records import Known, linked, lookup
from sync_pipeline.store.staging import Pending

Client = dict[str, Any]


def name_of(row: Pending | Known) -> str:
    """The name a record wants."""
    return str(orjson.loads(row.fields)["name"])


class Clients:
    """The workspace's clients by id and exact name, and which location each is linked to.

    ``gone`` are locations that are as good as deleted, beside those the store knows to be.
    """

    def __init__(self, session: Session, spec: EntitySpec, gone: Collection[str] = ()) -> None:
        self._session, self._spec, self._gone = session, spec, gone
        self.links = linked(session.store, session.connection, spec.entity)
        self.by_id: dict[str, Client] = {}
        self.by_name: dict[str, Client] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read all clients, archived ones included."""
        self.by_id = {client["id"]: client for client in self._session.call(self._session.clockify.list_clients)}
        self.by_name = {client["name"]: client for client in self.by_id.values()}

    def sketch(self) -> Self:
        """A copy to try things out on."""
        other = copy(self)
        other.links, other.by_id, other.by_name = self.links.copy(), self.by_id.copy(), self.by_name.copy()
        return other

    def put(self, client: Client) -> None:
        """Remember a client as it stands now, under its new name only."""
        before = self.by_id.get(client["id"])
        if before is not None and self.by_name.get(before["name"], {}).get("id") == client["id"]:
            del self.by_name[before["name"]]
        self.by_id[client["id"]] = self.by_name[client["name"]] = client

    def unlinked(self, name: str) -> Client | None:
        """The client of exactly this name, when no location is linked to it."""
        client = self.by_name.get(name)
        return client if client is not None and client["id"] not in self.links else None

    def adoptable(self, row: Pending) -> Client | None:
        """The client of exactly the name the row wants, when it is nobody's, the row's own, or left by a deleted one."""
        client = self.by_name.get(name_of(row))
        if client is None or self.links.get(client["id"]) in (None, row.source_id):
            return client
        return client if self.former_owner(client) is not None else None

    def former_owner(self, client: Client) -> Known | None:
        """The location the client is linked to, when that is deleted."""
        owner = self.links.get(client["id"])
        if owner is None:
            return None
        known = lookup(self._session.store, self._session.connection, self._spec.entity, [owner]).get(owner)
        return known if known is not None and (known.deleted_at is not None or owner in self._gone) else None

    def own(self, row: Pending) -> Client | None:
        """The client the row is linked to, while it exists."""
        return self.by_id.get(row.target_id) if row.target_id is not None else None

    def holder(self, row: Pending) -> Client | None:
        """The other client that has the name the row wants."""
        client = self.by_name.get(name_of(row))
        return client if client is not None and self.links.get(client["id"]) != row.source_id else None

    def whose(self, client: Client) -> str:
        """Who a client belongs to, in words."""
        owner = self.links.get(client["id"])
        if owner is None:
            return f"client {client['id']}, which is linked to no location"
        if self.former_owner(client):
            fix = "rename it in Clockify to free the name"
            return f"client {client['id']}, which is left from the deleted location {owner}: {fix}"
        return f"client {client['id']}, which is linked to the location {owner}"
