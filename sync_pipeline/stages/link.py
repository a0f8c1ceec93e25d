"""Link: deliver to a target that gives out its own ids - Clockify clients - without ever doubling one.

A client is recognised by the stored link; without one, by its exact name. What an interrupted create left behind is
found before anything else is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from sync_pipeline.errors import RejectedRecord
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.circle import Circle
from sync_pipeline.stages.create import Creator
from sync_pipeline.stages.deliver import PAGE, note_sending, pages, remember
from sync_pipeline.stages.intents import resolve
from sync_pipeline.stages.names import NAME_TAKEN, chain_of, foresee, unparked_name
from sync_pipeline.stages.roster import Client, Clients, name_of
from sync_pipeline.stages.session import Session
from sync_pipeline.store.deliveries import Intent, open_intents
from sync_pipeline.store.outcomes import AS_IT_IS
from sync_pipeline.store.records import (
    Delivered,
    Kind,
    Known,
    Refused,
    clear_refused,
    forget_delivered,
    link,
    lookup,
    unsure,
)
from sync_pipeline.store.rejects import rejected_by
from sync_pipeline.store.staging import Pending, Staging

Step = tuple[Kind, Callable[[Pending], Client | None]]


def deliver_linked(session: Session, spec: EntitySpec, staging: Staging, counts: Counts, sync_id: int | None) -> None:
    """Resolve open intents, then create, adopt or update one client after the other."""
    intents = open_intents(session.store, session.connection, spec.entity)
    clashing = clashes(session, spec)
    unsure_before = unsure(session.store, session.connection, spec.entity)
    if not intents and not clashing and not unsure_before and not staging.pending(1, ""):
        return
    clients = Clients(session, spec)
    unresolved = resolve(session, spec, clients) if intents else {}
    pending = _pending(staging)
    if clashing:
        refused = staging.refused()
        prospects = foresee(clients, pending | clashing)
        if freed := [source_id for source_id in clashing if prospects[source_id] != "refuse"]:
            clear_refused(session.store, session.connection, spec.entity, freed)
            counts.rejected -= refused - staging.refused()
            pending = _pending(staging)
    linker = _Linker(session, spec, clients, pending, unresolved, counts, sync_id)
    for source_id in list(pending):
        if source_id in pending:
            linker.deliver(source_id)
    for known in unsure(session.store, session.connection, spec.entity):
        linker.unpark(_as_pending(known))


def clashes(session: Session, spec: EntitySpec) -> dict[str, Pending]:
    """Records set aside because another client had their name: that one may have given it up."""
    ids = rejected_by(session.store, session.connection, spec.entity, NAME_TAKEN)
    found = lookup(session.store, session.connection, spec.entity, ids)
    return {key: _as_pending(known) for key, known in found.items() if known.refused_hash == known.fields_hash}


def _as_pending(known: Known) -> Pending:
    return Pending(*(getattr(known, name) for name in Pending.__slots__))


def _pending(staging: Staging) -> dict[str, Pending]:
    return {row.source_id: row for page in pages(staging, PAGE) for row in page}


class _Linker:
    """Delivers one location after the other; knows which are still to be renamed."""

    def __init__(
        self,
        session: Session,
        spec: EntitySpec,
        clients: Clients,
        pending: dict[str, Pending],
        unresolved: dict[str, Intent],
        counts: Counts,
        sync_id: int | None,
    ) -> None:
        self._session, self._spec, self._clients = session, spec, clients
        self._key = (session.store, session.connection, spec.entity)
        self._pending, self._counts, self._sync_id = pending, counts, sync_id
        self._creator = Creator(session, spec, clients, unresolved, sync_id)
        self._circling: set[str] = set()

    def deliver(self, source_id: str) -> None:
        """Deliver one location, and before it those whose clients give up the name it wants."""
        chain = chain_of(self._clients, self._pending, self._pending[source_id])
        circle = Circle(self._session, self._spec, self._clients, chain.circle)
        self._circling = {row.source_id for row in chain.circle}
        for row in chain.rows:
            del self._pending[row.source_id]
        rows = chain.rows[::-1]
        if chain.circle:
            try:
                circle.open()
            except RejectedRecord as error:
                # Not about a name that is taken: the temporary one is nobody's.
                self._remember(
                    refused=Refused(circle.parked.source_id, circle.parked.fields_hash, "update", str(error))
                )
                rows.remove(circle.parked)
        for row in rows:
            kind = self._deliver_one(row)
            if kind == "update":
                circle.note_renamed(row)
            elif kind is None and row in chain.circle:
                for undone in circle.undo():
                    self._counts.updated -= 1
                    self._refuse(undone, "update", "The exchange of names it is part of was refused.")

    def _deliver_one(self, row: Pending) -> Kind | None:
        """Create, adopt or update the client; None when it was refused, which becomes a reject."""
        steps: tuple[Step, ...] = (
            ("create", self._creator.finish),
            *(("update", self._renew), ("adopt", self._adopt), ("create", self._creator.create)),
            # Once more, for what a refused or uncertain create was found to be.
            *(("update", self._renew), ("adopt", self._adopt), ("create", self._creator.create)),
        )
        reason, kind = "Its client changed hands while it was being written.", steps[-1][0]
        for kind, step in steps:
            try:
                client = step(row)
            except RejectedRecord as error:
                reason = str(error)
                break
            if client is not None:
                self._done(row, kind, client)
                return kind
        self._refuse(row, kind, reason)
        return None

    def _done(self, row: Pending, kind: Kind, client: Client) -> None:
        self._clients.put(client)
        self._clients.links[client["id"]] = row.source_id
        if kind == "create":
            self._counts.created += 1  # the concluded intent has written it down
        else:
            self._remember(done=Delivered(row.source_id, client["id"], row.fields_hash, kind))

    def _renew(self, row: Pending) -> Client | None:
        """Update the row's own client; None when it has none, or has it no longer."""
        target_id = self._creator.found.get(row.source_id, row.target_id)
        if target_id is None:
            return None
        note_sending(self._session, self._spec, [row], [target_id])
        return self._update(target_id, self._owned(row))

    def _adopt(self, row: Pending) -> Client | None:
        """Take over the client that has the wanted name, if that may be; one that is gone meanwhile is looked up again."""
        for _ in range(2):
            if (client := self._clients.adoptable(row)) is None:
                return None
            former = self._clients.former_owner(client)
            changed = self._inherit(row, client, former) if former is not None else self._link_and_update(row, client)
            if changed is not None:
                return changed
            self._clients.refresh()
        return None

    def _link_and_update(self, row: Pending, client: Client) -> Client | None:
        """Linked before it is changed, so that a crash in between adopts it again."""
        return self._update(client["id"], self._owned(row)) if self._link(row, client) else None

    def _inherit(self, row: Pending, client: Client, former: Known) -> Client | None:
        """Take over the client of a deleted location, whose link ends only when the client is the new one's in all else.

        Cut off before that, it is handed over again; after it, the client is nobody's, and adopted by its name.
        What we wrote once and no person has changed since is written for the new one.
        """
        if (now := self._session.call(self._session.clockify.get_client, client["id"])) is None:
            return None
        fields, theirs = orjson.loads(row.fields), orjson.loads(former.fields)
        left = {field.name for field in self._spec.fields if field.owner == "target"}
        ours = {name: fields.get(name) for name in left if now.get(name) == theirs.get(name)}
        changed = self._update(now["id"], ours | self._owned(row))
        if changed is not None:
            forget_delivered(*self._key, former.source_id)
            self._link(row, client)
        return changed

    def _link(self, row: Pending, client: Client) -> bool:
        if linked := link(*self._key, row.source_id, client["id"]):
            self._clients.links[client["id"]] = row.source_id
        return linked

    def _update(self, target_id: str, fields: dict[str, Any]) -> Client | None:
        return self._session.call(self._session.clockify.update_client, target_id, fields)

    def _owned(self, row: Pending) -> dict[str, Any]:
        fields = orjson.loads(row.fields)
        return {field.name: fields.get(field.name) for field in self._spec.owned_fields}

    def _refuse(self, row: Pending, kind: Kind, reason: str) -> None:
        """Set the row aside; when another client has the name it wants, the reason says which and whose."""
        own = self._clients.own(row)
        if kind == "update" and own is not None and name_of(row) not in self._clients.by_name:
            self._clients.refresh()  # somebody may have taken the name since the list was read
        # What was refused stands as before - unless it goes round in a circle of names.
        standing = row.delivered_hash if kind == "update" and row.source_id not in self._circling else AS_IT_IS
        if (holder := self._clients.holder(row)) is not None:
            reason = f"{reason} The name {holder['name']!r} belongs to {self._clients.whose(holder)}."
            refused = Refused(row.source_id, row.fields_hash, kind, reason, "name", NAME_TAKEN, holder["name"])
        else:
            refused = Refused(row.source_id, row.fields_hash, kind, reason)
        self._remember(refused=refused._replace(delivered_hash=standing))
        self.unpark(row)

    def unpark(self, row: Pending) -> None:
        """Give back its name to a client that an interrupted exchange of names left under a temporary one."""
        own = self._clients.own(row)
        before = unparked_name(own["name"], own["id"]) if own is not None else None
        if own is not None and before is not None and before not in self._clients.by_name:
            Circle(self._session, self._spec, self._clients, [row]).rename(row, own["id"], before)

    def _remember(self, *, done: Delivered | None = None, refused: Refused | None = None) -> None:
        remember(
            self._session, self._spec, [done] if done else [], [refused] if refused else [], self._counts, self._sync_id
        )
