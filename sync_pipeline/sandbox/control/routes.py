"""Every control of a running sandbox. No key: they answer on the machine itself only."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from datetime import datetime
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sync_pipeline.sandbox.clockify.workspaces import settings as workspace_settings
from sync_pipeline.sandbox.control.people import (
    approve_entries,
    change_user,
    change_workspace,
    edit_entry,
    restore_entries,
)
from sync_pipeline.sandbox.control.records import read_record
from sync_pipeline.sandbox.control.rules import read_rule
from sync_pipeline.sandbox.database import transaction
from sync_pipeline.sandbox.highlevel.control import controls as highlevel_controls
from sync_pipeline.sandbox.journal import PAST_THE_API, Journal
from sync_pipeline.sandbox.keys import all_keys
from sync_pipeline.sandbox.seed import seed_world
from sync_pipeline.sandbox.snapshots.clients import register_client
from sync_pipeline.sandbox.snapshots.entities import known_entities, register_entity
from sync_pipeline.sandbox.snapshots.grants import revoke_all
from sync_pipeline.sandbox.snapshots.keys import key_scopes
from sync_pipeline.sandbox.snapshots.settings import read_settings, write_settings
from sync_pipeline.sandbox.webhooks.flood import start_flood
from sync_pipeline.sandbox.world import Options, World

LOOPBACK = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
Controls = dict[str, Callable[..., Any]]
"""Of one path, by verb. GET takes the world, the others what was sent as well; where they return nothing, GET answers."""


def routes(world: World) -> list[BaseRoute]:
    """The controls, to be mounted at ``/_control``."""
    table: dict[str, Controls] = {
        "/reset": {"POST": _reset},
        "/seed": {"POST": _seed},
        "/options": {"GET": lambda world: asdict(world.options), "POST": _change_options},
        "/stats": {"GET": _stats},
        "/stats/reset": {"POST": _clear_stats},
        "/time": {"GET": _time},
        "/database": {"GET": _database},
        "/faults": {"GET": _faults, "POST": _add_fault, "DELETE": _clear_faults},
        "/journal": {"GET": _journal, "POST": _use_journal},
        "/lag": {
            "GET": lambda world: world.lag.figures(),
            "POST": _change_lag,
            "DELETE": lambda world, _: world.lag.clear(),
        },
        "/clock": {"GET": _clock, "POST": _set_clock, "DELETE": lambda world, _: world.clock.reset()},
        "/webhooks": {
            "GET": lambda world: world.courier.figures(),
            "POST": lambda world, sent: world.courier.configure(sent),
        },
        "/webhooks/flood": {"POST": _flood},
        "/users": {"POST": change_user},
        "/workspace": {"GET": workspace_settings, "POST": change_workspace},
        "/time_entries/approval": {"POST": approve_entries},
        "/time_entries/restore": {"POST": restore_entries},
        "/time_entries/edit": {"POST": edit_entry},
        "/keys": {"GET": lambda world: {"keys": all_keys(world.db), "snapshots_scopes": key_scopes(world.db)}},
        "/entities": {"GET": _entities, "POST": _add_entity},
        "/clients": {"POST": _add_client},
        "/snapshots": {"GET": lambda world: asdict(read_settings(world.db)), "POST": _change_settings},
        **highlevel_controls(),
    }
    return [Route(path, _endpoint(world, controls), methods=list(controls)) for path, controls in table.items()]


def _endpoint(world: World, controls: Controls) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        if request.client is None or request.client.host not in LOOPBACK:
            return _json({"error": "the controls answer on this machine only"}, 403)
        try:
            body = await request.body()
            sent = orjson.loads(body) if body else {}
            changes = request.method not in ("GET", "HEAD")
            named = request.path_params
            answer = controls[request.method](world, sent, **named) if changes else None
            answer = controls["GET"](world, **named) if answer is None else answer
            if world.journal is not None:
                world.journal.collect(f"{request.method} {request.scope['path']}", body)
            return _json(answer)
        except (KeyError, TypeError, ValueError) as error:
            # What a control cannot read is the caller's mistake: answer 400, not 500.
            return _json({"error": str(error) if isinstance(error, ValueError) else repr(error)}, 400)

    return serve


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _reset(world: World, _sent: Any) -> Any:
    """Back to the initial state: fresh data, no faults, real time, counters at zero."""
    world.faults.clear()
    world.lag.clear()
    _end_journal(world)
    world.clock.reset()
    world.courier.clear()
    seed_world(world)
    world.stats.clear()
    return {"seed": world.options.seed}


def _database(world: World) -> Any:
    """The file that keeps the state: distinguishes the sandboxes on one machine."""
    return {"database": world.db.execute("PRAGMA database_list").fetchone()["file"]}


def _seed(world: World, sent: Any) -> Any:
    """Other options, then fresh data made with them."""
    _change_options(world, sent)
    seed_world(world)
    return asdict(world.options)


def _change_options(world: World, sent: Any) -> None:
    types = {option.name: type(getattr(Options(), option.name)) for option in fields(Options)}
    if sent.get("webhooks_anywhere"):
        # A web page in a local browser can reach the controls; it must not point the sandbox at other machines.
        raise ValueError("webhooks_anywhere can only be given when the sandbox is started")
    for name, value in sent.items():
        if name not in types:
            raise ValueError(f"{name} is not an option; there are {', '.join(types)}")
        if types[name] is not type(None) and not isinstance(value, (types[name], int)):
            raise ValueError(f"{name}={value!r} is not of the right type")
    for name, value in sent.items():
        setattr(world.options, name, value)


def _stats(world: World) -> Any:
    stats = world.stats
    return {"requests": dict(stats.requests), "writes": dict(stats.writes), "rate_limited": stats.rate_limited}


def _clear_stats(world: World, _sent: Any) -> Any:
    world.stats.clear()
    return _stats(world)


def _time(world: World) -> Any:
    """CPU seconds of this process so far, and seconds spent inside requests since the last reset."""
    return {"busy_seconds": time.process_time(), "request_seconds": world.stats.seconds}


def _faults(world: World) -> Any:
    world.faults.drop_ended()
    return {"faults": [rule.as_json() for rule in world.faults.rules]}


def _add_fault(world: World, sent: Any) -> None:
    rules = [read_rule(one) for one in (sent if isinstance(sent, list) else [sent])]
    for rule in rules:
        world.faults.add(rule)


def _clear_faults(world: World, sent: Any) -> None:
    """All of them, or those of one ``{"route": pattern}``."""
    world.faults.clear(sent.get("route"))


def _journal(world: World) -> Any:
    return {"on": False} if world.journal is None else world.journal.figures()


def _use_journal(world: World, sent: Any) -> Any:
    """``{"on": bool}`` starts a new journal or ends it; ``{"after": step}`` answers what happened since, a page of it."""
    if "on" in sent:
        _end_journal(world)
        world.journal = Journal(world.db, partial(read_record, world)) if sent["on"] else None
        return None
    if world.journal is None:
        raise ValueError('the journal is off; POST {"on": true} starts it')
    return world.journal.figures() | world.journal.after(int(sent["after"]))


def _end_journal(world: World) -> None:
    if world.journal is not None:
        world.journal.close()
        world.journal = None


def _change_lag(world: World, sent: Any) -> None:
    """``{"freeze": system}``: its lists and reports keep showing the current state until ``{"release": system}``."""
    if "freeze" in sent:
        if world.journal is not None:
            world.journal.collect(PAST_THE_API)
        world.lag.freeze(sent["freeze"], world.journal.number if world.journal else 0)
    else:
        world.lag.release(sent["release"])


def _clock(world: World) -> Any:
    return {"now": world.clock.now().isoformat()}


def _set_clock(world: World, sent: Any) -> None:
    """``{"now": instant, "frozen": bool}`` or ``{"advance": seconds}``."""
    if "now" in sent:
        instant = datetime.fromisoformat(sent["now"])
        if instant.tzinfo is None:
            raise ValueError("now must be an instant with an offset, such as 2026-07-01T09:00:00Z")
        world.clock.set(instant, frozen=bool(sent.get("frozen", False)))
    else:
        world.clock.advance(float(sent["advance"]))


def _flood(world: World, sent: Any) -> Any:
    """``{"event", "count", "connections"}``; answers immediately, ``GET /webhooks`` reports the progress."""
    return start_flood(world, str(sent["event"]), int(sent["count"]), int(sent.get("connections", 10)))


def _entities(world: World) -> Any:
    return {"entities": {name: entity.id_field for name, entity in known_entities(world.db).items()}}


def _add_entity(world: World, sent: Any) -> Any:
    entity = register_entity(world.db, sent["entity"], sent["id_field"])
    return {"entity": entity.name, "id_field": entity.id_field, "scopes": [entity.read_scope, entity.write_scope]}


def _add_client(world: World, sent: Any) -> Any:
    client = register_client(
        world.db,
        sent["client_id"],
        sent["client_secret"],
        list(sent.get("redirect_uris", [])),
        list(sent.get("scopes", [])),
    )
    return {"client_id": client.id, "redirect_uris": client.redirect_uris, "scopes": client.scopes}


def _change_settings(world: World, sent: Any) -> Any:
    """Settings to change; ``"revoke_consents": true`` withdraws every consent and token there is."""
    changes = {name: value for name, value in sent.items() if name != "revoke_consents"}
    with transaction(world.db):
        write_settings(world.db, read_settings(world.db).with_changes(changes))
        revoked = revoke_all(world.db) if sent.get("revoke_consents") is True else 0
    return asdict(read_settings(world.db)) | {"revoked": revoked}
