"""What started a sync, and who asked for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0012"
down_revision = "0011"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add both; of earlier syncs they are not known."""
    op.add_column("syncs", sa.Column("trigger", KEY))
    op.add_column("syncs", sa.Column("requested_by", KEY))
