"""The Snapshots API, as its profile describes it: lists, reads by id, idempotent batches, deletes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Self

from sync_pipeline.clock import unix_time
from sync_pipeline.connectors.answers import CODE, Answer, as_text, excerpt, record_of
from sync_pipeline.connectors.http import ONLY_READS, ApiClient, ClientOptions, Endpoint, RequestOptions
from sync_pipeline.connectors.limiter import Clock, OnTurn
from sync_pipeline.connectors.oauth import ClientCredentials, Credential, HeaderKey, Renewable, StoredTokens, TokenVault
from sync_pipeline.connectors.paging import Record, ahead, as_record, by_cursor, rows_of
from sync_pipeline.connectors.policy import Origin, SecretPlace
from sync_pipeline.connectors.ports import Outcome
from sync_pipeline.connectors.profile import BaseProfile, OAuthFacts, Profile
from sync_pipeline.connectors.profile_files import needs_another
from sync_pipeline.connectors.snapshots.source import SnapshotsSource, project_figures
from sync_pipeline.connectors.snapshots.target import SnapshotsTarget
from sync_pipeline.connectors.token_endpoint import TokenEndpoint
from sync_pipeline.connectors.transport import USUAL, Limits
from sync_pipeline.connectors.window import Window, instant_text
from sync_pipeline.errors import ConfigError, FatalApiError, RejectedRecord, Request, SyncError
from sync_pipeline.mapping.spec import EntitySpec

KEY_SETTING = "SNAPSHOTS_API_KEY"
CLIENT_SETTINGS = "SNAPSHOTS_CLIENT_ID and SNAPSHOTS_CLIENT_SECRET"
CONSENT = "the authorization of Snapshots"
FIX = "Check SNAPSHOTS_BASE_URL and SNAPSHOTS_PROFILE."
REASON = 1000
"""How much is kept of why a record was refused."""


@dataclass(frozen=True, slots=True)
class AgencyKey:
    """A second key, for what belongs to the agency that an account is part of; its requests have a limit of their own.

    With a person's consent ``key`` is empty: that is given for the agency.
    """

    key: str = field(repr=False)
    options: ClientOptions
    fallback: str = field(default="", repr=False)
    origin: Origin = Origin.ENVIRONMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An API key; or an OAuth client, with a vault when it acts for a person. Secrets are left out of ``repr``."""

    api_key: str = field(default="", repr=False)
    fallback: str = field(default="", repr=False)
    """The former API key, until it is retired."""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ()
    """What client credentials ask for; a consent has its own."""
    origin: Origin = Origin.ENVIRONMENT
    """Where the key or the client's secret came from."""
    vault: TokenVault | None = field(default=None, repr=False)
    minted: TokenVault | None = field(default=None, repr=False)
    """Where the token of the account is kept, for vendors that make one of a consent for each account."""
    location: str = ""
    """The account below the address, for vendors that have several there."""
    company: str = ""
    """What the account is part of."""
    customer: str = ""
    """The only customer to read records of, for vendors whose accounts belong to customers; with ``subscription``."""
    subscription: str = ""
    owners: bool = False
    """Whether new records get an owner there."""
    agency: AgencyKey | None = None

    @property
    def setting(self) -> str:
        """Where they come from."""
        if self.client_id:
            return CONSENT if self.vault else CLIENT_SETTINGS
        return KEY_SETTING

    @property
    def name(self) -> str:
        """What `credentials rotate` calls them; "" for a consent, which a person gives again."""
        if self.client_id:
            return "" if self.vault else "snapshots.client_secret"
        return "snapshots.api_key"

    def auth(
        self, profile: BaseProfile, base_url: str, options: ClientOptions, setting: str = KEY_SETTING
    ) -> Credential:
        """How requests are signed, as the profile has it; ``setting`` is what holds the key."""
        oauth = profile.auth.oauth
        if self.client_id and oauth and (self.vault or oauth.client_credentials):
            limits, now = options.guard.limits, options.now
            endpoint = self.endpoint(oauth, base_url, system=profile.system, limits=limits, now=now)
            return StoredTokens(self.vault, endpoint) if self.vault else ClientCredentials(endpoint, self.scopes)
        if self.client_id and oauth:
            raise ConfigError(
                f"{profile.system} gives a client no tokens without a person.",
                fix="Set SNAPSHOTS_AUTH=authorization_code and authorize in the console.",
            )
        if self.client_id or profile.auth.api_key is None:
            raise ConfigError(
                f"The profile {profile.profile} does not take {'an OAuth client' if self.client_id else 'an API key'}.",
                fix=f"Set {KEY_SETTING if self.client_id else CLIENT_SETTINGS} instead.",
            )
        facts = profile.auth.api_key
        return HeaderKey(
            self.api_key,
            header=facts.header,
            prefix=facts.prefix,
            setting=setting,
            fallback=self.fallback,
            on_fallback=options.on_fallback,
            on_rejected=options.on_rejected,
        )

    def endpoint(
        self,
        facts: OAuthFacts,
        base_url: str,
        *,
        system: str = "Snapshots",
        limits: Limits = USUAL,
        now: Clock = unix_time,
    ) -> TokenEndpoint:
        """Where this client gets its tokens."""
        return TokenEndpoint(
            url=facts.token_url(base_url),
            client_id=self.client_id,
            client_secret=self.client_secret,
            place=SecretPlace(CLIENT_SETTINGS, self.origin, "snapshots.client_secret"),
            lost=facts.lost,
            fields=facts.fields,
            account=facts.account,
            errors=facts.errors.format(),
            system=system,
            limits=limits,
            now=now,
        )


