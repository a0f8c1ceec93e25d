"""Every table of the store, declared once; the migrations build exactly these (a test compares them)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    UniqueConstraint,
    column,
    func,
    inspect,
    literal_column,
    select,
    table,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import TEXT as PG_TEXT
from sqlalchemy.types import TypeDecorator

from sync_pipeline.errors import NewerSchema

HEAD = "0020"
"""The newest revision in ``migrations/versions``; compared at every start without importing Alembic."""

VERSION_TABLE = "sync_pipeline_version"
"""Alembic's own table, under a name of ours: another program may keep its ``alembic_version`` beside us."""

COPY = ".schema-"
"""Between the name of an SQLite database and the revision of a copy that an upgrade has kept beside it."""


class Instant(TypeDecorator[datetime]):
    """A point in time: aware and UTC in Python, ``timestamptz`` in PostgreSQL, sortable UTC text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time: its zone could not be known later."""
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
SENT, SENT_NEW = "sent", "sent:new"
"""The value of ``delivered_hash`` while a write is under way, and permanently if its answer never arrived: what is at the
target is unknown, so the record is pending whatever it is wanted to be, and it is deleted there when it is deleted at the
source. ``SENT_NEW`` if nothing was known to be there before. No state of a record hashes to them."""
UNKNOWN = (SENT, SENT_NEW)
_FIRST, _LAST = "substr(records.moved_from, 1, 10)", "substr(records.moved_from, length(records.moved_from) - 9)"
FORMER_DAYS = (literal_column(_FIRST, KEY), literal_column(_LAST, KEY))
"""SQL: the first and the last day on which the target may still show a record that has moved."""
WIDENED = (
    f"CASE WHEN records.partition < {_FIRST} THEN records.partition ELSE {_FIRST} END || '/' || "
    f"CASE WHEN records.partition > {_LAST} THEN records.partition ELSE {_LAST} END"
)
"""SQL: ``moved_from`` where the day of the record is among these, too: a late write may carry any of them."""
REMOVAL = "removal"
"""The value of ``refused_hash`` for a delete or archiving the target refused: no state of the record hashes to it."""
PERSONAL = {"personal": True}
"""Marks a column that may hold personal data: `forget` cleans it, and docs/personal-data.md lists it with its age."""

_UNSETTLED = "(fields_hash {is_not} delivered_hash OR deleted_at IS NOT NULL OR excluded_rule IS NOT NULL OR unconfirmed_at IS NOT NULL)"
UNSETTLED = {
    "sqlite": text(_UNSETTLED.format(is_not="IS NOT")),
    "postgresql": text(_UNSETTLED.format(is_not="IS DISTINCT FROM")),
}
"""SQL: records that are in any state but at the target as wanted. They are few, and found by an index that a query uses when it
has just these words."""

metadata = MetaData()


def _key(name: str, **options: Any) -> Column[str]:
    return Column(name, KEY, **options)


