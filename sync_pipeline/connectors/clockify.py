"""Clockify: read anything that is listed, time entries by the cheaper reader, and clients as a target."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self

from sync_pipeline.connectors.answers import Answer
from sync_pipeline.connectors.canonical_entry import FieldNames, from_list, needs_field_names
from sync_pipeline.connectors.changes import ChangeFeed
from sync_pipeline.connectors.entries import Choice, EntryReader, Expected, ReaderSetting, choose, complete, last_page
from sync_pipeline.connectors.guard import ANYTHING, Guard
from sync_pipeline.connectors.http import ApiClient, Endpoint, Patience
from sync_pipeline.connectors.limiter import Announce, Clock, Limiter, RateWindow, Sleep, silent
from sync_pipeline.connectors.oauth import HeaderKey
from sync_pipeline.connectors.paging import Page, Record, ahead, as_record, by_number, rows_of
from sync_pipeline.connectors.policy import CLOCKIFY, CLOCKIFY_REPORTS
from sync_pipeline.connectors.redact import header_value
from sync_pipeline.connectors.webhooks import WebhookApi
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import ConfigError, FatalApiError, RejectedRecord, Request
from sync_pipeline.mapping.spec import SourceSpec

KEY_SETTING = "CLOCKIFY_API_KEY"
ADDON_SETTING = "CLOCKIFY_ADDON_TOKEN"
ENTRIES_READER = "time_entries"
PAGE_SIZE = 200
WORKSPACES = "/workspaces"
ADMIN_ROLES = ("WORKSPACE_ADMIN", "OWNER")
WORKSPACE = "/workspaces/{workspace}"
USERS = WORKSPACE + "/users"
FIELDS = WORKSPACE + "/custom-fields"
CLIENTS = WORKSPACE + "/clients"
CLIENT = CLIENTS + "/{id}"
CREATABLE = (
    "name",
    "email",
    "address",
    "note",
)  # all that POST keeps; the rest is dropped there without a word
REPLACED = (*CREATABLE, "archived", "currencyId", "ccEmails")  # all that PUT takes, and clears when left out


@dataclass(frozen=True, slots=True)
class Plan:
    """What a Clockify subscription allows."""

    windows: tuple[RateWindow, ...]
    label: str
    patience: Patience


PLANS: Mapping[str, Plan] = {
    "free": Plan(
        ((10, 1.0), (30, 3600.0)),
        "Clockify allows 30 requests an hour on the Free plan",
        # A 429 that names no time means that somebody else used the hour's budget: look again every few minutes.
        Patience(first_wait_after_429=300.0, longest_wait=900.0, longest_retry_after=3600.0, total_wait=4500.0),
    ),
    "paid": Plan(((50, 1.0),), "Clockify allows 50 requests a second on a paid plan", Patience()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose Clockify it is and where it is found: by API key or by add-on token. Both are left out of ``repr``."""

    api_key: str = field(default="", repr=False)
    addon_token: str = field(default="", repr=False)
    fallback: str = field(default="", repr=False)
    """The key or token before this one, as long as it is not retired."""
    workspace: str
    base_url: str = "https://api.clockify.me/api/v1"
    reports_url: str = "https://reports.api.clockify.me/v1"
    plan: str = "free"

    @property
    def header(self) -> str:
        """The header that carries the key or token."""
        return "X-Addon-Token" if self.addon_token else "X-Api-Key"

    @property
    def setting(self) -> str:
        """Where the key or token comes from."""
        return ADDON_SETTING if self.addon_token else KEY_SETTING

    @property
    def bucket(self) -> str:
        """The name of the request budget, which all keys of a workspace share."""
        return f"clockify:{self.base_url.rstrip('/')}:{self.workspace}"


