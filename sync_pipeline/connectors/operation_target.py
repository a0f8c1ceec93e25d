"""An operation of the catalogue as a target: done once for each record; nothing is changed or deleted.

Before it is done, and after a lost answer, what it makes is looked for in a list that the mapping names.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from sync_pipeline.connectors import operations
from sync_pipeline.connectors.answers import as_text
from sync_pipeline.connectors.http import ApiClient
from sync_pipeline.connectors.operations import id_of, rows_of
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import Operable, System
from sync_pipeline.connectors.profile import BaseProfile
from sync_pipeline.connectors.profile_files import needs_another
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import AmbiguousWrite, ConfigError, FatalApiError, RejectedRecord
from sync_pipeline.mapping.canonical import is_same
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.operations import catalogue
from sync_pipeline.operations.catalogue import IN_PATH, Operation
from sync_pipeline.operations.inputs import OperationCall, WrongInputs, formed

UNNAMED = "the answer does not say what was made."
FEW = 2
"""So many parts of a list are read without a look whether it fits into one page."""
Row = Mapping[str, Any]
LAG_SECONDS = 2.0
"""The shortest pause after a lost answer, before what was made is looked for."""


@dataclass(frozen=True, slots=True)
class OperationTarget:
    """What one operation makes in one account. A record below another one is known by the ids of both."""

    account: Operable
    spec: EntitySpec
    assigns_ids: ClassVar[Literal[True]] = True
    can_window = False
    takes_unknown_ids = False
    unique_names = False
    feed = None
    longest_name, at_once = 65_536, 1

    @property
    def operation(self) -> Operation:
        """What is done for each record."""
        return catalogue.operation(self.spec.target.operation)

    @property
    def id_field(self) -> str:
        """The field of a record that holds its id."""
        return self.spec.target.id

    @property
    def noun(self) -> str:
        """What is made."""
        words = [word for word in self.operation.name.split(".")[1:] if word.endswith("s")]
        return (words or ["record"])[-1].removesuffix("es" if words and words[-1].endswith("sses") else "s")

    @property
    def label(self) -> str:
        """What the account's system is called."""
        return catalogue.systems()[self.operation.system]

    @property
    def finds(self) -> bool:
        """Whether what was made can be found again."""
        return self.spec.target.find is not None or self.repeats

    @property
    def repeats(self) -> bool:
        """Whether the service itself recognizes what it is given again."""
        return self.operation.name in catalogue.known()["repeatable"]

    @property
    def find_lag(self) -> float:
        """A list may show late what was made just now; where names are unique a second one is refused anyway."""
        return 0.0 if self.repeats or self.operation.find else max(LAG_SECONDS, self.account.find_lag)

    @property
    def key(self) -> tuple[str, ...]:
        """The fields by which a record is recognized: the ids above it, and those that the mapping compares."""
        find = self.spec.target.find
        return tuple(dict.fromkeys((*self._above, *find.same))) if find else tuple(sorted(self._fields))

    async def read(self, window: Window | None = None) -> AsyncGenerator[list[Record], None]:
        """Nothing: a record is read by its id, since others may have made similar ones."""
        del window
        nothing: list[list[Record]] = []
        for page in nothing:
            yield page

    async def find(self, rows: Sequence[Mapping[str, Any]]) -> list[Record]:
        """Every record that has the key of one of these rows. A list is read once for all rows that it answers for."""
        asked: dict[str, list[tuple[OperationCall, Row]]] = {}
        for row in rows:
            if (form := self._listing(row)) is not None:
                asked.setdefault(_request(self._whole(form)), []).append((form, row))
        return [record for group in asked.values() for record in await self._in_lists(group)]

    async def get(self, target_id: str) -> Record | None:
        """One record; None when it does not exist."""
        item = self._item
        if item is None:
            raise ConfigError(f"What {self.operation.name} has made cannot be read by its id.")
        *above, own = target_id.split("/")
        free = [name for name in IN_PATH.findall(item.path) if name not in item.fixed]
        if len(free) != len(above) + 1:  # of another mapping
            return None
        ids = dict(zip(free, (*above, own), strict=True))
        form = formed(item, ids, self.account.decided)
        answer = await operations.send(self._client(item), form, may_be_missing=True)
        if answer.missing:
            return None
        row = answer.data if isinstance(answer.data, dict) else {}
        inner = next((each for each in row.values() if isinstance(each, dict) and each.get("id") == own), row)
        return {**inner, self.id_field: target_id}

    async def create(self, row: Mapping[str, Any]) -> Record:
        """Do it once. AmbiguousWrite when it is unknown whether it was done."""
        form = self._form(self.operation, {name: value for name, value in row.items() if value is not None})
        await self.account.confirm()
        client = self._client(self.operation)
        try:
            answer = await operations.send(client, form)
        except FatalApiError as error:
            if error.request.status is None or error.request.status >= 400:
                raise
            raise AmbiguousWrite(error.message, error.request) from None
        made = id_of(answer.data)
        if made is None:
            about = replace(operations.about(client, form), status=answer.status)
            raise AmbiguousWrite(UNNAMED, about, was_done=self.spec.target.find is not None)
        return {**row, self.id_field: self._known_as(row, made)}

    async def update(self, target_id: str, row: Mapping[str, Any]) -> Record | None:
        """Nothing: the record is never changed."""
        return {**row, self.id_field: target_id}

    async def remove(self, target_id: str) -> None:
        """Nothing is ever deleted."""
        raise ConfigError(f"{target_id} is not deleted: what an automation has made stays.")

    def is_own(self, record: Record) -> bool:
        """It is not known who made a record."""
        del record
        return False

    def can_become(self, target_id: str, row: Mapping[str, Any]) -> bool:
        """It is never changed, so that it stays what it was made of."""
        del target_id, row
        return True

    def needs_update(self, record: Record, row: Mapping[str, Any]) -> bool:
        """What was made is never changed."""
        del record, row
        return False

    def in_event(self, kind: str, body: Mapping[str, Any]) -> None:
        """None: no event is about what was made."""
        del kind, body

    def is_archived(self, record: Record) -> bool:
        """Nothing is archived from here."""
        del record
        return False

    @property
    def _above(self) -> tuple[str, ...]:
        """The records that one is made below, as inputs of the path."""
        one = self.operation
        return tuple(name for name in IN_PATH.findall(one.path) if name not in one.fixed and name in self._fields)

    @property
    def _fields(self) -> frozenset[str]:
        return frozenset(field.name for field in self.spec.fields)

    @property
    def _item(self) -> Operation | None:
        """How one record is read: below the list, or below what it was made with."""
        find, every = self.spec.target.find, catalogue.operations()
        paths = [catalogue.operation(find.operation).path] if find else []
        paths += [self.operation.path, self.operation.path.rpartition("/")[0]]  # the last word may be what is done
        for path in paths:
            below = path.rstrip("/")
            for each in every.values():
                head, _, last = each.path.rpartition("/")
                if (
                    each.method == "GET"
                    and each.system == self.operation.system
                    and head == below
                    and IN_PATH.fullmatch(last)
                ):
                    return each
        return None

    def _listing(self, row: Row) -> OperationCall | None:
        """The list in which what is made of this row would be; None when nothing can be made of it."""
        find = self.spec.target.find
        if find is None or any(row.get(name) is None for name in self.key):
            return None
        given = {name: row.get(each) if isinstance(each, str) else each for name, each in find.inputs}
        given = {name: value for name, value in given.items() if value is not None}
        try:
            return formed(catalogue.operation(find.operation), given, self.account.decided)
        except WrongInputs:  # the create says why
            return None

    def _whole(self, form: OperationCall) -> OperationCall:
        """The same list without what only leaves records out of it that are not looked for anyway."""
        find, narrowing = self.spec.target.find, catalogue.known()["narrowing"].get(form.operation.name, ())
        narrowed = {name: each for name, each in find.inputs if name in narrowing} if find else {}
        if find is None or any(each is not True and each not in find.same for each in narrowed.values()):
            return form
        return replace(form, query={name: value for name, value in form.query.items() if name not in narrowed})

    async def _in_lists(self, asked: Sequence[tuple[OperationCall, Row]]) -> list[Record]:
        """What is found of rows whose lists are parts of one, which is read instead where it has a single page."""
        lists: dict[str, tuple[OperationCall, list[Row]]] = {}
        for form, row in asked:
            lists.setdefault(_request(form), (form, []))[1].append(row)
        whole, client = self._whole(asked[0][0]), self._client(asked[0][0].operation)
        if len(lists) > FEW and (every := await operations.only_page(client, whole)) is not None:
            return self._like(every, [row for _, row in asked])
        return [record for form, rows in lists.values() for record in self._like(await _all(client, form), rows)]

    def _like(self, listed: Sequence[Any], rows: Sequence[Row]) -> list[Record]:
        find = self.spec.target.find
        same = [self.spec.field(name) for name in find.same] if find else []
        return [
            {**row, self.id_field: self._known_as(row, as_text(each["id"]))}
            for row in rows
            for each in listed
            if isinstance(each, dict)
            and each.get("id")
            and all(is_same(field, _at(each, field.name), row.get(field.name)) for field in same)
        ]

    def _known_as(self, row: Mapping[str, Any], own: str) -> str:
        return "/".join([*(as_text(row[name]) for name in self._above), own])

    def _form(self, one: Operation, given: Mapping[str, Any]) -> OperationCall:
        try:
            return formed(one, given, self.account.decided)
        except WrongInputs as error:
            client = self._client(one)
            request = operations.about(client, OperationCall(one, {}, {}))
            raise RejectedRecord("; ".join(error.faults), request) from None

    def _client(self, one: Operation) -> ApiClient:
        return self.account.client_for(one.host, one.tokens)


