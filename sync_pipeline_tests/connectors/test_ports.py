"""The connectors are what the stages ask for."""

from __future__ import annotations

import inspect

from sync_pipeline.connectors.ports import ClientTarget, Source, Target
from sync_pipeline_tests.connectors.clients import clockify, snapshots


def test_the_connectors_fit_the_ports() -> None:
    """Every method of a port exists with the port's parameters (types are mypy's part: see the assignments)."""
    source: Source = clockify("http://x")
    other: Source = snapshots("http://x").source("locations")
    target: Target = snapshots("http://x")
    clients: ClientTarget = clockify("http://x")
    for port, parts in ((Source, (source, other)), (Target, (target,)), (ClientTarget, (clients,))):
        for name, method in inspect.getmembers(port, inspect.isfunction):
            if not name.startswith("_"):
                wanted = list(inspect.signature(method).parameters)[1:]
                for part in parts:
                    assert list(inspect.signature(getattr(part, name)).parameters) == wanted, name