records = Table(
    "records",
    metadata,
    _key("connection", primary_key=True, doc="key of the pair, see ``pairs``"),
    _key("entity", primary_key=True),
    _key("source_id", primary_key=True),
    _key("target_id", doc="id at the target; kept after archiving so that the link can be restored"),
    _key("partition", doc="UTC day YYYY-MM-DD; null for entities without partitions"),
    Column("fields", Text, nullable=False, doc="mapped fields as canonical JSON: the desired state", info=PERSONAL),
    _key("fields_hash", nullable=False, doc="hash of the fields the source owns"),
    _key("delivered_hash", doc="hash last known to be at the target; null = not there; `sent`, `sent:new` = unknown"),
    Column(
        "delivered_fields",
        Text,
        doc="fields known to be at the target, while others are wanted; null = those in `fields`, or unknown",
        info=PERSONAL,
    ),
    _key("refused_hash", doc="hash the target refused, or `removal`; waits for a change or `rejects retry`"),
    Column(
        "read_no", BigInteger, nullable=False, server_default="0", doc="number of the read that last changed this row"
    ),
    Column("observed_at", Instant, nullable=False, doc="when that read began: for people, never compared"),
    _key(
        "moved_from",
        doc="the day - or the first/last of several - on which the target may still show it, until the move is delivered",
    ),
    Column("by_id_at", Instant, doc="when it was last read by id: whether to read again, never which read wins"),
    Column("delivered_at", Instant, doc="last write to the target: for people, never compared"),
    Column(
        "delivered_no",
        BigInteger,
        nullable=False,
        server_default="0",
        doc="number drawn when that write was sent or answered",
    ),
    Column("deleted_at", Instant, doc="observed_at of the read that proved the record deleted"),
    Column("unconfirmed_at", Instant, doc="missing from a read, absence not yet proven by a second one"),
    _key("excluded_rule", doc="rule by which the record left the scope; never a delete"),
    _key("source_hash", doc="hash of the canonical source record that the fields come from; null = not known"),
    _key("decided_by", doc="hash of mapping, functions, settings and versions that made the fields of it"),
    Column("label", KEY, doc="what people call the record, from the field its YAML names", info=PERSONAL),
    _key("claimed_by", doc="the run that is writing the record to the target"),
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
        "ix_records_moved",
        "connection",
        "entity",
        "moved_from",
        sqlite_where=text("moved_from IS NOT NULL"),
        postgresql_where=text("moved_from IS NOT NULL"),
    ),
    Index(
        "ix_records_by_id",
        "connection",
        "entity",
        "by_id_at",
        sqlite_where=text("by_id_at IS NOT NULL"),
        postgresql_where=text("by_id_at IS NOT NULL"),
    ),
    Index(
        "ix_records_label",
        "connection",
        "entity",
        "label",
        sqlite_where=text("label IS NOT NULL"),
        postgresql_where=text("label IS NOT NULL"),
    ),
    Index(
        "ix_records_claimed",
        "connection",
        "entity",
        "claimed_by",
        sqlite_where=text("claimed_by IS NOT NULL"),
        postgresql_where=text("claimed_by IS NOT NULL"),
    ),
    Index(
        "ix_records_unsettled",
        "connection",
        "entity",
        "source_id",
        sqlite_where=UNSETTLED["sqlite"],
        postgresql_where=UNSETTLED["postgresql"],
    ),
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


pairs = Table(
    "pairs",
    metadata,
    _key("key", primary_key=True, doc="the value of ``connection`` in the other tables"),
    _key("accounts", nullable=False, unique=True, doc="source system + workspace, target URL + account"),
    info={"doc": "one row a pair: the short key that its rows and their indexes repeat"},
)


def _facts(name: str, doc: str, *columns: Column[Any]) -> Table:
    """A table of facts, which the mapping of an entity fills from the records at the source."""
    return Table(
        name,
        metadata,
        _key("connection", primary_key=True),
        _key("entity", primary_key=True),
        _key("source_id", primary_key=True),
        Column("read_no", BigInteger, nullable=False, doc="number of the read that last changed this row"),
        _key("rejected_on", doc="UTC day, or empty, on which the record was rejected; null = it was not"),
        *columns,
        Index(
            f"ix_{name}_rejected",
            "connection",
            "entity",
            "rejected_on",
            sqlite_where=text("rejected_on IS NOT NULL"),
            postgresql_where=text("rejected_on IS NOT NULL"),
        ),
        sqlite_with_rowid=False,  # its long keys are kept once
        info={"doc": doc},
    )


entry_facts = _facts(
    "entry_facts",
    "time entries with the values of the source, for reports; an entry's client is its project's",
    _key("user_id"),
    _key("project_id"),
    _key("task_id"),
    Column("start_time", Instant),
    Column("end_time", Instant, doc="null while it runs"),
    Column("seconds", BigInteger, doc="from start to end; null while it runs"),
    Column("billable", Boolean),
    Column("amount", BigInteger, doc="what is charged, in hundredths of the currency; null = nothing, or not visible"),
    Column("cost", BigInteger, doc="what it costs, in hundredths of the currency; null = not set, or not visible"),
    Column("currency", Text),
    Column("tags", Text, doc="JSON list of names", info=PERSONAL),
)
Index(
    "ix_entry_facts_project",
    entry_facts.c.connection,
    func.coalesce(entry_facts.c.project_id, literal_column("''")),
    entry_facts.c.start_time,
)
Index("ix_entry_facts_start", entry_facts.c.connection, entry_facts.c.start_time)
Index("ix_entry_facts_user", entry_facts.c.connection, entry_facts.c.user_id, entry_facts.c.start_time)

