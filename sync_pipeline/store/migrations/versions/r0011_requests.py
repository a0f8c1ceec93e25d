"""Requests: what people ask for in the console and the daemon does."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0011"
down_revision = "0010"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "requests",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("connection", KEY, nullable=False),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("scope_hash", KEY, nullable=False),
        sa.Column("by", KEY, nullable=False),
        sa.Column("asked_at", instant, nullable=False),
        sa.Column("taken_at", instant),
        sa.Column("runs", sa.Text, nullable=False),
        sa.Column("progress", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("cancel_asked_at", instant),
        sa.Column("cancel_by", KEY),
        sa.Column("finished_at", instant),
        sa.Column("outcome", KEY),
        sa.Column("reason", sa.Text),
        sqlite_autoincrement=True,
    )
    is_open = sa.text("finished_at IS NULL")
    op.create_index(
        "ux_requests_open",
        "requests",
        ["connection", "kind", "scope_hash"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
