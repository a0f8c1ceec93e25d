"""The set-up with its versions, instead of a file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0008"
down_revision = "0007"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ONE_OF_EACH = sa.text("state <> 'past'")


def upgrade() -> None:
    """Create the table; the process that opens the database imports the file in the same transaction."""
    op.create_table(
        "setup_versions",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("name", KEY, nullable=False),
        sa.Column("state", KEY, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("base_id", SERIAL),
        sa.Column("file_hash", KEY),
        sa.Column("by", KEY, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ux_setup_versions_state",
        "setup_versions",
        ["name", "state"],
        unique=True,
        sqlite_where=ONE_OF_EACH,
        postgresql_where=ONE_OF_EACH,
    )
