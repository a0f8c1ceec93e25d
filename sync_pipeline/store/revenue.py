"""What the target says each project earns in a month, and why it says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import BigInteger, Connection, cast, delete, func, insert, select

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import project_revenue, revenue_reads


class Revenue(NamedTuple):
    """In hundredths of the currency; None where it is not known."""

    revenue: int | None
    budget: int | None
    margin: int | None


class ProjectRevenue(NamedTuple):
    """What a project earns in a month."""

    project_id: str
    month: str
    currency: str
    revenue: int | None
    budget: int | None
    margin: int | None


class RevenueRead(NamedTuple):
    """The last time it was asked for."""

    read_at: datetime
    missing: str | None
    """Why there is none; None where it was read."""


def last_read(store: Store, pair: str) -> RevenueRead | None:
    """When it was last asked for; None where it never was."""
    columns = (revenue_reads.c.read_at, revenue_reads.c.missing)
    with store.reading() as tx:
        row = tx.execute(select(*columns).where(revenue_reads.c.connection == pair)).first()
    return None if row is None else RevenueRead(*row)


def keep_revenue(
    store: Store,
    pair: str,
    rows: Sequence[ProjectRevenue],
    months: tuple[str, str],
    at: datetime,
    missing: str | None = None,
) -> None:
    """Replace what is stored of these months; ``missing`` says of what there is none."""
    r = project_revenue.c
    mine = [r.connection == pair, r.month >= months[0], r.month <= months[1]]
    with store.writing() as tx:
        tx.execute(delete(project_revenue).where(*mine))
        if rows:
            tx.execute(insert(project_revenue), [{"connection": pair, **row._asdict()} for row in rows])
        _note(store, pair, at, missing, tx)


def note_missing(store: Store, pair: str, why: str, at: datetime) -> None:
    """There is none, and why; what was read before does not count any more."""
    with store.writing() as tx:
        tx.execute(delete(project_revenue).where(project_revenue.c.connection == pair))
        _note(store, pair, at, why, tx)


def sums_of_revenue(
    store: Store, pair: str, months: tuple[str, str], by: Literal["project_id", "month"]
) -> dict[tuple[str, str], Revenue]:
    """By project or month, and currency."""
    r, key = project_revenue.c, project_revenue.c[by]
    sums = [cast(func.sum(each), BigInteger) for each in (r.revenue, r.budget, r.margin)]
    mine = [r.connection == pair, r.month >= months[0], r.month <= months[1]]
    with store.reading() as tx:
        found = tx.execute(select(key, r.currency, *sums).where(*mine).group_by(key, r.currency))
        return {(group, currency): Revenue(*figures) for group, currency, *figures in found}


def _note(store: Store, pair: str, at: datetime, missing: str | None, tx: Connection) -> None:
    values = {"read_at": at, "missing": missing}
    statement = insert_into(store, revenue_reads).values(connection=pair, **values)
    tx.execute(statement.on_conflict_do_update(index_elements=["connection"], set_=values))
