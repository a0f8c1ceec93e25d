"""Preparing a location: its objects and fields, what is measured there, and how full it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sync_pipeline.connectors.answers import as_text, excerpt
from sync_pipeline.connectors.highlevel.canary import Behaviour, Canary
from sync_pipeline.connectors.highlevel.locations import SEARCH, customer_locations
from sync_pipeline.connectors.highlevel.schema import NeededObject, SchemaApi, needed_objects
from sync_pipeline.connectors.highlevel.tokens import installed_locations
from sync_pipeline.connectors.http import RequestOptions
from sync_pipeline.connectors.paging import Record, as_record, rows_of
from sync_pipeline.connectors.preparation import Compared, Extra, Made, Measured, SubAccount, Usage
from sync_pipeline.errors import Request
from sync_pipeline.mapping.spec import EntitySpec

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

SHOWN = 80
AT_ONCE = 0.5
MAKE_UNIQUE = (
    "To rule out duplicates, make the ids unique before the first sync: in HighLevel's settings of each object, delete the field with "
    "the id, add it again under the same name as Single line, and tick Mark field as unique. Then measure again."
)
MOST_OBJECTS = 10
"""Custom objects of one location, on every plan."""


@dataclass(frozen=True, slots=True)
class LocationPreparation:
    """What has to be at a location before its first record."""

    there: HighLevel

    @property
    def extras(self) -> list[Extra]:
        """What is switched on beside the records."""
        there, found = self.there, list[Extra]()
        if any(there.customer):
            found.append(Extra("SaaS customer", there.profile.scopes.saas, partial(customer_locations, there)))
        if there.owners.is_on:
            without = "New records get no owner."
            found.append(Extra("owners", there.profile.scopes.users, there.owners.people, without))
        return found

    async def accounts(self) -> list[SubAccount]:
        """The locations that the token of the sub-account is for: it sees no other ones. Of an app, those that have it."""
        if (consent := self.there.consent) is not None:
            return [_account(row) async for row in installed_locations(self.there, consent)]
        options, query = RequestOptions(scope=self.there.profile.scopes.locations), {"skip": 0, "limit": 100}
        answer = await self.there.send(self.there.home, "GET", SEARCH, query=query, options=options)
        rows = rows_of(answer, Request(self.there.profile.system, "GET", SEARCH), "locations", asked=100)
        return [_account(as_record(row)) for row in rows]

    async def compare(self, specs: Iterable[EntitySpec]) -> Compared:
        """Compare objects and fields with what the mappings need."""
        return await SchemaApi(self.there).compare(self._needed(specs))

    async def make(self, specs: Iterable[EntitySpec]) -> Made:
        """Make the objects and fields that are missing."""
        return await SchemaApi(self.there).make(self._needed(specs))

    async def measure(self, specs: Iterable[EntitySpec]) -> list[Measured]:
        """Measure each object with records that are deleted again."""
        canary = Canary(self.there)
        return [_measured(one, await canary.measure(one)) for one in self._needed(specs)]

    async def usage(self, specs: Iterable[EntitySpec]) -> list[Usage]:
        """The objects of the location, and the records of each of ours."""
        schema = SchemaApi(self.there)
        there = await schema.objects()
        found = [Usage("custom objects", sum(not one.get("standard") for one in there.values()), MOST_OBJECTS)]
        for one in self._needed(specs):
            if one.name in there:
                largest = self.there.profile.objects.largest
                found.append(Usage(f"records of {one.name}", await schema.records(one), largest))
        return found

    def _needed(self, specs: Iterable[EntitySpec]) -> tuple[NeededObject, ...]:
        return needed_objects(specs, self.there.profile)


def _account(row: Record) -> SubAccount:
    found, name, company = (excerpt(as_text(row.get(key) or ""), SHOWN) for key in ("id", "name", "companyId"))
    return SubAccount(found, name, company)


def _measured(one: NeededObject, found: Behaviour) -> Measured:
    detail = "; ".join(_in_words(found, one.fields[1].name))
    return Measured(one.entity, found.document(), f"{detail}.", "" if found.unique else MAKE_UNIQUE)


def _in_words(found: Behaviour, key: str) -> Iterator[str]:
    yield f"a second record with the same {key} is {'refused' if found.unique else 'accepted'}"
    yield (
        "a change leaves other fields unchanged" if found.merge else "a change clears the fields that it does not name"
    )
    if not found.is_current:
        yield "a new record cannot be read by its id immediately"
    if not found.source_id:
        yield "a record does not say which integration created it"
    if found.index_lag is None:
        yield "its search does not show a new record within a minute"
    else:
        late = f"after {found.index_lag:g} s" if found.index_lag >= AT_ONCE else "immediately"
        yield f"its search shows a new record {late}"
    if found.deleted_blocks is not None:
        yield f"a deleted record {'still blocks' if found.deleted_blocks else 'does not block'} its key"
