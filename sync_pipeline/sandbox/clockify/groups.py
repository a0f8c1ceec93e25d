"""User groups; there is no reading of a single one."""

from __future__ import annotations

import sqlite3

from sync_pipeline.sandbox.clockify.documents import demand_free_name, document, find, name_of, replace
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.named import NamedRecords
from sync_pipeline.sandbox.clockify.templates import GROUP


class Groups(NamedRecords):
    """``.../user-groups``."""

    table, readable, archived, strict = "user_groups", False, "", False

    def build(self, call: Call, asked: Json, old: sqlite3.Row | None) -> Json:
        """A change needs the name, too."""
        name = name_of(asked, most=self.most)
        demand_free_name(call, self.table, name, own=old)
        made = GROUP | {"id": new_id(call.now), "workspaceId": call.workspace} if old is None else document(old)
        return made | {"name": name}

    def join(self, call: Call) -> Reply:
        """POST .../user-groups/{id}/users."""
        user = find(call, "users", str(call.json().get("userId")))
        return self._with_users(call, without=user["id"], more=[user["id"]])

    def leave(self, call: Call) -> Reply:
        """DELETE .../user-groups/{id}/users/{user}."""
        return self._with_users(call, without=call.ids["user"], more=[])

    def _with_users(self, call: Call, without: str, more: list[str]) -> Reply:
        body = document(self.row(call))
        body["userIds"] = [*(user for user in body["userIds"] if user != without), *more]
        replace(call, self.table, body)
        return Reply(body)
