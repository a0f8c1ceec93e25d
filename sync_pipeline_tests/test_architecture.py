"""The pictures of ``docs/architecture.md`` are what the code is: the packages with their layers, and the way of one entry."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sync_pipeline"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NOT_DRAWN = {"__init__", "__pycache__"}


def drawn(picture: str) -> list[str]:
    """The lines of one picture of the page."""
    found = re.search(rf"<!-- {picture} -->\n```text\n(.*?)\n```\n<!-- end of {picture} -->", PAGE, re.DOTALL)
    assert found is not None
    return found[1].splitlines()


def way() -> list[str]:
    """The files drawn on the way of an entry, in their order."""
    return [found[1] for line in drawn("the way") if (found := re.search(r"├─ (\S+\.py) ", line))]


def packages() -> list[str]:
    """The packages and modules drawn, from the top to the bottom."""
    return [line[22:].split()[0] for line in drawn("the packages") if line]


def layers() -> list[str]:
    """The layers that import-linter enforces, from the top to the bottom."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    contract = next(each for each in contracts if each["type"] == "layers")
    return [layer.removeprefix("sync_pipeline.") for layer in contract["layers"]]


def test_the_packages_drawn_are_those_of_the_tree() -> None:
    """Each package and module at the top of the tree is drawn once."""
    in_tree = {each.stem for each in PACKAGE.iterdir() if each.is_dir() or each.suffix == ".py"}

    assert sorted(packages()) == sorted(in_tree - NOT_DRAWN)


def test_the_layers_drawn_are_those_that_are_enforced() -> None:
    """In the same order; what is drawn below them is in no layer."""
    assert packages()[: len(layers())] == layers()


def test_each_file_drawn_on_the_way_exists() -> None:
    """The files that the page draws or names."""
    named = {
        name for name in re.findall(r"[a-z_]+(?:/[a-z_]+)+\.py", PAGE) if not name.startswith("sync_pipeline_tests/")
    }

    assert len(way()) > 15
    assert [name for name in sorted({*way(), *named}) if not (PACKAGE / name).is_file()] == []


def test_contributing_states_the_rule_that_the_page_refers_to() -> None:
    """The page does not repeat the rule."""
    assert "**The rule that places things**" in (ROOT / "CONTRIBUTING.md").read_text()
