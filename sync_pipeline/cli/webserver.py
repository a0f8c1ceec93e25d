"""``python -m sync_pipeline.cli.webserver PORT SOCKET WORKSPACE``: the Dagster UI of `dev`, behind the console's gate."""

from __future__ import annotations

import sys
from pathlib import Path

from starlette.types import ASGIApp

from sync_pipeline.console.dagster import gated
from sync_pipeline.console.gate import host_of
from sync_pipeline.console.sharing import SharedSignIn
from sync_pipeline.hosting.webserver import serve_ui
from sync_pipeline.settings import load_given


def main(port: str, place: str, workspace: str) -> None:
    """Serve until interrupted; ``place`` is the socket that answers whose browser a request is from."""
    host = host_of(load_given())

    def wrap(app: ASGIApp) -> ASGIApp:
        return gated(app, host, SharedSignIn(Path(place)))

    serve_ui(workspace, int(port), wrap)


if __name__ == "__main__":
    main(*sys.argv[1:])
