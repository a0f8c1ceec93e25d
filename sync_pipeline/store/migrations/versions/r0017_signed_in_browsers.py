"""Servers behind a proxy: for all instances who is signed in, tokens that are good once, and how far work is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0017"
down_revision = "0016"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add three tables."""
    op.create_table(
        "browser_sessions",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("seen_at", INSTANT, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_browser_sessions_seen", "browser_sessions", ["seen_at"])
    op.create_table(
        "one_time_tokens",
        sa.Column("id", KEY, primary_key=True),
        sa.Column("purpose", KEY, nullable=False),
        sa.Column("content", sa.LargeBinary),
        sa.Column("until", INSTANT, nullable=False),
    )
    op.create_index("ix_one_time_tokens_until", "one_time_tokens", ["until"])
    op.create_table(
        "console_work",
        sa.Column("setup", KEY, primary_key=True),
        sa.Column("kind", KEY, primary_key=True),
        sa.Column("begun_at", INSTANT, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
