"""The newest event of a record is looked up at every delivery: an index for it."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_events_record", "events", ["connection", "system", "source_id", "id"])
