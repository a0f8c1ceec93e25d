"""Won opportunities: what a location earned in a month, by the day on which each was won."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sync_pipeline.connectors.answers import as_text, hundredths
from sync_pipeline.connectors.highlevel.tokens import installed_locations, without_app
from sync_pipeline.connectors.http import ApiClient, RequestOptions
from sync_pipeline.connectors.limiter import OnTurn
from sync_pipeline.connectors.paging import MOST_PAGES, Record, as_record, rows_of
from sync_pipeline.connectors.ports import Expected, ListSource
from sync_pipeline.connectors.token_endpoint import TokenLost
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import ApiError, FatalApiError, NotAuthorized, Request

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

SEARCH = "/opportunities/search"
LIMIT = 100
"""The most that a page may hold."""
MOST_LOCATIONS = 500
"""Each takes a token and a page at least, out of the requests that records are written with."""
MOST_UNANSWERED = 3
NO_SCOPE = "no_scope"


async def won(account: HighLevel, months: tuple[str, str], most: int, locations: Collection[str]) -> list[Record]:
    """The sum of each month and location, in the location's currency; of a location that cannot be read, why it is ``missing``.

    Other locations than the account's own are read with tokens of an app. FatalApiError when none can be read.
    """
    about = _about(account)
    if account.consent is None and locations and account.location not in locations:
        message = f"the token is for the location {account.location}, which is no client of Clockify: opportunities of others cannot be read."
        raise FatalApiError(message, about, fix="Revenue of several locations needs an app in place of tokens.")
    ordered = sorted(locations, key=lambda one: (one != account.location, one))
    installed = await _installed(account, ordered)
    rows, missing, errors = list[Record](), list[Record](), list[ApiError]()
    for place, location in enumerate(ordered):
        try:
            _refuse_more(place, errors, about)
            async with _client(account, installed, location) as client:
                rows += await _sums(account, client, location, months)
        except ApiError as error:
            may_pass = location == account.location and not isinstance(error, FatalApiError)
            if may_pass or isinstance(error, TokenLost):
                raise
            missing.append({"location": location, "missing": error.sentence})
            errors.append(error)
    if errors and len(missing) == len(ordered):
        raise errors[0]
    return [*missing, *rows[:most]]


@dataclass(frozen=True, slots=True)
class WonOpportunities(ListSource):
    """The opportunities that the account's own location has won, as HighLevel gives them."""

    account: HighLevel
    can_fetch = False
    page_size = LIMIT

    async def read(
        self, window: Window | None = None, *, expected: Expected | None = None
    ) -> AsyncGenerator[list[Record], None]:
        """All of them, page by page."""
        del window, expected
        async with aclosing(_pages(self.account, self.account.home, self.account.location)) as pages:
            async for page in pages:
                yield [dict(row) for row in page]

    async def fetch(self, record_id: str, parent: str | None = None, on_turn: OnTurn | None = None) -> Record | None:
        """They are only listed."""
        del parent, on_turn
        raise ValueError(f"Opportunity {record_id} is not read by its id.")

    async def sample(self, limit: int) -> list[Record]:
        """The first of them."""
        async with aclosing(self.read()) as pages:
            return (await anext(pages, []))[:limit]


def _refuse_more(place: int, errors: Sequence[ApiError], about: Request) -> None:
    """Raise when enough were read, or when HighLevel does not answer: the next location would only wait as well."""
    if place >= MOST_LOCATIONS:
        raise FatalApiError(f"only {MOST_LOCATIONS} sub-accounts are read.", about)
    unanswered = [error for error in errors if not isinstance(error, FatalApiError)]
    if len(unanswered) >= MOST_UNANSWERED:
        raise unanswered[-1]


async def _installed(account: HighLevel, locations: Sequence[str]) -> frozenset[str] | None:
    """The locations that the app is installed in; None where there is no app, or that may not be read."""
    if account.consent is None or not set(locations) - {account.location}:
        return None
    try:
        return frozenset([row["id"] async for row in installed_locations(account, account.consent)])
    except NotAuthorized as error:
        if error.request.code != NO_SCOPE:
            raise
        return None


@asynccontextmanager
async def _client(account: HighLevel, installed: frozenset[str] | None, location: str) -> AsyncIterator[ApiClient]:
    """Requests about a location; FatalApiError where there can be no token for it."""
    if location == account.location:
        yield account.home
    elif account.consent is None:
        message = f"the token is for the location {account.location}: opportunities of others cannot be read."
        raise FatalApiError(message, _about(account), fix="Use an app in place of tokens.")
    elif installed is not None and location not in installed:
        raise without_app(location, _about(account))
    else:
        async with account.client_at(account.consent, location) as client:
            yield client


async def _sums(account: HighLevel, client: ApiClient, location: str, months: tuple[str, str]) -> list[Record]:
    """What one location won, month by month."""
    sums: Counter[str] = Counter()
    async with aclosing(_pages(account, client, location)) as pages:
        async for page in pages:
            for row in page:
                month, value = _month(row), hundredths(row.get("monetaryValue"))
                if month is not None and months[0] <= month <= months[1] and value is not None:
                    sums[month] += value
    unknown = {"currency": "", "budget": None, "margin": None}
    return [{"location": location, "month": month, "revenue": sums[month], **unknown} for month in sorted(sums)]


async def _pages(account: HighLevel, client: ApiClient, location: str) -> AsyncGenerator[Sequence[Record], None]:
    """Every won opportunity of a location once. The dates that the search takes are those of creation: it is read whole."""
    about, options = _about(account), RequestOptions(scope=account.profile.scopes.opportunities)
    seen, after = set[int](), dict[str, Any]()
    for _ in range(MOST_PAGES):
        query = {"location_id": location, "status": "won", "limit": LIMIT, "order": "added_asc", **after}
        answer = await account.send(client, "GET", SEARCH, query=query, options=options)
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


def _about(account: HighLevel) -> Request:
    return Request(account.profile.system, "GET", SEARCH)


def _month(row: Record) -> str | None:
    """When it was won: since then its status has not changed."""
    with suppress(ValueError, OverflowError):  # the first and the last day of the calendar have no UTC
        at = datetime.fromisoformat(as_text(row.get("lastStatusChangeAt") or row.get("updatedAt") or ""))
        return f"{at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC):%Y-%m}"
    return None