class Clockify:
    """One workspace. Use as ``async with``."""

    def __init__(
        self,
        account: Account,
        limiter: Limiter,
        *,
        reader: ReaderSetting = "auto",
        page_size: int = PAGE_SIZE,
        on_choice: Callable[[Choice], None] | None = None,
        guard: Guard = ANYTHING,
        on_wait: Announce = silent,
        on_fallback: Callable[[], None] | None = None,
        on_rejected: Callable[[], None] | None = None,
        patience: Patience | None = None,
        sleep: Sleep = asyncio.sleep,
        now: Clock = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.account = account
        self.requests: Counter[str] = Counter()
        self._reader = reader
        self._page_size = page_size
        self._on_choice = on_choice
        self._now = now
        self._names: FieldNames | None = None
        if account.addon_token and account.api_key:
            raise ConfigError(f"{KEY_SETTING} and {ADDON_SETTING} are both set.", fix="Take one of them out.")
        secret = header_value(account.addon_token or account.api_key, account.setting)
        # One for both addresses, so that both change over to the fallback.
        key = HeaderKey(
            secret,
            header=account.header,
            setting=account.setting,
            fallback=account.fallback,
            on_fallback=on_fallback,
            on_rejected=on_rejected,
        )
        secrets = tuple(filter(None, (secret, account.fallback.strip())))

        def client(url: str, setting: str, *, reports: bool) -> ApiClient:
            return ApiClient(
                Endpoint(
                    "Clockify",
                    url,
                    setting,
                    account.setting,
                    f"CLOCKIFY_WORKSPACE_ID ({account.workspace})",
                    secrets,
                ),
                key,
                limiter=limiter,
                retry=CLOCKIFY_REPORTS if reports else CLOCKIFY,
                patience=patience or PLANS[account.plan].patience,
                requests=self.requests,
                guard=guard,
                on_wait=on_wait,
                sleep=sleep,
                now=now,
                jitter=jitter,
            )

        self._core = client(account.base_url, "CLOCKIFY_BASE_URL", reports=False)
        self._reports = client(account.reports_url, "CLOCKIFY_REPORTS_URL", reports=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._core.aclose()
        await self._reports.aclose()

    @property
    def webhooks(self) -> WebhookApi:
        """The workspace's webhooks."""
        return WebhookApi(self._core, self.account.workspace)

    @property
    def clock_offset(self) -> float | None:
        """By how many seconds Clockify's clock is ahead of ours; None when it was not heard of."""
        return self._core.clock_offset

    @property
    def changes(self) -> ChangeFeed:
        """What was created, updated and deleted in the workspace."""
        return ChangeFeed(self._core, self.account.workspace)

    async def me(self) -> Record:
        """The user the key belongs to."""
        return _object(await self._core.request("GET", "/user"), self._about("GET", "/user"))

    async def workspaces(self, *, administered: bool = False) -> list[Record]:
        """The workspaces the key can see, or those of them whose admin or owner its user is."""
        params = {"roles": ADMIN_ROLES} if administered else None
        answer = await self._core.request("GET", WORKSPACES, params=params)
        return [as_record(row) for row in rows_of(answer, self._about("GET", WORKSPACES))]

    async def workspace(self) -> Record:
        """The workspace; FatalApiError when the key cannot see it."""
        return _object(await self._core.request("GET", WORKSPACE, ids=self._ids()), self._about("GET", WORKSPACE))

    async def probe(self, source: SourceSpec, window: Window, user: str) -> None:
        """One request for one record at most, to see whether reading is allowed; ``user`` is whose entries may be asked."""
        if source.reader == ENTRIES_READER:
            entries = EntryReader(self._core, self._reports, self.account.workspace, 1, self, self._now)
            await entries.probe(window, "users" if self._reader == "users" else "report", user)
            return
        params = {**source.params, "page": 1, "page-size": 1}
        await self._core.request("GET", source.list or "", ids=self._ids(), params=params)

    async def prove_admin(self) -> None:
        """Read one user, which only admins and owners may; FatalApiError for the key of anybody else.

        Other lists do not refuse a plain member: they leave out what is not theirs, which then looks deleted.
        """
        await self._core.request("GET", USERS, ids=self._ids(), params={"page-size": 1})

    async def read(
        self, source: SourceSpec, window: Window | None = None, *, expected: Expected | None = None
    ) -> AsyncGenerator[list[Record], None]:
        """All records of the source, page by page, the next page being asked for while the caller works on this one."""
        if source.reader == ENTRIES_READER:
            if window is None:
                raise ValueError("Time entries are read for a window.")
            pages = self._entries(window, expected or Expected())
        else:
            pages = self._list(source.list or "", source.params)
        async with aclosing(ahead(pages)) as waiting:
            async for page in waiting:
                yield page

    async def glimpse(self, source: SourceSpec, limit: int) -> list[Record]:
        """Some records as ``read`` would give them, for as few requests as can be: one, for time entries two at most."""
        if source.reader == ENTRIES_READER:
            return await self._entry_reader().newest(limit)
        about, query = self._about("GET", source.list or ""), {**source.params, "page": 1, "page-size": limit}
        answer = await self._core.request("GET", source.list or "", ids=self._ids(), params=query)
        return [as_record(row) for row in rows_of(answer, about)[:limit]]

    async def fetch(self, source: SourceSpec, record_id: str) -> Record | None:
        """One record in the form ``read`` gives it; None only when Clockify says that it is gone."""
        if source.item is None:
            raise ValueError(f"{source.list or source.reader} has no read by id.")
        is_entry = source.reader == ENTRIES_READER
        answer = await self._core.request(
            "GET",
            source.item,
            ids=self._ids(record_id),
            params={"hydrated": "true"} if is_entry else None,
            may_be_gone=True,
        )
        if answer.gone:
            return None
        record = _object(answer, self._about("GET", source.item))
        if not is_entry:
            return record
        names = await self.field_names() if needs_field_names(record) else {}
        return from_list(record, self.account.workspace, names)

    async def list_clients(self) -> list[Record]:
        """All clients, archived ones included: without the filter Clockify gives both."""
        return [client async for page in self._list(CLIENTS, {"sort-column": "NAME"}) for client in page]

    async def get_client(self, client_id: str) -> Record | None:
        """One client; None when Clockify says that it is gone."""
        answer = await self._core.request("GET", CLIENT, ids=self._ids(client_id), may_be_gone=True)
        return None if answer.gone else _object(answer, self._about("GET", CLIENT))

    async def create_client(self, fields: Mapping[str, Any]) -> Record:
        """Create a client. Never sent twice: AmbiguousWrite when nobody knows whether it arrived.

        RejectedRecord when Clockify refuses it - 400/501 is also how it says that the name is taken.
        """
        body = {key: fields[key] for key in CREATABLE if fields.get(key) is not None}
        answer = await self._core.request("POST", CLIENTS, ids=self._ids(), json=body)
        client = _object(answer, self._about("POST", CLIENTS))
        rest = {key: value for key, value in fields.items() if key not in CREATABLE and client.get(key) != value}
        return await self.update_client(str(client["id"]), rest) or client if rest else client

    async def update_client(self, client_id: str, fields: Mapping[str, Any]) -> Record | None:
        """Change only ``fields`` (None clears): Clockify's PUT replaces, so read, merge, write. None when gone."""
        current = await self.get_client(client_id)
        if current is None:
            return None
        merged = {**{key: current.get(key) for key in REPLACED}, **fields}
        body = {key: value for key, value in merged.items() if value is not None}
        answer = await self._core.request("PUT", CLIENT, ids=self._ids(client_id), json=body)
        return _object(answer, self._about("PUT", CLIENT))

    async def delete_client(self, client_id: str) -> None:
        """Delete a client; Clockify wants it archived first. An absent one is no error."""
        if await self.update_client(client_id, {"archived": True}) is None:
            return
        try:
            await self._core.request("DELETE", CLIENT, ids=self._ids(client_id))
        except RejectedRecord:  # also the answer to a second try when the first one arrived
            if await self.get_client(client_id) is not None:
                raise

    async def field_names(self) -> FieldNames:
        """Custom field id -> name, asked for once."""
        if self._names is None:
            answer = await self._core.request("GET", FIELDS, ids=self._ids())
            rows = [as_record(row) for row in rows_of(answer, self._about("GET", FIELDS))]
            self._names = {str(row.get("id")): str(row.get("name")) for row in rows}
        return self._names

    async def user_ids(self) -> list[str]:
        """Everybody in the workspace, whatever their status."""
        users = [user async for page in self._list(USERS, {"status": "ALL"}) for user in page]
        return [str(user["id"]) for user in users if user.get("id")]

    async def _entries(self, window: Window, expected: Expected) -> AsyncIterator[list[Record]]:
        choice, listed = choose(window, expected, self._reader, self._page_size), list[str]()
        if choice.reader == "users":
            listed = await self.user_ids()
            choice = complete(choice, expected, listed) if self._reader == "auto" else choice
        if self._on_choice:
            self._on_choice(choice)
        reader = self._entry_reader()
        # Those who are known but not listed may still have a list of their own.
        async for page in reader.read(window, choice.reader, dict.fromkeys([*listed, *sorted(expected.users)])):
            yield page

    def _entry_reader(self) -> EntryReader:
        return EntryReader(self._core, self._reports, self.account.workspace, self._page_size, self, self._now)

    async def _list(self, path: str, params: Mapping[str, str]) -> AsyncIterator[list[Record]]:
        about = self._about("GET", path)

        async def get(number: int) -> Page:
            query = {**params, "page": number, "page-size": self._page_size}
            answer = await self._core.request("GET", path, ids=self._ids(), params=query)
            return Page(rows_of(answer, about), last_page(answer))

        async for rows in by_number(get, about=about, size=self._page_size):
            yield [as_record(row) for row in rows]

    def _ids(self, record_id: str = "") -> dict[str, str]:
        return {"workspace": self.account.workspace, "id": record_id}

    def _about(self, method: str, path: str) -> Request:
        return Request("Clockify", method, path)


def _object(answer: Answer, about: Request) -> Record:
    if isinstance(answer.data, dict):
        return answer.data
    raise FatalApiError("the answer is not a record.", about, fix="Check CLOCKIFY_BASE_URL: is this Clockify's API?")
