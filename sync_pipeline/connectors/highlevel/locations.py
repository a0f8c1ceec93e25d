"""The locations of an agency, or of one SaaS customer of it, as a source; with a location's token alone, that one location."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sync_pipeline.connectors.answers import as_text
from sync_pipeline.connectors.http import RequestOptions
from sync_pipeline.connectors.limiter import OnTurn
from sync_pipeline.connectors.paging import MOST_PAGES, Record, as_record, rows_of
from sync_pipeline.connectors.ports import Expected, ListSource
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import ConfigError, FatalApiError, Request
from sync_pipeline.mapping.spec import LEFT_OUT

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

SEARCH = "/locations/search"
TRY_LATER = "Try again later; nothing was changed."
SAME = ("city", "state", "country", "postalCode", "email", "phone", "website", "timezone", "companyId")
"""What keeps HighLevel's own name."""
OTHER_CUSTOMER = "other_customer"
"""The rule by which a location is left out that another SaaS customer has. It is still read: what is missing counts as deleted."""


@dataclass(frozen=True, slots=True)
class Locations(ListSource):
    """Locations, under the names that the generic profile has."""

    account: HighLevel

    @property
    def page_size(self) -> int:
        """What the search of locations allows."""
        return self.account.profile.location_page_size

    async def read(
        self, window: Window | None = None, *, expected: Expected | None = None
    ) -> AsyncGenerator[list[Record], None]:
        """Every location. The search says neither how many there are nor which page is the last: an empty one is."""
        del window, expected
        self.account.customers = None
        if not self.account.reads_agency:
            yield await self._records([await self.account.own_location()])
            return
        seen, met = set[str](), 0
        for _ in range(MOST_PAGES):
            rows = await self._page(met, self.page_size)
            if not rows:
                return
            met += len(rows)
            fresh = [row for row in rows if as_text(row.get("id")) not in seen]
            seen.update(as_text(row.get("id")) for row in fresh)
            if not fresh:  # which of them are missing is not known
                raise FatalApiError("the list repeats a page.", self._about(), fix=TRY_LATER)
            yield await self._records(fresh)
        raise FatalApiError("the list does not end.", self._about(), fix=TRY_LATER)

    async def fetch(self, record_id: str, parent: str | None = None, on_turn: OnTurn | None = None) -> Record | None:
        """One location; None only when HighLevel says that there is none: a token that may not see it says another thing."""
        del parent
        found = await self.account.one_location(record_id, RequestOptions(on_turn=on_turn))
        return None if found is None else (await self._records([found]))[0]

    async def sample(self, limit: int) -> list[Record]:
        """The first locations."""
        return await self._records(await self.first(limit))

    async def first(self, limit: int) -> list[Record]:
        """The first locations as HighLevel gives them."""
        rows = await self._page(0, limit) if self.account.reads_agency else [await self.account.own_location()]
        return rows[:limit]

    async def _records(self, rows: list[Record]) -> list[Record]:
        """Locations as records; those of another customer, when one is named, with the rule that leaves them out."""
        account = self.account
        if not any(account.customer):
            return [_record(row) for row in rows]
        if account.customers is None:
            account.customers = await customer_locations(account)
        theirs, other = account.customers, {LEFT_OUT: OTHER_CUSTOMER}
        return [_record(row) | ({} if as_text(row.get("id")) in theirs else other) for row in rows]

    async def _page(self, skip: int, limit: int) -> list[Record]:
        account, company = self.account, await self.account.company()
        query: dict[str, Any] = {"companyId": company, "skip": skip, "limit": limit, "order": "asc"}
        options = RequestOptions(scope=account.profile.scopes.locations)
        answer = await account.send(account.agency, "GET", SEARCH, query=query, options=options)
        rows = [as_record(row) for row in rows_of(answer, self._about(), "locations", asked=limit)]
        for row in rows:
            account.refuse_other(row.get("companyId"), company, self._about())
        return rows

    def _about(self) -> Request:
        return Request(self.account.profile.system, "GET", SEARCH)


def _record(row: Record) -> Record:
    place = " ".join(as_text(row[name]) for name in ("postalCode", "city") if row.get(name))
    parts = [row.get("address"), place, row.get("state"), row.get("country")]
    address = ", ".join(as_text(part) for part in parts if part)
    same = {name: row[name] for name in SAME if name in row}
    return {"location_id": row.get("id"), "location_name": row.get("name"), "address": address or None, **same}


CUSTOMER_LOCATIONS = "/saas/locations"
CUSTOMER_SETTING, SUBSCRIPTION_SETTING = "HIGHLEVEL_SAAS_CUSTOMER", "HIGHLEVEL_SAAS_SUBSCRIPTION"


async def customer_locations(account: HighLevel) -> frozenset[str]:
    """The ids of the customer's locations. An empty answer is an error: it would leave out everything."""
    customer, subscription = account.customer
    if not (customer and subscription):
        missing = SUBSCRIPTION_SETTING if customer else CUSTOMER_SETTING
        raise ConfigError("A SaaS customer is named by two ids.", fix=f"Set {missing} as well.")
    if not account.reads_agency:
        message = "Only the agency's token can read which sub-accounts a SaaS customer has."
        raise ConfigError(message, fix=f"Set HIGHLEVEL_AGENCY_KEY, or unset {CUSTOMER_SETTING}.")
    about = Request(account.profile.system, "GET", CUSTOMER_LOCATIONS)
    query = {"companyId": await account.company(), "customerId": customer, "subscriptionId": subscription}
    options = RequestOptions(scope=account.profile.scopes.saas)
    rows = rows_of(await account.send(account.agency, "GET", CUSTOMER_LOCATIONS, query=query, options=options), about)
    found = frozenset(row for row in rows if isinstance(row, str) and row)
    if len(found) != len(set(map(repr, rows))):
        raise FatalApiError("the answer is not a list of ids.", about, fix="Nothing was changed. Try again later.")
    if not found:
        message = f"the customer {customer} has no sub-account with the subscription {subscription}."
        raise FatalApiError(
            message, about, fix=f"Correct {CUSTOMER_SETTING} and {SUBSCRIPTION_SETTING}, or unset both."
        )
    return found
