"""Requests that are paused: since when, and by whom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0018"
down_revision = "0017"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add two columns."""
    op.add_column("requests", sa.Column("paused_at", sa.DateTime(timezone=True)))
    op.add_column("requests", sa.Column("paused_by", KEY))
