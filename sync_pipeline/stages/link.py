"""Link: deliver to a target that gives out its own ids - Clockify clients - without ever doubling one.

A client is recognised by the stored link; without one, by its exact name. Creating is not idempotent, so an intent is
committed before the request and an outcome after it: an intent without outcome is looked up by every name ever
attempted before anything else happens.
"""

from __future__ import annotations

from typing import Any

import orjson

from sync_pipeline.errors import AmbiguousWrite, RejectedRecord
from sync_pipeline.mapping.canonical import canonical_target
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.deliver import PAGE, pages, remember
from sync_pipeline.stages.session import Session
from sync_pipeline.store.deliveries import conclude, intend, open_intents
from sync_pipeline.store.records import Delivered, Kind, Refused, forget_delivered, link, linked
from sync_pipeline.store.staging import Pending, Staging

MAX_NAME = 100
CREATE_TRIES = 3


class Clients:
    """The workspace's clients by id and exact name, and which location each is linked to."""

    def __init__(self, session: Session, spec: EntitySpec) -> None:
        self._session, self._spec = session, spec
        self.links = linked(session.store, session.connection, spec.entity)
        self.by_id: dict[str, dict[str, Any]] = {}
        self.by_name: dict[str, dict[str, Any]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read all clients, archived ones included."""
        self.by_id = {client["id"]: client for client in self._session.call(self._session.clockify.list_clients)}
        self.by_name = {client["name"]: client for client in self.by_id.values()}

    def put(self, client: dict[str, Any]) -> None:
        """Remember a client as it stands now, under its new name only."""
        before = self.by_id.get(client["id"])
        if before is not None and self.by_name.get(before["name"], {}).get("id") == client["id"]:
            del self.by_name[before["name"]]
        self.by_id[client["id"]] = self.by_name[client["name"]] = client

    def unlinked(self, name: str) -> dict[str, Any] | None:
        """The client of exactly this name, when no location is linked to it."""
        client = self.by_name.get(name)
        return client if client is not None and client["id"] not in self.links else None


def deliver_linked(session: Session, spec: EntitySpec, staging: Staging, counts: Counts, sync_id: int | None) -> None:
    """Resolve open intents, then create, adopt or update one client after the other."""
    intents = open_intents(session.store, session.connection, spec.entity)
    first = staging.pending(1, "")
    if not intents and not first:
        return
    clients = Clients(session, spec)
    if intents:
        _resolve(session, spec, clients)
    pending = {row.source_id: row for page in pages(staging, PAGE) for row in page}
    linker = _Linker(session, spec, clients, pending, counts, sync_id)
    for source_id in list(pending):
        linker.deliver(source_id)


def _resolve(session: Session, spec: EntitySpec, clients: Clients) -> None:
    """Link what an interrupted create left behind; an intent whose client does not exist was never carried out."""
    for intent in open_intents(session.store, session.connection, spec.entity):
        client = clients.unlinked(str(intent.attempted["name"]))
        if client is None:
            conclude(session.store, intent.id, "failed", session.now(), reason="no client of that name exists")
            continue
        observed = canonical_target(spec, client)[1]
        conclude(session.store, intent.id, "delivered", session.now(), target_id=client["id"], fields_hash=observed)
        clients.links[client["id"]] = intent.source_id


class _Linker:
    """Delivers one location at a time; knows which others are still to be renamed."""

    def __init__(
        self,
        session: Session,
        spec: EntitySpec,
        clients: Clients,
        pending: dict[str, Pending],
        counts: Counts,
        sync_id: int | None,
    ) -> None:
        self._session, self._spec, self._clients = session, spec, clients
        self._pending, self._counts, self._sync_id = pending, counts, sync_id

    def deliver(self, source_id: str) -> None:
        """Create, adopt or update the client of one location; a refusal becomes a reject."""
        row = self._pending[source_id]
        try:
            self._make_way(row)
            kind, client = self._write(row)
        except RejectedRecord as error:
            self._remember(refused=Refused(source_id, row.fields_hash, "update", str(error), "name"))
        else:
            self._clients.put(client)
            self._clients.links[client["id"]] = source_id
            if kind == "create":
                self._counts.created += 1  # the concluded intent has written it down
            else:
                self._remember(done=Delivered(source_id, client["id"], row.fields_hash, kind))
        del self._pending[source_id]

    def _write(self, row: Pending) -> tuple[Kind, dict[str, Any]]:
        if row.target_id is not None and (client := self._update(row, row.target_id)) is not None:
            return "update", client
        existing = self._clients.unlinked(_name(row))
        if existing is not None and self._link(row, existing["id"]):
            return "adopt", self._update(row, existing["id"]) or existing
        return "create", self._create(row)

    def _link(self, row: Pending, target_id: str) -> bool:
        """Tie the location to the client before it is changed, so that a crash in between adopts it again."""
        return link(self._session.store, self._session.connection, self._spec.entity, row.source_id, target_id)

    def _make_way(self, row: Pending) -> None:
        """When another linked client holds the name this row wants, and is to be renamed itself, park that one first."""
        holder = self._clients.by_name.get(_name(row))
        owner = self._clients.links.get(holder["id"]) if holder else None
        if holder is None or owner is None or owner == row.source_id:
            return
        other = self._pending.get(owner)
        if other is None or _name(other) == _name(row):
            return  # Clockify will refuse the name, and the reject says who holds it
        # Forgotten first: should we die in between, the parked one is still pending and gets its name back.
        forget_delivered(self._session.store, self._session.connection, self._spec.entity, owner, keep_link=True)
        parked = f"{holder['name'][: MAX_NAME - 26]} ~{holder['id']}"
        client = self._session.call(self._session.clockify.update_client, holder["id"], {"name": parked})
        if client is not None:
            self._clients.put(client)

    def _update(self, row: Pending, target_id: str) -> dict[str, Any] | None:
        fields = orjson.loads(row.fields)
        owned = {field.name: fields.get(field.name) for field in self._spec.owned_fields}
        return self._session.call(self._session.clockify.update_client, target_id, owned)

    def _create(self, row: Pending) -> dict[str, Any]:
        session, fields = self._session, orjson.loads(row.fields)
        intent = intend(
            session.store,
            session.connection,
            self._spec.entity,
            row.source_id,
            "create",
            fields,
            session.now(),
            self._sync_id,
        )
        try:
            client = self._create_once(row, fields)
        except RejectedRecord as error:
            conclude(session.store, intent, "failed", session.now(), reason=str(error))
            raise
        conclude(session.store, intent, "delivered", session.now(), target_id=client["id"], fields_hash=row.fields_hash)
        return client

    def _create_once(self, row: Pending, fields: dict[str, Any]) -> dict[str, Any]:
        """Create the client; when nobody knows whether it arrived, look it up by name before trying again."""
        for _ in range(CREATE_TRIES - 1):
            try:
                return self._session.call(self._session.clockify.create_client, fields)
            except AmbiguousWrite:
                self._clients.refresh()
                if (found := self._clients.unlinked(_name(row))) is not None:
                    return found
        return self._session.call(self._session.clockify.create_client, fields)

    def _remember(self, *, done: Delivered | None = None, refused: Refused | None = None) -> None:
        remember(
            self._session, self._spec, [done] if done else [], [refused] if refused else [], self._counts, self._sync_id
        )


def _name(row: Pending) -> str:
    return str(orjson.loads(row.fields)["name"])
