"""Projects made from a template: with its settings, rates, estimates, members, tasks and values of custom fields."""

from __future__ import annotations

from typing import Any

from sync_pipeline.sandbox.clockify.documents import boolean, document, insert, replace, text
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply, invalid, unavailable
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.projects import Projects, client_of, color, find_project
from sync_pipeline.sandbox.clockify.tasks import tasks_of
from sync_pipeline.sandbox.database import transaction


class ProjectsFromTemplate(Projects):
    """POST .../projects/from-template: a paid feature."""

    def create(self, call: Call) -> Reply:
        """A new project; the request's client, colour and visibility replace those of the template."""
        self.demand(call)
        if call.world.options.plan == "free":
            raise unavailable()
        asked = call.json()
        wanted = text(asked, "templateProjectId", most=100, required=True) or ""
        template = document(find_project(call, wanted))
        if not template["template"]:
            raise invalid(f"Project {wanted} is not a template")
        body = self._copy(call, asked, template)
        with transaction(call.db):
            insert(call, self.table, body)
            for task in tasks_of(call.db, template["id"]):
                copied = {"id": new_id(call.now), "projectId": body["id"], "status": "ACTIVE", "duration": "PT0S"}
                insert(call, "tasks", task | copied, quiet=True)
            _copy_values(call, template["id"], body["id"])
        return self.answer(call, body)

    def _copy(self, call: Call, asked: Json, template: Json) -> Json:
        client, project_id = client_of(call, asked.get("clientId")), new_id(call.now)
        return template | {
            "id": project_id,
            "name": self.name(call, asked, None, client),
            "clientId": client,
            "color": color(asked.get("color")) or template["color"],
            "public": boolean(asked, "isPublic", template["public"]),
            "memberships": [member | {"targetId": project_id} for member in template["memberships"]],
            "archived": False,
            "template": False,
        }


def _copy_values(call: Call, template: str, project: str) -> None:
    for field in [document(row) for row in call.db.execute("SELECT body FROM custom_fields").fetchall()]:
        values: list[Any] = field["projectDefaultValues"]
        if copied := [value | {"projectId": project} for value in values if value["projectId"] == template]:
            replace(call, "custom_fields", field | {"projectDefaultValues": values + copied}, quiet=True)
