"""Clients: unique names, archive before delete, PUT that replaces."""

from __future__ import annotations

import re

from sync_pipeline.sandbox.clockify.documents import (
    boolean,
    demand_free_name,
    document,
    find,
    insert,
    name_of,
    remove,
    replace,
    strings,
    text,
)
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply, invalid
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.paging import DIRECTIONS, Page, Where, bodies, select_page
from sync_pipeline.sandbox.clockify.workspaces import currencies, demand_creator
from sync_pipeline.sandbox.database import transaction

EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")


def list_clients(call: Call) -> Reply:
    """GET .../clients."""
    where = Where()
    if name := call.query.get("name"):
        where.contains("name", name)
    archived = call.flag("archived")
    if archived is not None:
        where.add("archived = ?", archived)
    call.choice("sort-column", ("NAME",), "NAME")
    direction = DIRECTIONS[call.choice("sort-order", tuple(DIRECTIONS), "ASCENDING")]
    return select_page(
        call, "SELECT body FROM clients", where, f"name {direction}, id {direction}", Page.asked(call), bodies
    )


def get_client(call: Call) -> Reply:
    """GET .../clients/{id}."""
    return Reply(document(find(call, "clients", call.ids["id"])))


def create_client(call: Call) -> Reply:
    """POST .../clients: only name, email, address and note are honoured."""
    demand_creator(call, "whoCanCreateProjectsAndClients")
    asked = call.json()
    name = name_of(asked, most=100)
    demand_free_name(call, "clients", name)
    currency = next(iter(currencies(call)), {"id": None, "code": None})
    body = {
        "id": new_id(call.now),
        "name": name,
        "email": _email(asked.get("email")),
        "workspaceId": call.workspace,
        "archived": False,
        "address": text(asked, "address", most=3000),
        "note": text(asked, "note", most=3000),
        "currencyId": currency["id"],
        "currencyCode": currency["code"],
        "ccEmails": None,
    }
    insert(call, "clients", body)
    return Reply(body, 201)


def update_client(call: Call) -> Reply:
    """PUT .../clients/{id}: what is left out is cleared, except the name and the currency."""
    demand_creator(call, "whoCanCreateProjectsAndClients")
    old = document(find(call, "clients", call.ids["id"]))
    asked = call.json()
    name = old["name"] if asked.get("name") is None else name_of(asked, most=100)
    demand_free_name(call, "clients", name, own_id=old["id"])
    body = old | {
        "name": name,
        "email": _email(asked.get("email")),
        "archived": boolean(asked, "archived", False),
        "address": text(asked, "address", most=3000),
        "note": text(asked, "note", most=3000),
        "ccEmails": _cc_emails(asked),
        **_currency(call, asked.get("currencyId"), old),
    }
    with transaction(call.db):
        replace(call, "clients", body, archived=body["archived"])
        if body["archived"] and call.flag("archive-projects"):
            _archive_projects(call, body["id"], done=bool(call.flag("mark-tasks-as-done")))
    return Reply(body)


def delete_client(call: Call) -> Reply:
    """DELETE .../clients/{id}: archived clients only; its projects lose their client."""
    demand_creator(call, "whoCanCreateProjectsAndClients")
    body = document(find(call, "clients", call.ids["id"]))
    if not body["archived"]:
        raise invalid("Cannot delete an active client")
    with transaction(call.db):
        call.db.execute(
            "UPDATE projects SET parent = '', body = json_set(body, '$.clientId', '') WHERE parent = ?", (body["id"],)
        )
        remove(call, "clients", body)
    return Reply(body)


def _archive_projects(call: Call, client_id: str, *, done: bool) -> None:
    rows = call.db.execute("SELECT id, body FROM projects WHERE parent = ? AND archived = 0", (client_id,)).fetchall()
    for row in rows:
        replace(call, "projects", document(row) | {"archived": True}, parent=client_id, archived=True, quiet=True)
        if not done:
            continue
        for task in call.db.execute("SELECT body FROM tasks WHERE parent = ?", (row["id"],)).fetchall():
            replace(call, "tasks", document(task) | {"status": "DONE"}, parent=row["id"], archived=True, quiet=True)


def _email(value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not EMAIL.match(value):
        raise invalid("email: must be a well-formed email address")
    return value


def _cc_emails(asked: Json) -> list[str] | None:
    emails = strings(asked, "ccEmails")
    if emails is not None and len(emails) > 3:
        raise invalid("ccEmails: size must be between 0 and 3")
    for email in emails or []:
        _email(email)
    return emails


def _currency(call: Call, asked: object, old: Json) -> Json:
    if asked is None:
        return {"currencyId": old["currencyId"], "currencyCode": old["currencyCode"]}
    for currency in currencies(call):
        if currency["id"] == asked:
            return {"currencyId": currency["id"], "currencyCode": currency["code"]}
    raise invalid("Currency doesn't belong to Workspace")