Index(
    "ix_entry_facts_running",
    entry_facts.c.connection,
    entry_facts.c.start_time,
    sqlite_where=text("seconds IS NULL"),
    postgresql_where=text("seconds IS NULL"),
)

project_facts = _facts(
    "project_facts",
    "projects with the values of the source, for reports",
    Column("name", Text, info=PERSONAL),
    _key("client_id"),
    Column("client_name", Text, info=PERSONAL),
    Column("budget", BigInteger, doc="in hundredths of the currency; null = none"),
    Column("estimate_seconds", BigInteger, doc="null = none"),
)

person_facts = _facts(
    "person_facts", "people with the values of the source, for reports", Column("name", Text, info=PERSONAL)
)

# Joins know no entity, which comes before the id in the primary keys.
Index("ix_project_facts_source", project_facts.c.connection, project_facts.c.source_id)
Index("ix_person_facts_source", person_facts.c.connection, person_facts.c.source_id)

FACTS = {table.name: table for table in (entry_facts, project_facts, person_facts)}
"""The tables of facts by name."""

report_settings = Table(
    "report_settings",
    metadata,
    _key("connection", primary_key=True),
    _key("time_zone", nullable=False),
    _key("week_start", nullable=False),
    _key("currency", nullable=False, doc="of amounts without a currency at the source; empty = unknown"),
    Column(
        "rounding_seconds", BigInteger, nullable=False, doc="hours are rounded to a multiple of it; 0 = they are not"
    ),
    Column("rounding_add", BigInteger, nullable=False, doc="added before the division: 0 rounds down"),
    Column("computed_at", Instant, doc="when figures were last computed"),
    info={"doc": "the settings that the figures of reports were computed with, one row a pair"},
)

report_periods = Table(
    "report_periods",
    metadata,
    _key("connection", primary_key=True),
    _key("kind", primary_key=True, doc="month | week"),
    Column("starts_at", Instant, primary_key=True, doc="the first period has no beginning, the last one no end"),
    Column("ends_at", Instant, nullable=False),
    _key("name", nullable=False, doc="month YYYY-MM, or the first day of the week"),
    Index("ux_report_periods_name", "connection", "kind", "name", unique=True),
    sqlite_with_rowid=False,
    info={"doc": "where months and weeks begin in the time zone of the reports"},
)

report_dirty = Table(
    "report_dirty",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key("project_id", nullable=False, doc="empty = entries without a project"),
    _key("month", nullable=False),
    Index("ix_report_dirty", "connection", "project_id", "month"),
    info={"doc": "projects and months whose figures have to be computed again; written by triggers of entry_facts"},
)

project_months = Table(
    "project_months",
    metadata,
    _key("connection", primary_key=True),
    _key("project_id", primary_key=True, doc="empty = entries without a project"),
    _key("month", primary_key=True, doc="of the start of the entries"),
    _key("currency", primary_key=True, doc="empty = unknown; figures of several currencies are never added"),
    Column("entries", BigInteger, nullable=False, doc="without running ones"),
    Column("seconds", BigInteger, nullable=False, doc="rounded as the settings say"),
    Column("billable_seconds", BigInteger, nullable=False),
    Column("people", BigInteger, nullable=False, doc="different people"),
    Column("amount", BigInteger, doc="in hundredths of the currency; null = of no entry visible"),
    Column("cost", BigInteger, doc="in hundredths of the currency; null = of no entry visible"),
    sqlite_with_rowid=False,
    info={"doc": "figures of each project and month, computed from entry_facts"},
)


def _finer(name: str, part: str, doc: str, *money: str) -> Table:
    """Figures of each project and month by one thing more, computed with those of the month."""
    counts = ("entries", "billable_entries", "seconds", "billable_seconds")
    return Table(
        name,
        metadata,
        *(_key(each, primary_key=True) for each in ("connection", "month", "project_id", part, "currency")),
        *(Column(each, BigInteger, nullable=False) for each in counts),
        *(Column(each, BigInteger) for each in money),
        sqlite_with_rowid=False,
        info={"doc": doc},
    )


project_weeks = _finer("project_weeks", "week", "figures of each project by month and week, for the dashboard")
project_people = _finer(
    "project_people", "user_id", "figures of each project by month and person, for the dashboard", "amount", "cost"
)
Index("ix_project_people_user", project_people.c.connection, project_people.c.user_id, project_people.c.month)

