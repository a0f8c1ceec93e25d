"""Owners: the HighLevel users with the e-mail addresses of Clockify users. They are read once a run, and never written."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sync_pipeline.connectors.answers import as_text
from sync_pipeline.connectors.highlevel.search import Search, properties_of
from sync_pipeline.connectors.http import RequestOptions
from sync_pipeline.connectors.paging import Record, as_record, rows_of
from sync_pipeline.errors import NotAuthorized, RejectedRecord, Request

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

USERS = "/users/search"
PAGE_SIZE, MOST_PAGES = 100, 50
"""Of both lists: who is beyond that owns nothing."""


@dataclass(slots=True)
class Owners:
    """Who owns the records of a run: read with the first one that is created."""

    account: HighLevel
    is_on: bool
    _emails: dict[str, str] = field(default_factory=dict)
    """Those of Clockify users, by their ids."""
    _people: dict[str, str] | None = None
    """The ids of HighLevel users, by their e-mail addresses."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, entity: str, row: Mapping[str, Any]) -> list[str]:
        """The owner of a new record; none where no one, or more than one, has the e-mail address."""
        facts = self.account.profile.objects.owners
        if not self.is_on or entity not in facts.of:
            return []
        async with self._turn:
            if self._people is None:
                self._people = await self._read()
        user = as_text(row.get(facts.key) or "")
        if entity == facts.entity and row.get(facts.email):
            self._emails[user] = _plain(row[facts.email])
        owner = self._people.get(self._emails.get(user, ""))
        return [owner] if owner else []

    async def people(self) -> list[Record]:
        """The HighLevel users of the location."""
        account, found = self.account, list[Record]()
        about, options = (
            Request(account.profile.system, "GET", USERS),
            RequestOptions(scope=account.profile.scopes.users),
        )
        query = {"companyId": await account.company(), "locationId": account.location, "limit": str(PAGE_SIZE)}
        for _ in range(MOST_PAGES):
            skip = {"skip": str(len(found))}
            answer = await account.send(account.home, "GET", USERS, query=query | skip, options=options)
            rows = rows_of(answer, about, "users", asked=PAGE_SIZE)
            found += map(as_record, rows)
            if not rows or len(found) >= _count(answer.data):
                break
        return found

    async def _read(self) -> dict[str, str]:
        """The people who may own something: each with an e-mail address of their own.

        There are none without the scope, or where one of the lists is refused: no record is rejected for that.
        """
        try:
            users = [
                user for user in await self.people() if user.get("email") and user.get("id") and not user.get("deleted")
            ]
            await self._read_emails()
        except (NotAuthorized, RejectedRecord):
            self.is_on = False
            return {}
        times = Counter(_plain(user["email"]) for user in users)
        people = {_plain(user["email"]): as_text(user["id"]) for user in users}
        return {email: user for email, user in people.items() if times[email] == 1}

    async def _read_emails(self) -> None:
        """Of the users that are records already; those of this run are noted when they are created."""
        facts, pages = self.account.profile.objects.owners, 0
        async with aclosing(Search(self.account, facts.entity, facts.key).read([])) as found:
            async for rows in found:
                for row in rows:
                    bare = {name.rpartition(".")[2]: value for name, value in properties_of(row).items()}
                    if bare.get(facts.email):
                        self._emails.setdefault(as_text(bare.get(facts.key)), _plain(bare[facts.email]))
                if (pages := pages + 1) == MOST_PAGES:
                    return


def _plain(email: object) -> str:
    return as_text(email).strip().casefold()


def _count(data: object) -> float:
    """How many users the answer says there are; without end where it does not say."""
    count = data.get("count") if isinstance(data, dict) else None
    return count if isinstance(count, int) else float("inf")
