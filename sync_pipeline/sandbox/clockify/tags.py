"""Tags: a name-only PUT un-archives, deleting needs no archiving first."""

from __future__ import annotations

import sqlite3

from sync_pipeline.sandbox.clockify.documents import boolean, document
from sync_pipeline.sandbox.clockify.http import Call, Json
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.named import NamedRecords
from sync_pipeline.sandbox.clockify.paging import Where
from sync_pipeline.sandbox.clockify.templates import TAG


class Tags(NamedRecords):
    """``.../tags``; ``archived`` left out means false."""

    table, permission, counted = "tags", "whoCanCreateTags", True

    def filter(self, call: Call, where: Where) -> None:
        """Without some."""
        if excluded := call.many("excluded-ids"):
            where.any_of("id", excluded, contains=False)

    def build(self, call: Call, asked: Json, old: sqlite3.Row | None) -> Json:
        """Its name and whether it is archived are all it has."""
        name = self.name(call, asked, old)
        if old is None:
            return TAG | {"id": new_id(call.now), "name": name, "workspaceId": call.workspace}
        return document(old) | {"name": name, "archived": boolean(asked, "archived", False)}
