"""The order of reads is a number: no code compares the instants of two hosts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sync_pipeline

PACKAGE = Path(sync_pipeline.__file__).parent
FOR_PEOPLE = ("observed_at", "delivered_at")
COMPARING = ("max", "min", "sorted", "order_by")


def compared(source: str) -> Iterator[str]:
    """The columns for people that ``source`` compares or sorts by."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            names = {part.attr if isinstance(part, ast.Attribute) else "" for part in (node.left, *node.comparators)}
        elif isinstance(node, ast.Call) and _name(node.func) in COMPARING:
            names = {inner.attr for part in node.args for inner in ast.walk(part) if isinstance(inner, ast.Attribute)}
        else:
            continue
        yield from names.intersection(FOR_PEOPLE)


def _name(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_compares_when_a_read_began(path: Path) -> None:
    """Two hosts' clocks never decide which of two reads is newer."""
    assert list(compared(path.read_text())) == []


def test_a_comparison_is_found() -> None:
    """The search sees the forms in which such a comparison was once written."""
    found = compared("records.c.observed_at <= at\nfunc.max(syncs.c.observed_at)\nbatch.observed_at >= newest\n")
    assert list(found) == ["observed_at"] * 3
