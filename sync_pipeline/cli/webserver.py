"""The Dagster UI behind the console's gate: `webserver` on its own behind a proxy, and the program that `dev` starts.

``python -m sync_pipeline.cli.webserver PORT SOCKET WORKSPACE`` is the latter.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from starlette.types import ASGIApp

from sync_pipeline.cli.opening import until_asked
from sync_pipeline.console.dagster import gated
from sync_pipeline.console.server import HOST, ConsoleOptions, refuse_open, sign_in_at
from sync_pipeline.console.sharing import SharedSignIn, SignIn
from sync_pipeline.console.site import Site, site_of
from sync_pipeline.errors import ConfigError
from sync_pipeline.settings import Settings, load_given
from sync_pipeline.setup.service import SetupService, actor

VARIABLE = "SYNC_DAGSTER_URL"


@click.command()
@click.option("--host", default=HOST, show_default=True, help="Address to bind.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port to listen on.")
@click.option(
    "--workspace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file that names the code servers. [default: the project's workspace.yaml]",
)
def webserver(host: str, port: int, workspace: Path | None) -> None:
    """Serve the Dagster UI behind your reverse proxy. Users sign in as at the console; SYNC_DAGSTER_URL is its address."""
    from sync_pipeline.hosting.dev import workspace_file
    from sync_pipeline.hosting.launch import open_instance

    given = load_given()
    site = site_of(given, given.dagster_url, VARIABLE)
    refuse_open(host, site, "The Dagster UI", VARIABLE)
    if not site.origin:
        raise ConfigError(
            f"{VARIABLE} is not set: on its own the Dagster UI is served behind a proxy only.",
            fix=f"Set {VARIABLE} to the address at which browsers reach it; on one machine run `sync-pipeline dev`.",
        )
    file = workspace or workspace_file()
    with until_asked(), SetupService(actor("console")).store():
        open_instance(given).dispose()
        _serve(str(file), host, port, site, _sign_in(site, given))


def main(port: str, place: str, workspace: str) -> None:
    """Serve until interrupted; ``place`` is the socket that answers which user's browser sent a request."""
    given = load_given()
    site = site_of(given, given.dagster_url, VARIABLE)
    sign_in = _sign_in(site, given) if site.origin else SharedSignIn(Path(place))
    _serve(workspace, HOST, int(port), site, sign_in)


def _sign_in(site: Site, given: Settings) -> SignIn:
    return sign_in_at(site, SetupService(actor("console")), given, ConsoleOptions(), "")


def _serve(workspace: str, host: str, port: int, site: Site, sign_in: SharedSignIn | SignIn) -> None:
    from sync_pipeline.hosting.webserver import serve_ui

    def wrap(app: ASGIApp) -> ASGIApp:
        return gated(app, site, sign_in)

    serve_ui(workspace, host, port, wrap)


if __name__ == "__main__":
    main(*sys.argv[1:])
