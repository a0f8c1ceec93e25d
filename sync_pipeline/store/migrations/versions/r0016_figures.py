"""Alerts on figures and subscriptions: what an alert is called and how severe it is; digests and how far they have read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0016"
down_revision = "0015"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")


SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add two columns, two tables, and an index of the few entries that run."""
    op.add_column("alerts", sa.Column("title", sa.Text))
    op.add_column("alerts", sa.Column("severity", KEY))
    op.create_index(
        "ix_entry_facts_running",
        "entry_facts",
        ["connection", "start_time"],
        sqlite_where=sa.text("seconds IS NULL"),
        postgresql_where=sa.text("seconds IS NULL"),
    )
    op.create_table(
        "subscriptions",
        sa.Column("connection", KEY, primary_key=True),
        sa.Column("name", KEY, primary_key=True),
        sa.Column("delivery", SERIAL, nullable=False),
        sa.Column("looked_at", INSTANT, nullable=False),
    )
    op.create_table(
        "digests",
        sa.Column("id", SERIAL, primary_key=True),
        *(sa.Column(name, KEY, nullable=False) for name in ("connection", "subscription", "destination")),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_at", INSTANT, nullable=False),
        sa.Column("problem", KEY),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_digests_waiting", "digests", ["connection", "destination", "next_at"])
