"""The shape of the code: what may not grow without notice."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "sync_pipeline"
ENGINE = ("stages", "store", "session", "mapping", "entities", "connectors")
"""The engine; the folders of the vendors in ``connectors/`` are none of it."""
ENGINE_LINES = 27_200
"""With what is stored for people: versions of the set-up, alerts, the searches of records and runs, the figures of reports,
and a second vendor on the Snapshots side: profiles that name their connector, preparation, measurements, what is left out of
scope by its source; what several machines and several instances of console and receiver share; operations of the catalogue as targets;
what is noted of writes that were answered next to one that failed; what automations look for in one list, and never repeat; records that
cannot leave the scope of their name, and are exchanged or left; rejects, missing and differing records staged in the database; polls that
find what became invalid; what pages ask of a system by its settings."""
MOST_PARAMETERS = 7
ONLY_DOCUMENTS = {
    "rejects.py:rejects_retry": "before an error, where people read the error alone",
    "state.py:check": "people have read each finding when it was made",
    "support_bundle.py:support_bundle": "people get a file instead",
}
"""Commands that print a JSON document where people read nothing, or have read it already."""


def functions() -> Iterator[tuple[str, int]]:
    """Each function of the package as ``file:name``, with the number of its parameters; ``self`` and ``cls`` do not count."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(PACKAGE)}:{node.name}", len(_parameters(node.args))


def _parameters(arguments: ast.arguments) -> list[str]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    more = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    return [each.arg for each in (*named, *more) if each.arg not in {"self", "cls"}]


def test_no_function_has_many_parameters() -> None:
    """More than seven belong into an object; what a dataclass generates is not counted."""
    assert [name for name, count in functions() if count > MOST_PARAMETERS] == []


def test_a_command_prints_its_document_or_what_people_read_with_emit() -> None:
    """Which of the two is one branch, in ``terminal.emit``."""
    callers = {
        f"{path.name}:{function.name}"
        for path in (PACKAGE / "cli").glob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        if any(
            isinstance(node, ast.Attribute) and ast.unparse(node) == "terminal.as_json" for node in ast.walk(function)
        )
    }
    assert callers == ONLY_DOCUMENTS.keys()


def test_a_class_name_has_one_meaning() -> None:
    """No two classes of the package have the same name; the sandbox shares no code with it, and names its own."""
    names = Counter(
        node.name
        for path in PACKAGE.rglob("*.py")
        if "sandbox" not in path.relative_to(PACKAGE).parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_only_hosting_imports_what_dagster_keeps_to_itself() -> None:
    """``dagster._core`` and the like may change with each release: what needs them is in one package."""
    found = [
        f"{path.relative_to(PACKAGE)} {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != "hosting"
        for name in _imported(ast.parse(path.read_text()))
        if name.startswith("dagster") and any(part.startswith("_") for part in name.split("."))
    ]
    assert found == []


READ_LATE = {"sync_pipeline.settings": "sync_pipeline.store.setup_file"}
"""The one import that goes upwards: the set-up is in the database, and where that is, a setting says."""


def test_there_is_no_import_cycle() -> None:
    """None that imports within functions hide either: those are for what start-up does not need."""
    modules = {".".join(path.relative_to(TESTS.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {
        module: {
            name if name in modules else name.rpartition(".")[0]
            for name in _imported(_without_types(path))
            if name.startswith(PACKAGE.name) and not name.startswith(READ_LATE.get(module, "-"))
        }
        for module, path in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"Move what both sides need to where both may import it: {' <- '.join(error.args[1])}")


def _without_types(path: Path) -> ast.Module:
    """A module without what it imports for annotations alone."""
    tree = ast.parse(path.read_text())
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return tree


def _imported(tree: ast.Module) -> Iterator[str]:
    """The full names that a module imports, at its top or within a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def test_each_stage_has_tests_of_its_name() -> None:
    """``stages/polling.py`` is tested by ``stages/test_polling.py``, or by several whose names begin like that."""
    stages = {path.stem for path in (PACKAGE / "stages").glob("[!_]*.py")}
    tests = [path.stem.removeprefix("test_") for path in (TESTS / "stages").glob("test_*.py")]

    assert [stage for stage in sorted(stages) if not any(f"{test}_".startswith(f"{stage}_") for test in tests)] == []


def test_the_engine_does_not_grow_without_notice() -> None:
    """A tenth more lines than it had; raising the figure is a decision, and a line in a review."""
    folders = [PACKAGE / name for name in ENGINE]
    vendors = {path.parent for path in (PACKAGE / "connectors").glob("*/__init__.py")}
    modules = [path for folder in folders for path in folder.rglob("*.py") if path.parent not in vendors]
    lines = sum(len(path.read_text().splitlines()) for path in modules)

    assert ENGINE_LINES * 0.8 < lines <= ENGINE_LINES * 1.1
