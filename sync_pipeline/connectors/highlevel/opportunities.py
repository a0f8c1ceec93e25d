"""Won opportunities: what a location earned in a month, by the day on which each was won."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sync_pipeline.connectors.answers import as_text, hundredths
from sync_pipeline.connectors.http import RequestOptions
from sync_pipeline.connectors.paging import MOST_PAGES, Record, as_record, rows_of
from sync_pipeline.errors import FatalApiError, Request

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

SEARCH = "/opportunities/search"
LIMIT = 100
"""The most that a page may hold."""


async def won(account: HighLevel, months: tuple[str, str], most: int, locations: Collection[str]) -> list[Record]:
    """The sum of each month and location, of the locations that the token is for; values are in the location's currency.

    FatalApiError when it is for none of them, or lacks the scope.
    """
    about = Request(account.profile.system, "GET", SEARCH)
    if locations and account.location not in locations:
        message = f"the token is for the location {account.location}, which is no client of Clockify: opportunities of others cannot be read."
        raise FatalApiError(message, about, fix="Revenue of several locations needs their own tokens.")
    sums: Counter[str] = Counter()
    if locations:
        async with aclosing(_pages(account, account.location, about)) as pages:
            async for page in pages:
                for row in page:
                    month, value = _month(row), hundredths(row.get("monetaryValue"))
                    if month is not None and months[0] <= month <= months[1] and value is not None:
                        sums[month] += value
    unknown = {"currency": "", "budget": None, "margin": None}
    rows: list[Record] = [
        {"location": account.location, "month": month, "revenue": value, **unknown}
        for month, value in sorted(sums.items())
    ]
    return rows[:most]


async def _pages(account: HighLevel, location: str, about: Request) -> AsyncGenerator[Sequence[Record], None]:
    """Every won opportunity of a location once. The dates that the search takes are those of creation: it is read whole."""
    options = RequestOptions(scope=account.profile.scopes.opportunities)
    seen, after = set[int](), dict[str, Any]()
    for _ in range(MOST_PAGES):
        query = {"location_id": location, "status": "won", "limit": LIMIT, "order": "added_asc", **after}
        answer = await account.send(account.home, "GET", SEARCH, query=query, options=options)
        rows = [as_record(row) for row in rows_of(answer, about, "opportunities", asked=LIMIT)]
        for row in rows:
            account.refuse_other(row.get("locationId"), location, about)
        fresh = [row for row in rows if hash(as_text(row.get("id"))) not in seen]
        seen.update(hash(as_text(row.get("id"))) for row in fresh)
        if rows and not fresh:
            raise FatalApiError("the list repeats a page.", about, fix="Try again later.")
        yield [row for row in fresh if row.get("status") == "won"]
        meta = answer.data.get("meta") if isinstance(answer.data, dict) else None
        after = (
            {name: meta[name] for name in ("startAfter", "startAfterId") if meta.get(name)}
            if isinstance(meta, dict)
            else {}
        )
        if not rows or not after:
            return
    raise FatalApiError("the list does not end.", about, fix="Try again later.")


def _month(row: Record) -> str | None:
    """When it was won: since then its status has not changed."""
    with suppress(ValueError):
        at = datetime.fromisoformat(as_text(row.get("lastStatusChangeAt") or row.get("updatedAt") or ""))
        return f"{at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC):%Y-%m}"
    return None
