"""The set-up: what was tried, whether live syncing is on, and who changed what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0004"
down_revision = "0003"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the three tables."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "trials",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("connection", KEY, nullable=False),
        sa.Column("fingerprint", KEY, nullable=False),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("by", KEY, nullable=False),
        sa.Column("begun_at", instant, nullable=False),
        sa.Column("finished_at", instant),
        sa.Column("outcome", KEY),
        sa.Column("report", sa.Text),
    )
    op.create_index("ix_trials_fingerprint", "trials", ["connection", "fingerprint"])
    op.create_table(
        "switches",
        sa.Column("connection", KEY, primary_key=True),
        sa.Column("fingerprint", KEY, nullable=False),
        sa.Column("is_on", sa.Boolean, nullable=False),
        sa.Column("by", KEY, nullable=False),
        sa.Column("at", instant, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("at", instant, nullable=False),
        sa.Column("by", KEY, nullable=False),
        sa.Column("what", KEY, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
