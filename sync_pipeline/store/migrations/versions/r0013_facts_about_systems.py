"""What each connected system was last seen to be, and its last failure, which stays known when it is over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0013"
down_revision = "0012"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add a table and two columns; a failure that lasts is the last one."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "system_facts",
        sa.Column("place", KEY, primary_key=True),
        sa.Column("account", sa.Text),
        sa.Column("workspace", sa.Text),
        sa.Column("tested_at", instant),
        sa.Column("findings", sa.Text),
    )
    op.add_column("health", sa.Column("last_failed_at", instant))
    op.add_column("health", sa.Column("last_reason", sa.Text))
    op.execute("UPDATE health SET last_failed_at = failed_at, last_reason = reason WHERE failed_at IS NOT NULL")
