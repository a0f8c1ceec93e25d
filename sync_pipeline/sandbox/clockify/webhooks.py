"""Managing webhooks: one event each, plan limits, a secret that can be rotated, logs."""

from __future__ import annotations

import secrets

import orjson

from sync_pipeline.sandbox.clockify.documents import dump, find, one_of, strings
from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, Reply, invalid
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.times import parse_instant
from sync_pipeline.sandbox.clockify.webhook_events import EVENTS, OF_USERS
from sync_pipeline.sandbox.world import World

# plan -> webhooks per user, webhooks per workspace
LIMITS = {"free": (3, 3), "paid": (10, 100)}
# Events of features a free workspace does not have.
PAID = ("APPROVAL", "ASSIGNMENT", "BALANCE", "EXPENSE", "INVOICE", "_RATE_", "TIME_OFF", "LIMITED_USERS")
SOURCES = ("WORKSPACE_ID", "PROJECT_ID", "USER_ID", "TAG_ID", "TASK_ID", "ASSIGNMENT_ID", "EXPENSE_ID")


def list_webhooks(call: Call) -> Reply:
    """GET .../webhooks: an envelope, no paging."""
    kind = call.choice("type", ("", "USER_CREATED", "SYSTEM", "ADDON"), "")
    rows = call.db.execute("SELECT body FROM webhooks WHERE ? IN ('', kind) ORDER BY id", (kind,)).fetchall()
    hooks = [_shown(call, orjson.loads(row["body"])) for row in rows]
    total = call.db.execute("SELECT count(*) FROM webhooks").fetchone()[0]
    return Reply({"workspaceWebhookCount": total, "webhooks": hooks})


def get_webhook(call: Call) -> Reply:
    """GET .../webhooks/{id}."""
    return Reply(_shown(call, orjson.loads(find(call, "webhooks", call.ids["id"])["body"])))


def create_webhook(call: Call) -> Reply:
    """POST .../webhooks."""
    asked = call.json()
    if asked.get("name") is None:
        # Misleading, but this is what the real service answers when the name is missing.
        raise invalid("Webhook already exists")
    fields = _fields(asked)
    _demand_room(call)
    body = {
        "id": new_id(call.now),
        "userId": call.caller.user_id,
        "workspaceId": call.workspace,
        **fields,
        "authToken": _secret(),
        "enabled": True,
        "deliveryEnabled": True,
        "planEnabled": True,
    }
    call.db.execute(
        "INSERT INTO webhooks (id, user_id, event, body) VALUES (?, ?, ?, ?)",
        (body["id"], body["userId"], body["webhookEvent"], dump(body)),
    )
    call.world.wrote("webhooks")
    return Reply(body, 201)


def update_webhook(call: Call) -> Reply:
    """PUT .../webhooks/{id}: the same required fields as creating one.

    That saving a disabled webhook turns it on again is our assumption; a delivery setting takes it back.
    """
    old = orjson.loads(find(call, "webhooks", call.ids["id"])["body"])
    body = old | _fields(call.json(), old["name"])
    if call.world.courier.settings.put_enables:
        body["deliveryEnabled"] = True
        call.db.execute("UPDATE webhooks SET failures = 0 WHERE id = ?", (body["id"],))
    return _save(call, body)


def delete_webhook(call: Call) -> Reply:
    """DELETE .../webhooks/{id}: 200 without a body."""
    row = find(call, "webhooks", call.ids["id"])
    call.db.execute("DELETE FROM webhooks WHERE id = ?", (row["id"],))
    call.db.execute("DELETE FROM webhook_logs WHERE webhook_id = ?", (row["id"],))
    call.world.courier.journal.forget(row["id"])
    call.world.wrote("webhooks")
    return Reply()


def rotate_token(call: Call) -> Reply:
    """PATCH .../webhooks/{id}/token: the old secret stops working immediately."""
    old = orjson.loads(find(call, "webhooks", call.ids["id"])["body"])
    return _save(call, old | {"authToken": _secret()})


def webhook_logs(call: Call) -> Reply:
    """POST .../webhooks/{id}/logs: pages count from 0 here."""
    hook = find(call, "webhooks", call.ids["id"])
    call.world.courier.journal.write(call.db, call.now)
    asked = {} if call.body is None else call.json()
    status = one_of(asked, "status", ("ALL", "SUCCEEDED", "FAILED"), "ALL")
    clauses, values = ["webhook_id = ?"], [hook["id"]]
    if status != "ALL":
        clauses.append(f"succeeded = {int(status == 'SUCCEEDED')}")
    for name, comparison in (("from", ">="), ("to", "<=")):
        moment = parse_instant(asked.get(name))
        if moment is not None:
            clauses.append(f"at {comparison} ?")
            values.append(int(moment.timestamp()))
    direction = "DESC" if asked.get("sortByNewest") else "ASC"
    page, size = max(0, call.number("page", 0)), max(1, call.number("size", 50))
    rows = call.db.execute(
        f"SELECT body FROM webhook_logs WHERE {' AND '.join(clauses)} ORDER BY at {direction}, id {direction}"
        " LIMIT ? OFFSET ?",
        (*values, size, page * size),
    )
    return Reply([orjson.loads(row["body"]) for row in rows])


def _save(call: Call, body: Json) -> Reply:
    call.db.execute(
        "UPDATE webhooks SET event = ?, body = ? WHERE id = ?", (body["webhookEvent"], dump(body), body["id"])
    )
    call.world.wrote("webhooks")
    return Reply(_shown(call, body))


def _shown(call: Call, body: Json) -> Json:
    """A webhook as Clockify returns it; whether the plan covers it is not stored, plans change."""
    return body | {"planEnabled": body["id"] in in_plan(call.world)}


def _fields(asked: Json, old_name: str = "") -> Json:
    name, url = asked.get("name") or old_name, asked.get("url")
    if not isinstance(name, str) or not 2 <= len(name) <= 30:
        raise invalid("name: size must be between 2 and 30")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise invalid("url: must be a valid URL")
    event = one_of(asked, "webhookEvent", EVENTS, None)
    source = one_of(asked, "triggerSourceType", SOURCES, None)
    sources = strings(asked, "triggerSource")
    if event is None or source is None or sources is None:
        raise Refusal(400, 501, "webhookEvent, triggerSourceType and triggerSource are required")
    if event in OF_USERS and (source != "USER_ID" or not sources):
        raise invalid(f"{event}: triggerSourceType must be USER_ID and triggerSource must name at least one user")
    return {"name": name, "url": url, "webhookEvent": event, "triggerSourceType": source, "triggerSource": sources}


def _demand_room(call: Call) -> None:
    per_user, per_workspace = LIMITS[call.world.options.plan]
    rows = call.db.execute("SELECT user_id FROM webhooks").fetchall()
    mine = sum(row["user_id"] == call.caller.user_id for row in rows)
    if mine >= per_user or len(rows) >= per_workspace:
        raise invalid(f"Webhook limit of your plan is reached ({per_user} per user, {per_workspace} per workspace)")


def in_plan(world: World) -> set[str]:
    """Ids of the webhooks within the plan: the oldest ones, on the free plan none about paid features."""
    plan = world.options.plan
    rows = world.db.execute("SELECT id, event FROM webhooks ORDER BY id").fetchall()
    kept = [row["id"] for row in rows if plan == "paid" or not _paid(row["event"])]
    return set(kept[: LIMITS[plan][1]])


def _paid(event: str) -> bool:
    return any(word in event for word in PAID)


def _secret() -> str:
    return secrets.token_urlsafe(24)