project_revenue = Table(
    "project_revenue",
    metadata,
    _key("connection", primary_key=True),
    _key("project_id", primary_key=True),
    _key("month", primary_key=True),
    _key("currency", primary_key=True, doc="empty = unknown"),
    *(
        Column(name, BigInteger, doc="in hundredths of the currency; null = not known")
        for name in ("revenue", "budget", "margin")
    ),
    sqlite_with_rowid=False,
    info={"doc": "what the target says each project earns in a month"},
)

revenue_reads = Table(
    "revenue_reads",
    metadata,
    _key("connection", primary_key=True),
    Column("read_at", Instant, nullable=False, doc="when it was last asked for"),
    Column("missing", Text, doc="why there is none; null = it was read"),
    info={"doc": "when the revenue of projects was last read, one row a pair"},
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
    Column("read_no", BigInteger, nullable=False, server_default="0", doc="number of the read"),
    Column("observed_at", Instant, nullable=False, doc="when the read began"),
    Column("begun_at", Instant, nullable=False),
    Column("loaded_at", Instant, doc="when the batch was merged into records; null = it never was"),
    Column("finished_at", Instant),
    _key("outcome", doc="success | failed | blocked | incomplete | dry_run | targeted; null = running or killed"),
    Column("counts", Text, doc="JSON object of the figures the run reports"),
    Column("requests", Integer, doc="API requests this sync made"),
    Column(
        "reason",
        Text,
        doc="why it failed or was held, in one sentence with the fix; null when it was not",
        info=PERSONAL,
    ),
    _key("category", doc="of the API error that ended it, see ``ErrorCategory``; null = it was none"),
    _key("trigger", doc="what started it, see ``Trigger``; null = not known"),
    _key("requested_by", doc="who asked for it, where a person did", info=PERSONAL),
    Index("ix_syncs_scope", "connection", "entity", "loaded_at"),
    Index("ix_syncs_run", "run_id"),
    info={"doc": "one row per entity and run: the only table a sync of unchanged data writes to"},
)

read_numbers = Table(
    "read_numbers",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, doc="always 1"),
    Column("last", BigInteger, nullable=False, doc="the number drawn last"),
    info={"doc": "one row: the order of all reads and of the answers to writes"},
)

loads = Table(
    "loads",
    metadata,
    _key("connection", primary_key=True),
    _key("entity", primary_key=True),
    _key("day", primary_key=True, doc="UTC day YYYY-MM-DD; empty = the whole entity"),
    Column(
        "read_no", BigInteger, nullable=False, doc="number of the read that was merged; 0 = before reads had numbers"
    ),
    _key("fingerprint", doc="of the mapping it was loaded with"),
    Column("sync_id", SERIAL, doc="the sync that loaded it; its row may have been pruned"),
    _key("run_id", doc="the run that loaded it"),
    Column("loaded_at", Instant, nullable=False, doc="when it was merged into records"),
    Column("done_at", Instant, doc="when everything of it was delivered; null = something is left to do"),
    Column(
        "has_facts",
        Boolean,
        nullable=False,
        server_default=true(),
        doc="false = loaded before facts for reports were kept",
    ),
    info={"doc": "one row a day: which read is loaded; written with the merge, never pruned"},
)

