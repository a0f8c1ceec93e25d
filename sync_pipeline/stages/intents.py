"""Creates that were interrupted: find what they left behind before anything is created again."""

from __future__ import annotations

from sync_pipeline.mapping.canonical import canonical_target
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.roster import Client, Clients
from sync_pipeline.stages.session import Session
from sync_pipeline.store.deliveries import Intent, attempts, conclude, open_intents
from sync_pipeline.store.records import Known, lookup


def resolve(session: Session, spec: EntitySpec, clients: Clients) -> dict[str, Intent]:
    """Link what interrupted creates left behind; returns, by record, the intents that left nothing so far.

    A request that was cut off may still be on its way, so that one list without its client proves nothing. Such an
    intent is not given up while its record is wanted: it is carried out again under the very same name, of which
    Clockify allows only one, and then it does not matter which of the two requests arrives.
    """
    waiting: dict[str, list[Intent]] = {}
    for intent in open_intents(session.store, session.connection, spec.entity):
        waiting.setdefault(intent.source_id, []).append(intent)
    known = lookup(session.store, session.connection, spec.entity, waiting)
    unresolved: dict[str, Intent] = {}
    for source_id, intents in waiting.items():
        *older, newest = intents
        for intent in older:  # two intents of one record stand for one client: the newest tells what became of it
            _give_up(session, intent)
        record = known.get(source_id)
        if record is not None and record.target_id in clients.by_id:
            _give_up(session, newest)
        elif (client := _left_behind(session, spec, clients, intents, record)) is not None:
            take(session, spec, clients, newest, client)
        elif _is_wanted(record):
            unresolved[source_id] = newest
        else:
            _give_up(session, newest)
    return unresolved


def take(
    session: Session, spec: EntitySpec, clients: Clients, intent: Intent, client: Client, sent: str | None = None
) -> str:
    """Link the client an intent made; returns the hash of what was ``sent``, or else of what stands there."""
    digest = sent or canonical_target(spec, client)[1]
    conclude(session.store, intent.id, "delivered", session.now(), target_id=client["id"], fields_hash=digest)
    clients.put(client)
    clients.links[client["id"]] = intent.source_id
    return digest


def _left_behind(
    session: Session, spec: EntitySpec, clients: Clients, intents: list[Intent], record: Known | None
) -> Client | None:
    """A client nobody is linked to, under any name that was ever attempted for the record.

    Under the name of an attempt that was concluded, or of a record that is not wanted any more and whose client would
    be archived at once, only one that still says that we made it: by now that name may be a client of somebody else.
    """
    unanswered = {intent.id for intent in intents} if _is_wanted(record) else set[int]()
    for attempt in attempts(session.store, session.connection, spec.entity, intents[0].source_id):
        client = clients.unlinked(str(attempt.attempted["name"]))
        if client is not None and (attempt.id in unanswered or _is_marked(client, attempt)):
            return client
    return None


def _is_marked(client: Client, attempt: Intent) -> bool:
    note = attempt.attempted.get("note")
    return bool(note) and client.get("note") == note


def _is_wanted(record: Known | None) -> bool:
    return record is not None and record.deleted_at is None and record.excluded_rule is None


def _give_up(session: Session, intent: Intent) -> None:
    conclude(session.store, intent.id, "failed", session.now(), reason="no client of that name exists")
