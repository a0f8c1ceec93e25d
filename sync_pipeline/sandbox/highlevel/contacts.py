"""Contacts of a location, and their tasks: tasks are written, contacts are only read."""

from __future__ import annotations

from datetime import datetime

from sync_pipeline.sandbox.highlevel.ids import HOME, letters
from sync_pipeline.sandbox.highlevel.items import add_item, find_item, items_of, next_number, remove_item
from sync_pipeline.sandbox.highlevel.objects import stamp
from sync_pipeline.sandbox.highlevel.refusals import unprocessable
from sync_pipeline.sandbox.highlevel.resource import Answer, Call, Json
from sync_pipeline.sandbox.world import World

OPERATIONS = "sandboxOperations001"
"""The id of the home location's own contact."""


def seed_contacts(world: World) -> None:
    """The contact of the home location that tasks can hang on."""
    names = {"name": "Operations", "firstName": "Operations", "lastName": "", "email": "operations@agency.example"}
    add_item(world.db, "contact", HOME, {"id": OPERATIONS, "locationId": HOME, **names, "dateAdded": stamp(world)})


def read_contact(call: Call) -> Json:
    """``GET /contacts/{contactId}``."""
    return {"contact": _contact(call)}


def list_tasks(call: Call) -> Json:
    """``GET /contacts/{contactId}/tasks``: all of them, without pages."""
    return {"tasks": items_of(call.world.db, "task", _contact(call)["id"])}


def read_task(call: Call) -> Json:
    """``GET /contacts/{contactId}/tasks/{taskId}``."""
    return {"task": find_item(call.world.db, "task", _contact(call)["id"], call.path["task"])}


def create_task(call: Call) -> Answer:
    """``POST /contacts/{contactId}/tasks``."""
    contact = _contact(call)["id"]
    sent = call.json({"title": str, "dueDate": str, "completed": bool}, {"body": str, "assignedTo": str})
    try:
        datetime.fromisoformat(sent["dueDate"])
    except ValueError:
        raise unprocessable("dueDate must be a valid ISO 8601 date string") from None
    call.world.wrote("contact_tasks")
    task = {"id": letters("task", next_number(call.world.db)), **sent, "contactId": contact}
    return 201, {"task": add_item(call.world.db, "task", contact, task)}


def delete_task(call: Call) -> Json:
    """``DELETE /contacts/{contactId}/tasks/{taskId}``."""
    remove_item(call.world.db, "task", _contact(call)["id"], call.path["task"])
    call.world.wrote("contact_tasks")
    return {"succeded": True}


def _contact(call: Call) -> Json:
    return find_item(call.world.db, "contact", call.caller.owner, call.path["id"])
