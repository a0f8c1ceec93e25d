"""What failed is tried again after a pause of its own: when an event was last tried."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("events", sa.Column("tried_at", sa.DateTime(timezone=True)))
