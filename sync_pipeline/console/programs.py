"""What other programs ask the console for, without a session: figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from anyio.to_thread import run_sync
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sync_pipeline.errors import SyncError
from sync_pipeline.setup.metrics import Metrics
from sync_pipeline.setup.service import SetupService

METRICS = "/metrics"
FOR_PROGRAMS = (METRICS,)
LOCKED = "Set SYNC_METRICS_TOKEN, restart the console, and give Prometheus the same token as its credentials.\n"
WRONG = "Send `Authorization: Bearer ...` with the token of SYNC_METRICS_TOKEN.\n"


def scrape(setup: SetupService) -> Callable[[Request], object]:
    """GET /metrics: for who knows the token; nothing is shown while there is none."""
    metrics = Metrics(setup)

    async def endpoint(request: Request) -> Response:
        try:
            token = (await run_sync(setup.given)).metrics_token
        except SyncError as error:
            return PlainTextResponse(f"{error}\n", 503)
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if not token:
            return PlainTextResponse(LOCKED, 403)
        if scheme.lower() != "bearer" or not compare_digest(sent.strip().encode(), token.encode()):
            return PlainTextResponse(WRONG, 401, {"WWW-Authenticate": "Bearer"})
        return Response(await run_sync(metrics.text), media_type=CONTENT_TYPE_LATEST)

    return endpoint
