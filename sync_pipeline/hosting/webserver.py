"""The Dagster UI in this process, with the caller's middleware around its application."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.cli import DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_MAX_OVERFLOW, DEFAULT_POOL_RECYCLE
from dagster_webserver.version import __version__
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from sync_pipeline.serving import READ_ONLY, ServerLimits, bounded_server, listen

LIMITS = ServerLimits(connections=64, head_bytes=64 * 1024)
POLL_MILLISECONDS = 2000
"""How often pages look for news: `dagster dev`'s default."""


class _ByRole(WorkspaceProcessContext):
    """Dagster's workspace, with Dagster's own read-only permissions for requests that may only read."""

    def create_request_context(self, source: object | None = None) -> WorkspaceRequestContext:
        """The context of one request, or one WebSocket."""
        is_read_only = isinstance(source, HTTPConnection) and bool(source.scope.get(READ_ONLY))
        return WorkspaceRequestContext(
            instance=self.instance,
            current_workspace=self.get_current_workspace(),
            process_context=self,
            version=self.version,
            source=source,
            read_only=is_read_only,
        )


def serve_ui(workspace: str, host: str, port: int, wrap: Callable[[ASGIApp], ASGIApp]) -> None:
    """Serve the UI of the instance in DAGSTER_HOME until interrupted."""
    configure_loggers(formatter="colored", log_level="INFO")
    with suppress(KeyboardInterrupt), DagsterInstance.get() as instance:
        instance.optimize_for_webserver(DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW)
        target = WorkspaceFileTarget([workspace])
        with _ByRole(instance, target, __version__, code_server_log_level="warning") as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=POLL_MILLISECONDS)
            listener = listen(host, port, "The Dagster UI cannot listen", "Choose another port: --port.")
            server = bounded_server(
                "Dagster UI",
                wrap(app),
                LIMITS,
                websockets=True,
                proxy_headers=False,  # what a proxy says is read by the gate, from a trusted one only
                timeout_graceful_shutdown=5,
            )
            server.run(sockets=[listener])
