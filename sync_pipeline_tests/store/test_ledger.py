"""The ledger is the only way to the rows of an entity: who writes them is read in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import sync_pipeline
from sync_pipeline.store.schema import metadata

ROOT = Path(sync_pipeline.__file__).parent
OTHER_DATABASES = ("sandbox", "hosting")
"""The sandbox keeps its own database, ``hosting`` reads and writes Dagster's."""
WRITES = {"insert", "update", "delete", "insert_into"}
ROWS = {"records", "deliveries", "rejects", "loads"}
STATEMENT = re.compile(rf"(INSERT INTO|UPDATE|DELETE FROM)\s+({'|'.join(metadata.tables)})\b")
PARTS = {"Approvals", "Comparison", "Deliveries", "Events", "Ledger", "Loads", "Records", "Rejects", "Staging", "Syncs"}


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of the package, by its path."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in ROOT.rglob("*.py")}


def imports(tree: ast.Module, package: str) -> set[str]:
    """The names that a module takes from a package, or the package itself."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{package}."):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if f"{alias.name}.".startswith(f"{package}.")}
    return found


def calls(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """What is called by its bare name, and which of its arguments are names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, [argument.id for argument in node.args if isinstance(argument, ast.Name)]


def texts(tree: ast.Module) -> Iterator[str]:
    """The texts in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def outside() -> dict[str, ast.Module]:
    """The modules outside of the store that have no database of their own."""
    return {path: tree for path, tree in trees().items() if path.split("/")[0] not in ("store", *OTHER_DATABASES)}


def test_only_the_store_builds_sql() -> None:
    """Others hand a transaction on; they neither build statements nor know tables."""
    for path, tree in outside().items():
        assert imports(tree, "sqlalchemy") <= {"Connection"}, path
        assert imports(tree, "sync_pipeline.store.schema").isdisjoint(metadata.tables), path
        assert not any(STATEMENT.search(words) for words in texts(tree)), path
    ledger = trees()["store/ledger.py"]
    assert imports(ledger, "sync_pipeline.store.schema") & set(metadata.tables)
    assert any(STATEMENT.search(words) for words in texts(ledger))


def test_only_a_session_opens_a_ledger() -> None:
    """What writes an entity's rows is bound to its pair by the session, and nowhere else."""
    opened = {
        (path, name)
        for path, tree in trees().items()
        if path.split("/")[0] not in ("store", "sandbox")
        for name, _ in calls(tree)
        if name in PARTS and name in imports(tree, "sync_pipeline.store")
    }
    assert opened == {("session/session.py", "Ledger")}


def test_only_the_ledger_and_its_parts_write_an_entitys_rows() -> None:
    """Pruning and forgetting, which are about all entities of all pairs, delete rows next to it."""
    writing = {
        (path, table)
        for path, tree in trees().items()
        if path.startswith("store/")
        for name, arguments in calls(tree)
        if name in WRITES
        for table in ROWS & set(arguments)
    }
    assert writing == {
        ("store/totals.py", "deliveries"),
        ("store/ledger.py", "records"),
        ("store/ledger.py", "rejects"),
        ("store/claims.py", "records"),
        ("store/deliveries.py", "deliveries"),
        ("store/deliveries.py", "records"),
        ("store/deliveries.py", "rejects"),
        ("store/rejects.py", "records"),
        ("store/rejects.py", "rejects"),
        ("store/loads.py", "loads"),
        ("store/merge.py", "records"),
        ("store/merge.py", "rejects"),
        ("store/forgotten.py", "rejects"),
        ("store/retention.py", "records"),
    }
