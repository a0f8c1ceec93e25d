"""The one ASGI application: the APIs, the controls, and a page with the addresses and keys."""

from __future__ import annotations

import html
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync_pipeline.sandbox.clockify.routes import core_and_reports
from sync_pipeline.sandbox.control.faults import FaultMiddleware
from sync_pipeline.sandbox.control.routes import routes as control_routes
from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.sandbox.highlevel.routes import routes as highlevel_routes
from sync_pipeline.sandbox.keys import all_keys
from sync_pipeline.sandbox.paths import route_template
from sync_pipeline.sandbox.snapshots.routes import routes as snapshots_routes
from sync_pipeline.sandbox.world import World
from sync_pipeline.serving import LocalOnly


def create_app(world: World) -> ASGIApp:
    """The whole sandbox as one ASGI application over ``world``."""
    core, reports = core_and_reports(world)
    routes: list[BaseRoute] = [
        Route("/", _index_page(world)),
        Mount("/clockify/api/v1", app=core),
        Mount("/clockify/report/v1", app=reports),
        *snapshots_routes(world),
        *highlevel_routes(world),
        Mount("/_control", routes=control_routes(world)),
    ]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        """Webhooks are delivered as long as requests are answered."""
        yield
        await world.courier.close()

    app: ASGIApp = Starlette(routes=routes, lifespan=lifespan)
    # The faults close the connection of uvicorn, so only what looks at no answer may wrap them.
    return LocalOnly(StatsMiddleware(FaultMiddleware(DateMiddleware(app, world), world.faults), world))


class DateMiddleware:
    """Answer with the Date of the sandbox's own clock."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self.app = app
        self.world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = formatdate(self.world.clock.epoch(), usegmt=True).encode()
                message = {**message, "headers": [*message.get("headers", ()), (b"date", date)]}
            await send(message)

        await self.app(scope, receive, dated)


class StatsMiddleware:
    """Count every request by route; the controls and the index page do not count."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self.app = app
        self.world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and count it."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path == "/" or path.startswith("/_control"):
            await self.app(scope, receive, send)
            return
        stats = self.world.stats
        stats.requests[f"{scope['method']} {route_template(path)}"] += 1
        began = time.perf_counter()
        try:
            await self.app(scope, receive, send)
        finally:
            stats.seconds += time.perf_counter() - began


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><title>sync_pipeline sandbox</title>
<style>body{{font:16px/1.5 system-ui;max-width:46rem;margin:3rem auto;padding:0 1rem}}
td{{padding:.2rem 1.5rem .2rem 0;vertical-align:top}}code{{background:#8882;padding:.1rem .3rem;overflow-wrap:anywhere}}</style>
<h1>sync_pipeline sandbox</h1>
<p>Clockify, the Snapshots API and HighLevel with sample data. Nothing here leaves this machine.</p>
<h2>Addresses</h2><table>{urls}</table><h2>Keys</h2><table>{keys}</table>"""


def addresses(base: str, world: World) -> dict[str, str]:
    """What to point a client at."""
    return {
        "Clockify": f"{base}/clockify/api/v1",
        "Clockify reports": f"{base}/clockify/report/v1",
        "Clockify workspace": world.workspace,
        "Snapshots": f"{base}/snapshots",
        "Snapshots OpenAPI": f"{base}/snapshots/openapi.json",
        "OAuth token": f"{base}/oauth/token",
        "Analytics": f"{base}/analytics/projects",
        "HighLevel": f"{base}/highlevel",
        "HighLevel home location": HOME,
        "Controls": f"{base}/_control/stats",
    }


def _index_page(world: World) -> Callable[[Request], HTMLResponse]:
    def rows(pairs: dict[str, str]) -> str:
        cells = ((html.escape(name), html.escape(value)) for name, value in pairs.items())
        return "".join(f"<tr><td>{name}</td><td><code>{value}</code></td></tr>" for name, value in cells)

    def page(request: Request) -> HTMLResponse:
        base = str(request.base_url).rstrip("/")
        return HTMLResponse(_PAGE.format(urls=rows(addresses(base, world)), keys=rows(all_keys(world.db))))

    return page
