"""A short key for each pair - one that is stored already keeps the text of its accounts -, and what each write changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0007"
down_revision = "0006"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
OF_A_PAIR = ("records", "syncs", "deliveries", "rejects", "events", "trials", "switches", "approvals", "health")
"""Whatever else is stored of a pair came with one of these."""


def upgrade() -> None:
    """Create the table, note the pairs that there are, so that no row changes, and add the columns."""
    op.create_table(
        "pairs",
        sa.Column("key", KEY, primary_key=True),
        sa.Column("accounts", KEY, nullable=False, unique=True),
    )
    stored = " UNION ".join(f"SELECT connection FROM {table}" for table in OF_A_PAIR)  # noqa: S608  # our names
    op.execute(f"INSERT INTO pairs (key, accounts) SELECT connection, connection FROM ({stored}) AS stored")  # noqa: S608
    op.add_column("records", sa.Column("delivered_fields", sa.Text))
    op.add_column("deliveries", sa.Column("changes", sa.Text))