names = Table(
    "names",
    metadata,
    _key("connection", primary_key=True),
    _key("kind", primary_key=True, doc="user | project | client | task | tag, or client_of: of a project"),
    _key("id", primary_key=True, doc="id at the source"),
    Column("name", Text, nullable=False, doc="as it was last read; for client_of an id, or empty", info=PERSONAL),
    info={"doc": "names of what time entries refer to: some answers give ids alone"},
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
    Column("attempted", Text, doc="JSON of what an intent was about to send (names to look up later)", info=PERSONAL),
    Column("reason", Text, doc="why the target refused, or why it failed", info=PERSONAL),
    Column(
        "changes",
        Text,
        doc="JSON of the changed fields, each with its values before and after; of personal fields the names only",
        info=PERSONAL,
    ),
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
    _key("origin", nullable=False, doc="check (decided again at every read) | target (waits for a retry)"),
    _key("digest", nullable=False, doc="of everything a person sees, to distinguish a known reject from a new one"),
    _key("source_id", doc="null when that is what is wrong"),
    _key("partition", doc="UTC day; of a record without one, the first day of the read that met it"),
    _key("field"),
    _key("rule", nullable=False),
    Column("reason", Text, nullable=False, info=PERSONAL),
    Column("value", Text, doc="the offending value, at most 200 characters", info=PERSONAL),
    _key("run_id"),
    Column("read_no", BigInteger, nullable=False, server_default="0", doc="number of the read that found it"),
    Column("at", Instant, nullable=False, doc="when it was first rejected for this reason"),
    Column("ignored_at", Instant, doc="since when it is ignored until it changes; null = it is not"),
    Column("ignored_by", Text, doc="who ignores it", info=PERSONAL),
    Column("ignored_note", Text, doc="why, in that person's words", info=PERSONAL),
    UniqueConstraint("connection", "entity", "origin", "digest", name="uq_rejects"),
    Index("ix_rejects_source", "connection", "entity", "source_id"),
    info={"doc": "rejected records, one row per reason; deleted with the reason"},
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
    _key("system", nullable=False, doc="who sent it: a system, or poll"),
    _key("delivery_id", nullable=False, doc="hash of what it says, and of what it follows; a repeat is dropped"),
    _key("kind", nullable=False, doc="the sender's event type"),
    _key("hook", doc="the webhook by which it came in; null when it was polled, or before this column"),
    _key("entity", doc="null when it is about nothing we sync; such an event is kept, closed"),
    _key("source_id", doc="id of the record at the sender"),
    Column("payload", Text, nullable=False, doc="the body as it was sent", info=PERSONAL),
    Column("received_at", Instant, nullable=False),
    Column("stored_at", Instant, doc="the same by the store's clock: whether a list may be older than the event"),
    Column("attempts", Integer, nullable=False, doc="runs that tried to process it"),
    Column("tried_at", Instant, doc="when the last of them began to"),
    Column(
        "compared_at", Instant, doc="about the target: when its record was compared; null = not yet, no run answers it"
    ),
    _key("run_id", doc="the run that closed it"),
    Column("closed_at", Instant, doc="null = still to do"),
    Column("reason", Text, doc="why the last attempt failed", info=PERSONAL),
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
    Index(
        "ix_events_hook",
        "connection",
        "hook",
        "id",
        sqlite_where=text("hook IS NOT NULL"),
        postgresql_where=text("hook IS NOT NULL"),
    ),
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
    _key("by", nullable=False, doc="who asked for it", info=PERSONAL),
    Column("begun_at", Instant, nullable=False),
    Column("finished_at", Instant, doc="null = under way, or cut off"),
    _key("outcome", doc="passed | held | failed | throttled; null = not finished"),
    Column("report", Text, doc="JSON of what it found, for people", info=PERSONAL),
    Index("ix_trials_fingerprint", "connection", "fingerprint"),
    info={"doc": "what was tried before live syncing was turned on"},
)

switches = Table(
    "switches",
    metadata,
    _key("connection", primary_key=True),
    _key("fingerprint", nullable=False, doc="the configuration it was turned on for; another one is not live"),
    Column("is_on", Boolean, nullable=False),
    _key("by", nullable=False, doc="who turned it last", info=PERSONAL),
    Column("at", Instant, nullable=False),
    info={"doc": "live or not, one switch a connection"},
)

setup_versions = Table(
    "setup_versions",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("name", nullable=False, doc="SYNC_SETUP_NAME; empty for the only set-up of a database"),
    _key("state", nullable=False, doc="current | draft | past; one is current, at most one is a draft"),
    Column("document", Text, nullable=False, doc="accounts, choices and mappings as YAML, without secrets"),
    Column("base_id", SERIAL, doc="of a draft: the version it is based on"),
    _key("file_hash", doc="checksum of the file that it was imported from; null = made here"),
    _key("by", nullable=False, doc="who made it", info=PERSONAL),
    Column("at", Instant, nullable=False),
    Column("note", Text, nullable=False, doc="what was changed, in words; never a secret"),
    Index(
        "ux_setup_versions_state",
        "name",
        "state",
        unique=True,
        sqlite_where=text("state <> 'past'"),
        postgresql_where=text("state <> 'past'"),
    ),
    info={"doc": "the set-up and its versions"},
    sqlite_autoincrement=True,  # a form names the version it was made from
)

