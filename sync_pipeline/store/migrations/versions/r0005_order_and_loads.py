"""Order as a number, what is loaded, approvals, health, and ids that were forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TEXT

revision = "0005"
down_revision = "0004"

KEY = sa.Text().with_variant(TEXT(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)

NUMBERED = {"records": ("read_no", "delivered_no"), "syncs": ("read_no",), "rejects": ("read_no",)}
"""Rows from before reads had numbers have the number 0: every read is newer."""


def upgrade() -> None:
    """Add the columns and tables, and fill ``loads`` from the history of syncs."""
    for table, columns in NUMBERED.items():
        for column in columns:
            op.add_column(table, sa.Column(column, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("records", sa.Column("by_id_at", INSTANT))
    op.add_column("records", sa.Column("moved_from", KEY))
    moved = sa.text("moved_from IS NOT NULL")
    op.create_index(
        "ix_records_moved",
        "records",
        ["connection", "entity", "moved_from"],
        sqlite_where=moved,
        postgresql_where=moved,
    )
    read_by_id = sa.text("by_id_at IS NOT NULL")
    op.create_index(
        "ix_records_by_id",
        "records",
        ["connection", "entity", "by_id_at"],
        sqlite_where=read_by_id,
        postgresql_where=read_by_id,
    )
    op.add_column("syncs", sa.Column("reason", sa.Text))
    op.add_column("events", sa.Column("hook", KEY))
    by_hook = sa.text("hook IS NOT NULL")
    op.create_index(
        "ix_events_hook", "events", ["connection", "hook", "id"], sqlite_where=by_hook, postgresql_where=by_hook
    )
    op.add_column("events", sa.Column("stored_at", INSTANT))
    op.create_table(
        "read_numbers",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    loads = op.create_table(
        "loads",
        sa.Column("connection", KEY, primary_key=True),
        sa.Column("entity", KEY, primary_key=True),
        sa.Column("day", KEY, primary_key=True),
        sa.Column("read_no", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", KEY),
        sa.Column("sync_id", SERIAL),
        sa.Column("run_id", KEY),
        sa.Column("loaded_at", INSTANT, nullable=False),
        sa.Column("done_at", INSTANT),
    )
    _create_approvals()
    _create_facts()
    if rows := _loads_of_syncs(op.get_bind()):
        op.bulk_insert(loads, rows)
    _create_names()


def _create_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", SERIAL, primary_key=True),
        sa.Column("connection", KEY, nullable=False),
        sa.Column("entity", KEY, nullable=False),
        sa.Column("kind", KEY, nullable=False),
        sa.Column("guard", KEY, nullable=False),
        sa.Column("fingerprint", KEY),
        sa.Column("shown", sa.Integer, nullable=False),
        sa.Column("used", sa.Integer, nullable=False, server_default="0"),
        sa.Column("requested_at", INSTANT, nullable=False),
        sa.Column("decided_at", INSTANT),
        sa.Column("decision", KEY),
        sa.Column("by", KEY),
        sa.Column("expires_at", INSTANT),
        sqlite_autoincrement=True,
    )
    undecided = sa.text("decision IS NULL")
    op.create_index("ix_approvals_entity", "approvals", ["connection", "entity", "guard"])
    op.create_index(
        "ux_approvals_open",
        "approvals",
        ["connection", "entity", "guard"],
        unique=True,
        sqlite_where=undecided,
        postgresql_where=undecided,
    )
    op.create_table(
        "approval_lines",
        sa.Column("approval_id", SERIAL, sa.ForeignKey("approvals.id"), primary_key=True),
        sa.Column("source_id", KEY, primary_key=True),
        sa.Column("action", KEY, nullable=False),
        sa.Column("hash_before", KEY),
        sa.Column("hash_after", KEY),
        sa.Column("partition", KEY),
        sa.Column("done_at", INSTANT),
    )
    op.create_index("ix_approval_lines_record", "approval_lines", ["source_id"])


def _create_facts() -> None:
    op.create_table(
        "health",
        sa.Column("connection", KEY, primary_key=True),
        sa.Column("system", KEY, primary_key=True),
        sa.Column("ok_at", INSTANT),
        sa.Column("failed_at", INSTANT),
        sa.Column("code", KEY),
        sa.Column("reason", sa.Text),
    )
    op.create_table(
        "run_locks",
        sa.Column("run_id", KEY, primary_key=True),
        sa.Column("started_at", INSTANT),
        sa.Column("free_at", INSTANT),
        sa.Column("dead_at", INSTANT),
    )
    op.create_table(
        "forgotten",
        sa.Column("connection", KEY, primary_key=True),
        sa.Column("entity", KEY, primary_key=True),
        sa.Column("id_hash", KEY, primary_key=True),
        sa.Column("at", INSTANT, nullable=False),
    )


def _create_names() -> None:
    """Create the names, and fill them from users and projects under the field names of the shipped mapping.

    Until now a read by id gave the names itself: without these an entry read before the next list would lose them.
    """
    names = op.create_table(
        "names",
        sa.Column("connection", KEY, primary_key=True),
        sa.Column("kind", KEY, primary_key=True),
        sa.Column("id", KEY, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
    )
    if rows := list(_known_names(op.get_bind())):
        op.bulk_insert(names, rows)


def _known_names(connection: sa.Connection) -> Iterator[dict[str, str]]:
    records = sa.table("records", *(sa.column(name) for name in ("connection", "entity", "source_id", "fields")))
    wanted = sa.select(records).where(records.c.entity.in_(("users", "projects")))
    found: dict[tuple[str, str, str], str] = {}
    for row in connection.execute(wanted.order_by(records.c.connection, records.c.source_id)):
        fields = json.loads(row.fields)
        if row.entity == "users":
            pairs = [("user", row.source_id, fields.get("name"))]
        else:
            pairs = [
                ("project", row.source_id, fields.get("project_name")),
                ("client", fields.get("client_id"), fields.get("client_name")),
                ("client_of", row.source_id, (fields["client_id"] or "") if "client_id" in fields else None),
            ]
        found |= {
            (row.connection, kind, key): name
            for kind, key, name in pairs
            if key and isinstance(key, str) and "\0" not in key and isinstance(name, str)
        }
    for (of, kind, key), name in found.items():
        # PostgreSQL holds no NUL as text: such a name is stored as JSON, as store/names.py reads it.
        yield {
            "connection": of,
            "kind": kind,
            "id": key,
            "name": f"\x01json:{json.dumps(name)}" if "\0" in name else name,
        }


def _loads_of_syncs(connection: sa.Connection) -> list[dict[str, Any]]:
    """Each day as its newest load left it; done when any sync of it succeeded, which is what counted until now."""
    syncs = sa.table(
        "syncs",
        *(sa.column(name) for name in ("id", "connection", "entity", "run_id", "first_day", "last_day", "fingerprint")),
        sa.column("outcome"),
        sa.column("loaded_at", INSTANT),
        sa.column("finished_at", INSTANT),
    )
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for sync in connection.execute(sa.select(syncs).where(syncs.c.loaded_at.isnot(None)).order_by(syncs.c.id)):
        for day in _days(sync.first_day, sync.last_day):
            key = (sync.connection, sync.entity, day)
            before = found.get(key, {})
            found[key] = {
                "connection": sync.connection,
                "entity": sync.entity,
                "day": day,
                "read_no": 0,
                "fingerprint": sync.fingerprint or before.get("fingerprint"),
                "sync_id": sync.id,
                "run_id": sync.run_id,
                "loaded_at": sync.loaded_at,
                "done_at": sync.finished_at if sync.outcome == "success" else before.get("done_at"),
            }
    return list(found.values())


def _days(first: str | None, last: str | None) -> list[str]:
    if first is None or last is None:
        return [""]
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]
