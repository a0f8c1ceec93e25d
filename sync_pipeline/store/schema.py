"""Every table of the store, declared once; the migrations build exactly these (a test compares them)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import TEXT as PG_TEXT
from sqlalchemy.types import TypeDecorator

HEAD = "0004"
"""The newest revision in ``migrations/versions``; compared at every start without importing Alembic."""

VERSION_TABLE = "sync_pipeline_version"
"""Alembic's own table, under a name of ours: another program may keep its ``alembic_version`` beside us."""


class Instant(TypeDecorator[datetime]):
    """A point in time: aware and UTC in Python, ``timestamptz`` in PostgreSQL, sortable UTC text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time: nobody could say later which zone it was meant in."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the store takes aware times only, got {value!r}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # given
        """Give back the same instant, always in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Ids and hashes sort by their bytes on both dialects, so that pages come in one order everywhere.
KEY = Text().with_variant(PG_TEXT(collation="C"), "postgresql")
SERIAL = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()


def _key(name: str, **options: Any) -> Column[str]:
    return Column(name, KEY, **options)


records = Table(
    "records",
    metadata,
    _key("connection", primary_key=True, doc="source system + workspace, target URL + account"),
    _key("entity", primary_key=True),
    _key("source_id", primary_key=True),
    _key("target_id", doc="id on the other side; kept after archiving so that the link can be restored"),
    _key("partition", doc="UTC day YYYY-MM-DD; null for entities without partitions"),
    Column("fields", Text, nullable=False, doc="mapped fields as canonical JSON: the desired state"),
    _key("fields_hash", nullable=False, doc="hash of the fields the source owns"),
    _key("delivered_hash", doc="hash last known to be at the target; null = not there; `sent`, `sent:new` = unknown"),
    _key("refused_hash", doc="hash the target refused, or `removal`; waits for a change or `rejects retry`"),
    Column("observed_at", Instant, nullable=False, doc="when the read that last changed this row began"),
    Column("delivered_at", Instant, doc="last write to the target"),
    Column("deleted_at", Instant, doc="observed_at of the read that proved the record gone"),
    Column("unconfirmed_at", Instant, doc="missing from a read, absence not yet proven by a second one"),
    _key("excluded_rule", doc="rule by which the record left the scope; never a delete"),
    Index(
        "ux_records_target",
        "connection",
        "entity",
        "target_id",
        unique=True,
        sqlite_where=text("target_id IS NOT NULL"),
        postgresql_where=text("target_id IS NOT NULL"),
    ),
    Index("ix_records_partition", "connection", "entity", "partition"),
    Index(
        "ix_records_deleted",
        "connection",
        "entity",
        "source_id",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
    info={"doc": "one row per source record: what should be at the target, and what is"},
)

syncs = Table(
    "syncs",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key("entity", nullable=False),
    _key("run_id", doc="Dagster run, if one"),
    _key("first_day", doc="first partition of the scope; null = everything"),
    _key("last_day", doc="last partition of the scope, included"),
    _key("fingerprint", doc="of the mapping this sync used"),
    Column("observed_at", Instant, nullable=False, doc="when the read began"),
    Column("begun_at", Instant, nullable=False),
    Column("loaded_at", Instant, doc="when the batch was merged into records; null = it never was"),
    Column("finished_at", Instant),
    _key("outcome", doc="success | failed | blocked | stale | dry_run | targeted; null = running or killed"),
    Column("counts", Text, doc="JSON object of the figures the run reports"),
    Column("requests", Integer, doc="API requests this sync made"),
    Index("ix_syncs_scope", "connection", "entity", "loaded_at"),
    Index("ix_syncs_run", "run_id"),
    info={"doc": "one row per entity and run: the only table a sync of unchanged data writes to"},
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key("entity", nullable=False),
    _key("source_id", nullable=False),
    _key("target_id"),
    _key("kind", nullable=False, doc="create | adopt | update | restore | delete | archive"),
    _key("phase", nullable=False, doc="intent (before the request) | outcome (after it)"),
    Column("intent_id", SERIAL, ForeignKey("deliveries.id"), doc="the intent this outcome concludes"),
    _key("outcome", doc="delivered | refused | failed; null for an intent"),
    _key("fields_hash", doc="hash that was sent"),
    Column("attempted", Text, doc="JSON of what an intent was about to send (names to look up later)"),
    Column("reason", Text, doc="why the target refused, or why it failed"),
    Column("sync_id", SERIAL, ForeignKey("syncs.id")),
    Column("at", Instant, nullable=False),
    Index("ix_deliveries_sync", "sync_id"),
    Index(
        "ix_deliveries_open",
        "connection",
        "entity",
        sqlite_where=text("phase = 'intent'"),
        postgresql_where=text("phase = 'intent'"),
    ),
    Index(
        "ux_deliveries_intent",
        "intent_id",
        unique=True,
        sqlite_where=text("intent_id IS NOT NULL"),
        postgresql_where=text("intent_id IS NOT NULL"),
    ),
    info={"doc": "append-only audit of every write to the target"},
)

rejects = Table(
    "rejects",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key("entity", nullable=False),
    _key("origin", nullable=False, doc="check (judged anew at every read) | target (waits for a retry)"),
    _key("digest", nullable=False, doc="of everything a person sees, to tell a known reject from a new one"),
    _key("source_id", doc="null when that is what is wrong"),
    _key("partition", doc="UTC day; of a record without one, the first day of the read that met it"),
    _key("field"),
    _key("rule", nullable=False),
    Column("reason", Text, nullable=False),
    Column("value", Text, doc="the offending value, at most 200 characters"),
    _key("run_id"),
    Column("at", Instant, nullable=False, doc="when it was first set aside for this reason"),
    UniqueConstraint("connection", "entity", "origin", "digest", name="uq_rejects"),
    Index("ix_rejects_source", "connection", "entity", "source_id"),
    info={"doc": "records set aside, one row per reason; gone when the reason is"},
)

rate_windows = Table(
    "rate_windows",
    metadata,
    _key("bucket", primary_key=True, doc="what shares one budget: system + workspace or account"),
    Column("sent", Text, nullable=False, doc="JSON list of reserved send times, epoch microseconds, rising"),
    Column("blocked_until", BigInteger, nullable=False, doc="epoch microseconds; set by a 429"),
    info={"doc": "the sliding log of requests, shared by all processes"},
)

events = Table(
    "events",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key("system", nullable=False, doc="who sent it: clockify | snapshots"),
    _key("delivery_id", nullable=False, doc="hash of what it says, and of what it follows; a repeat is dropped"),
    _key("kind", nullable=False, doc="the sender's event type"),
    _key("entity", doc="null when it is about nothing we sync; such an event is kept, closed"),
    _key("source_id", doc="id of the record at the sender"),
    Column("payload", Text, nullable=False, doc="the body as it was sent"),
    Column("received_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, doc="runs that tried to process it"),
    Column("tried_at", Instant, doc="when the last of them began to"),
    _key("run_id", doc="the run that closed it"),
    Column("closed_at", Instant, doc="null = still to do"),
    Column("reason", Text, doc="why the last attempt failed"),
    UniqueConstraint("connection", "system", "delivery_id", name="uq_events"),
    Index(
        "ix_events_open",
        "connection",
        "entity",
        "id",
        sqlite_where=text("closed_at IS NULL"),
        postgresql_where=text("closed_at IS NULL"),
    ),
    Index("ix_events_record", "connection", "system", "source_id", "id"),
    info={"doc": "webhook inbox; an event is closed by the run that processed it"},
)

credentials = Table(
    "credentials",
    metadata,
    _key("connection", primary_key=True),
    _key("name", primary_key=True, doc="which secret: e.g. oauth"),
    Column("ciphertext", LargeBinary, nullable=False, doc="encrypted; never readable from the database alone"),
    _key("key_id", nullable=False, doc="which key encrypted it"),
    Column("expires_at", Instant),
    Column("updated_at", Instant, nullable=False),
    info={"doc": "tokens of connected accounts, encrypted"},
)

trials = Table(
    "trials",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key(
        "fingerprint",
        nullable=False,
        doc="of the configuration that was tried: accounts, credentials, mappings, entities",
    ),
    _key("kind", nullable=False, doc="sandbox | dry_run"),
    _key("by", nullable=False, doc="who asked for it"),
    Column("begun_at", Instant, nullable=False),
    Column("finished_at", Instant, doc="null = under way, or cut off"),
    _key("outcome", doc="passed | failed; null = not finished"),
    Column("report", Text, doc="JSON of what it found, for people"),
    Index("ix_trials_fingerprint", "connection", "fingerprint"),
    info={"doc": "what was tried before live syncing was turned on"},
)

switches = Table(
    "switches",
    metadata,
    _key("connection", primary_key=True),
    _key("fingerprint", nullable=False, doc="the configuration it was turned on for; another one is not live"),
    Column("is_on", Boolean, nullable=False),
    _key("by", nullable=False, doc="who turned it last"),
    Column("at", Instant, nullable=False),
    info={"doc": "live or not, one switch a connection"},
)

audit = Table(
    "audit",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("at", Instant, nullable=False),
    _key("by", nullable=False, doc="who: the user of the machine, and whether by console or command line"),
    _key("what", nullable=False, doc="what was changed"),
    Column("detail", Text, nullable=False, doc="what it is now, in words; never a secret"),
    info={"doc": "append-only: who changed what of the set-up"},
)
