"""Narrowing the locations to those of one SaaS customer: the scope ``saas/location.read`` gives their ids, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sync_pipeline.connectors.http import RequestOptions
from sync_pipeline.connectors.paging import rows_of
from sync_pipeline.errors import ConfigError, FatalApiError, Request

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

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