class Snapshots:
    """One account of the Snapshots API. Use as ``async with``."""

    def __init__(
        self,
        profile: Profile,
        base_url: str,
        credentials: Credentials,
        options: ClientOptions,
        *,
        page_size: int | None = None,
    ) -> None:
        self.profile = profile
        self.requests: Counter[str] = Counter()
        self.page_size = min(page_size or profile.list.page_size, profile.list.page_size)
        self._auth = credentials.auth(profile, base_url, options)
        endpoint = Endpoint(
            profile.system,
            base_url,
            "SNAPSHOTS_BASE_URL",
            credentials.setting,
            key_origin=credentials.origin,
            key_name=credentials.name,
        )
        self._client = ApiClient(
            endpoint,
            self._auth,
            profile.retry,
            options,
            errors=profile.error_format,
            headers=profile.headers,
            requests=self.requests,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @property
    def preparation(self) -> None:
        """None: this API needs no preparation."""

    @property
    def clock_offset(self) -> float | None:
        """By how many seconds the API's clock is ahead of ours; None when it has not answered."""
        return self._client.clock_offset

    @property
    def granted(self) -> frozenset[str] | None:
        """The scopes of the token in use; None with an API key, before the first request, or when it is unknown."""
        return self._auth.granted if isinstance(self._auth, Renewable) else None

    async def read(self, entity: str, window: Window | None = None) -> AsyncGenerator[list[Record], None]:
        """All records (that start in the window), the next page being asked for while the caller works on this one."""
        async with aclosing(ahead(self._pages(entity, window, self.page_size))) as waiting:
            async for page in waiting:
                yield page

    async def sample(self, entity: str, limit: int) -> list[Record]:
        """The first records, for one request."""
        async with aclosing(self._pages(entity, None, min(limit, self.page_size))) as pages:
            return await anext(pages, [])

    async def probe(self, entity: str) -> None:
        """Read one record at most, to see whether reading ``entity`` is allowed."""
        async with aclosing(self._pages(entity, None, 1)) as pages:
            async for _ in pages:
                return

    async def project_figures(
        self, months: tuple[str, str], most: int, locations: Sequence[str]
    ) -> list[Record] | None:
        """Revenue, budget and margin of projects in these months, ``most`` rows of them; None where the API has none."""
        del locations
        if self.profile.analytics is None:
            return None
        found: list[Record] = []
        async with aclosing(project_figures(self._client, self.profile, months, self.page_size)) as pages:
            async for page in pages:
                found += page[: most - len(found)]
                if len(found) >= most:
                    break
        return found

    async def may_write(self, entity: str) -> None:
        """Offer an empty batch, to see whether writing ``entity`` is allowed; FatalApiError when it is not."""
        facts = self.profile.batch
        path = self._path(facts.path, entity)
        options = replace(ONLY_READS, scope=self.profile.scope(entity, write=True))
        try:
            await self._client.request("POST", path, json={facts.items: []}, options=options)
        except RejectedRecord:
            return  # refused for being empty: past the door, and nothing was written

    async def get(self, entity: str, record_id: str, on_turn: OnTurn | None = None) -> Record | None:
        """One record; None when it does not exist."""
        path = self._path(self.profile.item.path, entity)
        options = RequestOptions(may_be_missing=True, scope=self.profile.scope(entity), on_turn=on_turn)
        answer = await self._client.request("GET", path, ids={"id": record_id}, options=options)
        if answer.missing:
            return None
        return record_of(answer, self._about("GET", path), FIX)

    async def upsert(self, entity: str, rows: Sequence[Record]) -> list[Outcome]:
        """Create or merge any number of records; one outcome per row, in order."""
        size = self.profile.batch.size
        outcomes: list[Outcome] = []
        for start in range(0, len(rows), size):
            outcomes += await self._batch(entity, rows[start : start + size])
        return outcomes

    async def archive(self, entity: str, record_id: str) -> None:
        """Mark a record as archived; RejectedRecord when it is refused."""
        (outcome,) = await self.upsert(entity, [{self.profile.id_field(entity): record_id, "archived": True}])
        if not outcome.ok:
            about = self._about("POST", self._path(self.profile.batch.path, entity))
            raise RejectedRecord(outcome.reason, replace(about, code=outcome.code or None))

    async def delete(self, entity: str, record_id: str) -> None:
        """Remove a record; an absent one is no error."""
        options = RequestOptions(may_be_missing=True, scope=self.profile.scope(entity, write=True))
        path = self._path(self.profile.item.path, entity)
        await self._client.request("DELETE", path, ids={"id": record_id}, options=options)

    def source(self, spec: EntitySpec, parent: EntitySpec | None = None) -> SnapshotsSource:
        """The account as the source of an entity, or of the list it names; its lists are never those of a parent."""
        del parent
        return SnapshotsSource(self, spec.listed_at[1])

    def target(self, spec: EntitySpec) -> SnapshotsTarget:
        """The account as the target of an entity."""
        return SnapshotsTarget(self, spec.entity, spec.target)

    async def _batch(self, entity: str, rows: Sequence[Record]) -> list[Outcome]:
        """Send one request; if all of it is refused, send halves, until the record at fault is alone."""
        facts = self.profile.batch
        path = self._path(facts.path, entity)
        options = RequestOptions(idempotent=True, scope=self.profile.scope(entity, write=True))
        try:
            answer = await self._client.request("POST", path, json={facts.items: list(rows)}, options=options)
        except RejectedRecord as refusal:
            if len(rows) == 1:
                record_id = str(rows[0].get(self.profile.id_field(entity)))
                return [Outcome(False, record_id, refusal.request.excerpt, refusal.request.code or "")]
            middle = len(rows) // 2
            return [*await self._batch(entity, rows[:middle]), *await self._batch(entity, rows[middle:])]
        return self._outcomes(entity, rows, answer)

    def _outcomes(self, entity: str, rows: Sequence[Record], answer: Answer) -> list[Outcome]:
        facts = self.profile.batch
        about = self._about("POST", self._path(facts.path, entity))
        results = rows_of(answer, about, facts.results, asked=len(rows))
        if len(results) != len(rows) or not all(isinstance(result, dict) for result in results):
            raise self._unexpected("POST", about.path, f"one result for each of {len(rows)} records")
        id_field = self.profile.id_field(entity)
        return [self._outcome(about, str(row.get(id_field)), result) for row, result in zip(rows, results, strict=True)]

    def _outcome(self, about: Request, record_id: str, result: Mapping[str, Any]) -> Outcome:
        """The outcome of one record. An answer about another record, or of unknown meaning, is no delivery."""
        facts = self.profile.batch
        answered, status = result.get(facts.id), result.get(facts.status)
        is_about = answered is None or as_text(answered) == record_id
        if is_about and status in facts.accepted:
            return Outcome(True, record_id)
        if not is_about or status not in facts.refused:
            said = f"{self._client.redacted(as_text(answered))[:80]}: {self._client.redacted(as_text(status))[:80]}"
            known = ", ".join((*facts.accepted, *facts.refused))
            wanted = f"one of {known} for {record_id}" if is_about else f"about {record_id}"
            raise self._unexpected(about.method, about.path, f"{wanted} (it says {said})")
        error = result.get(facts.error)
        found = error if isinstance(error, Mapping) else {facts.message: error}
        return Outcome(
            False,
            record_id,
            excerpt(self._client.redacted(as_text(found.get(facts.message) or "refused")), REASON),
            excerpt(self._client.redacted(as_text(found.get(facts.code) or "")), CODE),
            excerpt(self._client.redacted(as_text(found.get(facts.field) or "")), CODE),
        )

    async def _pages(self, entity: str, window: Window | None, size: int) -> AsyncGenerator[list[Record], None]:
        facts = self.profile.list
        path = self._path(facts.path, entity)
        about = self._about("GET", path)
        params: dict[str, Any] = {facts.size_parameter: size, **self._limits(entity, window)}

        async def get(cursor: str | None) -> tuple[list[Any], str | None]:
            here = params if cursor is None else {**params, facts.cursor_parameter: cursor}
            options = RequestOptions(scope=self.profile.scope(entity))
            try:
                answer = await self._client.request("GET", path, params=here, options=options)
            except FatalApiError as error:
                raise self._about_list(entity, error) from None
            rows = rows_of(answer, about, facts.items, asked=size)
            following = answer.data.get(facts.next_cursor) if isinstance(answer.data, dict) else None
            return rows, None if following is None else as_text(following)

        async for rows in by_cursor(get, about=about, key=self.profile.id_field(entity)):
            yield [as_record(row) for row in rows]

    def _about_list(self, entity: str, error: FatalApiError) -> SyncError:
        """The error of a list; where the API does not have it and another vendor has, that one is named."""
        if error.request.status != HTTPStatus.NOT_FOUND:
            return error
        return needs_another(self.profile, f"{error.request}: {entity} is a list of", lists=entity) or error

    def _limits(self, entity: str, window: Window | None) -> dict[str, str]:
        if window is None:
            return {}
        facts = self.profile.of(entity).window
        if facts is None:
            raise ValueError(f"The profile {self.profile.profile} cannot limit {entity} to a window.")
        return {facts.from_: instant_text(window.start), facts.before: instant_text(window.end)}

    def _path(self, template: str, entity: str) -> str:
        return template.replace("{entity}", entity)

    def _about(self, method: str, path: str) -> Request:
        return Request(self.profile.system, method, path)

    def _unexpected(self, method: str, path: str, what: str) -> FatalApiError:
        return FatalApiError(
            f"the answer is not {what}.",
            self._about(method, path),
            fix=FIX,
        )


def needed_scopes(specs: Mapping[str, EntitySpec], profile: BaseProfile) -> tuple[str, ...]:
    """The scopes needed to sync these entities: read access for sources, read and write access for targets."""
    if profile.auth.oauth and profile.auth.oauth.scopes:
        return profile.auth.oauth.scopes
    found = {profile.scope("locations"): None}
    for name, spec in specs.items():
        found[profile.scope(spec.listed_at[1] if spec.source.system == "snapshots" else name)] = None
        if spec.target.system == "snapshots" and not spec.target.once:
            found[profile.scope(name, write=True)] = None
    return tuple(filter(None, found))
