"""One Clockify workspace: what its adapters share, and what only setting it up and testing it asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from sync_pipeline.connectors.answers import as_text, record_of
from sync_pipeline.connectors.clockify.account import ADDON_SETTING, KEY_SETTING, PLANS, Account
from sync_pipeline.connectors.clockify.canonical import FieldNames
from sync_pipeline.connectors.clockify.changes import ChangeFeed
from sync_pipeline.connectors.clockify.entries import EntryReader, ReaderChoice, ReaderSetting, last_page
from sync_pipeline.connectors.clockify.names import Names, NameStore
from sync_pipeline.connectors.clockify.source import NOT_CLOCKIFY, USERS, ClockifySource
from sync_pipeline.connectors.clockify.target import TARGETS, Clients, ClockifyTarget
from sync_pipeline.connectors.clockify.webhooks import Webhook, WebhookApi
from sync_pipeline.connectors.http import ApiClient, ClientOptions, Endpoint, RequestOptions
from sync_pipeline.connectors.oauth import HeaderKey
from sync_pipeline.connectors.paging import Page, Record, as_record, by_number, rows_of, unshifted
from sync_pipeline.connectors.policy import CLOCKIFY, CLOCKIFY_REPORTS, RetryTable
from sync_pipeline.connectors.transport import header_value
from sync_pipeline.errors import ConfigError, Request
from sync_pipeline.mapping.spec import EntitySpec

PAGE_SIZE = 200
WORKSPACES = "/workspaces"
ADMIN_ROLES = ("WORKSPACE_ADMIN", "OWNER")
WORKSPACE = "/workspaces/{workspace}"
FIELDS = WORKSPACE + "/custom-fields"


class Clockify:
    """One workspace. Use as ``async with``."""

    def __init__(
        self,
        account: Account,
        options: ClientOptions,
        *,
        reader: ReaderSetting = "auto",
        page_size: int = PAGE_SIZE,
        on_choice: Callable[[ReaderChoice], None] | None = None,
        names: NameStore | None = None,
    ) -> None:
        self.account = account
        self.requests: Counter[str] = Counter()
        self.setting: ReaderSetting = reader
        self.page_size = page_size
        self.on_choice = on_choice
        self.reader = ""
        """The reader that time entries were read by last."""
        self.names = Names(names)
        self._now = options.now
        self._field_names: FieldNames | None = None
        if account.addon_token and account.api_key:
            raise ConfigError(f"{KEY_SETTING} and {ADDON_SETTING} are both set.", fix="Take one of them out.")
        secret = header_value(account.addon_token or account.api_key, account.setting)
        # One for both addresses, so that both change over to the fallback.
        key = HeaderKey(
            secret,
            header=account.header,
            setting=account.setting,
            fallback=account.fallback,
            on_fallback=options.on_fallback,
            on_rejected=options.on_rejected,
        )
        options = replace(options, retry_policy=options.retry_policy or PLANS[account.plan].retry_policy)

        def client(url: str, base_setting: str, retry: RetryTable) -> ApiClient:
            endpoint = Endpoint(
                "Clockify",
                url,
                base_setting,
                account.setting,
                f"CLOCKIFY_WORKSPACE_ID ({account.workspace})",
                account.origin,
                "clockify.addon_token" if account.addon_token else "clockify.api_key",
            )
            return ApiClient(endpoint, key, retry, options, requests=self.requests)

        self.core = client(account.base_url, "CLOCKIFY_BASE_URL", CLOCKIFY)
        self.reports = client(account.reports_url, "CLOCKIFY_REPORTS_URL", CLOCKIFY_REPORTS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.core.aclose()
        await self.reports.aclose()

    def source(self, spec: EntitySpec, parent: EntitySpec | None = None) -> ClockifySource:
        """The workspace as the source of an entity; its records may be listed for each record of ``parent``."""
        return ClockifySource(self, spec.source, parent.source if parent else None)

    def target(self, spec: EntitySpec) -> ClockifyTarget:
        """The workspace as the target of an entity."""
        constants = {field.name: field.constant for field in spec.fields if field.constant is not None}
        return TARGETS.get(spec.target.kind, Clients)(self, spec.target, constants)

    catalogue = "clockify"

    @property
    def decided(self) -> Mapping[str, str]:
        """The workspace, as paths of the catalogue call it."""
        return {"workspaceId": self.account.workspace}

    async def decide(self) -> Mapping[str, str]:
        """The same: no request is needed."""
        return self.decided

    def client_for(self, host: str, tokens: Sequence[str]) -> ApiClient:
        """Reports have a host of their own; there is one key."""
        del tokens
        return self.reports if host.startswith("reports.") else self.core

    @property
    def find_lag(self) -> float:
        """A list shows a record when it was made."""
        return 0.0

    async def confirm(self) -> None:
        """The workspace is in each path: there is nothing to confirm."""

    @property
    def webhooks(self) -> WebhookApi:
        """The workspace's webhooks."""
        return WebhookApi(self.core, self.account.workspace)

    async def hook_room(self, others: Sequence[Webhook]) -> int:
        """How many webhooks of the key's owner the plan allows beside these, which are not ours."""
        per_user, per_workspace = PLANS[self.account.plan].hooks
        if not others:
            return per_user
        me = str((await self.me())["id"])
        return min(per_user - sum(hook.user == me for hook in others), per_workspace - len(others))

    @property
    def clock_offset(self) -> float | None:
        """By how many seconds Clockify's clock is ahead of ours; None if it has not answered."""
        return self.core.clock_offset

    def changes(self, kind: str) -> ChangeFeed:
        """What was created, updated and deleted in the workspace, of one kind of record."""
        return ChangeFeed(self.core, self.account.workspace, kind)

    async def me(self) -> Record:
        """The user the key belongs to."""
        return await self.object("GET", "/user")

    async def workspaces(self, *, administered: bool = False) -> list[Record]:
        """The workspaces that the key can see, or only those in which its user is an admin or owner."""
        params = {"roles": ADMIN_ROLES} if administered else None
        answer = await self.core.request("GET", WORKSPACES, params=params)
        return [as_record(row) for row in rows_of(answer, Request("Clockify", "GET", WORKSPACES))]

    async def workspace(self) -> Record:
        """The workspace; FatalApiError when the key cannot see it."""
        return await self.object("GET", WORKSPACE)

    async def prove_admin(self) -> None:
        """Read one user, which only admins and owners may; FatalApiError for any other key.

        Other lists do not refuse a plain member: they leave out what is not theirs, which then looks deleted.
        """
        await self.core.request("GET", USERS, ids=self.ids(), params={"page-size": 1})

    async def user_ids(self) -> list[str]:
        """All users in the workspace, whatever their status."""
        users = [user async for page in self.list(USERS, {"status": "ALL"}) for user in page]
        return [as_text(user["id"]) for user in users if user.get("id")]

    async def field_names(self) -> FieldNames:
        """Custom field id -> name, asked for once."""
        if self._field_names is None:
            answer = await self.core.request("GET", FIELDS, ids=self.ids())
            rows = [as_record(row) for row in rows_of(answer, Request("Clockify", "GET", FIELDS))]
            self._field_names = {as_text(row.get("id")): as_text(row.get("name")) for row in rows}
        return self._field_names

    def entries(self) -> EntryReader:
        """A read of the workspace's time entries."""
        return EntryReader(self.core, self.reports, self.account.workspace, self.page_size, self, self.names, self._now)

    async def list(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        ids: Mapping[str, str] | None = None,
        *,
        may_be_missing: bool = False,
    ) -> AsyncIterator[list[Record]]:
        """Every record of a list, page by page; nothing of a list that may be missing, when it is."""
        about = Request("Clockify", "GET", path)

        async def get(number: int) -> Page:
            query = {**(params or {}), "page": number, "page-size": self.page_size}
            answer = await self.core.request(
                "GET",
                path,
                ids=self.ids(**(ids or {})),
                params=query,
                options=RequestOptions(may_be_missing=may_be_missing),
            )
            if answer.missing:
                return Page([], is_last=True)
            return Page(rows_of(answer, about, asked=self.page_size), last_page(answer))

        async for rows in by_number(unshifted(get), about=about, size=self.page_size):
            records = [as_record(row) for row in rows]
            await self.names.learn(path, records)
            yield records

    async def object(
        self, method: str, path: str, ids: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> Record:
        """The record that a request is answered with."""
        answer = await self.core.request(method, path, ids=self.ids(**(ids or {})), json=body)
        return record_of(answer, Request("Clockify", method, path), NOT_CLOCKIFY)

    def ids(self, **more: str) -> dict[str, str]:
        """What a path is filled from."""
        return {"workspace": self.account.workspace, **more}
