"""An event about a record of the target: when that record was compared, before which no run answers it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the column."""
    op.add_column("events", sa.Column("compared_at", sa.DateTime(timezone=True)))
