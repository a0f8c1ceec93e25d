"""Reports: figures by week and by person, revenue of the Snapshots side, and which days were read with facts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

from sync_pipeline.store.migrations.versions.r0014_reports import VIEWS

revision = "0015"
down_revision = "0014"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
INSTANT = sa.DateTime(timezone=True)
COUNTS = ("entries", "billable_entries", "seconds", "billable_seconds")

# Entries that no read has brought facts of: their day was loaded before there were any.
UNREAD = """
    UPDATE loads SET has_facts = false WHERE day <> '' AND EXISTS (
        SELECT 1 FROM records r
        WHERE r.connection = loads.connection AND r.entity = loads.entity AND r.partition = loads.day
            AND r.deleted_at IS NULL AND r.excluded_rule IS NULL AND NOT EXISTS (
                SELECT 1 FROM entry_facts f
                WHERE f.connection = r.connection AND f.entity = r.entity AND f.source_id = r.source_id
            )
    )
"""
MONTHS = """
    SELECT m.connection, NULLIF(m.project_id, '') AS project_id, p.name AS project, p.client_id,
        p.client_name AS client, m.month, NULLIF(m.currency, '') AS currency, m.entries,
        CAST(m.seconds AS DOUBLE PRECISION) / 3600 AS hours,
        CAST(m.billable_seconds AS DOUBLE PRECISION) / 3600 AS billable_hours,
        m.people, ROUND(m.amount / 100.0, 2) AS amount, ROUND(m.cost / 100.0, 2) AS cost,
        ROUND((m.amount - m.cost) / 100.0, 2) AS margin, ROUND(p.budget / 100.0, 2) AS budget,
        ROUND(SUM(m.amount) OVER (PARTITION BY m.connection, m.project_id, m.currency ORDER BY m.month) / 100.0, 2)
            AS amount_to_date,
        CAST(p.estimate_seconds AS DOUBLE PRECISION) / 3600 AS estimate_hours,
        CAST(SUM(m.seconds) OVER (PARTITION BY m.connection, m.project_id ORDER BY m.month) AS DOUBLE PRECISION) / 3600
            AS hours_to_date,
        ROUND(m.revenue / 100.0, 2) AS revenue, ROUND(m.revenue_budget / 100.0, 2) AS revenue_budget,
        ROUND(m.revenue_margin / 100.0, 2) AS revenue_margin,
        CASE WHEN m.revenue IS NULL THEN COALESCE(a.missing,
            CASE WHEN a.connection IS NULL THEN 'analytics of the Snapshots API are not read yet'
                ELSE 'the Snapshots API has no revenue for it' END) END AS revenue_missing
    FROM (
        SELECT f.connection, f.project_id, f.month, f.currency, f.entries, f.seconds, f.billable_seconds, f.people,
            f.amount, f.cost, r.revenue, r.budget AS revenue_budget, r.margin AS revenue_margin
        FROM project_months f LEFT JOIN project_revenue r ON r.connection = f.connection
            AND r.project_id = f.project_id AND r.month = f.month AND r.currency = f.currency
        UNION ALL
        SELECT r.connection, r.project_id, r.month, r.currency, 0, 0, 0, 0, NULL, NULL, r.revenue, r.budget, r.margin
        FROM project_revenue r WHERE NOT EXISTS (
            SELECT 1 FROM project_months f WHERE f.connection = r.connection
            AND f.project_id = r.project_id AND f.month = r.month AND f.currency = r.currency
        )
    ) m
    LEFT JOIN project_facts p ON p.connection = m.connection AND p.source_id = m.project_id
    LEFT JOIN revenue_reads a ON a.connection = m.connection
"""


def upgrade() -> None:
    """Create the tables; the next report computes everything."""
    _figures()
    _revenue()
    op.add_column("report_settings", sa.Column("computed_at", INSTANT))
    op.add_column("loads", sa.Column("has_facts", sa.Boolean, nullable=False, server_default=sa.true()))
    op.execute(UNREAD)
    op.create_index("ix_entry_facts_start", "entry_facts", ["connection", "start_time"])
    op.create_index("ix_entry_facts_user", "entry_facts", ["connection", "user_id", "start_time"])
    for table in ("project_facts", "person_facts"):
        op.create_index(f"ix_{table}_source", table, ["connection", "source_id"])
    op.execute("DELETE FROM report_settings")
    _views()


def _views() -> None:
    """Again, with revenue, and on SQLite with the index of the names: without it each entry looks at all projects."""
    views = {**VIEWS, "mart_project_months": MONTHS}
    for name in reversed(views):
        op.execute(f"DROP VIEW {name}")
    by = " INDEXED BY ix_{}_source" if op.get_bind().dialect.name == "sqlite" else ""
    for name, query in views.items():
        projects = query.replace("JOIN project_facts p ON", f"JOIN project_facts p{by.format('project_facts')} ON")
        people = projects.replace("JOIN person_facts u ON", f"JOIN person_facts u{by.format('person_facts')} ON")
        op.execute(f"CREATE VIEW {name} AS {people}")


def _figures() -> None:
    for table, part, money in (("project_weeks", "week", ()), ("project_people", "user_id", ("amount", "cost"))):
        op.create_table(
            table,
            *(_key(name) for name in ("connection", "month", "project_id", part, "currency")),
            *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
            *(sa.Column(name, sa.BigInteger) for name in money),
            sqlite_with_rowid=False,
        )
    op.create_index("ix_project_people_user", "project_people", ["connection", "user_id", "month"])


def _revenue() -> None:
    op.create_table(
        "project_revenue",
        *(_key(name) for name in ("connection", "project_id", "month", "currency")),
        *(sa.Column(name, sa.BigInteger) for name in ("revenue", "budget", "margin")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "revenue_reads",
        _key("connection"),
        sa.Column("read_at", INSTANT, nullable=False),
        sa.Column("missing", sa.Text),
    )


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, KEY, primary_key=True)
