"""Clockify as a target: its clients, projects and tasks, of which it gives out the ids and allows each name once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sync_pipeline.connectors.answers import record_of
from sync_pipeline.connectors.clockify.changes import KINDS, ChangeFeed
from sync_pipeline.connectors.clockify.source import NOT_CLOCKIFY
from sync_pipeline.connectors.http import MAY_BE_MISSING
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import RejectedRecord, Request
from sync_pipeline.mapping.spec import TargetSpec

if TYPE_CHECKING:
    from sync_pipeline.connectors.clockify.api import Clockify

BY_NAME = {"sort-column": "NAME"}
CLIENTS = "/workspaces/{workspace}/clients"
PROJECTS = "/workspaces/{workspace}/projects"
TASKS = PROJECTS + "/{project}/tasks"


@dataclass(frozen=True, slots=True)
class ClockifyTarget:
    """Records of one kind. Its PUT replaces, so that an update reads, merges and writes."""

    clockify: Clockify
    spec: TargetSpec
    constants: Mapping[str, Any] = field(default_factory=dict)
    """The fields that have the same value in every record."""
    assigns_ids: ClassVar[Literal[True]] = True
    can_window = False
    takes_unknown_ids = False
    unique_names = finds = True
    find_lag, at_once = 0.0, 1
    label = "Clockify"
    noun: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    longest_name: ClassVar[int]
    path: ClassVar[str]
    creatable: ClassVar[tuple[str, ...]]
    """All that POST keeps; the rest is dropped there silently."""
    replaced: ClassVar[tuple[str, ...]]
    """All that PUT takes, and clears when left out."""
    nested: ClassVar[bool] = False
    """Whether a record is known by the project that it belongs to and its own id together."""
    archived: ClassVar[Mapping[str, Any]] = {"archived": True}
    """What an archived record has."""

    @property
    def id_field(self) -> str:
        """Where Clockify puts the id."""
        return self.spec.id

    @property
    def feed(self) -> ChangeFeed | None:
        """The changes of these records, where Clockify has such a feed."""
        kind = KINDS.get(self.spec.kind)
        return self.clockify.changes(kind) if kind else None

    async def read(self, window: Window | None = None) -> AsyncGenerator[list[Record], None]:
        """All records, archived ones included: without a filter Clockify gives both."""
        del window
        async for page in self.clockify.list(self.path, BY_NAME):
            yield [self._record(record) for record in page]

    async def find(self, rows: Sequence[Mapping[str, Any]]) -> list[Record]:
        """All records: one list is the cheaper read."""
        del rows
        return [record async for page in self.read() for record in page]

    async def get(self, target_id: str) -> Record | None:
        """One record; None when Clockify reports that it is deleted, and for a link of another kind, from another mapping."""
        if ("/" in target_id) is not self.nested:
            return None
        path, ids = self._item(target_id)
        answer = await self.clockify.core.request("GET", path, ids=self.clockify.ids(**ids), options=MAY_BE_MISSING)
        return (
            None if answer.missing else self._record(record_of(answer, Request("Clockify", "GET", path), NOT_CLOCKIFY))
        )

    async def create(self, row: Mapping[str, Any]) -> Record:
        """Create a record. Never sent twice: AmbiguousWrite when it is unknown whether it arrived.

        RejectedRecord when Clockify refuses it - 400/501 is also how it says that the name is taken.
        """
        body = self._body({name: row.get(name) for name in self.creatable})
        path, ids = self._list(row)
        made = self._record(await self.clockify.object("POST", path, ids, body))
        rest = {name: value for name, value in row.items() if name not in self.creatable and made.get(name) != value}
        return await self.update(str(made["id"]), rest) or made if rest else made

    async def update(self, target_id: str, row: Mapping[str, Any]) -> Record | None:
        """Change only these fields (None clears); None when the record is deleted."""
        current = await self.get(target_id)
        if current is None:
            return None
        path, ids = self._item(target_id)
        body = self._body({**{name: current.get(name) for name in self.replaced}, **row})
        return self._record(await self.clockify.object("PUT", path, ids, body))

    async def remove(self, target_id: str) -> None:
        """Archive a record, and delete it when the mapping wants that: Clockify takes only archived ones."""
        if await self.update(target_id, self.archived) is None or self.spec.delete != "delete":
            return
        path, ids = self._item(target_id)
        try:
            await self.clockify.core.request("DELETE", path, ids=self.clockify.ids(**ids))
        except RejectedRecord:  # also the answer to a second try when the first one arrived
            if await self.get(target_id) is not None:
                raise

    def is_own(self, record: Record) -> bool:
        """Clockify does not say who made a record."""
        del record
        return False

    def can_become(self, target_id: str, row: Mapping[str, Any]) -> bool:
        """An update can change each field."""
        del target_id, row
        return True

    def needs_update(self, record: Record, row: Mapping[str, Any]) -> bool:
        """An update writes what it is given."""
        del record, row
        return False

    def in_event(self, kind: str, body: Mapping[str, Any]) -> None:
        """None: no event shows all of a record."""
        del kind, body

    def is_archived(self, record: Record) -> bool:
        """Whether the record is archived, or done."""
        return all(record.get(name) == value for name, value in self.archived.items())

    def _body(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a write: what is None is cleared by leaving it out."""
        return {name: value for name, value in fields.items() if value is not None}

    def _list(self, row: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        del row
        return self.path, {}

    def _item(self, target_id: str) -> tuple[str, dict[str, str]]:
        return self.path + "/{id}", {"id": target_id}

    def _record(self, record: Record) -> Record:
        return record


class Clients(ClockifyTarget):
    """Clients: names are unique in the workspace."""

    __slots__ = ()
    noun, key, longest_name, path = "client", ("name",), 100, CLIENTS
    creatable = ("name", "email", "address", "note")
    replaced = (*creatable, "archived", "currencyId", "ccEmails")


class Projects(ClockifyTarget):
    """Projects: names are unique within a client. What PUT leaves out is kept, but for two flags."""

    __slots__ = ()
    noun, key, longest_name, path = "project", ("name", "clientId"), 250, PROJECTS
    creatable = ("name", "note", "color", "isPublic", "clientId", "billable")
    replaced = (*creatable, "archived")

    def _body(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        cleared = {name: "" for name in ("note", "clientId") if name in fields}
        return cleared | {name: value for name, value in fields.items() if value is not None}

    def _record(self, record: Record) -> Record:
        return {**record, "isPublic": record.get("public")}


class Tasks(ClockifyTarget):
    """Tasks: names are unique within a project. A task is known by its project and its own id together."""

    __slots__ = ()
    noun, key, longest_name, path = "task", ("name", "projectId"), 1000, TASKS
    creatable = ("name", "projectId", "status", "billable", "estimate", "budgetEstimate", "assigneeIds", "userGroupIds")
    replaced = creatable
    nested = True
    archived: ClassVar[Mapping[str, Any]] = {"status": "DONE"}

    async def read(self, window: Window | None = None) -> AsyncGenerator[list[Record], None]:
        """The tasks of one project after the other: of all of them, unless each task has the same."""
        del window
        always = self.constants.get("projectId")
        projects = [always] if always else [row["id"] async for page in self.clockify.list(PROJECTS) for row in page]
        for project in projects:
            yield await self._tasks(str(project))

    async def find(self, rows: Sequence[Mapping[str, Any]]) -> list[Record]:
        """The tasks of the projects of these rows."""
        projects = dict.fromkeys(str(row["projectId"]) for row in rows if row.get("projectId"))
        return [task for project in projects for task in await self._tasks(project)]

    def can_become(self, target_id: str, row: Mapping[str, Any]) -> bool:
        """A task cannot move to another project."""
        project = self._item(target_id)[1]["project"]
        return bool(row.get("projectId", project) == project)

    async def _tasks(self, project: str) -> list[Record]:
        pages = self.clockify.list(self.path, BY_NAME, {"project": project}, may_be_missing=True)
        return [self._record(record) async for page in pages for record in page]

    def _body(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if value is not None and name != "projectId"}

    def _list(self, row: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        if not row.get("projectId"):
            raise RejectedRecord("it has no project, to which a task belongs.", Request("Clockify", "POST", self.path))
        return self.path, {"project": str(row["projectId"])}

    def _item(self, target_id: str) -> tuple[str, dict[str, str]]:
        project, _, task = target_id.rpartition("/")
        return self.path + "/{id}", {"project": project, "id": task}

    def _record(self, record: Record) -> Record:
        return {**record, "id": f"{record.get('projectId')}/{record['id']}"}


TARGETS: Mapping[str, type[ClockifyTarget]] = {"clients": Clients, "projects": Projects, "tasks": Tasks}
