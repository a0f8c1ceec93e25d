"""What the fields of a record were made of, what people call it, which run is writing it; and facts for reports."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0006"
down_revision = "0005"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
AT = sa.DateTime(timezone=True)
FACTS: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {
    "entry_facts": {
        **dict.fromkeys(("user_id", "project_id", "task_id"), KEY),
        **dict.fromkeys(("start_time", "end_time"), AT),
        "seconds": sa.BigInteger(),
        "billable": sa.Boolean(),
        **dict.fromkeys(("amount", "cost"), sa.BigInteger()),
        **dict.fromkeys(("currency", "tags"), sa.Text()),
    },
    "project_facts": {
        "name": sa.Text(),
        "client_id": KEY,
        "client_name": sa.Text(),
        **dict.fromkeys(("budget", "estimate_seconds"), sa.BigInteger()),
    },
    "person_facts": {"name": sa.Text()},
}


def upgrade() -> None:
    """Add the columns; a record without a source hash is processed in full when it is read next."""
    for column in ("source_hash", "decided_by", "label", "claimed_by"):
        op.add_column("records", sa.Column(column, KEY))
    for name, column in (("ix_records_label", "label"), ("ix_records_claimed", "claimed_by")):
        filled = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, "records", ["connection", "entity", column], sqlite_where=filled, postgresql_where=filled)
    for table, columns in FACTS.items():
        op.create_table(
            table,
            *(sa.Column(key, KEY, primary_key=True) for key in ("connection", "entity", "source_id")),
            sa.Column("read_no", sa.BigInteger(), nullable=False),
            sa.Column("rejected_on", KEY),
            *(sa.Column(column, kind) for column, kind in columns.items()),
            sqlite_with_rowid=False,
        )
        rejected = sa.text("rejected_on IS NOT NULL")
        columns_of_index = ["connection", "entity", "rejected_on"]
        op.create_index(
            f"ix_{table}_rejected", table, columns_of_index, sqlite_where=rejected, postgresql_where=rejected
        )