def operation_target(system: System, spec: EntitySpec, profile: BaseProfile) -> OperationTarget:
    """The operation of an automation as its target; ConfigError when the account has no such operations."""
    one = catalogue.operation(spec.target.operation)
    if isinstance(system, Operable) and system.catalogue == one.system:
        return OperationTarget(system, spec)
    raise not_connected(profile, one, f"{spec.entity} makes records in")


def not_connected(profile: BaseProfile, one: Operation, why: str) -> ConfigError:
    """The error about an operation whose API is not connected; ``why`` is the sentence before the API's name."""
    found = needs_another(profile, why, catalogue=one.system)
    fix = "`sync-pipeline connections list` shows what is connected."
    return found or ConfigError(f"{why} {catalogue.systems()[one.system]}, which is not connected.", fix=fix)


def _request(form: OperationCall) -> str:
    """What distinguishes requests of one operation."""
    return repr((form.ids, form.query, form.body))


async def _all(client: ApiClient, form: OperationCall) -> list[Any]:
    if form.paged is None:
        return rows_of((await operations.send(client, form)).data)
    async with aclosing(operations.pages(client, form)) as pages:
        return [row async for page in pages for row in page]


def _at(record: Any, path: str) -> Any:
    """The value at a dotted path, or under a name that holds dots."""
    if isinstance(record, dict) and path in record:
        return record[path]
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record