audit = Table(
    "audit",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("at", Instant, nullable=False),
    _key(
        "by",
        nullable=False,
        doc="who: system user or console session, host, and the surface: terminal | console",
        info=PERSONAL,
    ),
    _key("what", nullable=False, doc="what was changed"),
    Column("detail", Text, nullable=False, doc="what it is now, in words; never a secret", info=PERSONAL),
    info={"doc": "append-only: who changed what of the set-up"},
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key("entity", nullable=False),
    _key("kind", nullable=False, doc="records (bound to its lines) | configuration (bound to the fingerprint)"),
    _key(
        "guard",
        nullable=False,
        doc="what holds: deletes | rewrite | creates | first_contact; former: unchanged records keep their earlier form",
    ),
    _key("fingerprint", doc="of the configuration the request was made under"),
    Column("shown", Integer, nullable=False, doc="how many records the request showed"),
    Column("used", Integer, nullable=False, server_default="0", doc="how many have been written on its strength"),
    Column("requested_at", Instant, nullable=False),
    Column("decided_at", Instant, doc="null = waits for a decision"),
    _key("decision", doc="allowed | declined; null = open"),
    _key("by", doc="who decided", info=PERSONAL),
    Column("expires_at", Instant, doc="the decision counts until then"),
    Index("ix_approvals_entity", "connection", "entity", "guard"),
    Index(
        "ux_approvals_open",
        "connection",
        "entity",
        "guard",
        unique=True,
        sqlite_where=text("decision IS NULL"),
        postgresql_where=text("decision IS NULL"),
    ),
    info={"doc": "what a guard holds, and a person's decision about it"},
    sqlite_autoincrement=True,  # the id of a request that was replaced is never another one's
)

approval_lines = Table(
    "approval_lines",
    metadata,
    Column("approval_id", SERIAL, ForeignKey("approvals.id"), primary_key=True),
    _key("source_id", primary_key=True),
    _key("action", nullable=False, doc="create | update | delete | archive"),
    _key("hash_before", doc="at the target when the request was made; null = not there"),
    _key("hash_after", doc="wanted at the target; null = removed"),
    _key("partition", doc="UTC day; null for entities without partitions"),
    Column("done_at", Instant, doc="when its outcome was recorded: it is used up"),
    Index("ix_approval_lines_record", "source_id"),
    info={"doc": "the records an approval names; one of the kind `records` is bound to them"},
)

health = Table(
    "health",
    metadata,
    _key("connection", primary_key=True),
    _key(
        "system",
        primary_key=True,
        doc="a system | daemon | webhooks | verify:ENTITY | deleted deliveries:ENTITY:OUTCOME",
    ),
    Column("ok_at", Instant, doc="last good answer or finding, or last tick of the daemon's sensors"),
    Column("failed_at", Instant, doc="first failure since ok_at; null = none"),
    _key("code", doc="key refused | not reachable | wrong address, what was found, or how many; null = none"),
    Column("reason", Text, doc="one sentence for people, with the fix; never a secret", info=PERSONAL),
    Column("last_failed_at", Instant, doc="when its last failure began; kept when that is over"),
    Column("last_reason", Text, doc="the sentence of that failure", info=PERSONAL),
    info={"doc": "how each connected system answered last, what was found last, and when the daemon last reported"},
)

