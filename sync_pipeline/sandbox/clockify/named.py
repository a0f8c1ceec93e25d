"""What all small named records have in common: one list, reading, creating, replacing and deleting a single one.

A kind of record states its table and what differs; handlers of these five requests are written only here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sync_pipeline.sandbox.clockify.documents import demand_free_name, document, find, insert, name_of, remove, replace
from sync_pipeline.sandbox.clockify.http import Call, Endpoint, Json, Reply, invalid
from sync_pipeline.sandbox.clockify.paging import DIRECTIONS, Page, Where, bodies, select_counted_page, select_page
from sync_pipeline.sandbox.clockify.workspaces import demand_creator
from sync_pipeline.sandbox.database import transaction

Render = Callable[[list[sqlite3.Row]], Any]


class NamedRecords:
    """The records of one table. Subclasses state what is special about them."""

    table: str
    permission = ""
    """The workspace setting for who may write; empty: the endpoint alone decides."""
    readable = True
    """Whether a single one can be read."""
    least, most = 1, 100
    """Length of a name."""
    active = ""
    """Its name in the refusal to delete one that is not archived; empty: it can always be deleted."""
    archived = "archived"
    """The list's filter for archived ones; another name than this is a filter for active ones, empty is none."""
    strict = True
    """Whether the list can be filtered by the exact name."""
    cascades = False
    """Whether a write may change other records, too."""
    counted = False
    """Whether the list states how many there are."""
    sort: Mapping[str, str] = {"ID": "id", "NAME": "name"}
    select, prefix = "", ""
    """The query of the list and the prefix of its columns, where it is not the table alone."""

    def endpoints(self, base: str, access: str = "member", permission: str = "") -> list[Endpoint]:
        """The five requests; ``access`` and ``permission`` are those of writing."""
        one = f"{base}/{{id}}"
        return [
            Endpoint("GET", base, self.page),
            *([Endpoint("GET", one, self.get)] if self.readable else []),
            Endpoint("POST", base, self.create, access, permission),
            Endpoint("PUT", one, self.update, access, permission),
            Endpoint("DELETE", one, self.delete, access, permission),
        ]

    def page(self, call: Call) -> Reply:
        """One page of the list, filtered and sorted as asked for."""
        where, parent = Where(), self.parent_of(call)
        if parent:
            where.add("parent = ?", parent)
        if name := call.query.get("name"):
            if self.strict and call.flag("strict-name-search"):
                where.add(f"{self.prefix}name = ?", name)
            else:
                where.contains(f"{self.prefix}name", name)
        if self.archived and (flag := call.flag(self.archived)) is not None:
            where.add(f"{self.prefix}archived = ?", flag == (self.archived == "archived"))
        self.filter(call, where)
        column = self.sort[call.choice("sort-column", tuple(self.sort), "NAME")]
        direction = DIRECTIONS[call.choice("sort-order", tuple(DIRECTIONS), "ASCENDING")]
        order = f"{column} {direction}, {self.prefix}id {direction}"
        if self.counted:
            return select_counted_page(call, self.table, where, order)
        select, render = self.select or f"SELECT body FROM {self.table}", self.render(call)
        return select_page(call, select, where, order, Page.asked(call), render)

    def get(self, call: Call) -> Reply:
        """A single record."""
        return Reply(self.body(self.row(call)))

    def create(self, call: Call) -> Reply:
        """A new record."""
        self.demand(call)
        self.parent_of(call)
        body = self.build(call, call.json(), None)
        with self._together(call):
            insert(call, self.table, body)
            self.written(call, body, is_new=True)
        return self.answer(call, body, 201)

    def update(self, call: Call) -> Reply:
        """The new state of a record."""
        self.demand(call)
        row = self.row(call)
        body = self.build(call, call.json(), row)
        with self._together(call):
            replace(call, self.table, body)
            self.written(call, body, is_new=False)
        return self.answer(call, body)

    def delete(self, call: Call) -> Reply:
        """Delete a record and answer its last state."""
        self.demand(call)
        row = self.row(call)
        if self.active and not row["archived"]:
            raise invalid(f"Cannot delete an active {self.active}")
        body = self.body(row)
        with transaction(call.db):
            self.detach(call, body)
            remove(call, self.table, body)
        return self.removed(body)

    def _together(self, call: Call) -> AbstractContextManager[None]:
        return transaction(call.db) if self.cascades else nullcontext()

    def row(self, call: Call) -> sqlite3.Row:
        """The row that the path names."""
        return find(call, self.table, call.ids["id"], parent=call.ids.get("project"))

    def name(self, call: Call, asked: Json, old: sqlite3.Row | None, parent: str = "") -> str:
        """The asked name, which no other record has; a changed record may leave it out."""
        keeps = old is not None and asked.get("name") is None
        name = str(old["name"]) if old and keeps else name_of(asked, least=self.least, most=self.most)
        demand_free_name(call, self.table, name, parent, old)
        return name

    def build(self, call: Call, asked: Json, old: sqlite3.Row | None) -> Json:
        """The document of a new record, or the changed one of ``old``."""
        raise NotImplementedError

    def demand(self, call: Call) -> None:
        """Refuse a caller who may not write."""
        if self.permission:
            demand_creator(call, self.permission)

    def parent_of(self, call: Call) -> str:
        """The id of the record that the path puts these below, which exists."""
        return str(find(call, "projects", call.ids["project"])["id"]) if "project" in call.ids else ""

    def filter(self, call: Call, where: Where) -> None:
        """Further filters of the list."""

    def render(self, call: Call) -> Render:  # noqa: ARG002 - kinds that depend on the request override it
        """How the rows of a page are answered."""
        return bodies

    def body(self, row: sqlite3.Row) -> Json:
        """The record as a request for it answers it."""
        return document(row)

    def written(self, call: Call, body: Json, *, is_new: bool) -> None:
        """What else a write does."""

    def detach(self, call: Call, body: Json) -> None:
        """What happens to the records that refer to a deleted one."""

    def answer(self, call: Call, body: Json, status: int = 200) -> Reply:  # noqa: ARG002 - as above
        """The answer to a write."""
        return Reply(body, status)

    def removed(self, body: Json) -> Reply:
        """The answer to a deletion."""
        return Reply(body)
