"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0001"
down_revision = None

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create every table."""
    _records()
    _syncs()
    _deliveries()
    _rejects()
    _events()
    _small_tables()


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(name, table, columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _records() -> None:
    op.create_table(
        "records",
        sa.Column("connection", KEY, nullable=False),
        sa.Column("entity", KEY, nullable=False),
        sa.Column("source_id", KEY, nullable=False),
        sa.Column("target_id", KEY),
        sa.Column("partition", KEY),
        sa.Column("fields", sa.Text, nullable=False),
        sa.Column("fields_hash", KEY, nullable=False),
        sa.Column("delivered_hash", KEY),
        sa.Column("refused_hash", KEY),
        sa.Column("observed_at", INSTANT, nullable=False),
        sa.Column("delivered_at", INSTANT),
        sa.Column("deleted_at", INSTANT),
        sa.Column("unconfirmed_at", INSTANT),
        sa.Column("excluded_rule", KEY),
        sa.PrimaryKeyConstraint("connection", "entity", "source_id"),
    )
    key = ["connection", "entity"]
    _partial("ux_records_target", "records", [*key, "target_id"], "target_id IS NOT NULL", unique=True)
    op.create_index("ix_records_partition", "records", [*key, "partition"])
    _partial("ix_records_deleted", "records", [*key, "source_id"], "deleted_at IS NOT NULL")


def _syncs() -> None:
    op.create_table(
        "syncs",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("connection", KEY, nullable=False),
        sa.Column("entity", KEY, nullable=False),
        sa.Column("run_id", KEY),
        sa.Column("first_day", KEY),
        sa.Column("last_day", KEY),
        sa.Column("fingerprint", KEY),
        sa.Column("observed_at", INSTANT, nullable=False),
        sa.Column("begun_at", INSTANT, nullable=False),
        sa.Column("loaded_at", INSTANT),
        sa.Column("finished_at", INSTANT),
        sa.Column("outcome", KEY),
        sa.Column("counts", sa.Text),
        sa.Column("requests", sa.Integer),
    )
    op.create_index("ix_syncs_scope", "syncs", ["connection", "entity", "loaded_at"])
    op.create_index("ix_syncs_run", "syncs", ["run_id"])


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("connection", KEY, nullable=False),
        sa.Column("entity", KEY, nullable=False),
        sa.Column("source_id", KEY, nullable=False),
        sa.Column("target_id", KEY),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("phase", KEY, nullable=False),
        sa.Column("intent_id", SERIAL, sa.ForeignKey("deliveries.id")),
        sa.Column("outcome", KEY),
        sa.Column("fields_hash", KEY),
        sa.Column("attempted", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("sync_id", SERIAL, sa.ForeignKey("syncs.id")),
        sa.Column("at", INSTANT, nullable=False),
    )
    op.create_index("ix_deliveries_sync", "deliveries", ["sync_id"])
    _partial("ix_deliveries_open", "deliveries", ["connection", "entity"], "phase = 'intent'")
    _partial("ux_deliveries_intent", "deliveries", ["intent_id"], "intent_id IS NOT NULL", unique=True)


def _rejects() -> None:
    op.create_table(
        "rejects",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("connection", KEY, nullable=False),
        sa.Column("entity", KEY, nullable=False),
        sa.Column("origin", KEY, nullable=False),
        sa.Column("digest", KEY, nullable=False),
        sa.Column("source_id", KEY),
        sa.Column("partition", KEY),
        sa.Column("field", KEY),
        sa.Column("rule", KEY, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("run_id", KEY),
        sa.Column("at", INSTANT, nullable=False),
        sa.UniqueConstraint("connection", "entity", "origin", "digest", name="uq_rejects"),
    )
    op.create_index("ix_rejects_source", "rejects", ["connection", "entity", "source_id"])


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("connection", KEY, nullable=False),
        sa.Column("system", KEY, nullable=False),
        sa.Column("delivery_id", KEY, nullable=False),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("entity", KEY),
        sa.Column("source_id", KEY),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("run_id", KEY),
        sa.Column("closed_at", INSTANT),
        sa.Column("reason", sa.Text),
        sa.UniqueConstraint("connection", "system", "delivery_id", name="uq_events"),
    )
    _partial("ix_events_open", "events", ["connection", "entity", "id"], "closed_at IS NULL")


def _small_tables() -> None:
    op.create_table(
        "rate_windows",
        sa.Column("bucket", KEY, primary_key=True),
        sa.Column("sent", sa.Text, nullable=False),
        sa.Column("blocked_until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "credentials",
        sa.Column("connection", KEY, nullable=False),
        sa.Column("name", KEY, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("key_id", KEY, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("connection", "name"),
    )
