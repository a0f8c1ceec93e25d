"""Every address of the Snapshots side, in the order they are matched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from sync_pipeline.sandbox.snapshots import handlers
from sync_pipeline.sandbox.snapshots.analytics import project_figures
from sync_pipeline.sandbox.snapshots.auth import RateLimiter
from sync_pipeline.sandbox.snapshots.entities import known_entities
from sync_pipeline.sandbox.snapshots.oauth import oauth_routes
from sync_pipeline.sandbox.snapshots.openapi import document
from sync_pipeline.sandbox.snapshots.resource import Resource
from sync_pipeline.sandbox.world import World


def routes(world: World) -> list[BaseRoute]:
    """The Snapshots API under ``/snapshots``; OAuth and analytics at the root of the server too."""
    limiter = RateLimiter()
    oauth = oauth_routes(world)
    figures = Resource(world, limiter, {"GET": project_figures})
    many = Resource(world, limiter, {"GET": handlers.list_records}, lags=True)
    record = {"GET": handlers.read_record, "PUT": handlers.put_record, "DELETE": handlers.remove_record}
    inside: list[BaseRoute] = [
        Route("/openapi.json", _openapi(world)),
        *oauth,
        Route("/analytics/projects", figures),
        Route("/{entity}", many),
        Route("/{entity}/", many),
        Route("/{entity}/batch", Resource(world, limiter, {"POST": handlers.put_batch})),
        Route("/{entity}/{id:path}", Resource(world, limiter, record)),
        Route("/{rest:path}", Resource(world, limiter, {})),
    ]
    return [
        *oauth,
        Route("/analytics/projects", figures),
        Mount("/snapshots", routes=inside),
    ]


def _openapi(world: World) -> Callable[[Request], Awaitable[Response]]:
    written: dict[str, bytes] = {}

    async def serve(request: Request) -> Response:
        base, entities = f"{request.url.scheme}://{request.url.netloc}/snapshots", known_entities(world.db)
        key = f"{base} {[entity.id_field for entity in entities.values()]} {list(entities)}"
        if key not in written:
            written.clear()
            written[key] = orjson.dumps(document(entities.values(), base))
        return Response(written[key], media_type="application/json")

    return serve
