"""The code servers of a workspace, each a program on a socket that only this user can reach.

Browsers cannot speak to a socket; `dagster code-server` on a port would be open to every user of the machine.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.server import wait_for_grpc_server

from sync_pipeline.errors import SyncError

START_SECONDS = 180
Start = Callable[[str, Sequence[str]], subprocess.Popen[bytes]]


def start_code_servers(workspace: Path, place: Path, start: Start) -> Path:
    """Start what the workspace file names, wait until all of it answers; returns a file that leads there."""
    file = place / "workspace.yaml"
    file.write_text(yaml.safe_dump({"load_from": list(_started(workspace, place, start))}))
    return file


def _started(workspace: Path, place: Path, start: Start) -> Iterator[Mapping[str, Any]]:
    for number, origin in enumerate(WorkspaceFileTarget([str(workspace)]).create_origins()):
        if isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
            socket = str(place / f"code-{number}")
            command = _command(origin, socket)
            name = f"The code server of {origin.location_name}"
            _wait(name, start(name, command), socket, command)
            spec: dict[str, Any] = {"socket": socket, "additional_metadata": origin.loadable_target_origin.as_dict}
        elif isinstance(origin, GrpcServerCodeLocationOrigin):  # the user runs it
            spec = {"host": origin.host, "port": origin.port, "socket": origin.socket, "use_ssl": origin.use_ssl}
        found = {"location_name": origin.location_name, **spec}
        yield {"grpc_server": {name: value for name, value in found.items() if value is not None}}


def _wait(name: str, server: subprocess.Popen[bytes], socket: str, command: Sequence[str]) -> None:
    try:
        wait_for_grpc_server(server, DagsterGrpcClient(socket=socket), command, START_SECONDS)
    except Exception as error:  # it has no class of its own
        raise SyncError(
            f"{name} did not start (exit code {server.poll()}).", fix="Its last lines of output state why."
        ) from error


def _command(origin: ManagedGrpcPythonEnvCodeLocationOrigin, socket: str) -> list[str]:
    target = origin.loadable_target_origin
    own = ["--use-python-environment-entry-point"] if target.executable_path else []
    command = [target.executable_path or sys.executable, "-m", "dagster", "code-server", "start", "--socket", socket]
    command += ["--location-name", origin.location_name, "--log-level", "warning", *own]
    return [*command, *target.get_cli_args()]
