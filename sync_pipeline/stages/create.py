"""Create: make a client, once.

Creating is not idempotent, so an intent is committed before the request and an outcome after it. Clockify allows a name
only once, which makes a request safe to repeat under the same name: the second one is refused, and the client is found.
"""

from __future__ import annotations

from typing import Any

import orjson

from sync_pipeline.errors import AmbiguousWrite, RejectedRecord
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.intents import take
from sync_pipeline.stages.roster import Client, Clients
from sync_pipeline.stages.session import Session
from sync_pipeline.store.deliveries import Intent, conclude, intend
from sync_pipeline.store.staging import Pending

CREATE_TRIES = 3


class Creator:
    """Creates clients, and finishes creates that an earlier run was interrupted in."""

    def __init__(
        self, session: Session, spec: EntitySpec, clients: Clients, unresolved: dict[str, Intent], sync_id: int | None
    ) -> None:
        self._session, self._spec, self._clients, self._sync_id = session, spec, clients, sync_id
        self._key = (session.store, session.connection, spec.entity)
        self._unresolved = unresolved
        self.found: dict[str, str] = {}
        """The clients of records, by their ids, that were found or finished here and are not as wanted yet."""

    def finish(self, row: Pending) -> Client | None:
        """Carry out what an interrupted run intended, under the name it had then; nothing when there is no such intent."""
        if (intent := self._unresolved.pop(row.source_id, None)) is None:
            return None
        try:
            client, _ = self._post(intent.attempted)
        except RejectedRecord as error:
            self._clients.refresh()
            found = self._clients.unlinked(str(intent.attempted["name"]))
            if found is None:
                conclude(self._session.store, intent.id, "failed", self._session.now(), reason=str(error))
                return None
            client = found
        return self._took(row, intent, client, answered=False)

    def create(self, row: Pending) -> Client | None:
        """Create the client; None when there is one of that name after all, to be adopted or updated next."""
        fields, at = orjson.loads(row.fields), self._session.now()
        intent = intend(*self._key, row.source_id, "create", fields, at, self._sync_id)
        try:
            client, answered = self._post(fields)
        except RejectedRecord as error:
            conclude(self._session.store, intent, "failed", self._session.now(), reason=str(error))
            self._clients.refresh()
            if self._clients.adoptable(row) is None:
                raise
            return None
        return self._took(row, Intent(intent, row.source_id, "create", fields, at), client, answered=answered)

    def _took(self, row: Pending, intent: Intent, client: Client, *, answered: bool) -> Client | None:
        """Link what was created; None when it is not as the row wants it, and has to be updated."""
        sent = row.fields_hash if answered else None
        if take(self._session, self._spec, self._clients, intent, client, sent) == row.fields_hash:
            return client
        self.found[row.source_id] = client["id"]
        return None

    def _post(self, fields: dict[str, Any]) -> tuple[Client, bool]:
        """Create a client; when nobody knows whether it arrived, look it up by name before trying again.

        Says beside the client whether that is the answer to the request.
        """
        for _ in range(CREATE_TRIES - 1):
            try:
                return self._session.call(self._session.clockify.create_client, fields), True
            except AmbiguousWrite:
                self._clients.refresh()
                if (found := self._clients.unlinked(str(fields["name"]))) is not None:
                    return found, False
        return self._session.call(self._session.clockify.create_client, fields), True
