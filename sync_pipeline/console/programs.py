"""What other programs ask the console for, without a session: whether all is well, and figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from anyio.to_thread import run_sync
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.session.health import old_evaluation
from sync_pipeline.setup.metrics import Metrics
from sync_pipeline.setup.service import SetupService

HEALTH, METRICS = "/healthz", "/metrics"
FOR_PROGRAMS = (HEALTH, METRICS)
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


def health(setup: SetupService) -> Callable[[Request], object]:
    """GET /healthz: 503 while the database does not answer, or live syncing is on and its alerts are not evaluated."""

    async def endpoint(_: Request) -> Response:
        problem = await run_sync(_problem, setup)
        return JSONResponse({"status": problem or "ok"}, 503 if problem else 200)

    return endpoint


def _problem(setup: SetupService) -> str:
    try:
        with setup.connected(), setup.reading() as session:
            return old_evaluation(session)
    except ConfigError:
        return ""  # the set-up is not finished: nothing is live
    except SyncError:
        return "the database does not answer"
