"""Tokens after a person's consent: the company's token is used for the agency, and one minted from it for the location."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from sync_pipeline.connectors.answers import as_text
from sync_pipeline.connectors.http import ApiClient, ClientOptions, RequestOptions
from sync_pipeline.connectors.oauth import Bearer, StoredTokens, TokenVault
from sync_pipeline.connectors.paging import MOST_PAGES, Record, as_record, rows_of
from sync_pipeline.connectors.snapshots.api import Credentials
from sync_pipeline.connectors.token_endpoint import TokenEndpoint, TokenLost, in_snake_case
from sync_pipeline.errors import ConfigError, FatalApiError, NotAuthorized, RejectedRecord, Request
from sync_pipeline.store.tokens import Tokens

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

MINT, INSTALLED = "/oauth/locationToken", "/oauth/installedLocations"
MINTING = RequestOptions(idempotent=True, writes=False, scope="oauth.write")
LISTING = RequestOptions(scope="oauth.readonly")
NOT_INSTALLED = "not_installed"
OTHER_REFUSALS = frozenset({"no_scope", "bad_version", "no_route"})
"""What a refusal is called that is not about the location."""
PAGE_SIZE = 100
"""The largest it gives, whatever is asked for."""


class MintedTokens(Bearer):
    """The token of one location: minted when needed, and again before it expires.

    What would renew it is not kept: the company's token is renewed, and nothing else.
    """

    renew_before = 300.0

    def __init__(self, endpoint: TokenEndpoint, mint: Callable[[], Awaitable[Tokens]]) -> None:
        super().__init__(endpoint)
        self._mint = mint

    async def _renew(self) -> Tokens:
        return await self._mint()


class LocationTokens(MintedTokens):
    """The same, in a vault for all processes."""

    def __init__(self, vault: TokenVault, endpoint: TokenEndpoint, mint: Callable[[], Awaitable[Tokens]]) -> None:
        super().__init__(endpoint, mint)
        self._vault = vault

    async def _renew(self) -> Tokens:
        if (held := await self._held()) is not None:
            return held
        async with self._vault.lock():
            if (held := await self._held()) is not None:  # another process minted it
                return held
            try:
                fresh = await self._mint()
            except TokenLost as lost:  # the consent has ended, and with it what came of it
                await self._vault.lose(lost.reason)
                raise
            await self._vault.save(fresh)
            return fresh

    async def _held(self) -> Tokens | None:
        held = await self._vault.load()
        return self._noted(held) if isinstance(held, Tokens) and self._lasts(held) else None


@dataclass(frozen=True, slots=True)
class Consented:
    """The two tokens of a consent, and the app that it was given to."""

    company: StoredTokens
    location: LocationTokens
    app: str

    @classmethod
    def of(cls, account: HighLevel, base_url: str, credentials: Credentials, options: ClientOptions) -> Self:
        """By what is in the vaults; ``options`` are those of the agency's requests."""
        company = credentials.auth(account.profile, base_url, options)
        if not isinstance(company, StoredTokens) or credentials.minted is None:
            raise ConfigError("There is no place for the tokens of a consent.", fix="Authorize in the console.")
        tokens = replace(company.endpoint, account="location_id")
        location = LocationTokens(credentials.minted, tokens, lambda: account.minted(tokens, account.location))
        return cls(company, location, credentials.client_id.partition("-")[0])


async def mint(account: HighLevel, client: ApiClient, endpoint: TokenEndpoint, location: str) -> Tokens:
    """A token of a location, for that of its company; NotAuthorized when the app is not installed there."""
    about = Request(account.profile.system, "POST", MINT)
    form = {"companyId": await account.company(), "locationId": location}
    try:
        answer = await account.send(client, "POST", MINT, options=replace(MINTING, form=form))
    except (FatalApiError, RejectedRecord) as error:
        if (
            isinstance(error, TokenLost)
            or error.request.code in OTHER_REFUSALS
            or error.request.status not in (400, 401)
        ):
            raise
        raise without_app(location, error.request, f" ({error.request.excerpt})") from None
    data = in_snake_case(answer.data) if isinstance(answer.data, dict) else {}
    if not data.get("access_token"):
        raise FatalApiError("the answer holds no token.", about, fix="Check SNAPSHOTS_BASE_URL.")
    minted = endpoint.tokens_in(data, {})
    account.refuse_other(minted.account or None, location, about)
    return replace(minted, refresh_token="")


def without_app(location: str, about: Request, detail: str = "") -> NotAuthorized:
    """The error for a location in which the app is not installed."""
    return NotAuthorized(
        f"the app is not installed in the sub-account {location}{detail}.",
        replace(about, code=NOT_INSTALLED),
        fix="Install it there in HighLevel, or choose another sub-account. If it is installed, authorize again.",
    )


async def installed_locations(account: HighLevel, consent: Consented) -> AsyncIterator[Record]:
    """The locations in which the app is installed. The list has the other ones, too, whatever it is asked for."""
    skip, company = 0, await account.company()
    about = Request(account.profile.system, "GET", INSTALLED)
    query: dict[str, Any] = {"companyId": company, "appId": consent.app, "isInstalled": "true", "limit": PAGE_SIZE}
    for _ in range(MOST_PAGES):
        answer = await account.send(account.agency, "GET", INSTALLED, query={**query, "skip": skip}, options=LISTING)
        rows = [as_record(row) for row in rows_of(answer, about, "locations", asked=PAGE_SIZE)]
        for row in rows:
            if row.get("isInstalled") is True:
                yield {"id": as_text(row.get("_id")), "name": row.get("name"), "companyId": company}
        skip += len(rows)
        if not rows:
            return
    raise FatalApiError("the list does not end.", about, fix="Try again later; nothing was changed.")
