"""The Dagster UI in this process, with the caller's middleware around its application."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.cli import DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_MAX_OVERFLOW, DEFAULT_POOL_RECYCLE
from dagster_webserver.version import __version__
from starlette.types import ASGIApp

from sync_pipeline.serving import ServerLimits, bounded_server, listen

HOST = "127.0.0.1"
LIMITS = ServerLimits(connections=64, head_bytes=64 * 1024)
POLL_MILLISECONDS = 2000
"""How often pages look for news: `dagster dev`'s default."""


def serve_ui(workspace: str, port: int, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
    """Serve the UI of the instance in DAGSTER_HOME until interrupted."""
    configure_loggers(formatter="colored", log_level="INFO")
    with suppress(KeyboardInterrupt), DagsterInstance.get() as instance:
        instance.optimize_for_webserver(DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW)
        target = WorkspaceFileTarget([workspace])
        with WorkspaceProcessContext(instance, target, __version__, code_server_log_level="warning") as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=POLL_MILLISECONDS)
            listener = listen(HOST, port, "The Dagster UI cannot listen", "Choose another port: --port.")
            server = bounded_server(
                "Dagster UI",
                wrap(app),
                LIMITS,
                websockets=True,
                proxy_headers=False,  # no proxy is in front of loopback
                timeout_graceful_shutdown=5,
            )
            server.run(sockets=[listener])
