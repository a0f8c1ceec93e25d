"""The adapters are what the engine asks for, and the engine asks nothing else which system it talks to."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from sync_pipeline.connectors.ports import AssigningTarget, Source, UpsertTarget
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline_tests.connectors.clients import clockify, snapshots

PACKAGE = Path("sync_pipeline")
SYSTEMS = {"clockify", "snapshots", "highlevel"}
VENDORS = ("connectors", "sandbox")
"""Where a system is known by its name."""
KEPT = {"system", "catalogue"}
"""The attributes in which such a name is kept."""
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


def constants(trees: Iterable[ast.Module]) -> set[str]:
    """What else holds the name of a system: the variables of modules, and the attributes of classes, set to one."""
    bodies = (owner.body for tree in trees for owner in ast.walk(tree) if isinstance(owner, ast.Module | ast.ClassDef))
    found = set()
    for node in (node for body in bodies for node in body if isinstance(node, ast.Assign | ast.AnnAssign)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            found |= set(_set_to_a_name(target, node.value))
    return found - KEPT


def _set_to_a_name(target: ast.expr, value: ast.expr | None) -> Iterator[str]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for pair in zip(target.elts, value.elts, strict=False):
            yield from _set_to_a_name(*pair)
    elif isinstance(target, ast.Name) and isinstance(value, ast.Constant) and value.value in SYSTEMS:
        yield target.id


def is_name(node: ast.expr, known: Collection[str]) -> bool:
    """Whether an operand is the name of a system, a constant that holds it, or a collection with such a name."""
    if isinstance(node, ast.Tuple | ast.Set | ast.List):
        return any(is_name(each, known) for each in node.elts)
    if isinstance(node, ast.Constant):
        return str(node.value).lower() in SYSTEMS
    if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id.isupper():
        return node.value.id == "SYSTEMS" or getattr(node, "attr", "") in {*KEPT, *known}
    return getattr(node, "attr", getattr(node, "id", "")) in known


def is_kept(node: ast.expr) -> bool:
    """Whether an operand is where the name of a system is kept (but for a column)."""
    is_column = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "c"
    return isinstance(node, ast.Attribute) and node.attr in KEPT and not is_column


def comparisons(tree: ast.Module, known: Collection[str] = ()) -> Iterator[int]:
    """The lines on which something is compared with a system's name; whether two are the same may be asked."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = (node.left, *node.comparators)
            if any(is_name(part, known) for part in parts) or len({is_kept(part) for part in parts}) > 1:
                yield node.lineno
        if isinstance(node, ast.MatchValue) and is_name(node.value, known):
            yield node.lineno
        looked_in = node.value if isinstance(node, ast.Subscript | ast.Attribute) else None
        if isinstance(looked_in, ast.Dict) and any(is_name(key, known) for key in looked_in.keys if key is not None):
            yield looked_in.lineno


def comparisons_on_page(page: str) -> Iterator[int]:
    """The same for a template, whose filters select by a name, too."""
    for node in Environment().parse(page).find_all((nodes.Compare, nodes.Test, nodes.Filter, nodes.Getitem)):
        parts = (node.expr, *(each.expr for each in node.ops)) if isinstance(node, nodes.Compare) else ()
        kept = {isinstance(part, nodes.Getattr) and part.attr in KEPT for part in parts}
        names = [each for each in node.find_all(nodes.Const) if str(each.value).lower() in SYSTEMS]
        is_other = isinstance(node, nodes.Getitem) and not isinstance(node.node, nodes.Dict)
        if len(kept) > 1 or (names and not is_other):
            yield node.lineno


def test_nothing_asks_which_system_it_talks_to() -> None:
    """No comparison with a system's name outside the adapters and the sandbox: in no module, and in no template."""
    known = constants(tree for _, tree in modules())
    found = [f"{path}:{line}" for path, tree in modules(*VENDORS) for line in comparisons(tree, known)]
    pages = sorted(PACKAGE.rglob("*.html"))
    found += [f"{path}:{line}" for path in pages for line in comparisons_on_page(path.read_text())]
    assert pages
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        'spec.source.system == "clockify"',
        'if "snapshots" != name: pass',
        'x = name in ("clockify",)',
        "spec.target.system == other",
        'match name:\n    case "clockify": pass',
        "name == CLOCKIFY",
        "name == SYSTEMS[0]",
        "spec.source.system == CLOCKIFY_KEY.system",
        "spec.source.system == vendors.CLOCKIFY",
        "match name:\n    case vendors.CLOCKIFY: pass",
        'x = {"clockify": 1, "snapshots": 2}[name]',
        "x = {CLOCKIFY: 1}.get(name, 2)",
    ],
)
def test_such_a_comparison_is_found(code: str) -> None:
    """However it is written."""
    assert list(comparisons(ast.parse(code), constants([ast.parse('CLOCKIFY, OTHER = "clockify", "none"')])))


@pytest.mark.parametrize(
    "page",
    [
        '{% if connection.system == "clockify" %}{% endif %}',
        '{{ 1 if name in ("clockify", "snapshots") else 2 }}',
        '{{ 1 if systems.snapshots == "Snapshots" else 2 }}',
        "{% if row.system == other %}{% endif %}",
        '{% if name is eq "clockify" %}{% endif %}',
        '{{ rows|selectattr("system", "equalto", "clockify")|list }}',
        '{{ {"clockify": 1}[name] }}',
    ],
)
def test_such_a_comparison_is_found_on_a_page(page: str) -> None:
    """However it is written."""
    assert list(comparisons_on_page(page))


