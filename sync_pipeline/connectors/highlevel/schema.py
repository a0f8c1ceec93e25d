"""The objects and fields that the mappings need, compared with what a location has; making what is missing.

Nothing that exists is changed or removed. A request that was cut off is no problem: what exists is looked up again
before anything is created.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sync_pipeline.connectors.answers import Answer, as_text
from sync_pipeline.connectors.highlevel.fields import bare_key
from sync_pipeline.connectors.highlevel.profile import HighLevelProfile
from sync_pipeline.connectors.http import RequestOptions
from sync_pipeline.connectors.preparation import Compared, Made, Unprepared
from sync_pipeline.connectors.profile import singular
from sync_pipeline.errors import AmbiguousWrite, FatalApiError, NotAuthorized, RejectedRecord, Request
from sync_pipeline.mapping.spec import EntitySpec, Field

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

FOLDER = "Clockify"
ABOUT = "Kept equal to Clockify by sync_pipeline."
LOOKS = 3
"""How often it is compared and made before what is still missing is an error."""
HOLDS: Mapping[str, frozenset[str]] = {"TEXT": frozenset({"LARGE_TEXT"})}
"""Types that hold everything that another one does."""


class NeededField(NamedTuple):
    """A field that has to exist: its key, what people see, and its type."""

    key: str
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class NeededObject:
    """A custom object that has to exist, with its fields: the title first, the key of the records second."""

    entity: str
    key: str
    """The key as used in paths: with the prefix of custom objects."""
    singular: str
    plural: str
    fields: tuple[NeededField, ...]

    @property
    def name(self) -> str:
        """The key without its prefix."""
        return bare_key(self.key)


WORDS: Mapping[str, str] = {
    "TEXT": "Single line",
    "LARGE_TEXT": "Multi line",
    "NUMERICAL": "Number",
    "DATE": "Date picker",
}
"""What the types are called where people make fields."""


def needed_objects(specs: Iterable[EntitySpec], profile: HighLevelProfile) -> tuple[NeededObject, ...]:
    """The objects of the entities that are delivered to HighLevel, with every field of their mappings."""
    return tuple(_needed(spec, profile) for spec in specs if spec.target.system == "snapshots" and not spec.target.once)


def _needed(spec: EntitySpec, profile: HighLevelProfile) -> NeededObject:
    facts, types = profile.object_of(spec.entity), profile.types
    key, title = spec.field(spec.target.id), profile.objects.title
    mapped = {one.name: type_of(one, profile) for one in (key, *spec.fields)}
    derived = {name: types["date"] for name, made_of in facts.day.items() if made_of in mapped}
    derived |= {name: types["number"] for name, made_of in facts.hours.items() if made_of in mapped}
    if spec.target.delete == "archive":
        derived.setdefault(profile.objects.archived, types["bool"])
    fields = {title: types["text"]} | derived | mapped
    order = dict.fromkeys((title, *mapped, *derived))
    entity = spec.entity.replace("_", " ")
    return NeededObject(
        spec.entity,
        profile.object_key(spec.entity),
        f"Clockify {singular(spec.entity).replace('_', ' ')}",
        f"Clockify {entity}",
        tuple(NeededField(name, name.replace("_", " ").capitalize(), fields[name]) for name in order),
    )


def type_of(one: Field, profile: HighLevelProfile) -> str:
    """The type of a field there; text that is declared to be long is of another type."""
    is_long = one.type == "text" and (one.max_length or 0) > profile.short_text
    return profile.types["long_text" if is_long else one.type]


@dataclass(frozen=True, slots=True)
class SchemaApi:
    """The objects and fields of one location."""

    there: HighLevel

    async def compare(self, needed: Sequence[NeededObject]) -> Compared:
        """What the location has of this; a request for the objects, and one for the fields of each that is there."""
        there = await self.objects()
        missing: list[Unprepared] = []
        wrong: list[Unprepared] = []
        extra: list[str] = []
        for one in needed:
            if one.name not in there:
                missing.append(Unprepared(one.name))
                continue
            found = self._primary(one, there[one.name]) | await self._fields(one)
            for each in one.fields:
                if each.key not in found:
                    missing.append(Unprepared(one.name, each.key, each.type))
                elif found[each.key] not in {each.type, *HOLDS.get(each.type, ())}:
                    wrong.append(Unprepared(one.name, each.key, each.type, found[each.key]))
            extra += (f"{one.name}.{key}" for key in sorted(found.keys() - {each.key for each in one.fields}))
        return Compared(tuple(missing), tuple(wrong), tuple(extra), tuple(_by_hand(needed, missing)))

    async def objects(self) -> dict[str, dict[str, Any]]:
        """Every object of the location by its key without a prefix, those included that HighLevel comes with."""
        answer = await self._get("/objects/", None, "objects")
        return {bare_key(one.get("key")): one for one in self._rows(answer, "/objects/", "objects")}

    async def records(self, one: NeededObject) -> int:
        """How many records an object has, as the search says."""
        answer = await self.there.search(one.entity, limit=1)
        total = answer.data.get("total") if isinstance(answer.data, dict) else None
        if not isinstance(total, int):
            raise self._unexpected("POST", "/objects/{object}/records/search", "a list with its total")
        return total

    async def make(self, needed: Sequence[NeededObject]) -> Made:
        """Make what is missing, and compare again; nothing is made while a field is of another type.

        Raises AmbiguousWrite when answers were lost each time.
        """
        done = Made(await self.compare(needed))
        for look in range(LOOKS):
            if done.compared.wrong or not done.compared.missing or done.refused:
                break
            try:
                await self._make_all(needed, done)
            except AmbiguousWrite:
                if look == LOOKS - 1:
                    raise
            done.compared = await self.compare(needed)
        return done

    async def _make_all(self, needed: Sequence[NeededObject], done: Made) -> None:
        for one in needed:
            lacking = {each.field for each in done.compared.missing if each.object == one.name}
            if not lacking:
                continue
            if "" in lacking and not await self._make_object(one, done):
                return
            fields = one.fields[1:] if "" in lacking else [each for each in one.fields if each.key in lacking]
            folder = await self._folder(one)
            for each in fields:
                if await self._make_field(one, each, folder):
                    done.made.append(f"{one.name}.{each.key}")
            if lacking & {"", one.fields[1].key}:
                await self._make_searchable(one)

    async def _make_object(self, one: NeededObject, done: Made) -> bool:
        """Whether the object is there now; where the token may not make it, or no more fit, why is noted."""
        title = one.fields[0]
        body = {
            "locationId": self.there.location,
            "key": one.key,
            "labels": {"singular": one.singular, "plural": one.plural},
            "description": ABOUT,
            "primaryDisplayPropertyDetails": {
                "key": f"{one.key}.{title.key}",
                "name": title.name,
                "dataType": title.type,
            },
        }
        try:
            await self._write("POST", "/objects/", body, "objects")
        except RejectedRecord as refusal:
            if _is_there(refusal):
                return True
            done.refused = refusal.message
        except NotAuthorized as refusal:
            done.refused = str(refusal)
        else:
            done.made.append(one.name)
        return not done.refused

    async def _make_field(self, one: NeededObject, each: NeededField, folder: str) -> bool:
        """Whether it was made here: False where it turns out to exist."""
        body = {
            "locationId": self.there.location,
            "objectKey": self._field_key(one),
            "parentId": folder,
            "fieldKey": f"{self._field_key(one)}.{each.key}",
            "name": each.name,
            "dataType": each.type,
            "showInForms": False,
        }
        try:
            await self._write("POST", "/custom-fields/", body, "fields")
        except RejectedRecord as refusal:
            if not _is_there(refusal):
                raise
            return False
        return True

    async def _folder(self, one: NeededObject) -> str:
        """The folder that new fields are put into: ours, or any that is there, or a new one."""
        path = "/custom-fields/object-key/{key}"
        answer = await self._get(path, {"key": one.key}, "fields")
        folders = self._rows(answer, path, "folders")
        found = next((each for each in folders if each.get("name") == FOLDER), None)
        if found is None:
            body = {"locationId": self.there.location, "objectKey": self._field_key(one), "name": FOLDER}
            found = (await self._write("POST", "/custom-fields/folder", body, "fields")).data
        if not isinstance(found, dict) or not isinstance(found.get("id"), str):
            raise self._unexpected("POST", "/custom-fields/folder", "a folder with an id")
        return str(found["id"])

    async def _make_searchable(self, one: NeededObject) -> None:
        """Let people find records by title and by key; a refusal of that is no reason to stop."""
        body = {
            "locationId": self.there.location,
            "searchableProperties": [f"{one.key}.{each.key}" for each in one.fields[:2]],
        }
        try:
            await self._write("PUT", "/objects/{key}", body, "objects", key=one.key)
        except RejectedRecord:
            return

    async def _fields(self, one: NeededObject) -> dict[str, str]:
        """Key -> type of what an object has."""
        path = "/custom-fields/object-key/{key}"
        answer = await self._get(path, {"key": one.key}, "fields")
        return {
            bare_key(each.get("fieldKey")): as_text(each.get("dataType")) for each in self._rows(answer, path, "fields")
        }

    def _primary(self, one: NeededObject, there: Mapping[str, Any]) -> dict[str, str]:
        """The property that an object was made with, which the list of its fields need not have."""
        key = bare_key(there.get("primaryDisplayProperty"))
        return {each.key: each.type for each in one.fields[:1] if each.key == key}

    async def _get(self, path: str, ids: Mapping[str, str] | None, what: str) -> Answer:
        options = self._options(what)
        return await self.there.send(self.there.home, "GET", path, ids, query=self._here, options=options)

    async def _write(self, method: str, path: str, body: Mapping[str, Any], what: str, **ids: str) -> Answer:
        """A change; where the token of the location may not make objects, with that of the agency."""
        options = self._options(what, write=True)
        try:
            return await self.there.send(self.there.home, method, path, ids, body=body, options=options)
        except NotAuthorized:
            if what != "objects" or not self.there.reads_agency:
                raise
        return await self.there.send(self.there.agency, method, path, ids, body=body, options=options)

    def _field_key(self, one: NeededObject) -> str:
        return self.there.profile.objects.field_prefix + one.name

    @property
    def _here(self) -> dict[str, str]:
        return {"locationId": self.there.location}

    def _options(self, what: str, *, write: bool = False) -> RequestOptions:
        scopes = getattr(self.there.profile.scopes, what)
        return RequestOptions(scope=scopes.write if write else scopes.read)

    def _rows(self, answer: Answer, path: str, name: str) -> Iterator[dict[str, Any]]:
        """The rows of a list; FatalApiError for one of another location."""
        rows = answer.data.get(name, []) if isinstance(answer.data, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self._unexpected("GET", path, f"a list of {name}")
        for row in rows:
            self.there.refuse_other(row.get("locationId"), self.there.location, self._about("GET", path))
            yield row

    def _unexpected(self, method: str, path: str, what: str) -> FatalApiError:
        return FatalApiError(f"the answer is not {what}.", self._about(method, path))

    def _about(self, method: str, path: str) -> Request:
        return Request(self.there.profile.system, method, path)


def _by_hand(needed: Iterable[NeededObject], missing: Iterable[Unprepared]) -> Iterator[dict[str, str]]:
    """Everything that is missing, in the words of the form in which a person creates it."""
    lacking = {(one.object, one.field) for one in missing}
    for one in needed:
        for each in one.fields:
            if lacking & {(one.name, ""), (one.name, each.key)}:
                label = WORDS.get(each.type, each.type)
                yield {"object": one.plural, "object key": one.name, "field": each.name, "key": each.key, "type": label}


def _is_there(refusal: RejectedRecord) -> bool:
    return refusal.request.code == "key_taken"