system_facts = Table(
    "system_facts",
    metadata,
    _key("place", primary_key=True, doc="the system's address, and the workspace there"),
    Column("account", Text, doc="the owner of the key; null = not known", info=PERSONAL),
    Column("workspace", Text, doc="the name of the workspace; null = not known"),
    Column("tested_at", Instant, doc="when the connection was last tested; null = never"),
    Column("findings", Text, doc="JSON list of what that test found", info=PERSONAL),
    info={"doc": "what each connected system was last seen to be, so that pages need not ask it"},
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key("kind", nullable=False, doc="one of ``alerts/kinds.py``, or `figure`"),
    _key("entity", nullable=False, doc="empty = of none; of a figure the name of the rule"),
    _key(
        "system",
        nullable=False,
        doc="a system or a destination; empty = of none; of a figure what it is of, when, and the threshold",
    ),
    Column("first_seen_at", Instant, nullable=False, doc="since when the fact is known that opened it"),
    Column("last_seen_at", Instant, nullable=False, doc="when it was last found open, to within a minute"),
    Column(
        "news_at", Instant, nullable=False, doc="when it last got worse: an acknowledgement from before does not count"
    ),
    Column("count", Integer, nullable=False, doc="how many runs, records or requests it is about"),
    Column("detail", Text, nullable=False, doc="the cause in one sentence, with the fix", info=PERSONAL),
    Column("title", Text, doc="what people call it; null = as its kind is called", info=PERSONAL),
    _key("severity", doc="critical | warning | info; null = that of its kind"),
    _key("acknowledged_by", info=PERSONAL),
    Column("acknowledged_at", Instant, doc="null = no one has"),
    Column("silenced_until", Instant, doc="no message is sent before then; null = not silenced"),
    Column("resolved_at", Instant, doc="when the fact was no longer found; null = open"),
    Index(
        "ux_alerts_open",
        "connection",
        "kind",
        "entity",
        "system",
        unique=True,
        sqlite_where=text("resolved_at IS NULL"),
        postgresql_where=text("resolved_at IS NULL"),
    ),
    Index("ix_alerts_resolved", "connection", "resolved_at"),
    info={"doc": "conditions of the pipeline and of figures that need attention; opened and resolved by facts"},
    sqlite_autoincrement=True,  # a number that was shown or sent is never another alert's
)

alert_notices = Table(
    "alert_notices",
    metadata,
    Column("id", SERIAL, primary_key=True),
    Column("alert_id", SERIAL, ForeignKey("alerts.id"), nullable=False),
    _key("destination", nullable=False, doc="its name; its address is an encrypted secret"),
    _key("event", nullable=False, doc="opened | repeated | resolved"),
    Column("at", Instant, nullable=False, doc="since when it is to be sent"),
    Column("attempts", Integer, nullable=False, server_default="0", doc="how often sending failed"),
    Column("next_at", Instant, nullable=False, doc="when it is sent, or tried again"),
    _key("problem", doc="why sending failed last, without the address"),
    Column("sent_at", Instant, doc="null = still to be sent"),
    Index("ix_alert_notices_alert", "alert_id", "destination"),
    Index(
        "ix_alert_notices_due",
        "next_at",
        sqlite_where=text("sent_at IS NULL"),
        postgresql_where=text("sent_at IS NULL"),
    ),
    info={"doc": "outbox of the alerts: the notices to each destination, written before they are sent"},
)

subscriptions = Table(
    "subscriptions",
    metadata,
    _key("connection", primary_key=True),
    _key("name", primary_key=True),
    Column("delivery", SERIAL, nullable=False, doc="the newest delivery that a digest was made of, or passed over"),
    Column("looked_at", Instant, nullable=False, doc="when that was; digests are made of what came later"),
    info={"doc": "how far each subscription has read the deliveries; moved on with the digest, in one transaction"},
)

digests = Table(
    "digests",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key("subscription", nullable=False),
    _key("destination", nullable=False, doc="its name; its address is an encrypted secret"),
    Column("title", Text, nullable=False, info=PERSONAL),
    Column("body", Text, nullable=False, doc="at most some dozens of records, by name", info=PERSONAL),
    Column("at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0", doc="how often sending failed"),
    Column("next_at", Instant, nullable=False, doc="when it is sent, or tried again"),
    _key("problem", doc="why sending failed last, without the address"),
    Index("ix_digests_waiting", "connection", "destination", "next_at"),
    info={"doc": "outbox of the subscriptions; a digest that was sent is deleted"},
    sqlite_autoincrement=True,  # its number lets a destination recognise one that comes twice
)

forgotten = Table(
    "forgotten",
    metadata,
    _key("connection", primary_key=True),
    _key("entity", primary_key=True),
    _key("id_hash", primary_key=True, doc="keyed hash of a source id that was forgotten"),
    Column("at", Instant, nullable=False),
    info={"doc": "ids that late batches and events may not bring back"},
)

run_locks = Table(
    "run_locks",
    metadata,
    _key("run_id", primary_key=True, doc="Dagster's id of a run that has not ended"),
    Column("started_at", Instant, doc="when it took its lock; null = it has never held one here"),
    Column("free_at", Instant, doc="since when its lock has not been seen held; null = held"),
    Column("dead_at", Instant, doc="when it was declared dead: it may not go on"),
    info={"doc": "runs that hold a lock while they live, and what those who look for dead ones have seen"},
)

