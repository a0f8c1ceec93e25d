"""The adapters are what the engine asks for, and the engine asks nothing else which system it talks to."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.connectors.ports import AssigningTarget, Source, UpsertTarget
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline_tests.connectors.clients import clockify, snapshots

PACKAGE = Path("sync_pipeline")
SYSTEMS = {"clockify", "snapshots"}
VENDORS = ("connectors", "sandbox")
"""Where a system is known by its name."""
ACCOUNTS = ("diagnose", "setup", "console", "cli")
"""Where the account of one vendor is set up, tested and shown."""
ENTITIES = {"users", "projects", "time_entries", "locations", "clients", "tasks"}


def specs() -> dict[str, EntitySpec]:
    """The entities as shipped."""
    return load_specs()


def test_the_adapters_fit_the_ports() -> None:
    """Every member of a port exists, methods with the port's parameters; types are mypy's part: see the assignments."""
    there, here = snapshots("http://x"), clockify("http://x")
    found = specs()
    sources: list[Source] = [here.source(found["users"]), there.source(found["locations"])]
    assigning: AssigningTarget = here.target(found["locations"])
    upserting: UpsertTarget = there.target(found["users"])
    for port, parts in ((Source, sources), (AssigningTarget, [assigning]), (UpsertTarget, [upserting])):
        for name, member in inspect.getmembers(port):
            if name.startswith("_"):
                continue
            for part in parts:
                assert hasattr(part, name), name
                if inspect.isfunction(member):
                    wanted = list(inspect.signature(member).parameters)[1:]
                    assert list(inspect.signature(getattr(part, name)).parameters) == wanted, name


def modules(*leave_out: str) -> Iterator[tuple[str, ast.Module]]:
    """The modules of the package, but for those of some of its parts."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in leave_out:
            yield str(path), ast.parse(path.read_text())


def names_a_system(node: ast.expr) -> bool:
    """Whether an operand is the name of a system, a collection of such names, or where one is kept (but for a column)."""
    if isinstance(node, ast.Attribute):
        return node.attr == "system" and not (isinstance(node.value, ast.Attribute) and node.value.attr == "c")
    return isinstance(node, ast.Constant | ast.Tuple | ast.Set | ast.List) and any(
        isinstance(part, ast.Constant) and part.value in SYSTEMS for part in ast.walk(node)
    )


def comparisons(tree: ast.Module) -> Iterator[int]:
    """The lines on which something is compared with a system's name; whether two are the same may be asked."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            named = [isinstance(part, ast.Attribute) for part in (node.left, *node.comparators) if names_a_system(part)]
            if named and not (len(named) == 2 and all(named)):
                yield node.lineno
        if isinstance(node, ast.MatchValue) and names_a_system(node.value):
            yield node.lineno


def test_nothing_asks_which_system_it_talks_to() -> None:
    """No comparison with a system's name outside the adapters, but for what is about the account of one vendor."""
    found = [f"{path}:{line}" for path, tree in modules(*VENDORS, *ACCOUNTS) for line in comparisons(tree)]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        'spec.source.system == "clockify"',
        'if "snapshots" != name: pass',
        'x = name in ("clockify",)',
        "spec.target.system == other",
        'match name:\n    case "clockify": pass',
    ],
)
def test_such_a_comparison_is_found(code: str) -> None:
    """However it is written."""
    assert list(comparisons(ast.parse(code)))


def test_the_engine_names_no_entity() -> None:
    """What is special about the records of one entity is defined by its file and by its adapter."""
    engine = {"stages", "store", "session", "defs"}
    others = {path.name for path in PACKAGE.iterdir()} - engine
    found = []
    for path, tree in modules(*others):
        if "migrations" in path:  # they know the tables and entities of their time
            continue
        found += [
            f"{path}:{node.lineno} {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node.value in ENTITIES
        ]
    assert found == []