TABLES = {
    "mapping/systems.py SYSTEMS": "what a mapping has to know of a system; `register` adds to it",
    "operations/catalogue.py events": "of one API the events are in its document, of the other in the catalogue",
    "session/session.py _opened": "the two accounts of a session are opened here, each in its own way",
    "diagnose/connection_test.py PROBES": "what can be found out about an account is asked of its system",
    "cli/init.py CONNECT": "a terminal asks for an account in the words of its system",
    "console/frame.py STEPS": "the steps of the set-up, which have names and pages",
    "console/frame.py _done": "the same",
}
"""The tables by name of a system that are left, and why."""


def tables(tree: ast.Module, known: Collection[str] = ()) -> Iterator[str]:
    """What holds a table by name of a system: the constant of a module, or else the function or class."""
    for owner in tree.body:
        targets = owner.targets if isinstance(owner, ast.Assign) else [getattr(owner, "target", owner)]
        name = ", ".join(getattr(one, "id", getattr(one, "name", "a statement")) for one in targets)
        for node in ast.walk(owner):
            keys = list(filter(None, node.keys)) if isinstance(node, ast.Dict) else []
            is_call = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict"
            named = {each.arg for each in node.keywords} if is_call and isinstance(node, ast.Call) else set()
            if any(is_name(key, known) for key in keys) or named & SYSTEMS:
                yield name


def test_nothing_is_looked_up_by_the_name_of_a_system() -> None:
    """What differs between systems is asked of their connectors, not kept in a table of the engine."""
    known = constants(tree for _, tree in modules())
    found = {
        f"{Path(path).relative_to(PACKAGE)} {name}" for path, tree in modules(*VENDORS) for name in tables(tree, known)
    }
    assert sorted(found) == sorted(TABLES)


@pytest.mark.parametrize(
    "code",
    [
        'ADDRESSES = {"clockify": 1}',
        'ADDRESSES: dict[str, int] = {"snapshots": 1, **more}',
        "ADDRESSES = {CLOCKIFY: 1}",
        "def address(system):\n    addresses = dict(clockify=1)\n    return addresses[system]",
        'class Store:\n    def address(self):\n        return {"highlevel": 1}.get(self.system)',
    ],
)
def test_such_a_table_is_found(code: str) -> None:
    """However it is written."""
    assert list(tables(ast.parse(code), ["CLOCKIFY"]))


ENGINE = {"stages", "store", "defs", "hosting", "alerts", "reporting"}
"""The packages that know no vendor; `session` opens the accounts, and `webhooks` registers at the system with hooks."""
OTHERS = {path.name for path in PACKAGE.iterdir()} - ENGINE


def test_no_setting_or_account_of_a_vendor_decides_in_the_engine() -> None:
    """It asks an adapter, or what is known of its system: not which plan or reader is set, nor Clockify itself."""
    found = [
        f"{path}:{node.lineno} {node.attr}"
        for path, tree in modules(*OTHERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (node.attr.startswith(("clockify_", "highlevel_")) or node.attr in {"clockify", "highlevel"})
    ]
    assert found == []


def test_no_text_of_the_engine_names_a_vendor() -> None:
    """Neither a message nor a comment: what is true of every system is said of every system."""
    text = {path: path.read_text() for name in ENGINE for path in (PACKAGE / name).rglob("*.py")}
    found = {str(path) for path, lines in text.items() if re.search("Clockify|HighLevel", lines)}
    assert found == {"sync_pipeline/alerts/kinds.py"}  # one kind is about the webhooks that are registered at Clockify


ABOUT_ENTITIES = {
    "sync_pipeline/reporting/revenue.py": "revenue is of locations",
    "sync_pipeline/reporting/reports.py": "`people`, `projects` and `clients` are reports, and columns of them",
    "sync_pipeline/reporting/dashboard.py": "the same",
    "sync_pipeline/reporting/export.py": "the same",
    "sync_pipeline/alerts/subscriptions.py": "what people subscribe to has names: `new_entries`, `new_locations`",
}
"""The modules about what certain entities are for, and why."""


def test_the_engine_names_no_entity() -> None:
    """What is special about the records of one entity is defined by its file and by its adapter."""
    found: dict[str, list[str]] = {}
    for path, tree in modules(*OTHERS - {"session", "webhooks"}):
        if "migrations" in path:  # they know the tables and entities of their time
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in ENTITIES:
                found.setdefault(path, []).append(f"{node.lineno} {node.value}")
    assert {path: lines for path, lines in found.items() if path not in ABOUT_ENTITIES} == {}
    assert ABOUT_ENTITIES.keys() <= found.keys()


def test_nothing_compares_with_the_name_of_an_entity() -> None:
    """Not even the modules about certain entities: what is special about one is said once, where it is named."""
    found = [
        f"{path}:{node.lineno}"
        for path, tree in modules(*VENDORS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for part in (node.left, *node.comparators)
        if "migrations" not in path and isinstance(part, ast.Constant) and part.value in ENTITIES
        if path != "sync_pipeline/diagnose/clockify.py"  # `users` is also a value of CLOCKIFY_READER
    ]
    assert found == []
