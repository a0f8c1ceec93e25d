"""Clients: unique names, archive before delete, PUT that replaces."""

from __future__ import annotations

import re
import sqlite3

from sync_pipeline.sandbox.clockify.documents import boolean, document, replace, strings, text
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply, invalid
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.named import NamedRecords
from sync_pipeline.sandbox.clockify.templates import CLIENT
from sync_pipeline.sandbox.clockify.workspaces import currencies

EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")


class Clients(NamedRecords):
    """``.../clients``: creating one honours name, email, address and note only; PUT clears the rest, but for the currency."""

    table, permission, active = "clients", "whoCanCreateProjectsAndClients", "client"
    sort, strict, counted, cascades = {"NAME": "name"}, False, True, True

    def build(self, call: Call, asked: Json, old: sqlite3.Row | None) -> Json:
        """The document of a new or changed client."""
        name = self.name(call, asked, old)
        if old is not None:
            return _changed(call, asked, document(old) | {"name": name})
        currency = next(iter(currencies(call)), {"id": None, "code": None})
        return CLIENT | {
            "id": new_id(call.now),
            "name": name,
            "email": _email(asked.get("email")),
            "workspaceId": call.workspace,
            "address": text(asked, "address", most=3000),
            "note": text(asked, "note", most=3000),
            "currencyId": currency["id"],
            "currencyCode": currency["code"],
        }

    def written(self, call: Call, body: Json, *, is_new: bool) -> None:
        """Archiving a client may archive its projects."""
        if not is_new and body["archived"] and call.flag("archive-projects"):
            _archive_projects(call, body["id"], done=bool(call.flag("mark-tasks-as-done")))

    def detach(self, call: Call, body: Json) -> None:
        """The projects of a deleted client lose it."""
        call.db.execute(
            "UPDATE projects SET parent = '', body = json_set(body, '$.clientId', '') WHERE parent = ?", (body["id"],)
        )

    def answer(self, call: Call, body: Json, status: int = 200) -> Reply:  # noqa: ARG002 - as declared
        """Only a new client is answered with its currency's code."""
        return Reply(body if status == 201 else without_code(body), status)

    def removed(self, body: Json) -> Reply:
        """Without its currency's code."""
        return Reply(without_code(body))


def _changed(call: Call, asked: Json, old: Json) -> Json:
    return old | {
        "email": _email(asked.get("email")),
        "archived": boolean(asked, "archived", False),
        "address": text(asked, "address", most=3000),
        "note": text(asked, "note", most=3000),
        "ccEmails": _cc_emails(asked),
        **_currency(call, asked.get("currencyId"), old),
    }


def without_code(client: Json) -> Json:
    """A client as PUT, DELETE and hydrated projects return it: with the id of its currency only."""
    return {name: value for name, value in client.items() if name != "currencyCode"}


def _archive_projects(call: Call, client_id: str, *, done: bool) -> None:
    rows = call.db.execute("SELECT id, body FROM projects WHERE parent = ? AND archived = 0", (client_id,)).fetchall()
    for row in rows:
        replace(call, "projects", document(row) | {"archived": True}, quiet=True)
        if not done:
            continue
        for task in call.db.execute("SELECT body FROM tasks WHERE parent = ?", (row["id"],)).fetchall():
            replace(call, "tasks", document(task) | {"status": "DONE"}, quiet=True)


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
