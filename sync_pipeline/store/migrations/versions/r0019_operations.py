"""Operations that are run once for a key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0019"
down_revision = "0018"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "operation_runs",
        sa.Column("id", SERIAL, primary_key=True),
        *(sa.Column(name, KEY, nullable=False) for name in ("connection", "once_key", "operation", "digest", "by")),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", KEY, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("target_id", KEY),
    )
    op.create_index("ux_operation_runs_once", "operation_runs", ["connection", "once_key"], unique=True)