requests = Table(
    "requests",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key("kind", nullable=False, doc="sync | verify | repair | retry | backfill | sync_record"),
    Column("scope", Text, nullable=False, doc="JSON: entity, first and last day, ids of records"),
    _key("scope_hash", nullable=False, doc="of the scope: the same is asked for once at a time"),
    _key("by", nullable=False, doc="who asked", info=PERSONAL),
    Column("asked_at", Instant, nullable=False),
    Column("taken_at", Instant, doc="when the daemon started on it; null = it waits"),
    Column("runs", Text, nullable=False, doc="JSON list: Dagster's ids of its runs, or of the backfill"),
    Column("progress", Text, doc="JSON: what its run does now"),
    Column("result", Text, doc="JSON: the figures of each run, and the first differences found", info=PERSONAL),
    Column("cancel_asked_at", Instant),
    _key("cancel_by", doc="who cancelled it", info=PERSONAL),
    Column("paused_at", Instant, doc="since when it is paused; null = it is not"),
    _key("paused_by", doc="who paused it", info=PERSONAL),
    Column("finished_at", Instant, doc="null = open"),
    _key("outcome", doc="done | differs | held | failed | cancelled; null = open"),
    Column("reason", Text, doc="why it is not done, in one sentence", info=PERSONAL),
    Index(
        "ux_requests_open",
        "connection",
        "kind",
        "scope_hash",
        unique=True,
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
    info={"doc": "what people ask for in the console; the daemon starts it as runs"},
    sqlite_autoincrement=True,  # runs name their request: an id never means two
)

browser_sessions = Table(
    "browser_sessions",
    metadata,
    _key("id", primary_key=True, doc="hash of the cookie"),
    Column("seen_at", Instant, nullable=False, doc="last use, to within a minute"),
    Column(
        "state", LargeBinary, nullable=False, doc="who it is and what it keeps between two pages; its cookie is the key"
    ),
    Index("ix_browser_sessions_seen", "seen_at"),
    info={"doc": "browsers that are signed in at servers behind a proxy: any instance accepts them"},
)

one_time_tokens = Table(
    "one_time_tokens",
    metadata,
    _key("id", primary_key=True, doc="hash of the token"),
    _key("purpose", nullable=False, doc="sign-in | consent | delivery"),
    Column(
        "content", LargeBinary, doc="of a link its role; of a consent the answer (its token is the key); null = none"
    ),
    Column("until", Instant, nullable=False),
    Index("ix_one_time_tokens_until", "until"),
    info={"doc": "what is valid once, at whatever instance it is redeemed"},
)

console_work = Table(
    "console_work",
    metadata,
    _key("setup", primary_key=True, doc="name of the set-up"),
    _key("kind", primary_key=True, doc="test | preparation"),
    Column("begun_at", Instant, nullable=False),
    Column("state", Text, nullable=False, doc="JSON: what was found so far, and what went wrong", info=PERSONAL),
    info={"doc": "work that a console does while pages are looked at: how far it is, for the pages of any instance"},
)

operation_runs = Table(
    "operation_runs",
    metadata,
    Column("id", SERIAL, primary_key=True),
    _key("connection", nullable=False),
    _key("once_key", nullable=False, doc="named by the caller: the operation is sent once for it"),
    _key("operation", nullable=False),
    _key("digest", nullable=False, doc="of the request: a key is for one request"),
    _key("by", nullable=False, doc="who ran it", info=PERSONAL),
    Column("at", Instant, nullable=False),
    _key("state", nullable=False, doc="sent | done | refused | unknown; sent = the process ended before the answer"),
    Column("status", Integer, doc="of the answer"),
    _key("target_id", doc="the id in the answer"),
    Index("ux_operation_runs_once", "connection", "once_key", unique=True),
    info={"doc": "operations that were run once for a key"},
)


def stored_version(connection: Connection) -> str | None:
    """The schema revision the database is at; ``None`` when it is new."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: Select[str] = select(column("version_num")).select_from(table(VERSION_TABLE))
    version: str | None = connection.scalar(found)
    return version


def newer_schema(place: str, version: str) -> NewerSchema:
    """The error about a database at a version of the schema that this program does not know."""
    return NewerSchema(
        f"{place} has schema {version}, this version of sync_pipeline knows up to {HEAD}.",
        fix="Install the newer sync_pipeline that wrote it, or name another database.",
    )
