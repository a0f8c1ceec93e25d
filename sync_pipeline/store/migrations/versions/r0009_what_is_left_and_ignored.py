"""An index of the records that are not at the target as wanted, and which rejects a person ignores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

UNSETTLED = "(fields_hash {is_not} delivered_hash OR deleted_at IS NOT NULL OR excluded_rule IS NOT NULL OR unconfirmed_at IS NOT NULL)"


def upgrade() -> None:
    """Add both."""
    op.create_index(
        "ix_records_unsettled",
        "records",
        ["connection", "entity", "source_id"],
        sqlite_where=sa.text(UNSETTLED.format(is_not="IS NOT")),
        postgresql_where=sa.text(UNSETTLED.format(is_not="IS DISTINCT FROM")),
    )
    op.add_column("rejects", sa.Column("ignored_at", sa.DateTime(timezone=True)))
    op.add_column("rejects", sa.Column("ignored_by", sa.Text))
    op.add_column("rejects", sa.Column("ignored_note", sa.Text))
