"""One location of HighLevel, and the agency it belongs to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from time import monotonic
from typing import Any

from sync_pipeline.connectors.answers import Answer, as_text, excerpt
from sync_pipeline.connectors.highlevel.locations import Locations
from sync_pipeline.connectors.highlevel.opportunities import WonOpportunities, won
from sync_pipeline.connectors.highlevel.owners import Owners
from sync_pipeline.connectors.highlevel.preparation import LocationPreparation
from sync_pipeline.connectors.highlevel.profile import HighLevelProfile
from sync_pipeline.connectors.highlevel.records import HighLevelRecords
from sync_pipeline.connectors.highlevel.tokens import Consented, MintedTokens, mint
from sync_pipeline.connectors.http import ApiClient, ClientOptions, Endpoint, RequestOptions, RetryPolicy
from sync_pipeline.connectors.oauth import Credential
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import AssigningTarget, Source
from sync_pipeline.connectors.snapshots.api import Credentials
from sync_pipeline.connectors.token_endpoint import TokenEndpoint
from sync_pipeline.errors import ConfigError, FatalApiError, NotAuthorized, RejectedRecord, Request
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.store.tokens import Tokens

LOCATION_SETTING = "HIGHLEVEL_LOCATION_ID"
AGENCY_SETTING, AGENCY_NAME = "HIGHLEVEL_AGENCY_KEY", "snapshots.agency_key"
LOCATION = "/locations/{id}"
NO_SUCH_ID = "0" * 24
"""The id of a record that does not exist."""
SHOWN = 40
NO_SCOPE = "no_scope"
OBJECT_MISSING = "Nothing was changed. Look for it in HighLevel; `sync-pipeline prepare` creates what is missing."
TRY_LATER = "Nothing more was changed. Try again later."


class HighLevel:
    """One account: records go to its location, and locations are read from the agency, or else only this one."""

    def __init__(
        self, profile: HighLevelProfile, base_url: str, credentials: Credentials, options: ClientOptions
    ) -> None:
        if not credentials.location:
            raise ConfigError("The sub-account in which records are kept is not set.", fix=f"Set {LOCATION_SETTING}.")
        self.profile = profile
        self.location = credentials.location
        self.requests: Counter[str] = Counter()
        self.whole: dict[str, tuple[float, dict[str, list[str]]]] = {}
        """For objects whose filters find nothing: when everything was read, and the records of each key, by their ids."""
        self.filtering: set[str] = set()
        """The entities whose filters have found something."""
        self.sleep, self._options = options.sleep, options
        self.customer = credentials.customer, credentials.subscription
        self.customers: frozenset[str] | None = None
        """The locations of that customer, once they were read."""
        self.owners = Owners(self, credentials.owners)
        self._company = credentials.company
        self._is_confirmed = False
        self._looking, self._looked = asyncio.Lock(), dict[str, float]()
        """When the last search began that has shown that the object of an entity exists."""
        self.consent: Consented | None = None
        """None with Private Integration tokens."""
        endpoint = Endpoint(
            profile.system,
            base_url,
            "SNAPSHOTS_BASE_URL",
            credentials.setting,
            LOCATION_SETTING,
            credentials.origin,
            credentials.name,
        )
        if credentials.client_id:
            place = replace(endpoint, scopes_at=f"{self._scopes_at('app')}, then authorize again")
            self._open_with_app(place, credentials, options)
        else:
            self._open_with_tokens(endpoint, credentials, options)

    def _open_with_app(self, endpoint: Endpoint, credentials: Credentials, options: ClientOptions) -> None:
        """By a person's consent: the company's token, and one that is made with it for the location."""
        theirs = credentials.agency.options if credentials.agency else options
        self.consent = consent = Consented.of(self, endpoint.base_url, credentials, theirs)
        self.home = self.client(consent.location, endpoint, options)
        self.agency = self.client(consent.company, endpoint, theirs)
        # What waits for a token tries again by itself.
        self._minting = self.client(consent.company, endpoint, replace(theirs, retry_policy=RetryPolicy(attempts=2)))

    def _open_with_tokens(self, endpoint: Endpoint, credentials: Credentials, options: ClientOptions) -> None:
        """By Private Integration tokens; without that of the agency only one location is read."""
        auth = credentials.auth(self.profile, endpoint.base_url, options)
        place = replace(endpoint, scopes_at=self._scopes_at("account"))
        self.home = self.agency = self._minting = self.client(auth, place, options)
        if (agency := credentials.agency) is None:
            return
        key = Credentials(api_key=agency.key, fallback=agency.fallback)
        own = key.auth(self.profile, endpoint.base_url, agency.options, AGENCY_SETTING)
        place = replace(endpoint, key_setting=AGENCY_SETTING, key_origin=agency.origin, key_name=AGENCY_NAME)
        self.agency = self.client(own, replace(place, scopes_at=self._scopes_at("agency")), agency.options)

    def _scopes_at(self, what: str) -> str:
        """Where a person ticks the scopes of a token, or of an app."""
        return self.profile.tokens.scopes_at.get(what, "") if self.profile.tokens else ""

    async def aclose(self) -> None:
        """Close the connections."""
        for client in dict.fromkeys((self.home, self.agency, self._minting)):
            await client.aclose()

    @property
    def reads_agency(self) -> bool:
        """Whether there is a key that reads all locations."""
        return self.agency is not self.home

    @property
    def preparation(self) -> LocationPreparation:
        """What has to be at the location before its first record."""
        return LocationPreparation(self)

    @property
    def clock_offset(self) -> float | None:
        """By how many seconds HighLevel's clock is ahead of ours; None when it has not answered."""
        found = self.home.clock_offset
        return self.agency.clock_offset if found is None else found

    @property
    def granted(self) -> frozenset[str] | None:
        """The scopes of a consent, once both of its tokens were used; None with a Private Integration token: it does not say."""
        if self.consent is None:
            return None
        company, location = self.consent.company.granted, self.consent.location.granted
        return company | location if company and location else None

    @property
    def catalogue(self) -> str:
        """What the catalogue calls it."""
        return self.profile.catalogue

    @property
    def decided(self) -> Mapping[str, str]:
        """The location, and the agency where that is known, as inputs of the catalogue are called."""
        company = {"companyId": self._company} if self._company else {}
        return {"locationId": self.location, "location_id": self.location, **company}

    async def decide(self) -> Mapping[str, str]:
        """The same, with the agency."""
        await self.company()
        return self.decided

    def client_for(self, host: str, tokens: Sequence[str]) -> ApiClient:
        """The agency's token for what the agency may do, the location's for everything else."""
        del host
        return self.agency if "agency" in tokens else self.home

    @property
    def find_lag(self) -> float:
        """As long as a search takes to show a record, by the profile or as it was measured."""
        return self.profile.objects.find_lag_seconds

    async def confirm(self) -> None:
        """Look up once which account the token belongs to."""
        await self._confirm()

    def source(self, spec: EntitySpec, parent: EntitySpec | None = None) -> Source:
        """The account as the source of locations, or of the opportunities that its own location has won."""
        del parent
        name = spec.listed_at[1]
        if name == "opportunities":
            return WonOpportunities(self)
        if name != "locations":
            fix = "Only locations and opportunities are read from there."
            raise ConfigError(f"HighLevel is no source of {name}.", fix=fix)
        return Locations(self)

    def target(self, spec: EntitySpec) -> AssigningTarget:
        """The account as the target of an entity."""
        return HighLevelRecords(self, spec)

    async def company(self) -> str:
        """The agency that the location belongs to."""
        if self.consent is not None:
            self._company = (await self.consent.company.current()).account or self._company
        if not self._company:
            self._company = as_text((await self.own_location()).get("companyId") or "")
        return self._company

    async def minted(self, endpoint: TokenEndpoint, location: str) -> Tokens:
        """A token of a location, for that of the company."""
        return await mint(self, self._minting, endpoint, location)

    @asynccontextmanager
    async def client_at(self, consent: Consented, location: str) -> AsyncIterator[ApiClient]:
        """Requests about any location: about another one than its own with a token that is kept nowhere."""
        if location == self.location:
            yield self.home
            return
        tokens = consent.location.endpoint
        auth = MintedTokens(tokens, lambda: self.minted(tokens, location))
        client = self.client(auth, self.home.endpoint, self._options)
        try:
            yield client
        finally:
            await client.aclose()

    async def own_location(self) -> Record:
        """The location in which records are kept."""
        if (found := await self.one_location(self.location)) is not None:
            return found
        about = Request(self.profile.system, "GET", LOCATION)
        raise FatalApiError(f"there is no sub-account {self.location}.", about, fix=f"Correct {LOCATION_SETTING}.")

    async def one_location(
        self, location_id: str, options: RequestOptions | None = None, client: ApiClient | None = None
    ) -> Record | None:
        """One location; None if it does not exist."""
        options = options or RequestOptions()
        asked = replace(options, may_be_missing=True, scope=self.profile.scopes.locations)
        answer = await self.send(client or self.agency, "GET", LOCATION, {"id": location_id}, options=asked)
        if answer.missing:
            return None
        about = Request(self.profile.system, "GET", LOCATION)
        found = _object_in(answer, "location", about)
        self.refuse_other(found.get("id"), location_id, about)
        return found

    async def probe(self, entity: str) -> None:
        """Read one record at most, to see whether reading ``entity`` is allowed: of an object that is not there, it is."""
        with suppress(RejectedRecord):
            await (Locations(self).first(1) if entity == "locations" else self.search(entity, limit=1))

    async def may_write(self, entity: str) -> None:
        """Offer a change to a record that does not exist, to see whether writing is allowed; FatalApiError when not."""
        options = RequestOptions(writes=False, may_be_missing=True, scope=self.profile.scope(entity, write=True))
        try:
            await self._one("PUT", entity, NO_SUCH_ID, options, {"properties": {}})
        except RejectedRecord:
            return  # refused for what it is: past the door, and nothing was written

    async def project_figures(
        self, months: tuple[str, str], most: int, locations: Sequence[str]
    ) -> list[Record] | None:
        """What these locations won in these months: of those that there is a token for; of the others why there is none."""
        return await won(self, months, most, locations)

    async def search(self, entity: str, *, limit: int, **more: Any) -> Answer:
        """One request to the search of an object."""
        await self._confirm()
        needless = self.profile.objects.needless
        body = {"locationId": self.location, "page": 1, "pageLimit": limit, **needless, **more}
        options = RequestOptions(idempotent=True, writes=False, scope=self.profile.scope(entity))
        return await self.send(self.home, "POST", self.path(entity, "/search"), body=body, options=options)

    async def record(self, entity: str, record_id: str) -> Record | None:
        """One record by its id; None if it does not exist."""
        options = RequestOptions(may_be_missing=True, scope=self.profile.scope(entity))
        return await self._believed(entity, await self._one("GET", entity, record_id, options))

    async def create(self, entity: str, properties: Mapping[str, Any], owners: Sequence[str] = ()) -> Record:
        """Create a record; AmbiguousWrite when it is unknown whether it arrived."""
        await self._confirm()
        path, options = self.path(entity), RequestOptions(scope=self.profile.scope(entity, write=True))
        body = {"locationId": self.location, "properties": properties, **({"owners": owners} if owners else {})}
        answer = await self.send(self.home, "POST", path, body=body, options=options)
        about = Request(self.profile.system, "POST", path)
        made = self._record_in(answer, about)
        self.refuse_nameless(made, about)
        return made

    async def change(self, entity: str, record_id: str, properties: Mapping[str, Any]) -> Record | None:
        """Merge these properties into a record; None if it does not exist."""
        options = RequestOptions(may_be_missing=True, scope=self.profile.scope(entity, write=True))
        changed = await self._one("PUT", entity, record_id, options, {"properties": properties})
        return await self._believed(entity, changed)

    async def delete(self, entity: str, record_id: str) -> None:
        """Delete a record; an absent one is no error. The location is not named: that is refused here."""
        options = RequestOptions(may_be_missing=True, scope=self.profile.scope(entity, write=True))
        await self._confirm()
        path = self.path(entity, "/{id}")
        answer = await self.send(self.home, "DELETE", path, {"id": record_id}, options=options)
        if answer.missing:
            await self._believed(entity, None)
        elif isinstance(answer.data, dict) and answer.data.get("success") is False:
            raise FatalApiError(
                "it answered that nothing was deleted.", Request(self.profile.system, "DELETE", path), fix=TRY_LATER
            )

    def path(self, entity: str, rest: str = "") -> str:
        """The records of an entity, or what is below them."""
        return f"/objects/{self.profile.object_key(entity)}/records{rest}"

    async def send(
        self,
        client: ApiClient,
        method: str,
        path: str,
        ids: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        options: RequestOptions,
    ) -> Answer:
        """One request, with the version that its path takes."""
        versions = self.profile.versions
        headers = {"Version": versions.paths.get(path.split("/")[1], versions.default)}
        options = replace(options, headers=headers)
        return await client.request(method, path, ids=ids, params=query, json=body, options=options)

    def refuse_other(self, found: object, asked: str, about: Request) -> None:
        """FatalApiError for an answer about another location than the one asked for: some tokens answer for their own."""
        if found is not None and as_text(found) != asked:
            raise FatalApiError(
                f"it answers about {excerpt(as_text(found), SHOWN)} instead of {asked}: the token is for that one.",
                about,
                fix=f"Use a token of {asked}, or correct {LOCATION_SETTING}.",
            )

    def refuse_nameless(self, found: Record, about: Request) -> None:
        """FatalApiError for a record without an id: nothing can be linked to it."""
        if not (isinstance(found.get("id"), str) and found["id"]):
            raise FatalApiError("a record in the answer has no id.", about, fix=TRY_LATER)

    async def _one(
        self, method: str, entity: str, record_id: str, options: RequestOptions, body: Any = None
    ) -> Record | None:
        await self._confirm()
        path, query = self.path(entity, "/{id}"), {"locationId": self.location} if body else None
        answer = await self.send(self.home, method, path, {"id": record_id}, query=query, body=body, options=options)
        if answer.missing:
            return None
        about = Request(self.profile.system, method, path)
        found = self._record_in(answer, about)
        if found.get("id", record_id) != record_id:
            said = excerpt(as_text(found.get("id")), SHOWN)
            raise FatalApiError(f"it answers about {said} instead of {record_id}.", about, fix=TRY_LATER)
        return {**found, "id": record_id}

    async def _believed(self, entity: str, found: Record | None) -> Record | None:
        """The record; of none, FatalApiError when it is the object or the location that is not found.

        That takes a search that begins after the answer; one is enough for all that are answered meanwhile.
        """
        if found is None:
            answered = monotonic()
            async with self._looking:
                if self._looked.get(entity, 0.0) <= answered:
                    await self._look(entity)
        return found

    async def _look(self, entity: str) -> None:
        started = monotonic()
        try:
            await self.search(entity, limit=1)
        except RejectedRecord as error:
            message = f"the object {self.profile.object_key(entity)} is not found ({error.request.excerpt})."
            raise FatalApiError(message, error.request, fix=OBJECT_MISSING) from None
        self._looked[entity] = started

    async def _confirm(self) -> None:
        """Request the account of the token, once: some tokens read and write their own location, whichever is named.

        A token without the scope to read its location is accepted here; its answers are still compared.
        """
        if self._is_confirmed:
            return
        try:
            if await self.one_location(self.location, client=self.home) is None:
                await self.own_location()
        except NotAuthorized as error:
            if error.request.code != NO_SCOPE:
                raise
        self._is_confirmed = True

    def _record_in(self, answer: Answer, about: Request) -> Record:
        found = _object_in(answer, "record", about)
        self.refuse_other(found.get("locationId"), self.location, about)
        return found

    def client(self, auth: Credential, endpoint: Endpoint, options: ClientOptions) -> ApiClient:
        """Requests that are signed in one way."""
        profile = self.profile
        return ApiClient(
            endpoint,
            auth,
            profile.retry,
            options,
            errors=profile.error_format,
            headers=profile.headers,
            requests=self.requests,
        )


def _object_in(answer: Answer, name: str, about: Request) -> Record:
    """The one object of an answer; FatalApiError when it holds none."""
    found = answer.data.get(name) if isinstance(answer.data, dict) else None
    if isinstance(found, dict):
        return found
    raise FatalApiError(f"the answer holds no {name}.", about, fix="Check SNAPSHOTS_BASE_URL.")
