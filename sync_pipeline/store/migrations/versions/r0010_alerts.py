"""Alerts about the pipeline itself with the outbox of their messages, and which kind of API error ended a sync."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0010"
down_revision = "0009"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create both tables, and add the column."""
    op.add_column("syncs", sa.Column("category", KEY))
    op.create_table(
        "alerts",
        sa.Column("id", SERIAL, primary_key=True),
        *(sa.Column(name, KEY, nullable=False) for name in ("connection", "kind", "entity", "system")),
        *(sa.Column(name, INSTANT, nullable=False) for name in ("first_seen_at", "last_seen_at", "news_at")),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("acknowledged_by", KEY),
        *(sa.Column(name, INSTANT) for name in ("acknowledged_at", "silenced_until", "resolved_at")),
        sqlite_autoincrement=True,
    )
    is_open = sa.text("resolved_at IS NULL")
    columns = ["connection", "kind", "entity", "system"]
    op.create_index("ux_alerts_open", "alerts", columns, unique=True, sqlite_where=is_open, postgresql_where=is_open)
    op.create_index("ix_alerts_resolved", "alerts", ["connection", "resolved_at"])
    op.create_table(
        "alert_notices",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("alert_id", SERIAL, sa.ForeignKey("alerts.id"), nullable=False),
        sa.Column("destination", KEY, nullable=False),
        sa.Column("event", KEY, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_at", INSTANT, nullable=False),
        sa.Column("problem", KEY),
        sa.Column("sent_at", INSTANT),
    )
    op.create_index("ix_alert_notices_alert", "alert_notices", ["alert_id", "destination"])
    is_due = sa.text("sent_at IS NULL")
    op.create_index("ix_alert_notices_due", "alert_notices", ["next_at"], sqlite_where=is_due, postgresql_where=is_due)
